"""How well scores find planted causes. Where scores are equal, every figure is its expected value over their orders.

So a constant attribution gets exactly what a random ranking gets on average.
"""

from collections.abc import Iterator
from math import comb

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spanwise.errors import InputError, at_least

METRICS = {
    "pointing": "the token with the largest absolute score is a cause (Zhang et al. 2018, arXiv:1608.00507)",
    "recall": "share of the cause tokens among the first k, where k is the number of cause tokens",
    "recall_at_5": "share of the cause tokens among the first 5",
    "mass": "share of the absolute scores that lies on cause tokens",
    "reciprocal_rank": "1 / rank of the first cause token",
}
"""Each is 0 to 1, and larger is better."""
DEPTH = 5


def measure(scores: Float[Tensor, " source"], causes: Bool[Tensor, " source"]) -> dict[str, float]:
    """Returns every metric of one prompt, by its name in `METRICS`.

    Args:
        scores: One a source token, all of them defined; their absolute values count.
        causes: Which tokens are planted causes; at least one.

    Raises:
        InputError: A score is NaN, the shapes differ, or nothing is a cause.

    Example:
        >>> import torch
        >>> found = measure(torch.tensor([0.0, -4.0, 1.0, 0.0]), torch.tensor([False, True, False, True]))
        >>> found["pointing"], found["mass"], found["reciprocal_rank"]
        (1.0, 0.8, 1.0)
    """
    if scores.shape != causes.shape or bool(scores.isnan().any()) or not bool(causes.any()):
        raise InputError(
            f"a score is needed for each of {len(causes)} tokens, at least one of them a cause; found "
            f"{int((~scores.isnan()).sum())} scores and {int(causes.sum())} causes."
        )
    return {
        "pointing": recall(scores, causes, 1) * int(causes.sum()),
        "recall": recall(scores, causes, int(causes.sum())),
        "recall_at_5": recall(scores, causes, min(DEPTH, len(causes))),
        "mass": mass(scores, causes),
        "reciprocal_rank": reciprocal_rank(scores, causes),
    }


def recall(scores: Float[Tensor, " source"], causes: Bool[Tensor, " source"], k: int) -> float:
    """Returns the expected share of the causes among the `k` largest absolute scores.

    Raises:
        OptionError: `k` is below 1.
        InputError: There are fewer than `k` scores.
    """
    if at_least("k", k, 1) > len(scores):
        raise InputError(f"the first {k} were asked for, but only {len(scores)} source tokens have scores.")
    found, left = 0.0, k
    for size, among in _groups(scores, causes):
        taken = min(left, size)
        found, left = found + among * taken / size, left - taken
    return found / int(causes.sum())


def mass(scores: Float[Tensor, " source"], causes: Bool[Tensor, " source"]) -> float:
    """Returns the share of the absolute scores that lies on causes; where all are 0, the share of tokens."""
    sizes = scores.double().abs()
    if not bool(sizes.any()):
        sizes = torch.ones_like(sizes)
    return float(sizes[causes].sum() / sizes.sum())


def reciprocal_rank(scores: Float[Tensor, " source"], causes: Bool[Tensor, " source"]) -> float:
    """Returns the expected 1 / rank of the first cause, counted from 1."""
    before = 0
    for size, among in _groups(scores, causes):
        if among:
            # Of the orders of `size` tokens, C(size - j, among - 1) put the first of `among` causes at place j.
            ways = (comb(size - j, among - 1) / (before + j) for j in range(1, size - among + 2))
            return sum(ways) / comb(size, among)
        before += size
    return 0.0


def _groups(scores: Tensor, causes: Tensor) -> Iterator[tuple[int, int]]:
    """Yields for each distinct absolute score, largest first, how many tokens have it and how many causes."""
    found: dict[float, list[bool]] = {}
    for size, cause in zip(scores.abs().tolist(), causes.tolist(), strict=True):
        found.setdefault(size, []).append(cause)
    for _, group in sorted(found.items(), reverse=True):
        yield len(group), sum(group)
