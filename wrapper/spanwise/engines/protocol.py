"""What an engine is to the rest of the library."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from jaxtyping import Float
from torch import Tensor

from spanwise.scoring.scorer import Scorer

Runner: TypeAlias = Callable[[Scorer, Mapping[str, Any]], Float[Tensor, "row feature"]]
"""Runs one method: takes a scorer and the method's checked options, returns a score for each row and feature.

The contract: rows and features are the scorer's, in its order; every forward and backward goes through the scorer,
which counts them and moves the progress bar; randomness comes from torch's and numpy's global generators, seeded
for the call; nothing is cached between calls; the result may be on any device.
"""
