"""`Drift`: what `compare_precision` found."""

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from spanwise.attribution import Attribution
from spanwise.errors import require
from spanwise.exports import to_json

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class PrecisionDrift:
    """How one precision's attribution differs from the reference's. Means over the rows of `scores`.

    Attributes:
        precision: As it was asked for.
        spearman: Rank correlation of the scores with the reference's, -1 to 1; None where no row has an order.
        kendall: The same by Kendall's tau-b.
        overlap: Share of the `top_k` strongest source tokens that both have, 0 to 1.
        completeness_gap: Its own; None for a method without that promise.
        log_prob: Log-probability of the spans' tokens, or of the whole target where no span was asked for, nats.
        log_prob_change: The same, minus the reference's.
        seconds: Of the attribution.
    """

    precision: str
    spearman: float | None
    kendall: float | None
    overlap: float
    completeness_gap: float | None
    log_prob: float
    log_prob_change: float
    seconds: float


@dataclass(frozen=True, eq=False, repr=False)
class Drift:
    """The same prompt at several precisions, the reference first.

    Attributes:
        lines: One a precision.
        results: The attributions, in the same order.
        log_probs: Log-probability of each target token at each precision, nats.
        top_k: How many of the strongest source tokens `overlap` compares.
    """

    lines: tuple[PrecisionDrift, ...]
    results: tuple[Attribution, ...]
    log_probs: Float[Tensor, "precision target"]
    top_k: int

    @property
    def reference(self) -> str:
        """The precision that the others are compared with."""
        return self.lines[0].precision

    @property
    def log_prob_changes(self) -> Float[Tensor, "precision target"]:
        """Log-probability of each target token minus its own at the reference, nats."""
        return self.log_probs - self.log_probs[0]

    def __repr__(self) -> str:
        others = ", ".join(f"{line.precision} {_short(line.spearman)}" for line in self.lines[1:])
        return f"Drift(Spearman correlation with {self.reference}: {others})"

    def as_dict(self) -> dict[str, Any]:
        """Returns everything, the attributions too, as values that JSON has."""
        return {
            "reference": self.reference,
            "top_k": self.top_k,
            "precisions": [asdict(line) for line in self.lines],
            "log_probs": self.log_probs.tolist(),
            "log_prob_changes": self.log_prob_changes.tolist(),
            "results": [to_json(result) for result in self.results],
        }

    def to_dataframe(self) -> "pandas.DataFrame":
        """Returns a table, one line a precision, with the fields of `PrecisionDrift` as columns."""
        require("pandas", "dataframe", "to_dataframe()")
        import pandas

        return pandas.DataFrame([asdict(line) for line in self.lines])

    def plot(self, path: str | os.PathLike[str], *, title: str | None = None) -> None:
        """Writes one figure: the scores by token at each precision, rank correlations, changes of log-probability.

        Args:
            path: Where to; the suffix decides the format: .png, .svg or .pdf.
            title: Above the figure; default: method, model and objective.

        Raises:
            FileError: The format is not supported or the folder cannot be written.
            DependencyError: matplotlib is not installed.
        """
        from spanwise.views.drift import plot

        plot(path, self.results, [asdict(line) for line in self.lines], self.top_k, title=title)

    def show(self) -> None:
        """Prints the table to the terminal."""
        from spanwise.views.drift import show

        show(self.results, [asdict(line) for line in self.lines], self.top_k)


def _short(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
