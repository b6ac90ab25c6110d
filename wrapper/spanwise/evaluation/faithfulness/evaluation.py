"""`Evaluation`: what `evaluate` found."""

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from spanwise.errors import require
from spanwise.evaluation.faithfulness.intervals import Compared
from spanwise.evaluation.faithfulness.metrics import METRICS

if TYPE_CHECKING:
    import pandas

HEADLINE = ("naopc", "aopc")
"""The figure that the sentence is about: the first that there is."""
RESTATED = ("aopc", "aopc_lerf", "deletion", "insertion")
"""Figures that the sentence does not count: of one input, NAOPC in other units."""


@dataclass(frozen=True)
class Line:
    """One figure under one way to remove.

    Attributes:
        removed: What removing a feature means.
        metric: A name of `METRICS`.
        found: The figure beside its baselines; None where it cannot be had.
        results: How many results it is of.
        reason: Why some or all results have none; else "".
    """

    removed: str
    metric: str
    found: Compared | None
    results: int
    reason: str = ""

    @property
    def beats_random(self) -> bool:
        """Whether the method is better than random rankings."""
        return self.found is not None and self.found.against_random == "better"

    @property
    def beats_frequency(self) -> bool:
        """Whether the method is better than the token-frequency ranking."""
        return self.found is not None and self.found.against_frequency == "better"


@dataclass(frozen=True)
class Curve:
    """The curves of one result under one way to remove. The objective's values; every curve begins at the left.

    Attributes:
        removed: What removing a feature means.
        result: Index of the result.
        share: Of the features that are removed at each point of a deletion curve, 0 to 1.
        put_in: Of the features that are there at each point of an insertion curve, 0 to 1.
        deletion: The method's: the most important removed first.
        insertion: The method's: the most important put in first.
        random_deletion: Mean over the random rankings, and where their middle 95 % lie at each point.
        random_insertion: The same.
        frequency_deletion: Of the token-frequency ranking.
        frequency_insertion: The same.
        search: "exact" or "beam": how the bounds of the AOPC were found.
        beam_width: None for an exact search.
        lowest_aopc: Of any order that was found.
        highest_aopc: The same.
    """

    removed: str
    result: int
    share: tuple[float, ...]
    put_in: tuple[float, ...]
    deletion: tuple[float, ...]
    insertion: tuple[float, ...]
    random_deletion: tuple[float, ...]
    random_deletion_low: tuple[float, ...]
    random_deletion_high: tuple[float, ...]
    random_insertion: tuple[float, ...]
    random_insertion_low: tuple[float, ...]
    random_insertion_high: tuple[float, ...]
    frequency_deletion: tuple[float, ...]
    frequency_insertion: tuple[float, ...]
    search: str
    beam_width: int | None
    lowest_aopc: float
    highest_aopc: float


@dataclass(frozen=True, repr=False)
class Evaluation:
    """How faithful attributions are, beside random and token-frequency rankings.

    Attributes:
        lines: One a way to remove and figure, in the order of `METRICS`.
        curves: One a way to remove and result.
        removed: The ways to remove.
        method: What made the scores; several names with commas between.
        model: Its name.
        objective: What was attributed.
        unit: Of it.
        results: How many results.
        features: How many features each result has.
        constant: Indices of results whose scores are all equal: they rank nothing, their order is the source's.
        k: For "top_k", of each result.
        n_random: Random rankings for each result.
        frequency_source: Where the token frequencies are from.
        notes: What a reader should know.
        calls: Batches that went through the model.
        sequences: Sequences in them.
        seconds: It took.
        seed: Of the random rankings and draws.
    """

    lines: tuple[Line, ...]
    curves: tuple[Curve, ...]
    removed: tuple[str, ...]
    method: str
    model: str
    objective: str
    unit: str
    results: int
    features: tuple[int, ...]
    constant: tuple[int, ...]
    k: tuple[int, ...]
    n_random: int
    frequency_source: str
    notes: tuple[str, ...]
    calls: int
    sequences: int
    seconds: float
    seed: int

    def __repr__(self) -> str:
        return "Evaluation(" + " ".join(self.sentences) + ")"

    def line(self, metric: str, removed: str | None = None) -> Line:
        """Returns one figure; of the first way to remove where none is named.

        Raises:
            OptionError: There is no such figure.
        """
        from spanwise.errors import one_of

        one_of("figure", metric, METRICS)
        wanted = (
            self.removed[0] if removed is None else one_of("way to remove in this evaluation", removed, self.removed)
        )
        return next(line for line in self.lines if (line.metric, line.removed) == (metric, wanted))

    @property
    def sentences(self) -> tuple[str, ...]:
        """For each way to remove, whether the method beat both baselines."""
        return tuple(self._sentence(removed) for removed in self.removed)

    def as_dict(self) -> dict[str, Any]:
        """Returns everything, with the definitions of the figures, as values that JSON has."""
        plain: dict[str, Any] = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
            if name not in ("lines", "curves")
        }
        return plain | {
            "sentences": list(self.sentences),
            "metrics": {name: asdict(metric) for name, metric in METRICS.items()},
            "lines": [
                {
                    "removed": line.removed,
                    "metric": line.metric,
                    "results": line.results,
                    "reason": line.reason,
                    "beats_random": line.beats_random,
                    "beats_frequency": line.beats_frequency,
                    **(dict.fromkeys(Compared.__dataclass_fields__) if line.found is None else asdict(line.found)),
                }
                for line in self.lines
            ],
            "curves": [asdict(curve) for curve in self.curves],
        }

    def to_dataframe(self) -> "pandas.DataFrame":
        """Returns a table, one line a way to remove and figure, with the fields of `Line` and `Compared` as columns."""
        require("pandas", "dataframe", "to_dataframe()")
        import pandas

        return pandas.DataFrame(self.as_dict()["lines"])

    def show(self) -> None:
        """Prints the sentences and the table to the terminal."""
        from spanwise.views.evaluation import show

        show(self.as_dict())

    def plot(self, path: str | os.PathLike[str], *, title: str | None = None) -> None:
        """Writes a figure of the deletion and insertion curves to a PNG, SVG or PDF file.

        Args:
            path: Where to; the suffix decides the format.
            title: Above the figure; default: method, model and objective.

        Raises:
            FileError: The format is not supported or the folder cannot be written.
            DependencyError: matplotlib is not installed.
        """
        from spanwise.views.evaluation import plot

        plot(path, self.as_dict(), title=title)

    def _sentence(self, removed: str) -> str:
        known = [line for line in self.lines if line.removed == removed and line.found is not None]
        start = f"With removed={removed!r}"
        if max(self.features) == 1:
            return f"{start}, nothing can be said of {self.method}: one feature has no order."
        if len(self.constant) == self.results:
            return f"{start}, {self.method} ranks nothing: all its scores are equal, so the order here is arbitrary."
        head = next((line for name in HEADLINE for line in known if line.metric == name), None)
        if head is None or head.found is None:
            return f"{start}, nothing can be said of {self.method}: {self._why(removed)}."
        told = f"{METRICS[head.metric].title} {head.found.value:.3g}"
        if head.results < self.results:
            told += f" ({head.results} of {self.results} results)"
        if head.found.against_frequency is None:
            beside = f"random {head.found.random:.3g}, token frequency {head.found.frequency:.3g}"
            return f"{start}, {self.method} has {told} ({beside}): {head.found.undecided}."
        said = f"{start}, {self.method} {_against_random(head.found, self.n_random)} and "
        said += f"{_against_frequency(head.found)}, by {told}."
        if head.found.against_random is None:
            return said
        counted = [line for line in known if line.metric not in RESTATED]
        counts = [sum(getattr(line, name) for line in counted) for name in ("beats_random", "beats_frequency")]
        return (
            f"{said} Of {len(counted)} figures (not counting AOPC and areas: NAOPC in other units) {counts[0]} are "
            f"better than random and {counts[1]} better than token frequency."
        )

    def _why(self, removed: str) -> str:
        return next((line.reason for line in self.lines if line.removed == removed and line.reason), "no figure is had")


def _said(against: str | None) -> str:
    return {"better": "beat", "worse": "was worse than"}.get(against or "", "was no different from")


def _against_random(found: Compared, n_random: int) -> str:
    if found.against_random is None:
        return f"has no verdict against random rankings (mean {found.random:.3g}; {found.undecided})"
    p = _chance(found.against_random, found.p_random, found.p_random_worse)
    if found.beaten is None:
        low, high = found.over_random or (0.0, 0.0)
        beyond = f"{found.random:.3g}; difference {low:.3g} to {high:.3g}, {p}"
        return f"{_said(found.against_random)} random rankings ({beyond})"
    many = f"all {n_random}" if found.beaten == n_random else f"{found.beaten} of {n_random}"
    if found.against_random == "better":
        return f"beat {many} random rankings ({p}; their mean {found.random:.3g})"
    return f"{_said(found.against_random)} random rankings (beat {many}, {p}; their mean {found.random:.3g})"


def _against_frequency(found: Compared) -> str:
    p = _chance(found.against_frequency, found.p_frequency, found.p_frequency_worse)
    beside = ", ".join(part for part in (f"{found.frequency:.3g}", p) if part)
    return f"{_said(found.against_frequency)} the token-frequency ranking ({beside})"


def _chance(against: str | None, better: float | None, worse: float | None) -> str:
    """Returns the p-value with the side that it is of: that of being better, unless the verdict is "worse"."""
    side, p = ("worse", worse) if against == "worse" else ("better", better)
    return "" if p is None else f"p = {p:.2g} of being {side}"
