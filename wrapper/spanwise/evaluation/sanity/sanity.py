"""`sanity()`: the checks that the field asks of an attribution, on the model and the prompt that it is of."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from spanwise.aggregation import row_scores
from spanwise.attribution import Attribution
from spanwise.errors import MethodError, OptionError, at_least, one_of, require
from spanwise.evaluation.comparison.checks import choose_top_k
from spanwise.evaluation.replay import check_scores
from spanwise.evaluation.sanity import layers as sanity_layers
from spanwise.evaluation.sanity.attention import attention_counterfactual
from spanwise.evaluation.sanity.case import Case, Finding, NotApplicableError, Work, answered, row_question
from spanwise.evaluation.sanity.inputs import (
    baseline_names,
    baseline_sensitivity,
    completeness,
    input_invariance,
    repeat,
    seed_stability,
)
from spanwise.evaluation.sanity.result import Check, Sanity
from spanwise.model.language_model import LanguageModel
from spanwise.progress import progress_bar
from spanwise.scoring.contrast import Contrast
from spanwise.scoring.objectives import Objective, Value


@dataclass(frozen=True)
class CheckInfo:
    """One row of the table of checks.

    Attributes:
        run: Makes the check.
        source: Where it comes from.
        work: How many attributions it makes.
    """

    run: Callable[[Case], Finding]
    source: str
    work: Callable[[Case], int] = lambda case: 0


CHECKS: Mapping[str, CheckInfo] = MappingProxyType(
    {
        "repeat": CheckInfo(repeat, "the premise of the others"),
        "model_randomization": CheckInfo(
            sanity_layers.model_randomization, "Adebayo et al. 2018, arXiv:1810.03292, section 3", sanity_layers.work
        ),
        "completeness": CheckInfo(completeness, "Sundararajan et al. 2017, arXiv:1703.01365, section 3"),
        "baseline_sensitivity": CheckInfo(
            baseline_sensitivity, "Sturmfels et al. 2020, doi:10.23915/distill.00022", lambda c: len(baseline_names(c))
        ),
        "seed_stability": CheckInfo(
            seed_stability, "Visani et al. 2020, arXiv:2001.11757", lambda c: c.question.info.sampled * (c.seeds - 1)
        ),
        "input_invariance": CheckInfo(
            input_invariance, "Kindermans et al. 2017, arXiv:1711.00867, section 3", lambda c: 1
        ),
        "attention_counterfactual": CheckInfo(
            attention_counterfactual, "Jain & Wallace 2019, arXiv:1902.10186, section 4.2.1"
        ),
    }
)


def sanity(
    lm: LanguageModel,
    result: Attribution,
    *,
    row: int | None = None,
    objective: "Objective | Contrast | Value | None" = None,
    baselines: Sequence[str] | None = None,
    seeds: int = 5,
    checks: Sequence[str] | None = None,
    top_k: int | None = None,
    batch_size: int | Literal["auto"] = "auto",
    progress: bool | None = None,
) -> Sanity:
    """Returns which sanity checks an attribution passes. The model is afterwards as it was, bit for bit.

    The weights that are drawn again are changed in place, at most all of them at a time, and their originals wait in
    main memory; no second model is made. See the checks' own docstrings for what decides.

    Args:
        lm: The model that the result is of.
        result: Made by `attribute`, or loaded.
        row: Of its scores; None: as in `Attribution.top`.
        objective: As it was given to `attribute`, where its name does not make it again.
        baselines: At least two names; None: unk, pad, zero, mean and token:. where the tokenizer has them.
        seeds: How many random models are made, and how many seeds of a method that samples are tried; at least 2.
        checks: Some of "repeat", "model_randomization", "completeness", "baseline_sensitivity", "seed_stability",
            "input_invariance", "attention_counterfactual"; None: all.
        top_k: How many of the strongest source tokens overlaps compare; None: 5, or half of fewer than 10.
        batch_size: Sequences a forward; "auto": as many as are of use and fit.
        progress: None: a bar on a terminal after two seconds; True: always; False: never.

    Raises:
        InputError: The result is of another model or tokenizer, or lacks scores.
        OptionError: An unknown check, fewer than two seeds or baselines, a `top_k` that is more than there are scores,
            or another value out of range.
        DependencyError: SciPy is not installed.

    Example:
        >>> import spanwise
        >>> lm = spanwise.load_model("tiny")
        >>> prompt = "The keys to the old cabinet near the window"
        >>> result = spanwise.attribute(lm, prompt, " are new.", span="are", method="input_x_gradient")
        >>> found = spanwise.sanity(lm, result, checks=["completeness", "input_invariance"])
        >>> found.statuses["completeness"], found.statuses["input_invariance"]
        ('not applicable', 'fail')
    """
    start = time.perf_counter()
    names = _checked_names("checks", checks, CHECKS) or tuple(CHECKS)
    asked = _checked_names("baselines", baselines, None) or None
    if asked is not None and len(asked) < 2:
        raise OptionError(f"baselines needs at least two names to compare, not {list(asked)!r}.")
    _check_kinds(seeds, batch_size, progress)
    require("scipy", "flow", "a rank correlation")
    question = replace(row_question(lm, result, row, objective), batch_size=batch_size)
    if question.seed + seeds > 2**32:
        raise OptionError(f"seeds={seeds} was asked, but from the result's seed {question.seed} on fewer are left.")
    scores = row_scores(result, row)
    top_k = choose_top_k(scores[None], top_k)
    with lm.session():
        case = _case(question, result, scores, top_k, seeds, asked)
        total = sum(CHECKS[name].work(case) for name in names) if case.repeated is not None else 0
        with progress_bar(total, "sanity", progress, unit=" attributions") as tick:
            found = tuple(_check(name, replace(case, tick=tick)) for name in names)
    made, work, explained = result.provenance, case.work, question.axes.table.any(0).nonzero().flatten().tolist()
    return Sanity(
        checks=found,
        model=made.model,
        method=made.method,
        engine=made.engine,
        span=result.target_text[result.target[explained[0]].start : result.target[explained[-1]].end],
        top_k=top_k,
        seeds=seeds,
        attributions=work.attributions,
        forwards=work.forwards,
        backwards=work.backwards,
        seconds=time.perf_counter() - start,
    )


def _check(name: str, case: Case) -> Check:
    info = CHECKS[name]
    try:
        found = info.run(case)
    except NotApplicableError as reason:
        return Check(name, "not applicable", {}, str(reason), info.source)
    return Check(name, found.status, found.figures, found.summary, info.source, tuple(found.details))


def _case(question: Any, result: Attribution, scores: Any, top_k: int, seeds: int, baselines: Any) -> Case:
    """Returns what the checks are given, the question answered once more.

    Raises:
        InputError: The model's weights are others than when the result was made.
    """
    work, repeated, obstacle = Work(), None, ""
    try:
        repeated, target_scores = answered(question, work)
    except (OptionError, MethodError) as error:  # a baseline that was a tensor, say
        obstacle = str(error)
    else:
        check_scores(question.lm, result, target_scores)
    return Case(result, question, scores, repeated, obstacle, top_k, seeds, baselines, work=work)


def _check_kinds(seeds: Any, batch_size: Any, progress: Any) -> None:
    """Checks the arguments that are numbers or switches.

    Raises:
        OptionError: One is of another kind, or out of range.
    """
    at_least("seeds", seeds, 2)
    if batch_size != "auto":
        at_least("batch_size (unless 'auto')", batch_size, 1)
    if not (progress is None or isinstance(progress, bool)):
        raise OptionError(f"progress is None, True or False, not {progress!r}.")


def _checked_names(what: str, asked: Any, allowed: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Returns the names asked for, each once.

    Raises:
        OptionError: It is no list of names, or one is unknown.
    """
    if asked is None:
        return ()
    if isinstance(asked, str) or not isinstance(asked, Sequence) or not all(isinstance(each, str) for each in asked):
        raise OptionError(f"{what} is a list of names, not {asked!r}.")
    if not asked:
        raise OptionError(f"{what} is empty; leave it out for the usual ones.")
    if allowed is not None:
        for name in asked:
            one_of(what.removesuffix("s"), name, allowed)
    return tuple(dict.fromkeys(asked))
