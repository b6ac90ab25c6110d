"""`compare()`: several methods on the same prompt and target."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from spanwise.api import attribute
from spanwise.asking import check_kinds
from spanwise.attribution import Attribution
from spanwise.errors import (
    DependencyError,
    InputError,
    MethodError,
    NonFiniteError,
    OptionError,
    OutOfMemoryError,
    at_least,
    require,
)
from spanwise.evaluation.comparison.comparison import Comparison
from spanwise.evaluation.comparison.methods import DEFAULT_METHODS, Asked, asked_methods
from spanwise.model.generation import told
from spanwise.model.language_model import LanguageModel
from spanwise.model.reading import read
from spanwise.progress import progress_bar
from spanwise.scoring.baselines import BaselineLike
from spanwise.scoring.contrast import Contrast
from spanwise.scoring.objectives import Objective, Value, find_objective
from spanwise.text.chat import Message
from spanwise.text.composing import FeaturesLike, compose
from spanwise.text.spans import SpanLike
from spanwise.text.target_parts import TargetFeatures

_REFUSALS = (MethodError, DependencyError, NonFiniteError, OutOfMemoryError)
"""What one method alone can meet; what is wrong with the question is raised."""


def compare(
    lm: LanguageModel,
    prompt: str | None = None,
    target: str | Sequence[int] | Tensor | None = None,
    *,
    methods: Sequence[str | tuple[str, str]] = DEFAULT_METHODS,
    messages: Sequence[Message] | None = None,
    tools: Sequence[Any] | None = None,
    template_options: Mapping[str, Any] | None = None,
    span: SpanLike | Sequence[SpanLike] | None = None,
    occurrence: int | Literal["all"] | None = None,
    objective: str | Objective | Contrast | Value = "log_prob",
    features: FeaturesLike = "token",
    target_features: TargetFeatures | None = None,
    source: SpanLike | Sequence[SpanLike] | None = None,
    frozen: Literal["special", "none"] = "special",
    prefix: Literal["fixed", "attributed"] = "fixed",
    baseline: BaselineLike | None = None,
    rows: Literal["auto", "token", "span"] = "auto",
    strict_boundary: bool = False,
    method_options: Mapping[str, Mapping[str, Any]] | None = None,
    generation_options: Mapping[str, Any] | None = None,
    batch_size: int | Literal["auto"] = "auto",
    checkpointing: bool = False,
    top_k: int | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
    progress: bool | None = None,
) -> Comparison:
    """Returns what several methods say of the same prompt and target, and how far they agree. None is picked.

    Each two methods are compared by Spearman's and Kendall's rank correlation and by the overlap of their strongest
    source tokens, each with a p-value: how often one of the two, its source tokens in a random order, agrees as much.
    Where one of the two keeps no sign, absolute scores are compared. With several rows the measures are means over
    them, and all rows are put in the same random order.

    What is not named below is as `spanwise.attribute` takes it, and the same for all methods.

    Args:
        lm: The model.
        prompt: What the model was given.
        target: What it wrote; None: the model generates it, once for all methods.
        methods: Names, or with an engine "name@engine" or (name, engine). Default: one cheap method or two of each
            family. A method that cannot run here is listed in `Comparison.refused` with the reason.
        messages: Instead of `prompt`.
        tools: With messages.
        template_options: With messages.
        span: The part of the target to explain, or several.
        occurrence: For a span found several times.
        objective: For the methods that read it; attention does not.
        features: What is scored as one.
        target_features: Parts of the target.
        source: The part of the prompt to attribute to.
        frozen: "special" or "none".
        prefix: "fixed" or "attributed".
        baseline: For the methods that have one.
        rows: "token": one row a target token, where all methods have them; "span" or "auto": one row a span, or one for
            the whole target.
        strict_boundary: Refuse a token that would straddle prompt and target.
        method_options: For each method its own: {"integrated_gradients": {"n_steps": 100}}.
        generation_options: For a target that is generated.
        batch_size: Sequences a forward, or "auto".
        checkpointing: Less memory for gradient methods.
        top_k: How many of the largest absolute scores the overlap compares; None: 5, or half of the scores where there
            are fewer than 10.
        n_permutations: Orders that an agreement is compared with; where there are not so many, all there are.
        seed: For methods and generation that sample, and of the random orders.
        progress: None: a bar on a terminal after two seconds; True: always; False: never.

    Raises:
        OptionError: An unknown name, fewer than two methods, one given twice, `top_k` above the number of scores, or
            another value out of range.
        MethodError: Fewer than two of the methods can run here; the message has each reason.
        DependencyError: SciPy is not installed.
        AttributionError: What `attribute` raises about the question that all methods are asked.

    Example:
        >>> import spanwise
        >>> lm = spanwise.load_model("tiny")
        >>> found = spanwise.compare(lm, "The keys to the cabinet", " are", methods=["saliency", "feature_ablation"])
        >>> found.names, found.pairs[0].absolute
        (('saliency', 'feature_ablation'), True)
    """
    require("scipy", "flow", "compare()")
    if not isinstance(lm, LanguageModel):
        raise InputError(
            f"a LanguageModel is needed, not {type(lm).__name__}: spanwise.LanguageModel(model, tokenizer)."
        )
    check_kinds(target, method_options, generation_options, seed, progress, checkpointing)
    at_least("n_permutations", n_permutations, 1)
    if top_k is not None:
        at_least("top_k", top_k, 1)
    asked = asked_methods(methods, method_options or {})
    notes = _check_shared(asked, objective, baseline)
    generated = target is None
    content: dict[str, Any] = {
        "messages": messages,
        "tools": tools,
        "template_options": template_options,
        "features": features,
    }
    if generated:
        target = _written(lm, prompt, content, generation_options, seed)
    elif generation_options:
        raise OptionError("generation_options were given, but so was the target: nothing is generated.")
    question = content | {
        "span": span,
        "occurrence": occurrence,
        "objective": objective,
        "target_features": target_features,
        "source": source,
        "frozen": frozen,
        "prefix": prefix,
        "baseline": baseline,
        "rows": "span" if rows == "auto" else rows,
        "strict_boundary": strict_boundary,
        "batch_size": batch_size,
        "checkpointing": checkpointing,
        "seed": seed,
        "progress": progress,
    }
    results, refused = _run(lm, prompt, target, asked, question)
    if generated:
        results = {name: _as_generated(result, generation_options or {}) for name, result in results.items()}
    return Comparison.of(results, refused=refused, top_k=top_k, n_permutations=n_permutations, seed=seed, notes=notes)


def _check_shared(asked: Sequence[Asked], objective: Any, baseline: Any) -> list[str]:
    """Returns the notes on what does not concern some methods, after checking that it concerns one."""
    if not isinstance(objective, Contrast):
        find_objective(objective)
    notes = []
    for name, given, concerned in (
        ("baseline", baseline is not None, [each.info.uses_baseline for each in asked]),
        ("objective", objective != "log_prob", [each.info.reads_objective for each in asked]),
    ):
        if given and not any(concerned):
            raise OptionError(f"{name}= was given, but none of {', '.join(each.name for each in asked)} has one.")
        if given and not all(concerned):
            others = [each.name for each, own in zip(asked, concerned, strict=True) if not own]
            notes.append(f"{', '.join(others)}: without {name}, so {name}= is for the others alone.")
    return notes


def _written(
    lm: LanguageModel,
    prompt: str | None,
    content: Mapping[str, Any],
    options: Mapping[str, Any] | None,
    seed: int,
) -> tuple[int, ...]:
    """Returns the ids of the target that the model generates."""
    composed = compose(lm.tokenizer, prompt, **content)
    with lm.session():
        return read(lm, composed.text, None, generation_options=options, seed=seed).target_ids


def _run(
    lm: LanguageModel, prompt: str | None, target: Any, asked: Sequence[Asked], question: Mapping[str, Any]
) -> tuple[dict[str, Attribution], dict[str, str]]:
    """Returns the results by name, and why the other methods have none.

    Raises:
        MethodError: Fewer than two methods have one.
    """
    results: dict[str, Attribution] = {}
    refused: dict[str, str] = {}
    with progress_bar(len(asked), "methods", question["progress"], unit=" methods") as tick:
        for each in asked:
            try:
                results[each.name] = attribute(lm, prompt, target, **each.of(question))
            except _REFUSALS as error:
                refused[each.name] = " ".join(str(error).split())
            tick(1)
    if len(results) < 2:
        reasons = " ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise MethodError(f"a comparison needs two methods, but {len(results)} of {len(asked)} can run here. {reasons}")
    return results, refused


def _as_generated(result: Attribution, options: Mapping[str, Any]) -> Attribution:
    """Returns the result with what it does not know: that its target was generated."""
    made = dataclasses.replace(result.provenance, generated=True, generation_options=told(options))
    return dataclasses.replace(result, provenance=made)
