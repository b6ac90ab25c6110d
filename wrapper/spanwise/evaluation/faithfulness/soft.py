"""Soft removal: whole features are kept or removed at random, the important ones more (or less) often.

In the paper of Soft-NC and Soft-NS (arXiv:2305.10496) a token's embedding loses parts in proportion to its score, so
that a method whose scores are larger keeps more. Here the chance of a feature to be kept is a monotone function of its
score whose mean is the same for every method (equal expected retention, as arXiv:2601.03089 asks), and features go as a
whole, which works with every kind of removal.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

RETENTION = 0.5
"""Mean chance of a feature to be kept."""
SAMPLES = 3
"""Draws for each ranking; every ranking has the same ones."""
_HALVINGS = 60


@dataclass(frozen=True)
class Draws:
    """What chance decides, shared by all rankings of an input.

    Attributes:
        orders: In which features are passed by, a permutation a draw.
        offsets: Where the passing begins, 0 to 1.
    """

    orders: Int[Tensor, "draw feature"]
    offsets: Float[Tensor, " draw"]


def make_draws(count: int, generator: torch.Generator, samples: int = SAMPLES) -> Draws:
    """Returns draws for `count` features."""
    orders = torch.stack([torch.randperm(count, generator=generator) for _ in range(samples)])
    return Draws(orders, torch.rand(samples, generator=generator, dtype=torch.float64))


def keep_chances(scores: Float[Tensor, " feature"]) -> Float[Tensor, " feature"]:
    """Returns each feature's chance to be kept: a logistic function of its standardized score, shifted to mean 1/2.

    Multiplying the scores by a positive number or adding one to them changes nothing; equal scores give 1/2 each.
    """
    scores = scores.double()
    spread = float(scores.std(correction=0))
    if spread == 0:
        return torch.full_like(scores, RETENTION)
    standard = (scores - scores.mean()) / spread
    low, high = -float(standard.abs().max()) - 1, float(standard.abs().max()) + 1
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if float(torch.sigmoid(standard + middle).mean()) < RETENTION:
            low = middle
        else:
            high = middle
    return torch.sigmoid(standard + (low + high) / 2)


def soft_subsets(
    scores: Float[Tensor, " feature"], draws: Draws, *, keep_important: bool
) -> Bool[Tensor, "draw feature"]:
    """Returns which features each draw keeps.

    By systematic sampling (Madow 1949) in a random order: each feature is kept with its own chance, and the number
    kept is the mean rounded down or up, never anything else.

    Args:
        scores: Of the features.
        draws: What chance decides.
        keep_important: True for Soft-NS; False for Soft-NC, where the important ones go.
    """
    chances = keep_chances(scores)
    if not keep_important:
        chances = 1 - chances
    passed = chances[draws.orders].cumsum(1)  # [draw, feature]
    after = (passed - draws.offsets[:, None]).floor()
    before = torch.cat([(-draws.offsets[:, None]).floor(), after[:, :-1]], dim=1)
    kept = torch.zeros(draws.orders.shape, dtype=torch.bool)
    return kept.scatter_(1, draws.orders, after > before)
