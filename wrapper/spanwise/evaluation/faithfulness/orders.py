"""Rankings of features, the curves they give, and the lowest and highest AOPC that any order can have."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from spanwise.evaluation.faithfulness.swaps import Value, improved, swap_work

EXACT = 10
"""Up to so many features every subset is scored (1,024), and the bounds are exact."""
BEAM = 1
"""States that the search keeps for each bound and from each end, above that number. Stages are worth more than states:
of the same number of sequences, a wider beam with fewer stages found closer bounds nowhere that we looked."""
_SEARCH = (200, 3)
"""Sequences that its stages may take: so many, or so many a feature, whichever is more."""
ROUNDING = 1e-6
"""Values closer than this part of them are equal: the model adds up in float32."""


@dataclass(frozen=True)
class Ranking:
    """Scores of features and their order, the most important first; of equal scores the first feature."""

    scores: Float[Tensor, " feature"]
    order: Int[Tensor, " feature"]


@dataclass(frozen=True)
class Bounds:
    """Lowest and highest AOPC of any order, in the objective's unit.

    Attributes:
        lower: The lowest.
        upper: The highest.
        search: "exact", or "beam": the best that were found, so the true ones may lie further out.
        width: Of the beam; None for an exact search.
    """

    lower: float
    upper: float
    search: str
    width: int | None = None

    def place(self, value: float) -> float | None:
        """Returns where an AOPC lies between the bounds, 0 to 1; None where they are equal."""
        if self.upper <= self.lower:
            return None
        place = (value - self.lower) / (self.upper - self.lower)
        ends = [end for end in (0.0, 1.0) if abs(place - end) <= 1e-9]  # what adding up in another order leaves
        return ends[0] if ends else place

    def reached_by(self, value: float) -> bool:
        """Whether a search found nothing beyond an order with this AOPC, which then is a bound itself."""
        return self.search == "beam" and self.place(value) in (0.0, 1.0)


def rank(scores: Float[Tensor, " feature"]) -> Ranking:
    """Returns the ranking that scores give."""
    return Ranking(scores, torch.argsort(scores, descending=True, stable=True))


def along(order: Int[Tensor, " feature"], scores: Float[Tensor, " feature"]) -> Ranking:
    """Returns the ranking of another order with the same scores, dealt out along it."""
    dealt = torch.empty_like(scores)
    dealt[order] = scores.sort(descending=True).values
    return Ranking(dealt, order)


def random_orders(count: int, features: int, generator: torch.Generator) -> list[Int[Tensor, " feature"]]:
    """Returns `count` random orders, each followed by its reverse."""
    found = []
    for _ in range(count // 2):
        order = torch.randperm(features, generator=generator)
        found += [order, order.flip(0)]
    return found


def block_boundaries(features: int, steps: int) -> list[int]:
    """Returns how many features are gone after each block, from 0 to all: at most `steps` blocks of equal size.

    Where the number does not divide, blocks differ by one feature.
    """
    blocks = min(steps, features)
    return [features * block // blocks for block in range(blocks + 1)]


def taken(part: float, features: int) -> int:
    """Returns how many features a share is: rounded up, at least one."""
    return max(1, math.ceil(part * features - 1e-9))


def leading(order: Int[Tensor, " feature"], counts: Sequence[int]) -> Bool[Tensor, "count feature"]:
    """Returns the subsets of the first so many features of an order."""
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    return place[None] < torch.tensor(list(counts))[:, None]


def aopc(curve: Float[Tensor, " point"]) -> float:
    """Returns the mean drop of a curve below its beginning (Samek et al. 2017, equation 12)."""
    return float((curve[0] - curve).mean())


def find_bounds(
    value: Value,
    features: int,
    boundaries: Sequence[int],
    seen: Sequence[Int[Tensor, " feature"]],
    *,
    exact: int = EXACT,
) -> Bounds:
    """Returns the bounds of the AOPC over all orders; equal ones where they differ by no more than rounding.

    Args:
        value: Of subsets.
        features: How many there are.
        boundaries: The points of the curve.
        seen: Orders that were scored anyway: each is a candidate of the beam search.
        exact: Up to so many features the search is exact.
    """
    found = _exact(value, features, boundaries) if features <= exact else _searched(value, features, boundaries, seen)
    scale = float(value(torch.tensor([[True], [False]]).expand(-1, features)).abs().max())
    if found.upper - found.lower <= ROUNDING * scale:
        return replace(found, upper=found.lower)
    return found


def _searched(
    value: Value, features: int, boundaries: Sequence[int], seen: Sequence[Int[Tensor, " feature"]]
) -> Bounds:
    """Returns the bounds of the orders seen and those of a beam search, the two best bettered by exchanges."""
    ends = [features - boundary for boundary in reversed(boundaries)]
    orders = [
        *seen,
        *_beam(value, features, boundaries),
        *(order.flip(0) for order in _beam(lambda put_in: value(~put_in), features, ends)),
    ]
    curves = value(torch.cat([~leading(order, boundaries) for order in orders])).view(len(orders), -1)
    sums = curves.sum(1).tolist()
    two = [orders[sums.index(end)] for end in (min(sums), max(sums))]
    two += improved(value, two, boundaries)
    every = [aopc(value(~leading(order, boundaries))) for order in two]
    return Bounds(min(every), max(every), "beam", BEAM)


def search_work(features: int, boundaries: Sequence[int]) -> int:
    """Returns about how many subsets `find_bounds` scores."""
    if features <= EXACT:
        return int(2**features)
    stages = _stages(features, boundaries)
    return 2 * features + _stage_work(features, stages) + 4 * BEAM * len(boundaries) + swap_work(features)


def _exact(value: Value, features: int, boundaries: Sequence[int]) -> Bounds:
    """Returns the exact bounds: the cheapest and the dearest path through the lattice of subsets.

    The sum over a curve depends on the subsets it passes, not on how each was reached; so the best path to a subset is
    the best path to one of its subsets a block smaller, plus its own value.
    """
    levels = [
        torch.tensor([[i in set(gone) for i in range(features)] for gone in combinations(range(features), size)])
        for size in boundaries
    ]  # removed features, [subset, feature]
    values = value(~torch.cat(levels)).double().split([len(level) for level in levels])
    low = high = values[0]
    for (level, bigger), own in zip(pairwise(levels), values[1:], strict=True):
        within = (level[:, None] <= bigger[None]).all(-1)  # [subset, bigger]
        low = torch.where(within, low[:, None], torch.inf).min(0).values + own
        high = torch.where(within, high[:, None], -torch.inf).max(0).values + own
    full, points = float(values[0][0]), len(boundaries)
    return Bounds(full - float(high[0]) / points, full - float(low[0]) / points, "exact")


@dataclass(frozen=True)
class _State:
    """An order so far, and the sum of the values it passed; the other features in the order of what they did last."""

    order: tuple[int, ...]
    rest: tuple[int, ...]
    total: float = 0.0


def _beam(value: Value, features: int, boundaries: Sequence[int]) -> list[Int[Tensor, " feature"]]:
    """Returns the orders that a beam search ends with, for both bounds.

    Begun from the whole input it misses what several features hold together; begun from nothing (`value` of what is
    removed, the order read backwards) it finds that, and misses what one feature undoes.

    At each stage every feature left is removed on top of each state of the beam. The block of those that do most
    follows, and so does that block with its last feature exchanged for the next; the best states stay.
    """
    stages = _stages(features, boundaries)
    beams = {sign: [_State((), tuple(range(features)))] for sign in (1.0, -1.0)}  # 1: lowest values first
    for begin, end in pairwise(stages[:-1]):
        states = [(sign, state) for sign, beam in beams.items() for state in beam]
        single = value(torch.cat([_without(state.order, state.rest, features) for _, state in states]))
        candidates: dict[float, list[_State]] = {sign: [] for sign in beams}
        for (sign, state), found in zip(states, single.split([len(s.rest) for _, s in states]), strict=True):
            rest = [state.rest[i] for i in torch.argsort(sign * found, stable=True).tolist()]
            for block, left in _blocks(rest, end - begin):
                candidates[sign].append(_State((*state.order, *block), left, state.total))
        flat = [(sign, each) for sign, several in candidates.items() for each in several]
        reached = value(torch.cat([_without(each.order[:-1], each.order[-1:], features) for _, each in flat])).tolist()
        beams = {sign: [] for sign in beams}
        for (sign, each), own in zip(flat, reached, strict=True):
            beams[sign].append(_State(each.order, each.rest, each.total + own))
        beams = {sign: _best(beam, sign) for sign, beam in beams.items()}
    return [torch.tensor([*state.order, *state.rest]) for beam in beams.values() for state in beam]


def _best(states: Sequence[_State], sign: float) -> list[_State]:
    different = {frozenset(state.order): state for state in sorted(states, key=lambda s: -sign * s.total)}
    return sorted(different.values(), key=lambda state: sign * state.total)[:BEAM]


def _blocks(rest: Sequence[int], size: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Returns the first block of an order, and that with its last feature exchanged, each with what is left."""
    found = [(tuple(rest[:size]), tuple(rest[size:]))]
    if size < len(rest) and BEAM > 1:
        block = (*rest[: size - 1], rest[size])
        found.append((block, (rest[size - 1], *rest[size + 1 :])))
    return found


def _without(order: Sequence[int], singles: Sequence[int], features: int) -> Bool[Tensor, "subset feature"]:
    """Returns the subsets without `order` and one more feature each."""
    kept = torch.ones(len(singles), features, dtype=torch.bool)
    kept[:, list(order)] = False
    kept[torch.arange(len(singles)), list(singles)] = False
    return kept


def _stages(features: int, boundaries: Sequence[int]) -> list[int]:
    """Returns where the search scores anew: as many of the curve's points as its sequences allow."""
    blocks = len(boundaries) - 1
    for count in range(blocks, 1, -1):
        stages = [boundaries[blocks * stage // count] for stage in range(count + 1)]
        if _stage_work(features, stages) <= max(_SEARCH[0], _SEARCH[1] * features):
            return stages
    return list(boundaries)


def _stage_work(features: int, stages: Sequence[int]) -> int:
    # For two bounds from two ends. The first stage is single features; the last block has nothing to choose.
    return 4 * BEAM * sum(features - begin for begin in stages[1:-2])
