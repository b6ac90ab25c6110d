"""`Summary`: what `summarize` found."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from spanwise.errors import OptionError, one_of, require

if TYPE_CHECKING:
    import pandas

Value: TypeAlias = str | int | float | None
"""Of an input's own column, as the run's parts have it."""


@dataclass(frozen=True)
class Estimate:
    """A mean over rows.

    Attributes:
        mean: The mean.
        low: Lower end of its 95 % percentile bootstrap interval (Efron 1979); None for fewer than two rows.
        high: Upper end.
        count: Rows.
    """

    mean: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class ByValue:
    """The rows that have one value in a column of the input.

    Attributes:
        value: In that column; None: the row has none.
        results: Rows with a result.
        failures: Rows without, of those whose value is known.
        strongest_share: The largest absolute score over the sum of them, 0 to 1; None for no results.
        mean_score: The mean absolute score of a result's source columns, in the unit of the run's scores.
    """

    value: Value
    results: int
    failures: int
    strongest_share: Estimate | None
    mean_score: Estimate | None


@dataclass(frozen=True)
class ByColumn:
    """A run by a column of the input.

    Attributes:
        lines: One a value: the most frequent values, in order where they are numbers.
        other_values: Values without a line.
        other_results: Results that have one of these.
        other_failures: Failures that have one of these.
        unknown_failures: Failures whose value is not known, as the row could not be read.
    """

    lines: tuple[ByValue, ...]
    other_values: int
    other_results: int
    other_failures: int
    unknown_failures: int


@dataclass(frozen=True)
class RunSummary:
    """A run over all its rows.

    Attributes:
        folder: Where it is.
        method: Of the attributions.
        engine: That ran it.
        model: Its name.
        precision: Its quantization, or its dtype.
        objective: What was attributed.
        unit: Of the scores.
        signed: Whether scores have a sign.
        features: What was scored as one: token, word, ...
        done: Whether every row has a result or a failure.
        rows: Rows of the input; None for an iterator that has not ended.
        results: Rows with a result.
        failures: Rows without.
        reasons: Kinds of errors and how often each came, the most frequent first.
        scored: Source columns with a score, over all results.
        strongest_share: The largest absolute score over the sum of them, 0 to 1.
        completeness_gap: Relative; None for a method without that promise.
        tables: For each category the lines of `spanwise.aggregate`, with None for NaN.
        columns: For each column of the input that was asked for, its values.
    """

    folder: str
    method: str
    engine: str
    model: str
    precision: str
    objective: str
    unit: str
    signed: bool
    features: str
    done: bool
    rows: int | None
    results: int
    failures: int
    reasons: tuple[tuple[str, int], ...]
    scored: int
    strongest_share: Estimate | None
    completeness_gap: Estimate | None
    tables: Mapping[str, Sequence[Mapping[str, Any]]]
    columns: Mapping[str, ByColumn]


@dataclass(frozen=True)
class RunDrift:
    """How a second run differs from the first, over the rows that ask both for the same.

    Attributes:
        matched: Rows compared.
        only_first: Rows that only the first run has a result for.
        only_second: Rows that only the second has one for.
        different: Rows that both have, but with another prompt, target, tokens or spans.
        top_k: How many of the strongest source columns `overlap` compares.
        spearman: Rank correlation of the scores; of absolute scores where one of the runs has no sign.
        overlap: Share of the strongest source columns that both have, 0 to 1.
        log_prob_change: Log-probability of what was asked about, second minus first, nats; None for other objectives.
        lowest: The rows that agree least, with their Spearman correlation; none that agrees fully.
        histogram: Rows with a Spearman correlation in each of 20 equal steps from -1 to 1.
    """

    matched: int
    only_first: int
    only_second: int
    different: int
    top_k: int
    spearman: Estimate | None
    overlap: Estimate | None
    log_prob_change: Estimate | None
    lowest: tuple[tuple[int, float], ...]
    histogram: tuple[int, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Summary:
    """A run over all its rows, and beside it another.

    Attributes:
        run: The first.
        other: The second, if there is one.
        drift: How they agree.
    """

    run: RunSummary
    other: RunSummary | None
    drift: RunDrift | None

    def __repr__(self) -> str:
        beside = "" if self.other is None else f" beside {self.other.folder!r}"
        return f"Summary({self.run.folder!r}, {self.run.results} results{beside})"

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as values that JSON has."""
        return asdict(self)

    def to_dataframe(self, by: str) -> "pandas.DataFrame":
        """Returns the table of a category, with the columns of `spanwise.aggregate` and the run's folder before them.

        Args:
            by: "kind", "role", "relative_position", "position" or "token".

        Raises:
            OptionError: There is no such table.
            DependencyError: pandas is not installed.
        """
        require("pandas", "dataframe", "to_dataframe()")
        import pandas

        one_of("category", by, self.run.tables)
        return pandas.DataFrame(
            [{"run": each.folder, **line} for each in self._runs for line in each.tables.get(by, ())]
        )

    def by_column(self, name: str) -> "pandas.DataFrame":
        """Returns the table of a column of the input that `summarize(by=...)` asked for, one line a value of each run.

        Its columns: run (the folder), value, results, failures, and of both strongest_share and mean_score the mean
        and, as ..._low and ..._high, its 95 % interval.

        Raises:
            OptionError: The column was not asked for.
            DependencyError: pandas is not installed.
        """
        require("pandas", "dataframe", "by_column()")
        import pandas

        one_of("column of the summary", name, self.run.columns)
        lines = []
        for run in self._runs:
            for line in run.columns[name].lines:
                told: dict[str, Any] = {
                    "run": run.folder,
                    "value": line.value,
                    "results": line.results,
                    "failures": line.failures,
                }
                for what, found in (("strongest_share", line.strongest_share), ("mean_score", line.mean_score)):
                    told[what] = found and found.mean
                    told[f"{what}_low"], told[f"{what}_high"] = found and found.low, found and found.high
                lines.append(told)
        return pandas.DataFrame(lines)

    @property
    def _runs(self) -> list[RunSummary]:
        return [each for each in (self.run, self.other) if each is not None]

    def plot(self, path: str | os.PathLike[str], *, title: str | None = None) -> None:
        """Writes one figure: shares by kind and place, the strongest sources, the agreement of two runs.

        Args:
            path: Where to; the suffix decides the format: .png, .svg or .pdf.
            title: Above the figure; default: method and model.

        Raises:
            FileError: The format is not supported or the folder cannot be written.
            DependencyError: matplotlib is not installed.
        """
        from spanwise.views.summary import plot

        plot(path, self.as_dict(), title=title)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Writes the report: Markdown (.md) with the figure beside it (.png), or HTML (.html) with the figure inside.

        Raises:
            OptionError: Another suffix.
            FileError: The folder cannot be written.
            DependencyError: matplotlib is not installed.
        """
        from spanwise.views.summary_report import write_html, write_markdown

        writers = {".md": write_markdown, ".html": write_html}
        suffix = Path(path).suffix.lower()
        if suffix not in writers:
            raise OptionError(f"a summary is written as {' or '.join(writers)}, not {Path(path).name!r}.")
        writers[suffix](Path(path), self.as_dict())

    def show(self) -> None:
        """Prints the tables to the terminal."""
        from spanwise.views.summary import show

        show(self.as_dict())


def estimate(values: Sequence[float], seed: int) -> Estimate | None:
    """Returns the mean and its bootstrap interval; None of no values.

    Raises:
        DependencyError: SciPy is not installed.
    """
    if not values:
        return None
    import numpy as np

    from spanwise.evaluation.faithfulness.intervals import bootstrap

    every = np.asarray(values, dtype=np.float64)
    mean = float(every.mean())
    if len(every) < 2:
        return Estimate(mean, None, None, 1)
    return Estimate(mean, *bootstrap(every, seed), len(every))
