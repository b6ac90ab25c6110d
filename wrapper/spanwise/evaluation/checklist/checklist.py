"""`checklist()`: the whole validation list in one table."""

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from torch import Tensor

from spanwise.attribution import Attribution
from spanwise.errors import InputError, MethodError, NonFiniteError, OptionError, OutOfMemoryError
from spanwise.evaluation.checklist.entries import (
    SANITY,
    THRESHOLDS,
    TITLES,
    agreement_entry,
    faithful_entry,
    missing_entry,
    sanity_entry,
)
from spanwise.evaluation.checklist.result import Checklist, Entry
from spanwise.evaluation.comparison.compare import compare
from spanwise.evaluation.comparison.comparison import Comparison
from spanwise.evaluation.comparison.sentences import NO_PROOF
from spanwise.evaluation.faithfulness.evaluate import evaluate
from spanwise.evaluation.faithfulness.evaluation import Evaluation
from spanwise.evaluation.sanity.result import Sanity
from spanwise.evaluation.sanity.sanity import sanity
from spanwise.methods import METHODS
from spanwise.model.language_model import LanguageModel
from spanwise.scoring.baselines import BaselineLike
from spanwise.scoring.contrast import Contrast
from spanwise.scoring.objectives import Objective, Value
from spanwise.text.chat import Message
from spanwise.text.composing import FeaturesLike
from spanwise.text.spans import SpanLike

DEFAULT_METHODS = ("integrated_gradients", "feature_ablation", "attention_rollout")
"""One of each family."""
_QUICK_EVALUATION: Mapping[str, Any] = MappingProxyType({"n_random": 20, "steps": 5})
_QUICK_SEEDS, _SEEDS = 2, 5
_CANNOT = (MethodError, NonFiniteError, OptionError, InputError, OutOfMemoryError)
"""What a check may meet with one method's result; the question itself was answered before."""


def checklist(
    lm: LanguageModel,
    prompt: str | None = None,
    target: str | Sequence[int] | Tensor | None = None,
    methods: Sequence[str | tuple[str, str]] = DEFAULT_METHODS,
    *,
    quick: bool = False,
    messages: Sequence[Message] | None = None,
    tools: Sequence[Any] | None = None,
    template_options: Mapping[str, Any] | None = None,
    span: SpanLike | Sequence[SpanLike] | None = None,
    occurrence: int | Literal["all"] | None = None,
    objective: str | Objective | Contrast | Value = "log_prob",
    features: FeaturesLike = "token",
    source: SpanLike | Sequence[SpanLike] | None = None,
    frozen: Literal["special", "none"] = "special",
    prefix: Literal["fixed", "attributed"] = "fixed",
    baseline: BaselineLike | None = None,
    strict_boundary: bool = False,
    method_options: Mapping[str, Mapping[str, Any]] | None = None,
    generation_options: Mapping[str, Any] | None = None,
    batch_size: int | Literal["auto"] = "auto",
    checkpointing: bool = False,
    n_permutations: int = 1000,
    seed: int = 0,
    progress: bool | None = None,
) -> Checklist:
    """Returns one table: for each check and method pass, fail or not applicable, and the figure behind it.

    The checks: the random-model test, attention's counterfactual, other baselines and seeds, completeness and input
    invariance (`sanity`); perturbation against random rankings (`evaluate`); agreement of at least three independent
    methods, one of each family (`compare`). A check that is passed is no proof: it is one way less to be wrong.

    Args:
        lm: The model. It is afterwards as it was.
        prompt: What the model was given.
        target: What it wrote; None: the model generates it.
        methods: As `compare` takes them; at least two, and one of each family for the agreement.
        quick: Curves of 5 steps instead of 10; 2 random models and seeds instead of 5.
        messages: Instead of `prompt`.
        tools: With messages.
        template_options: With messages.
        span: The part of the target to explain, only one; None: all of it.
        occurrence: For a span found several times: which one.
        objective: As `compare` takes it, like all that follows.
        features: What is scored as one.
        source: The part of the prompt to attribute to.
        frozen: "special" or "none".
        prefix: "fixed" or "attributed".
        baseline: For the methods that have one.
        strict_boundary: Refuse a token that would straddle prompt and target.
        method_options: For each method its own.
        generation_options: For a target that is generated.
        batch_size: Sequences a forward, or "auto".
        checkpointing: Less memory for gradient methods.
        n_permutations: Orders that an agreement is compared with.
        seed: Of everything random.
        progress: None: bars on a terminal after two seconds; True: always; False: never.

    Raises:
        OptionError: More than one span, or as in `compare`.
        MethodError: Fewer than two of the methods can run here.
        DependencyError: SciPy is not installed.
        AttributionError: What `attribute` raises about the question that all methods are asked.

    Example:
        >>> import spanwise
        >>> lm = spanwise.load_model("tiny")
        >>> prompt, target = "The keys to the old cabinet near the window", " are new."
        >>> found = spanwise.checklist(lm, prompt, target, ["saliency", "feature_ablation"], span="are", quick=True)
        >>> found.entry("completeness", "saliency").status
        'not applicable'
    """
    start = time.perf_counter()
    if not isinstance(quick, bool):
        raise OptionError(f"quick is True or False, not {quick!r}.")
    found = compare(
        lm,
        prompt,
        target,
        methods=methods,
        messages=messages,
        tools=tools,
        template_options=template_options,
        span=span,
        occurrence=occurrence,
        objective=objective,
        features=features,
        source=source,
        frozen=frozen,
        prefix=prefix,
        baseline=baseline,
        strict_boundary=strict_boundary,
        method_options=method_options,
        generation_options=generation_options,
        batch_size=batch_size,
        checkpointing=checkpointing,
        n_permutations=n_permutations,
        seed=seed,
        progress=progress,
    )
    rows = next(iter(found.results.values())).row_labels
    if len(rows) > 1:
        raise OptionError(f"a checklist is of one span, but {len(rows)} were given ({', '.join(rows)}): one for each.")
    return _checked(lm, found, objective, quick, seed, batch_size, progress, start)


def _checked(
    lm: LanguageModel,
    found: Comparison,
    objective: Any,
    quick: bool,
    seed: int,
    batch_size: int | Literal["auto"],
    progress: bool | None,
    start: float,
) -> Checklist:
    evaluations: dict[str, Evaluation | str] = {}
    sanities: dict[str, Sanity | str] = {}
    for name, result in found.results.items():
        given = (
            objective if not isinstance(objective, str) and METHODS[result.provenance.method].reads_objective else None
        )
        evaluations[name] = _evaluated(lm, result, given, quick, seed, batch_size, progress)
        sanities[name] = _sane(lm, result, given, quick, batch_size, progress)
    first = next(iter(found.results.values()))
    entries = [
        _entry(check, name, found, evaluations[name], sanities[name]) for check in TITLES for name in found.results
    ]
    return Checklist(
        entries=tuple(entries),
        titles=TITLES,
        thresholds=THRESHOLDS,
        model=first.provenance.model,
        prompt=first.prompt,
        target=first.target_text,
        span=first.row_labels[0],
        quick=quick,
        comparison=found,
        evaluations=MappingProxyType({name: each for name, each in evaluations.items() if not isinstance(each, str)}),
        sanities=MappingProxyType({name: each for name, each in sanities.items() if not isinstance(each, str)}),
        notes=_notes(found, quick),
        seconds=time.perf_counter() - start,
    )


def _entry(check: str, method: str, found: Comparison, evaluation: Evaluation | str, checks: Sanity | str) -> Entry:
    """Returns one check of one method."""
    if check == "agreement":
        return agreement_entry(method, found)
    behind = evaluation if check == "beats_random" else checks
    if isinstance(behind, str):
        return missing_entry(check, method, behind)
    if isinstance(behind, Evaluation):
        return faithful_entry(method, behind)
    return sanity_entry(check, method, behind[SANITY[check]])


def _evaluated(
    lm: LanguageModel,
    result: Attribution,
    objective: Any,
    quick: bool,
    seed: int,
    batch_size: int | Literal["auto"],
    progress: bool | None,
) -> Evaluation | str:
    """Returns the evaluation, or why there is none."""
    shorter = _QUICK_EVALUATION if quick else {}
    try:
        return evaluate(lm, result, objective=objective, seed=seed, batch_size=batch_size, progress=progress, **shorter)
    except _CANNOT as error:
        return str(error)


def _sane(
    lm: LanguageModel,
    result: Attribution,
    objective: Any,
    quick: bool,
    batch_size: int | Literal["auto"],
    progress: bool | None,
) -> Sanity | str:
    """Returns the sanity checks, or why there are none."""
    try:
        return sanity(
            lm,
            result,
            objective=objective,
            seeds=_QUICK_SEEDS if quick else _SEEDS,
            checks=list(SANITY.values()),
            batch_size=batch_size,
            progress=progress,
        )
    except _CANNOT as error:
        return str(error)


def _notes(found: Comparison, quick: bool) -> tuple[str, ...]:
    refused = [f"{name} did not run: {reason}" for name, reason in found.refused.items()]
    shorter = (
        ["quick: coarser curves, fewer random models and seeds, so the verdicts are less certain."] if quick else []
    )
    proof = "a check that is passed is no proof that an attribution is right; one that fails says what to look at."
    return (*refused, *(note for note in found.notes if note != NO_PROOF), *shorter, proof)
