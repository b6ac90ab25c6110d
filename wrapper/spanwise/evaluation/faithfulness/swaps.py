"""Orders made better by exchanging features of nearby blocks: closer bounds of the AOPC from few more sequences."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Value: TypeAlias = Callable[[Bool[Tensor, "subset feature"]], Float[Tensor, " subset"]]
"""From subsets of kept features to the objective."""

Swap: TypeAlias = tuple[int, int]
"""Two places of an order, the earlier one first."""

SWAPS, ROUNDS, FAR = 300, 3, 4
"""Sequences that the exchanges may take for both bounds together, in how many rounds (few, so that many go through the
model together), and how many blocks apart two features may be."""
LONG, LONG_SWAPS, LONG_ROUNDS, LONG_FAR = 30, 100, 1, 2
"""Above so many features, where a call holds fewer sequences, it is less."""


def improved(
    value: Value, orders: Sequence[Int[Tensor, " feature"]], boundaries: Sequence[int]
) -> list[Int[Tensor, " feature"]]:
    """Returns two orders after exchanges: the first for a lower sum over its curve, the second for a higher one.

    An exchange of two features changes only the points of the curve between their blocks, so that each costs few
    sequences. Which are tried is drawn at random, always the same.
    """
    chance = torch.Generator().manual_seed(0)
    low, high = (order.tolist() for order in orders)
    rounds = LONG_ROUNDS if len(low) > LONG else ROUNDS
    for _ in range(rounds):
        drawn = [_drawn(boundaries, swap_work(len(low)) // (2 * rounds), chance) for _ in range(2)]
        tried = [(order, swap) for order, swaps in zip((low, high), drawn, strict=True) for swap in swaps]
        if not tried:
            break
        subsets = [_passed(order, swap, boundaries, new=new) for new in (True, False) for order, swap in tried]
        sums = [float(part.sum()) for part in value(torch.cat(subsets)).split([len(each) for each in subsets])]
        gains = [new - old for new, old in zip(sums[: len(tried)], sums[len(tried) :], strict=True)]
        _exchange(low, drawn[0], [-gain for gain in gains[: len(drawn[0])]], boundaries)
        _exchange(high, drawn[1], gains[len(drawn[0]) :], boundaries)
    return [torch.tensor(low), torch.tensor(high)]


def swap_work(features: int) -> int:
    """Returns how many sequences the exchanges take at most."""
    return LONG_SWAPS if features > LONG else SWAPS


def _drawn(boundaries: Sequence[int], sequences: int, chance: torch.Generator) -> list[Swap]:
    """Returns different exchanges that change at most so many points of a curve."""
    block = _blocks(boundaries)
    far = LONG_FAR if len(block) > LONG else FAR
    swaps = [(i, j) for j in range(len(block)) for i in range(j) if 0 < block[j] - block[i] <= far]
    found, left = [], sequences
    for place in torch.randperm(len(swaps), generator=chance).tolist():
        i, j = swaps[place]
        if (left := left - (block[j] - block[i])) < 0:
            break
        found.append((i, j))
    return found


def _exchange(order: list[int], swaps: Sequence[Swap], gains: Sequence[float], boundaries: Sequence[int]) -> None:
    """Makes those exchanges that help, the best first, as far as they change different points and places."""
    block, points, places = _blocks(boundaries), set[int](), set[int]()
    for gain, (i, j) in sorted(zip(gains, swaps, strict=True), reverse=True):
        changed = set(range(block[i] + 1, block[j] + 1))
        if gain > 0 and not changed & points and not {i, j} & places:
            order[i], order[j] = order[j], order[i]
            points |= changed
            places |= {i, j}


def _passed(
    order: Sequence[int], swap: Swap, boundaries: Sequence[int], *, new: bool
) -> Bool[Tensor, "subset feature"]:
    """Returns what is kept at the points that an exchange changes, after it (`new`) or before."""
    block, (i, j) = _blocks(boundaries), swap
    kept = torch.ones(block[j] - block[i], len(order), dtype=torch.bool)
    for row, point in enumerate(range(block[i] + 1, block[j] + 1)):
        kept[row, list(order[: boundaries[point]])] = False
        if new:
            kept[row, order[i]], kept[row, order[j]] = True, False
    return kept


def _blocks(boundaries: Sequence[int]) -> list[int]:
    """Returns the block of each place."""
    return [block for block, (begin, end) in enumerate(pairwise(boundaries)) for _ in range(begin, end)]
