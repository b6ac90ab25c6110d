"""How far each two methods agree, and on which source tokens they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.attribution import Attribution
from spanwise.evaluation.agreement import rank_correlation, top_k_overlap
from spanwise.evaluation.comparison.chance import (
    MEASURES,
    Orders,
    holm,
    kendall,
    kendall_fits,
    overlap,
    p_value,
    spearman,
)


@dataclass(frozen=True)
class Pair:
    """How far two methods agree. Means over the rows of their scores; None where no row has an order.

    Attributes:
        one: The first method.
        other: The second.
        absolute: Absolute scores are compared, because one of the two (or both) keeps no sign.
        spearman: Rank correlation, -1 to 1.
        kendall: The same by tau-b.
        overlap: Share of the `top_k` largest absolute scores that both have, 0 to 1.
        spearman_p: How often a random order agrees, or disagrees, as much; two-sided.
        kendall_p: The same; None too where it would take long (see the comparison's notes).
        overlap_p: How often a random order has as many of the top k in common, or more.
        spearman_holm: The p-value corrected for the number of pairs.
        kendall_holm: The same.
        overlap_holm: The same.
    """

    one: str
    other: str
    absolute: bool
    spearman: float | None
    kendall: float | None
    overlap: float
    spearman_p: float | None
    kendall_p: float | None
    overlap_p: float | None
    spearman_holm: float | None = None
    kendall_holm: float | None = None
    overlap_holm: float | None = None


@dataclass(frozen=True)
class Disputed:
    """A source column on which methods differ.

    Attributes:
        column: Its index.
        text: Its name or text.
        spread: Standard deviation over the methods of its rank by absolute score, 0 (first) to 1 (last); the mean over
            rows.
        ranks: For each method its rank, 1 for the largest absolute score; the mean over rows.
    """

    column: int
    text: str
    spread: float
    ranks: Mapping[str, float]


def find_pairs(results: Mapping[str, Attribution], top_k: int, orders: Orders) -> tuple[Pair, ...]:
    """Returns every two methods, in the order of `results`."""
    pairs = [_pair(one, other, results, top_k, orders) for one, other in combinations(results, 2)]
    for measure in MEASURES:
        corrected = holm([getattr(pair, f"{measure}_p") for pair in pairs])
        pairs = [
            replace(pair, **dict[str, Any]({f"{measure}_holm": p})) for pair, p in zip(pairs, corrected, strict=True)
        ]
    return tuple(pairs)


def find_disputed(results: Mapping[str, Attribution], count: int) -> tuple[Disputed, ...]:
    """Returns the `count` columns on which the methods differ most, the most disputed first; none where all agree."""
    scores = [result.scores for result in results.values()]
    ranks = torch.stack([_ranks_from_first(each) for each in scores])  # [method, row, column]
    lowest = (~scores[0].isnan()).sum(1).clamp(min=2) - 1
    spread = ((ranks - 1) / lowest[:, None]).std(0, correction=0).nanmean(0).nan_to_num(0.0)
    names = next(iter(results.values())).source_tokens
    order = torch.argsort(-spread, stable=True)[:count].tolist()
    return tuple(
        Disputed(
            column,
            names[column],
            float(spread[column]),
            dict(zip(results, ranks[:, :, column].nanmean(1).tolist(), strict=True)),
        )
        for column in order
        if spread[column] > 0
    )


def _ranks_from_first(scores: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
    """Returns the rank of each absolute score in its row, 1 for the largest; equal ones share the mean of theirs."""
    from scipy import stats

    return torch.from_numpy(stats.rankdata(-scores.abs().double().numpy(), axis=1, nan_policy="omit"))


def _pair(one: str, other: str, results: Mapping[str, Attribution], top_k: int, orders: Orders) -> Pair:
    absolute = not all(results[name].provenance.signed for name in (one, other))
    ours, theirs = (results[name].scores.abs() if absolute else results[name].scores for name in (one, other))
    statistics = {"spearman": spearman(ours, theirs), "overlap": overlap(ours, theirs, top_k), "kendall": None}
    if kendall_fits(~ours.isnan(), orders):
        statistics["kendall"] = kendall(ours, theirs)
    chances = {
        f"{name}_p": None if found is None else p_value(found, orders, two_sided=name != "overlap")
        for name, found in statistics.items()
    }
    return Pair(
        one,
        other,
        absolute,
        spearman=_mean(rank_correlation(ours, theirs, "spearman")),
        kendall=_mean(rank_correlation(ours, theirs, "kendall")),
        overlap=float(top_k_overlap(ours, theirs, top_k).mean()),
        **chances,
    )


def _mean(values: Float[Tensor, " row"]) -> float | None:
    return None if values.isnan().all() else float(values.nanmean())


def agree(pairs: Sequence[Pair], level: float) -> list[tuple[str, str]]:
    """Returns the pairs that agree beyond chance."""
    return [(pair.one, pair.other) for pair in pairs if beyond_chance(pair, level) and (pair.spearman or 0.0) > 0]


def beyond_chance(pair: Pair, level: float) -> bool:
    """Returns whether Spearman's correlation is further from 0 than chance takes it, corrected for all pairs."""
    return pair.spearman_holm is not None and pair.spearman_holm < level
