"""`GroundTruthReport`: how well each method finds planted causes, and how sure that is."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from jaxtyping import Float

from spanwise.errors import at_least, require
from spanwise.evaluation.benchmark.cases import Checked
from spanwise.evaluation.benchmark.metrics import METRICS

if TYPE_CHECKING:
    import numpy
    import pandas

RANDOM, FREQUENCY = "random", "frequency"
OVERALL = "all"
RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Figure:
    """A mean over prompts, 0 to 1, and the ends of its 95 % bootstrap interval; None for fewer than two prompts."""

    mean: float
    low: float | None
    high: float | None

    def above(self, other: "Figure") -> bool:
        """Whether the whole interval lies above the other's."""
        return self.low is not None and other.high is not None and self.low > other.high

    def below(self, other: "Figure") -> bool:
        """Whether the whole interval lies below the other's."""
        return other.above(self)


@dataclass(frozen=True)
class BenchmarkLine:
    """One method on one engine, on the prompts of one family or of all, at one precision.

    Attributes:
        method: Its name; "random" is a ranking by chance (its exact expectation), "frequency" ranks rare tokens first.
        engine: That ran it; "" for "random" and "frequency", which read no model.
        family: "gradient", "perturbation" or "attention"; "" for the two.
        baseline: What a feature was replaced by; None for a method without a baseline.
        precision: Of the weights.
        prompts_of: A family of the ground truth, or "all".
        prompts: How many.
        pointing: The token with the largest absolute score is a cause.
        recall: Share of the causes among the first k, k being their number.
        recall_at_5: Share of the causes among the first 5.
        mass: Share of the absolute scores on causes.
        reciprocal_rank: 1 / rank of the first cause.
    """

    method: str
    engine: str
    family: str
    baseline: str | None
    precision: str
    prompts_of: str
    prompts: int
    pointing: Figure
    recall: Figure
    recall_at_5: Figure
    mass: Figure
    reciprocal_rank: Figure

    @property
    def label(self) -> str:
        """Method and engine."""
        return f"{self.method} ({self.engine})" if self.engine else self.method

    @property
    def is_method(self) -> bool:
        """Whether it is an attribution method, not one of the two rankings it is compared with."""
        return bool(self.engine)


@dataclass(frozen=True, repr=False)
class GroundTruthReport:
    """What `ground_truth_benchmark` found.

    Attributes:
        lines: One for each precision, family of prompts (and "all" of them) and method.
        checked: How many prompts were dropped, since their causes were not seen to be causes.
        reading: What the figures say, in sentences.
        per_family: Prompts asked of each family.
        seed: Of prompts, samples and intervals.
        model: Its name.
        seconds: Wall time, in all ("total") and by engine; differs from run to run, unlike the rest.
    """

    lines: tuple[BenchmarkLine, ...]
    checked: tuple[Checked, ...]
    per_family: int
    seed: int
    model: str
    seconds: dict[str, float]
    reading: tuple[str, ...] = ()

    def __repr__(self) -> str:
        found = max((line for line in self.lines if line.prompts_of == OVERALL), key=lambda line: line.pointing.mean)
        return f"GroundTruthReport(best at pointing: {found.label} {found.pointing.mean:.2f}, {found.precision})"

    def with_reading(self) -> "GroundTruthReport":
        """Returns the report with the sentences of `benchmark_reading`."""
        from spanwise.evaluation.benchmark.reading import read_out

        return replace(self, reading=tuple(read_out(self)))

    def line(self, method: str, engine: str, *, precision: str, prompts_of: str = OVERALL) -> BenchmarkLine:
        """Returns one line.

        Raises:
            KeyError: There is none.
        """
        for line in self.lines:
            if (line.method, line.engine, line.precision, line.prompts_of) == (method, engine, precision, prompts_of):
                return line
        raise KeyError((method, engine, precision, prompts_of))

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as values that JSON has."""
        return {
            "model": self.model,
            "per_family": self.per_family,
            "seed": self.seed,
            "confidence": CONFIDENCE,
            "metrics": dict(METRICS),
            "checked": [asdict(each) for each in self.checked],
            "lines": [asdict(line) for line in self.lines],
            "reading": list(self.reading),
            "seconds": dict(self.seconds),
        }

    def to_dataframe(self) -> "pandas.DataFrame":
        """Returns a table, one line each; a metric has the columns `metric`, `metric_low` and `metric_high`.

        Raises:
            DependencyError: pandas is not installed.
        """
        require("pandas", "dataframe", "to_dataframe()")
        import pandas

        return pandas.DataFrame([dict(_flat(line)) for line in self.lines])

    def show(self) -> None:
        """Prints the tables and their reading to the terminal."""
        from spanwise.views.benchmark import show

        show(self.as_dict())

    def write(self, path: str | os.PathLike[str], *, command: str = "") -> None:
        """Writes the tables and their reading as a Markdown page.

        Args:
            path: Where to; ends in ".md".
            command: That makes the page; named on it.

        Raises:
            FileError: Another suffix, or the folder cannot be written.
        """
        from spanwise.views.benchmark import write

        write(path, self.as_dict(), command=command)


def _flat(line: BenchmarkLine) -> Iterator[tuple[str, Any]]:
    for name, value in asdict(line).items():
        if isinstance(value, dict):
            yield from ((name, value["mean"]), (f"{name}_low", value["low"]), (f"{name}_high", value["high"]))
        else:
            yield name, value


def figures(measured: Sequence[dict[str, float]], seed: int) -> dict[str, Figure]:
    """Returns the mean of each metric over prompts and its percentile bootstrap interval (Efron 1979).

    Where every prompt has the same value, the interval is that value: no resampling shows how a further prompt could
    differ.

    Args:
        measured: The metrics of each prompt.
        seed: Of the resamples: the same prompts are drawn for every method.

    Raises:
        DependencyError: SciPy is not installed.
    """
    at_least("the number of prompts", len(measured), 1)
    import numpy as np

    values = np.array([[each[name] for name in METRICS] for each in measured])  # [prompt, metric]
    low, high = _limits(values, seed) if len(values) > 1 else (None, None)
    return {
        name: Figure(
            float(values[:, i].mean()),
            None if low is None else float(low[i]),
            None if high is None else float(high[i]),
        )
        for i, name in enumerate(METRICS)
    }


def _limits(
    values: "Float[numpy.ndarray, 'prompt metric']", seed: int
) -> tuple["Float[numpy.ndarray, ' metric']", "Float[numpy.ndarray, ' metric']"]:
    import numpy as np
    from scipy.stats import bootstrap

    found = bootstrap(
        (values,),
        np.mean,
        axis=0,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        random_state=np.random.default_rng(seed),
    )
    return found.confidence_interval.low, found.confidence_interval.high
