"""`attribute()`: validate, dispatch, check."""

import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal

from torch import Tensor

from spanwise.attribution import Attribution, Provenance
from spanwise.engines.registry import choose_engine, find_runner, versions
from spanwise.errors import AttributionWarning, InputError, LengthError, MethodError, OptionError, at_least
from spanwise.methods import MethodInfo, find_method
from spanwise.model.checkpointing import checkpointed
from spanwise.model.generation import DEFAULTS, generate
from spanwise.model.language_model import LanguageModel
from spanwise.model.memory import peak_memory_gib
from spanwise.model.seeding import seeded
from spanwise.progress import progress_bar
from spanwise.scoring.baselines import baseline_embeddings, default_baseline
from spanwise.scoring.batching import choose_batches
from spanwise.scoring.checks import GAP_WARNING, check_finite, completeness_gap, gap_note
from spanwise.scoring.contrast import Contrast, ContrastScorer, apart, make_contrast
from spanwise.scoring.objectives import Objective, Value, find_objective
from spanwise.scoring.scorer import Scorer
from spanwise.text.encoding import Encoding, encode, encode_for_decoder, encode_prompt
from spanwise.text.layout import make_axes
from spanwise.text.spans import SpanLike


def attribute(
    lm: LanguageModel,
    prompt: str,
    target: str | Sequence[int] | Tensor | None = None,
    *,
    span: SpanLike | Sequence[SpanLike] | None = None,
    occurrence: int | Literal["all"] | None = None,
    method: str = "integrated_gradients",
    engine: str = "auto",
    objective: str | Objective | Contrast | Value = "log_prob",
    frozen: Literal["special", "none"] = "special",
    prefix: Literal["fixed", "attributed"] = "fixed",
    baseline: str | Tensor | None = None,
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
        prompt: What the model was given.
        target: What it wrote: a text, token ids, or None to have the model generate it.
        span: The part of the target to explain, or several: literal text, a compiled regex, (start, end) characters
            of the target, or `spanwise.tokens(a, b)`. None: every target token for itself.
        occurrence: For a span found several times: which one, counted from 0, or "all".
        method: See `spanwise.list_methods()`.
        engine: "auto", or the engine to insist on.
        objective: "log_prob" (nats), "prob", "logit" or "entropy" of each target token, `spanwise.contrast(foil)`,
            `spanwise.kl()`, `spanwise.probe(layer, weights)`, or a function (outputs, context) -> [batch, target]; over
            a span they are added.
        frozen: "special": special tokens of the prompt are kept as they are and get no score; "none": they do.
        prefix: "fixed": target tokens already written are kept as they are and get no score; "attributed": they do.
        baseline: What a feature becomes when it is off: "unk", "pad" or "token:TEXT" (tokens), "zero" or "mean"
            (embeddings), a tensor of embeddings, [hidden] or [source, hidden]; for perturbation methods also "mask"
            (hidden from attention) or "delete" (left out). Default: the first of `MethodInfo.baselines` there is.
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
    _check_kinds(target, method_options, generation_options, seed, progress)
    info = find_method(method)
    engine = choose_engine(info, engine)
    runner = find_runner(info, engine)
    options = info.checked_options(method_options or {})
    aim = objective.objective if isinstance(objective, Contrast) else find_objective(objective)
    aim_name = objective.name if isinstance(objective, Contrast) else aim.name
    if not info.uses_baseline and baseline is not None:
        raise OptionError(f"{method} has no baseline, but baseline={baseline!r} was given.")
    if not info.unit.startswith("objective") and objective != "log_prob":
        raise OptionError(f"no objective changes what {method} reads, but objective={objective!r} was given.")
    if isinstance(objective, Contrast) and engine == "inseq" and (not info.linear or engine in info.unsigned_on):
        raise MethodError(f"{method} on Inseq has no contrast: its scores are not linear in the objective.")
    if target is not None and generation_options:
        raise OptionError("generation_options were given, but so was the target: nothing is generated.")

    with lm.session() as warning:
        if warning:
            warnings.warn(warning, AttributionWarning, stacklevel=2)
        encoding = _encode(lm, prompt, target, strict_boundary, generation_options or {}, seed)
        axes = make_axes(encoding, info, span=span, occurrence=occurrence, rows=rows, frozen=frozen, prefix=prefix)
        length = len(axes.source)
        batches = choose_batches(lm, batch_size, length)
        off, baseline_name = None, None
        if info.uses_baseline:
            asked = default_baseline(lm, info.baselines) if baseline is None else baseline
            off, baseline_name = baseline_embeddings(lm, asked, length)
            _check_removal(off, info, prefix)
        # Beside the method's own work: the target's scores, and both ends of the path for the completeness gap.
        # Inseq goes from target token to target token, and over every position.
        each = (
            (length + 1, int(axes.table.any(0).sum())) if engine == "inseq" else (axes.feature_count, len(axes.table))
        )
        work = sum(info.work(*each, options)) + 1 + 2 * info.complete + 2 * isinstance(objective, Contrast)
        forgetful = checkpointed(lm.model) if checkpointing else nullcontext()
        with forgetful, progress_bar(work, info.name, progress) as tick, seeded(seed):
            scorer = Scorer(
                lm, encoding.prompt_ids, encoding.target_ids, aim, axes.table, axes.features, off, batches, tick
            )
            if isinstance(objective, Contrast):
                scorer = make_contrast(scorer, objective, encoding, axes)
            target_scores = scorer.reference()
            if isinstance(scorer, ContrastScorer) and engine == "inseq":
                found = apart(lambda part: runner(part, options), scorer)
            else:
                found = runner(scorer, options)
            scores = axes.spread(found.float().cpu())
            gap = completeness_gap(scorer, scores) if info.complete else None
            contrast = scorer.at_input() if isinstance(scorer, ContrastScorer) else None
    check_finite(lm, target_scores, scores, axes.mask)

    notes = [*lm.notes, *([batches.note] if batches.note else []), *(each.note for each in axes.spans if each.note)]
    if encoding.boundary != "clean":
        notes.append(f"{encoding.boundary}; the target was tokenized as a continuation")
    if contrast is not None:
        notes.append(f"the contrast at the input is {contrast:.4g} {aim.unit}; target_scores are the target's own part")
    if aim.name == "prob" and axes.rows == "span":
        notes.append("a span's objective is the sum of its token probabilities, not their product")
    if gap is not None and gap > GAP_WARNING:
        notes.append(gap_note(lm, info, gap, baseline_name))
        warnings.warn(notes[-1], AttributionWarning, stacklevel=2)
    reduction = options.get("reduction", "sum")
    return Attribution(
        scores=scores,
        span_scores=axes.span_scores(
            scores, linear=info.linear and reduction == "sum" and engine not in info.unsigned_on
        ),
        target_scores=target_scores,
        source=axes.source,
        target=encoding.target_tokens,
        spans=axes.spans,
        rows=axes.rows,
        prompt=encoding.prompt,
        target_text=encoding.target_text,
        completeness_gap=gap,
        provenance=Provenance(
            **_model_facts(lm),
            method=info.name,
            engine=engine,
            objective=aim_name,
            baseline=baseline_name,
            options=options,
            seed=seed,
            reduction=reduction,
            coverage="prompt" if prefix == "fixed" else "prompt and generated prefix",
            signed=options["reduction"] == "sum"
            if "reduction" in options
            else info.signed and engine not in info.unsigned_on,
            unit=info.unit.replace("objective", aim.unit),
            boundary=encoding.boundary,
            prompt_ids=encoding.prompt_ids,
            target_ids=encoding.target_ids,
            generated=target is None,
            generation_options={**DEFAULTS, **(generation_options or {})} if target is None else {},
            batch_size=batches.size,
            checkpointing=checkpointing,
            calls=scorer.counts.calls,
            forwards=scorer.counts.forwards,
            backwards=scorer.counts.backwards,
            seconds=time.perf_counter() - started,
            peak_memory_gib=peak_memory_gib(lm.device),
            versions=versions(),
            notes=tuple(notes),
        ),
    )


def _check_kinds(target: Any, method_options: Any, generation_options: Any, seed: Any, progress: Any) -> None:
    if not (target is None or isinstance(target, str | Sequence | Tensor)):
        raise InputError(f"the target is a text, a sequence of token ids or None, not {target!r}.")
    for name, given in (("method_options", method_options), ("generation_options", generation_options)):
        if given is not None and not isinstance(given, Mapping):
            raise OptionError(f"{name} is a mapping from names to values, not {given!r}.")
    at_least("seed", seed, 0)
    if not (progress is None or isinstance(progress, bool)):
        raise OptionError(f"progress is None, True or False, not {progress!r}.")


def _check_removal(off: Tensor | str, info: MethodInfo, prefix: str) -> None:
    if isinstance(off, str) and info.family != "perturbation":
        raise MethodError(f"{info.name} needs embeddings to start from; baseline={off!r} is for perturbation methods.")
    if off == "delete" and prefix == "attributed":
        raise MethodError(
            "baseline='delete' needs prefix='fixed': a target token needs its place to be predicted from."
        )


def _model_facts(lm: LanguageModel) -> dict[str, Any]:
    return {
        "model": lm.name,
        "architecture": lm.architecture,
        "revision": lm.revision,
        "quantization": lm.quantization,
        "dtype": str(lm.dtype).removeprefix("torch."),
        "compute_dtype": lm.compute_dtype,
        "device_map": lm.device_map,
    }


def _encode(
    lm: LanguageModel,
    prompt: str,
    target: str | Sequence[int] | Tensor | None,
    strict_boundary: bool,
    generation_options: Mapping[str, Any],
    seed: int,
) -> Encoding:
    start = lm.decoder_start
    if target is None:
        prompt_ids = [token.id for token in encode_prompt(lm.tokenizer, prompt)]
        _check_length(lm, len(prompt_ids), 1)
        target = generate(lm, prompt_ids, generation_options, seed)
    elif isinstance(target, Tensor):
        target = [int(id_) for id_ in target.flatten()]
    if start is None:
        encoding = encode(lm.tokenizer, prompt, target, strict_boundary=strict_boundary)
    else:
        encoding = encode_for_decoder(lm.tokenizer, prompt, target, start)
    _check_length(lm, len(encoding.prompt_ids), len(encoding.target_ids))
    return encoding


def _check_length(lm: LanguageModel, prompt_count: int, target_count: int) -> None:
    limit = lm.context_length
    used = max(prompt_count, target_count) if lm.is_encoder_decoder else prompt_count + target_count - 1
    if limit is not None and used > limit:
        raise LengthError(
            f"the prompt has {prompt_count} tokens and the target {target_count}; "
            f"{'one of them' if lm.is_encoder_decoder else 'together'} more than the model's context of {limit} tokens."
        )
