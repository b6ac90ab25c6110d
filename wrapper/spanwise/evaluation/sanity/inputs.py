"""Checks that put the same question to the same model again: repeated, with other baselines, seeds and origins."""

import statistics
from collections.abc import Mapping
from contextlib import suppress
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from spanwise.errors import MethodError, OptionError
from spanwise.evaluation.agreement import rank_correlation
from spanwise.evaluation.sanity.case import Case, Finding, NotApplicableError, number
from spanwise.evaluation.sanity.result import Status, Value
from spanwise.evaluation.sanity.shift import Shifted, shift_of
from spanwise.scoring.baselines import REMOVALS, baseline_embeddings
from spanwise.scoring.checks import GAP_WARNING

BASELINES = ("unk", "pad", "zero", "mean", "token:.")
LOW = 0.3
"""The rank correlation below which two orders are said to be others: a tenth of the variance of ranks (0.3 squared).
Our own choice: the papers name none."""
SAME = 0.01
"""How far scores may be from the result's and still be called the same, in lengths of the longer of the two (l2):
other batches add up in another order."""
SAME_LOW_PRECISION = 0.1
"""The same for models that compute in 16 bits, or quantize their inputs."""


def repeat(case: Case) -> Finding:
    """The premise of all others: the same question to the same model gives the result's scores."""
    change, allowed = _change(case, case.again()), _same(case)
    told = f"The attribution was made again: its scores differ by {change:.2g} of their length (allowed: {allowed}). "
    if change <= allowed:
        return Finding("pass", {"relative_change": change, "allowed": allowed}, told + "The result repeats.")
    told += "The result is not what its method gives on this model, so the other checks are of other scores than these."
    return Finding("fail", {"relative_change": change, "allowed": allowed}, told)


def completeness(case: Case) -> Finding:
    """Sundararajan et al. 2017 (arXiv:1703.01365), section 3: scores add up to the change from baseline to input."""
    info, gap = case.question.info, case.result.completeness_gap
    if not info.complete or gap is None:
        raise NotApplicableError(f"{info.name} does not promise that its scores add up.")
    told = (
        f"The scores of {info.name} miss {gap:.2%} of the objective's change from the baseline "
        f"{case.result.provenance.baseline!r} to the input; at most {GAP_WARNING:.0%} is allowed. "
    )
    good = gap <= GAP_WARNING
    told += "The promise is kept; that says nothing about faithfulness." if good else "The promise is broken."
    return Finding("pass" if good else "fail", {"completeness_gap": gap, "allowed": GAP_WARNING}, told)


def baseline_sensitivity(case: Case) -> Finding:
    """Sturmfels et al. 2020 (doi:10.23915/distill.00022): the baseline is a choice; does the ranking outlive it?"""
    if not case.question.info.uses_baseline:
        raise NotApplicableError(f"{case.question.info.name} has no baseline.")
    case.must_rank()
    case.again()
    chance = case.chance_level()
    lines, skipped = _over_baselines(case)
    others = [line for line in lines if line["baseline"] != case.result.provenance.baseline]
    if not others:
        raise NotApplicableError(f"no baseline is left to compare with: {'; '.join(skipped)}.")
    own = case.name_of(case.top(case.scores))
    same_top = sum(line["top_token"] == own for line in others)
    lowest = min(_value(line["spearman"]) for line in others)
    figures: dict[str, Value] = {
        "lowest_spearman": lowest,
        "chance_level": chance,
        "median_spearman": statistics.median(_value(line["spearman"]) for line in others),
        "same_top_token": same_top,
        "baselines": len(others),
    }
    told = (
        f"The attribution was made from {len(others)} other baselines than {case.result.provenance.baseline!r}. The "
        f"lowest rank correlation with the result is {lowest:.2f} (95 % of random orders stay at or below "
        f"{chance:.2f}); {own!r} stays on top in {same_top} of {len(others)}. {_from_baselines(others, chance)}"
    )
    told += f" Left out: {'; '.join(skipped)}." if skipped else ""
    return Finding(_order_status(lowest, chance), figures, told, tuple(lines))


def _order_status(lowest: float, chance: float) -> Status:
    """Returns "fail" for a correlation that is low in itself, and "warn" for one that random orders reach too."""
    if lowest < LOW:
        return "fail"
    return "warn" if lowest <= chance else "pass"


def _from_baselines(lines: list[Mapping[str, Value]], chance: float) -> str:
    """Returns which baselines give another order, and which one that may be random."""
    told: dict[Status, list[str]] = {"fail": [], "warn": []}
    for line in lines:
        rho = _value(line["spearman"])
        told.setdefault(_order_status(rho, chance), []).append(f"{line['baseline']!r} (rho {rho:.2f})")
    sentences = []
    if told["fail"]:
        sentences.append(f"From {', '.join(told['fail'])} the order is another one (below {LOW}).")
    if told["warn"]:
        sentences.append(f"From {', '.join(told['warn'])} the order cannot be told from a random one.")
    return " ".join(sentences) or "From each of them the order is closer to the result's than that."


def baseline_names(case: Case) -> tuple[str, ...]:
    """Returns the baselines that are tried."""
    return case.baselines or BASELINES


def _over_baselines(case: Case) -> tuple[list[Mapping[str, Value]], list[str]]:
    """Returns a line for each baseline that the model has, and what was left out, in words."""
    lm = case.question.lm
    lines: list[Mapping[str, Value]] = []
    skipped: list[str] = []
    seen: dict[str, Any] = {}
    own = str(case.question.baseline)
    with suppress(OptionError):  # other text has no embeddings of its own
        seen[own], _ = baseline_embeddings(lm, own, 1)
    for name in baseline_names(case):
        try:
            found, _ = baseline_embeddings(lm, name, 1)
            twin = next((other for other, each in seen.items() if other != name and _equal(found, each)), None)
            if twin is not None:
                skipped.append(f"{name} is the same as {twin}")
                continue
            scores = case.ask(baseline=name)
        except (OptionError, MethodError) as error:
            if case.baselines is not None:
                raise
            skipped.append(f"{name} ({error})")
            continue
        seen[name] = found
        lines.append({"baseline": name, **case.agreement(scores), "top_token": case.name_of(case.top(scores))})
    return lines, skipped


def _equal(one: Tensor | str, other: Tensor | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and one == other
    return torch.equal(one, other)


def seed_stability(case: Case) -> Finding:
    """Does a method that samples say the same with other random numbers?

    As for the stability of LIME: Visani et al. 2020 (arXiv:2001.11757); here by ranks.
    """
    info, first = case.question.info, case.question.seed
    if not info.sampled:
        raise NotApplicableError(f"{info.name} draws no random numbers.")
    case.must_rank()
    chance = case.chance_level()
    here = ~case.scores.isnan()
    drawn = [case.again()] + [case.ask(seed=first + i) for i in range(1, case.seeds)]
    scores = torch.stack(drawn)[:, here].double()  # [seed, source]
    pairs = [_value(number(rank_correlation(a[None].float(), b[None].float()))) for a, b in combinations(scores, 2)]
    lines = _score_lines(case, scores)
    tops = {case.top(each) for each in drawn}
    followed = [line for line in lines if line["gap_to_next"] is not None]  # the last score of all has no next one
    apart = sum(_value(line["gap_to_next"]) > 2 * _value(line["std"]) for line in followed)
    figures: dict[str, Value] = {
        "lowest_spearman": min(pairs),
        "chance_level": chance,
        "mean_spearman": statistics.mean(pairs),
        "top_tokens": len(tops),
        "apart": apart,
        "of": len(followed),
    }
    status = "fail" if len(tops) > 1 else _order_status(min(pairs), chance)
    told = (
        f"Over {case.seeds} seeds the rank correlation of two attributions is {statistics.mean(pairs):.2f} on average "
        f"and at least {min(pairs):.2f} (95 % of random orders stay at or below {chance:.2f}); "
        f"{len(tops)} different source token{'s are' if len(tops) > 1 else ' is'} on top. "
        f"{apart} of the {len(followed)} strongest scores are further from the next one than 2 standard deviations. "
    )
    if min(pairs) < LOW:
        told += f"Another seed gives another order (below {LOW}): draw more samples."
    elif len(tops) > 1:
        told += "Which token comes first hangs on the seed: draw more samples."
    elif status == "warn":
        told += "The orders of two seeds cannot be told from random ones."
    else:
        told += "The seed matters little."
    return Finding(status, figures, told, tuple(lines))


def _score_lines(case: Case, scores: Tensor) -> list[Mapping[str, Value]]:
    """Returns mean, standard deviation over seeds, and the distance to the next score, of each of the top k."""
    columns = (~case.scores.isnan()).nonzero().flatten().tolist()
    means, stds = scores.mean(0), scores.std(0)
    order = means.abs().argsort(descending=True, stable=True).tolist()
    lines: list[Mapping[str, Value]] = []
    for place, index in enumerate(order[: case.top_k]):
        following = order[place + 1] if place + 1 < len(order) else None
        gap = None if following is None else float(means[index].abs() - means[following].abs())
        line = {"mean": float(means[index]), "std": float(stds[index]), "gap_to_next": gap}
        lines.append({"token": case.name_of(columns[index]), **line})
    return lines


def input_invariance(case: Case) -> Finding:
    """Kindermans et al. 2017 (arXiv:1711.00867), section 3: a shift that the model takes back changes nothing.

    Every embedding the model looks up gets the same vector added, and it is taken away again behind the embedding
    layer: the same function of the same text. Only the origin has moved. A baseline that is a token moves along, since
    it is looked up too; the zero baseline does not, and neither does the zero in gradient x input.
    """
    question = case.question
    if question.engine == "inseq":
        raise NotApplicableError(
            "Inseq hands embeddings to the model by a way of its own, where no shift can be undone."
        )
    if question.info.family == "attention":
        raise NotApplicableError(f"{question.info.name} reads attention weights, and no coordinates of embeddings.")
    if case.result.provenance.baseline in REMOVALS:
        raise NotApplicableError(f"baseline={case.result.provenance.baseline!r} uses no coordinates of embeddings.")
    own = case.again()
    scores = case.ask(lm=Shifted(question.lm, shift_of(case)))
    agreed, change = case.agreement(scores), _change(case, scores, own)
    allowed = max(_same(case), 0.05)
    figures: dict[str, Value] = {"relative_change": change, "allowed": allowed, **agreed}
    told = (
        "A constant vector as long as a typical embedding was added to all embeddings and taken away behind the "
        f"embedding layer, so that the model is the same function. The scores changed by {change:.2g} of their length "
        f"(allowed: {allowed}). "
    )
    if change <= allowed:
        return Finding("pass", figures, told + "They do not depend on where the origin of the embeddings is.")
    told += "They depend on where the origin of the embeddings is: "
    told += (
        "the baseline does not move along with it."
        if question.info.uses_baseline
        else "the method uses the embeddings' values, as a factor or for the width of its noise."
    )
    return Finding("fail", figures, told)


def _change(case: Case, scores: Tensor, reference: Tensor | None = None) -> float:
    """Returns the l2 distance from the result's scores (or others), divided by the larger of the two lengths."""
    before = (case.scores if reference is None else reference).nan_to_num()
    after = scores.nan_to_num()
    length = max(float(before.norm()), float(after.norm()))
    return float((after - before).norm()) / length if length else 0.0


def _same(case: Case) -> float:
    lm = case.question.lm
    exact = lm.dtype in (torch.float32, torch.float64) and lm.quantization != "int8"
    exact = exact and lm.compute_dtype in (None, "float32")
    return SAME if exact else SAME_LOW_PRECISION


def _value(value: Value) -> float:
    """Returns a figure as a number; no order is a correlation of 0."""
    return 0.0 if value is None else float(value)
