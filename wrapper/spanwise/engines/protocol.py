"""What an engine is to the rest of the library."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from jaxtyping import Float
from torch import Tensor

from spanwise.scoring.scorer import Scorer


@dataclass(frozen=True)
class Found:
    """What a method gives beside its scores.

    Attributes:
        scores: One for each row and feature.
        standard_error: Of the scores, in their unit: how far another seed would move them. None where the method does
            not sample or the engine does not say; NaN where so few samples say nothing.
        gap: The completeness gap, where the method had to measure it.
        used: What options that were asked as "auto" came to.
        note: What the reader is warned of; "" for nothing.
        remark: What the reader may want to know; "" for nothing.
    """

    scores: Float[Tensor, "row feature"]
    standard_error: Float[Tensor, "row feature"] | None = None
    gap: float | None = None
    used: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    remark: str = ""


Runner: TypeAlias = Callable[[Scorer, Mapping[str, Any]], Float[Tensor, "row feature"] | Found]
"""Runs one method: takes a scorer and the method's checked options, returns a score for each row and feature.

The contract: rows and features are the scorer's, in its order; every forward and backward goes through the scorer,
which counts them and moves the progress bar; randomness comes from torch's and numpy's global generators, seeded
for the call; nothing is cached between calls; the result may be on any device. A runner that has more to say than
scores returns a `Found`.
"""


def as_found(result: Float[Tensor, "row feature"] | Found) -> Found:
    """Returns what a runner gave as a `Found`."""
    return result if isinstance(result, Found) else Found(result)
