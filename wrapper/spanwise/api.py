"""`attribute()`: validate, dispatch, check."""

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from spanwise.attribution import Attribution, Provenance
from spanwise.engines.registry import choose_engine, find_runner, versions
from spanwise.errors import AttributionWarning, InputError, MethodError, OptionError, at_least
from spanwise.methods import MethodInfo, find_method
from spanwise.model.generation import told
from spanwise.model.language_model import LanguageModel
from spanwise.model.memory import peak_memory_gib
from spanwise.model.reading import read
from spanwise.question import Question
from spanwise.scoring.baselines import BaselineLike
from spanwise.scoring.checks import GAP_WARNING, gap_note
from spanwise.scoring.contrast import Contrast
from spanwise.scoring.objectives import Objective, Value, find_objective
from spanwise.text.chat import Message
from spanwise.text.composing import FeaturesLike, compose
from spanwise.text.encoding import DOUBLED_BOS
from spanwise.text.layout import make_axes
from spanwise.text.spans import SpanLike
from spanwise.text.target_parts import TargetFeatures


def attribute(
    lm: LanguageModel,
    prompt: str | None = None,
    target: str | Sequence[int] | Tensor | None = None,
    *,
    messages: Sequence[Message] | None = None,
    tools: Sequence[Any] | None = None,
    template_options: Mapping[str, Any] | None = None,
    span: SpanLike | Sequence[SpanLike] | None = None,
    occurrence: int | Literal["all"] | None = None,
    method: str = "integrated_gradients",
    engine: str = "auto",
    objective: str | Objective | Contrast | Value = "log_prob",
    features: FeaturesLike = "token",
    target_features: TargetFeatures | None = None,
    source: SpanLike | Sequence[SpanLike] | None = None,
    frozen: Literal["special", "none"] = "special",
    prefix: Literal["fixed", "attributed"] = "fixed",
    baseline: BaselineLike | None = None,
    rows: Literal["auto", "token", "span"] = "auto",
    strict_boundary: bool = False,
    method_options: Mapping[str, Any] | None = None,
    generation_options: Mapping[str, Any] | None = None,
    batch_size: int | Literal["auto"] = "auto",
    checkpointing: bool = False,
    seed: int = 0,
    progress: bool | None = None,
) -> Attribution:
    """Returns how much each part of the input had to do with the target, or with spans of it.

    Args:
        lm: The model, from `load_model` or `LanguageModel(model, tokenizer)`.
        prompt: What the model was given, as a text.
        target: What it wrote: a text, token ids, or None to have the model generate it.
        messages: What it was given, as messages with "role" and "content", rendered by the model's chat template.
        tools: With messages: what the model may call, as its template takes it.
        template_options: With messages: variables of the template, "add_generation_prompt" (True) and
            "continue_final_message" (False) among them.
        span: The part of the target to explain, or several: literal text, a compiled regex, (start, end) characters
            of the target, `spanwise.tokens(a, b)`, or `spanwise.role("reasoning")` or "answer". None: every target
            token for itself.
        occurrence: For a span found several times: which one, counted from 0, or "all".
        method: See `spanwise.list_methods()`.
        engine: "auto", or the engine to insist on.
        objective: "log_prob" (nats), "prob", "logit" or "entropy" of each target token, `spanwise.contrast(foil)`,
            `spanwise.kl()`, `spanwise.probe(layer, weights)`, or a function (outputs, context) -> [batch, target]; over
            a span they are added.
        features: What is switched on and off, and scored, as one: "token", "word", "sentence", "paragraph", "message";
            a list of (start, end) characters of the prompt; `spanwise.documents([...])`, which also puts the documents
            before the prompt; `spanwise.template(...)`, which is the prompt.
        target_features: One row for each "word", "phrase" or "sentence" of the target (or of the spans), or for each of
            these spans.
        source: The part of the prompt to attribute to: a text or regex (every place), (start, end) characters,
            `spanwise.tokens(a, b)`, `spanwise.role("user")`, or several. The rest is kept as it is.
        frozen: "special": special tokens, and what a chat template wrote, are kept as they are and get no score;
            "none": they do.
        prefix: "fixed": target tokens already written are kept as they are and get no score; "attributed": they do.
        baseline: What a feature becomes when it is off: "unk", "pad" or "token:TEXT" (tokens), "zero" or "mean"
            (embeddings), a tensor of embeddings, [hidden] or [source, hidden]; for perturbation methods also "mask"
            (hidden from attention), "delete" (left out, positions close up), "text:TEXT" or a function from a feature's
            text to another (the prompt is written and tokenized anew). Default: the first of `MethodInfo.baselines`
            there is; for a template its own.
        rows: "token": one row a target token; "span": one row a span; "auto": "span" where a span was asked for or
            the method knows nothing else.
        strict_boundary: Refuse a token that would straddle prompt and target.
        method_options: The method's own, such as {"n_steps": 100}; see `MethodInfo.options`.
        generation_options: For a target that is generated, as the model's `generate` takes them.
        batch_size: Sequences a forward; "auto" is halved where memory runs out, a number is kept.
        checkpointing: Compute activations again in the backward instead of keeping them: about a third more time for
            gradient methods, and memory for one block instead of all.
        seed: For methods and generation that sample.
        progress: None: a bar on a terminal after two seconds; True: always; False: never.

    Raises:
        AttributionError: What was asked cannot be done; `spanwise.errors` lists the kinds.

    Example:
        >>> import spanwise
        >>> lm = spanwise.load_model("tiny")
        >>> prompt = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"
        >>> target = " painting, traveling to different countries, and volunteering at community events."
        >>> result = spanwise.attribute(lm, prompt, target, span="different countries", method="feature_ablation")
        >>> result.scores.shape == (1, len(result.source))
        True
    """
    started = time.perf_counter()
    if not isinstance(lm, LanguageModel):
        raise InputError(
            f"a LanguageModel is needed, not {type(lm).__name__}: spanwise.LanguageModel(model, tokenizer)."
        )
    check_kinds(target, method_options, generation_options, seed, progress, checkpointing)
    info = find_method(method)
    engine = choose_engine(info, engine)
    find_runner(info, engine)  # before any work: a package may be missing
    options = info.checked_options(method_options or {})
    aim = objective.objective if isinstance(objective, Contrast) else find_objective(objective)
    _check_together(lm, info, engine, objective, baseline, target, generation_options)
    composed = compose(
        lm.tokenizer, prompt, messages=messages, tools=tools, template_options=template_options, features=features
    )
    with lm.session() as warning:
        if warning:
            warnings.warn(warning, AttributionWarning, stacklevel=2)
        encoding = read(
            lm,
            composed.text,
            target,
            strict_boundary=strict_boundary,
            generation_options=generation_options,
            seed=seed,
        )
        axes = make_axes(
            encoding,
            composed,
            info,
            span=span,
            occurrence=occurrence,
            target_features=target_features,
            source=source,
            rows=rows,
            frozen=frozen,
            prefix=prefix,
        )
        question = Question(
            lm,
            info,
            engine,
            options,
            objective if isinstance(objective, Contrast) else aim,
            encoding,
            composed,
            axes,
            baseline,
            batch_size,
            checkpointing,
            seed,
            progress,
        )
        found = question.answer()
    scores, gap, batches, counts = found.scores, found.completeness_gap, found.batches, found.counts

    notes = [*lm.notes, *composed.notes, *(each.note for each in axes.spans if each.note)]
    if batches.note:
        notes.append(batches.note)
    if encoding.doubled_bos:
        notes.append(DOUBLED_BOS)
    if encoding.boundary != "clean":
        notes.append(f"{encoding.boundary}; the target was tokenized as a continuation")
    if found.contrast is not None:
        notes.append(
            f"the contrast at the input is {found.contrast:.4g} {aim.unit}; target_scores are the target's own part"
        )
    if aim.name == "prob" and axes.rows == "span":
        notes.append("a span's objective is the sum of its token probabilities, not their product")
    if found.remark:
        notes.append(found.remark)
    if found.note:
        notes.append(found.note)
        warnings.warn(found.note, AttributionWarning, stacklevel=2)
    if gap is not None and gap > GAP_WARNING:
        notes.append(gap_note(lm, info, gap, found.baseline, options))
        warnings.warn(notes[-1], AttributionWarning, stacklevel=2)
    keeps_sign = engine not in info.unsigned_on
    reduction = options.get("reduction", "sum")
    return Attribution(
        scores=scores,
        span_scores=axes.span_scores(scores, linear=info.linear and reduction == "sum" and keeps_sign),
        target_scores=found.target_scores,
        source=axes.source,
        target=encoding.target_tokens,
        spans=axes.spans,
        rows=axes.rows,
        prompt=encoding.prompt,
        target_text=encoding.target_text,
        completeness_gap=gap,
        provenance=Provenance(
            **lm.facts,
            method=info.name,
            engine=engine,
            objective=objective.name if isinstance(objective, Contrast) else aim.name,
            baseline=found.baseline,
            options=options,
            features=composed.level,
            seed=seed,
            reduction=reduction,
            coverage="prompt" if prefix == "fixed" else "prompt and generated prefix",
            signed=reduction == "sum" if "reduction" in options else info.signed and keeps_sign,
            unit=info.unit.replace("objective", aim.unit),
            boundary=encoding.boundary,
            prompt_ids=encoding.prompt_ids,
            target_ids=encoding.target_ids,
            generated=target is None,
            generation_options=told(generation_options or {}) if target is None else {},
            batch_size=batches.size,
            checkpointing=checkpointing,
            calls=counts.calls,
            forwards=counts.forwards,
            backwards=counts.backwards,
            seconds=time.perf_counter() - started,
            peak_memory_gib=peak_memory_gib(lm.device),
            versions=versions(),
            used=dict(found.used),
            notes=tuple(notes),
        ),
        standard_error=found.standard_error,
    )


def _check_together(
    lm: LanguageModel, info: MethodInfo, engine: str, objective: Any, baseline: Any, target: Any, generation: Any
) -> None:
    """Checks what excludes each other, before the model does any work."""
    if not info.uses_baseline and baseline is not None:
        raise OptionError(f"{info.name} has no baseline, but baseline={baseline!r} was given.")
    if not info.reads_objective and objective != "log_prob":
        raise OptionError(f"no objective changes what {info.name} reads, but objective={objective!r} was given.")
    if isinstance(objective, Contrast) and engine == "inseq" and (not info.linear or engine in info.unsigned_on):
        raise MethodError(f"{info.name} on Inseq has no contrast: its scores are not linear in the objective.")
    if info.family == "gradient" and lm.no_backward is not None:
        raise MethodError(
            f"{info.name} needs gradients, and the model gives none: {lm.no_backward}. Use a perturbation method."
        )
    if target is not None and generation:
        raise OptionError("generation_options were given, but so was the target: nothing is generated.")


def check_kinds(
    target: Any, method_options: Any, generation_options: Any, seed: Any, progress: Any, checkpointing: Any
) -> None:
    """Checks arguments that several functions take.

    Raises:
        InputError: The target is no text and no ids.
        OptionError: Another argument is of another kind than it must be.
    """
    if not (target is None or isinstance(target, str | Sequence | Tensor)):
        raise InputError(f"the target is a text, a sequence of token ids or None, not {target!r}.")
    for name, given in (("method_options", method_options), ("generation_options", generation_options)):
        if given is not None and not isinstance(given, Mapping):
            raise OptionError(f"{name} is a mapping from names to values, not {given!r}.")
    if at_least("seed", seed, 0) >= 2**32:
        raise OptionError(f"seed must be less than 2**32, not {seed}.")
    if not isinstance(checkpointing, bool):
        raise OptionError(f"checkpointing is True or False, not {checkpointing!r}.")
    if not (progress is None or isinstance(progress, bool)):
        raise OptionError(f"progress is None, True or False, not {progress!r}.")
