"""The model randomization check: an attribution that explains the model changes when the model's weights do."""

import statistics
from collections.abc import Mapping, Sequence

from spanwise.errors import MethodError, NonFiniteError
from spanwise.evaluation.sanity.case import Case, Finding, NotApplicableError
from spanwise.evaluation.sanity.randomize import Randomizer, Stage, Stages, randomizer, stages_of
from spanwise.evaluation.sanity.result import Status, Value

KEPT = 0.7
"""The rank correlation from which a random model is said to get the same ranking: half of the variance of ranks (0.7
squared). Our own choice: Adebayo et al. plot the correlations and name no threshold."""

LEAST = 5
"""Scores from which on a ranking is compared: four have 24 orders, which agree by chance too often."""

Line = Mapping[str, Value]


def model_randomization(case: Case) -> Finding:
    """Adebayo et al. 2018 (arXiv:1810.03292), section 3: cascading and independent randomization of the weights.

    The ranking is compared by Spearman's correlation of signed and of absolute scores, by their cosine and the overlap
    of the top k; SSIM is for images. What decides is the wholly random model, averaged over `seeds` draws, since one
    draw may agree by chance.
    """
    if case.count < LEAST:
        few = "one feature has no order" if case.count == 1 else f"{case.count} scores have too few orders"
        raise NotApplicableError(f"{few}: at least {LEAST} scores are needed.")
    if case.constant:
        told = f"All {case.count} scores are the same: there is no ranking that could depend on the model."
        return Finding("fail", {"spearman": None}, told)
    case.again()
    _chance(case, case.seeds)
    parts = stages_of(case.question.lm)
    if not parts.stages:
        raise NotApplicableError(f"none of the model's weights can be drawn again: {', '.join(parts.left_out)}.")
    first = case.question.seed
    lines = _cascading(case, parts.stages, first)
    lines += [_independent(case, stage, first) for stage in parts.stages[1:]]
    ends = [lines[len(parts.stages) - 1]]
    ends += [_whole(case, parts.stages, first + number) for number in range(1, case.seeds)]
    lines += ends[1:]
    figures = _figures(case, ends)
    status = _status(figures["correlation_kept"], figures["chance_level"])
    return Finding(status, figures, _summary(case, parts, status, figures, lines), tuple(lines))


def work(case: Case) -> int:
    """Returns how many attributions the check makes."""
    return 2 * len(stages_of(case.question.lm).stages) - 1 + case.seeds - 1


def _cascading(case: Case, stages: Sequence[Stage], seed: int) -> list[Line]:
    with randomizer(seed) as drawing:
        return [_line(case, "cascading", stage.name, drawing, [stage]) for stage in stages]


def _independent(case: Case, stage: Stage, seed: int) -> Line:
    with randomizer(seed) as drawing:
        return _line(case, "independent", stage.name, drawing, [stage])


def _whole(case: Case, stages: Sequence[Stage], seed: int) -> Line:
    with randomizer(seed) as drawing:
        return _line(case, f"whole model, draw {seed}", "all", drawing, stages)


def _line(case: Case, kind: str, name: str, drawing: Randomizer, stages: Sequence[Stage]) -> Line:
    """Draws stages again, and returns how far the attribution then agrees with the result."""
    changed = sum(drawing.draw(stage) for stage in stages)
    about: dict[str, Value] = {"randomization": kind, "layer": name, "tensors_changed": changed}
    try:
        return {**about, **case.agreement(case.ask()), "note": ""}
    except (NonFiniteError, MethodError) as error:  # a random model may give NaN, or no likely token
        nothing = dict.fromkeys(("spearman", "spearman_absolute", "cosine", "top_k_overlap"))
        return {**about, **nothing, "note": str(error)}


def _chance(case: Case, models: int) -> float:
    """Returns what random orders reach, averaged over so many models.

    Raises:
        NotApplicableError: As much as a ranking that is said to stay.
    """
    chance = case.chance_level(models, either=case.question.info.signed)
    if chance >= KEPT:
        raise NotApplicableError(
            f"with {case.count} scores and {models} random models, random orders reach a correlation of {chance:.2f}, "
            f"and {KEPT} would already say that the ranking stays: more scores or seeds are needed."
        )
    return chance


def _figures(case: Case, ends: Sequence[Line]) -> dict[str, float | int]:
    """Returns the means over the wholly random models; scores without an order have lost the ranking: 0."""
    answered = [line for line in ends if not line["note"]]
    if not answered:
        raise NotApplicableError(f"the method gives no scores on a random model: {ends[0]['note']}")
    names = ("spearman", "spearman_absolute", "cosine", "top_k_overlap")
    means = {name: statistics.mean(float(line[name] or 0.0) for line in answered) for name in names}
    kept = means["spearman"]
    if case.question.info.signed:
        kept = max(kept, means["spearman_absolute"])
    chance = _chance(case, len(answered))  # of fewer models where the method gave no scores on some
    return {"correlation_kept": kept, "chance_level": chance, **means, "random_models": len(answered)}


def _status(kept: float, chance: float) -> Status:
    if kept >= KEPT:
        return "fail"
    return "warn" if kept > chance else "pass"


def _summary(
    case: Case, parts: Stages, status: Status, figures: Mapping[str, float | int], lines: Sequence[Line]
) -> str:
    kept, chance = figures["correlation_kept"], figures["chance_level"]
    which = "larger of the signed and the absolute rank" if case.question.info.signed else "rank"
    told = (
        f"The weights were drawn again from the output down to the embeddings, in {len(parts.stages)} steps, then each "
        f"part alone. On {figures['random_models']} wholly random models the {which} correlation with the result is "
        f"{kept:.2f} on average; 95 % of random orders stay at or below {chance:.2f}. "
    )
    told += {
        "pass": f"That is no more than chance over {case.count} scores and {figures['random_models']} models: nothing "
        "of the ranking is seen to stay without what the model has learned.",
        "warn": f"A part of the ranking (below {KEPT}) comes from elsewhere: from the tokens, their places or the "
        "architecture, and not from what the model has learned.",
        "fail": "The ranking stays: most of it would be the same for a model that has learned nothing.",
        "not applicable": "",
    }[status]
    unmoved = [str(line["layer"]) for line in lines if line["tensors_changed"] == 0]
    if unmoved:
        told += f" Nothing changed in {', '.join(dict.fromkeys(unmoved))}, whose weights are constant."
    if parts.tied:
        told += " The output layer shares the embeddings' weights and was drawn again with them, last."
    if case.question.lm.quantization in ("nf4", "fp4", "int8"):
        told += f" Codes and scales of {case.question.lm.quantization} layers were shuffled."
    return told + (f" Left as they were: {'; '.join(parts.left_out)}." if parts.left_out else "")
