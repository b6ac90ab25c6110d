"""A comparison in words: who agrees, who stands apart, where they differ. No method is picked."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from torch import Tensor

from spanwise.attribution import Attribution
from spanwise.evaluation.comparison.chance import Orders, smallest_p
from spanwise.evaluation.comparison.pairs import Disputed, Pair, agree, beyond_chance

LEVEL = 0.05
"""An agreement counts where its corrected p-value is below."""
NO_PROOF = "agreement is not proof: methods can share a mistake, or a preference for the same positions."
_APART = 4.0  # above 1 - Spearman, which is 2 at most


def sentences(
    names: Sequence[str], pairs: Sequence[Pair], disputed: Sequence[Disputed], refused: Mapping[str, str]
) -> tuple[str, ...]:
    """Returns the comparison in sentences."""
    groups = find_groups(names, pairs)
    together = [group for group in groups if len(group) > 1]
    found = [_agreeing(group, pairs) for group in together]
    if not together:
        found.append(f"No two of {_listed(names)} agree beyond chance (Holm-corrected p < {LEVEL:g}).")
    else:
        found += [_single(group[0], pairs) for group in groups if len(group) == 1]
        found += [_between(one, other, pairs) for one, other in combinations(together, 2)]
    found += [
        f"{pair.one} and {pair.other} order the tokens in opposite ways ({_said(pair)}): look at their signs."
        for pair in pairs
        if beyond_chance(pair, LEVEL) and (pair.spearman or 0.0) < 0
    ]
    if disputed:
        found.append(f"They differ most on {'; on '.join(_on(token) for token in disputed)}.")
    found += [f"{name} did not run: {reason}" for name, reason in refused.items()]
    return tuple(found)


def find_groups(names: Sequence[str], pairs: Sequence[Pair]) -> list[list[str]]:
    """Returns the names in groups within which every two agree beyond chance, the closest together.

    By complete linkage over 1 - Spearman (Sorensen 1948), stopped before two that do not agree would come together.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    linked = set(agree(pairs, LEVEL))
    distances = [1 - (pair.spearman or 0.0) if (pair.one, pair.other) in linked else _APART for pair in pairs]
    numbers = fcluster(linkage(distances, "complete"), _APART / 2, "distance")
    groups: dict[int, list[str]] = {}
    for name, number in zip(names, numbers.tolist(), strict=True):
        groups.setdefault(number, []).append(name)
    return list(groups.values())


def notes_on(results: Mapping[str, Attribution], pairs: Sequence[Pair], orders: Orders) -> tuple[str, ...]:
    """Returns what a reader of the figures should know."""
    first = next(iter(results.values()))
    unsigned = [name for name, result in results.items() if not result.provenance.signed]
    constant = [name for name, result in results.items() if all(map(_equal, result.scores))]
    count = int((~first.scores.isnan()).any(0).sum())
    notes = []
    if unsigned and len(unsigned) < len(results):
        notes.append(f"{_listed(unsigned)}: no sign, so pairs with {_these(unsigned)} compare absolute scores.")
    if constant:
        notes.append(f"{_listed(constant)}: all scores are equal, so there is no order to compare.")
    if smallest_p(len(orders.columns), exact=orders.exact) * len(pairs) >= LEVEL:
        notes.append(
            f"with {count} scores, {len(orders.columns)} orders and {len(pairs)} pairs no corrected p-value of a "
            f"correlation can be below {LEVEL:g}: no agreement can be told from chance."
        )
    if any(pair.kendall is not None and pair.kendall_p is None for pair in pairs):
        notes.append("Kendall's p-values are left out: with so many scores they take long; Spearman's are there.")
    notes.append(NO_PROOF)
    return tuple(notes)


def _agreeing(group: Sequence[str], pairs: Sequence[Pair]) -> str:
    known = [pair for pair in _among(group, group, pairs) if pair.spearman is not None]
    values, absolute = [pair.spearman or 0.0 for pair in known], [pair.absolute for pair in known]
    told = f"{values[0]:.2f}" if len(values) == 1 else f"{min(values):.2f} to {max(values):.2f}"
    if all(absolute):
        told = f"of absolute scores {told}"
    elif any(absolute):
        told += ", in part of absolute scores"
    return f"{_listed(group)} agree beyond chance (Spearman {told}, Holm-corrected p < {LEVEL:g})."


def _single(name: str, pairs: Sequence[Pair]) -> str:
    own = {_other(pair, name): pair for pair in pairs if name in (pair.one, pair.other)}
    near = [other for other, pair in own.items() if agree([pair], LEVEL)]
    if near:
        far = [other for other in own if other not in near]
        return f"{name} agrees beyond chance with {_listed(near)}, not with {_listed(far)}."
    known = {other: pair for other, pair in own.items() if pair.spearman is not None}
    if not known:
        return f"{name} stands apart: it gives no order."
    nearest = max(known, key=lambda other: known[other].spearman or 0.0)
    return (
        f"{name} stands apart: look at it. It agrees with none beyond chance; nearest is {nearest} "
        f"({_said(known[nearest])})."
    )


def _between(one: Sequence[str], other: Sequence[str], pairs: Sequence[Pair]) -> str:
    across = _among(one, other, pairs)
    count = len(agree(across, LEVEL))
    said = f"{count or 'none'} of {len(across)} pairs agree beyond chance"
    return f"Between ({_listed(one)}) and ({_listed(other)}), {said}."


def _among(one: Sequence[str], other: Sequence[str], pairs: Sequence[Pair]) -> list[Pair]:
    """Returns the pairs with one method of each."""
    return [
        pair for pair in pairs if (pair.one in one and pair.other in other) or (pair.one in other and pair.other in one)
    ]


def _other(pair: Pair, name: str) -> str:
    return pair.other if pair.one == name else pair.one


def _said(pair: Pair) -> str:
    absolute = " of absolute scores" if pair.absolute else ""
    p = "" if pair.spearman_holm is None else f", corrected p {pair.spearman_holm:.2g}"
    return f"Spearman{absolute} {pair.spearman:.2f}{p}"


def _on(token: Disputed) -> str:
    highest = min(token.ranks, key=lambda name: token.ranks[name])
    lowest = max(token.ranks, key=lambda name: token.ranks[name])
    return f"{token.text!r} (rank {token.ranks[highest]:.3g} in {highest}, {token.ranks[lowest]:.3g} in {lowest})"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _equal(scores: Tensor) -> bool:
    return scores[~scores.isnan()].unique().numel() < 2


def _these(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"
