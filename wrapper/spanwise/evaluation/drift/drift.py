"""`compare_precision()`: what quantization does to an attribution, and to what it explains."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.api import attribute
from spanwise.attribution import Attribution
from spanwise.errors import OptionError, at_least, one_of, require
from spanwise.evaluation.agreement import rank_correlation, top_k_overlap
from spanwise.evaluation.drift.result import Drift, PrecisionDrift
from spanwise.model.forward import forward
from spanwise.model.language_model import LanguageModel
from spanwise.model.loading import QUANTIZATIONS, load_model
from spanwise.progress import progress_bar
from spanwise.scoring.batching import release_memory
from spanwise.text.spans import SpanLike

_DTYPES = {"float32": "float32", "bf16": "bfloat16", "bfloat16": "bfloat16", "float16": "float16"}
PRECISIONS = (*_DTYPES, *QUANTIZATIONS)


def compare_precision(
    name_or_path: str | os.PathLike[str],
    prompt: str,
    target: str | Sequence[int] | Tensor | None = None,
    *,
    precisions: Sequence[str] = ("bf16", "int8", "nf4"),
    reference: str | None = None,
    top_k: int = 5,
    span: SpanLike | Sequence[SpanLike] | None = None,
    occurrence: int | Literal["all"] | None = None,
    method: str = "integrated_gradients",
    engine: str = "auto",
    objective: str = "log_prob",
    frozen: Literal["special", "none"] = "special",
    prefix: Literal["fixed", "attributed"] = "fixed",
    baseline: str | None = None,
    rows: Literal["auto", "token", "span"] = "auto",
    method_options: Mapping[str, Any] | None = None,
    generation_options: Mapping[str, Any] | None = None,
    batch_size: int | Literal["auto"] = "auto",
    seed: int = 0,
    device_map: str | Mapping[str, int | str] | None = None,
    max_memory: Mapping[int | str, int | str] | None = None,
    tokenizer: Any = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    progress: bool | None = None,
) -> Drift:
    """Returns how an attribution changes with the precision of the weights. One model is in memory at a time.

    What is compared is the scores as they are, row by row: a target of several tokens without a span has a row for each
    of them, and the correlations are means over rows.

    Args:
        name_or_path: The model, as `load_model` takes it.
        prompt: What the model was given.
        target: What it wrote; None: the reference generates it.
        precisions: At least two of "float32", "bf16", "float16", "nf4", "fp4", "int8", the reference included. What a
            quantization leaves alone keeps the checkpoint's own type.
        reference: What the others are compared with; None: the first of `precisions`.
        top_k: How many of the strongest source tokens are compared.
        span: As `attribute` takes it, like all that follows up to `seed`.
        occurrence: For a span found several times.
        method: See `spanwise.list_methods()`.
        engine: "auto", or the engine to insist on.
        objective: Its name.
        frozen: "special" or "none".
        prefix: "fixed" or "attributed".
        baseline: Its name.
        rows: "token", "span" or "auto".
        method_options: The method's own.
        generation_options: For a target that is generated.
        batch_size: Sequences a forward.
        seed: The same for every precision, so that sampled methods draw the same samples.
        device_map: As `load_model` takes it; default: for every precision alike, one GPU where there is one, else CPU.
        max_memory: As `load_model` takes it, like all that follows.
        tokenizer: The tokenizer; default: the model's.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Run code that comes with the model.
        progress: None: a bar on a terminal after two seconds; True: always; False: never.

    Raises:
        OptionError: An unknown precision, fewer than two of them, or a `top_k` that is more than there are scores.
        DependencyError: A quantization or the correlations need a package that is not installed.
        AttributionError: What `load_model` and `attribute` raise.

    Example:
        >>> import spanwise
        >>> prompt, target = "The keys to the cabinet", " are on the table."
        >>> drift = spanwise.compare_precision("tiny", prompt, target, precisions=["float32", "bf16"], span="are")
        >>> [line.precision for line in drift.lines], drift.lines[1].spearman > 0.9
        (['float32', 'bf16'], True)
    """
    names = _order(precisions, reference)
    _check_packages(names)
    at_least("top_k", top_k, 1)
    if device_map is None and torch.cuda.is_available():
        device_map = {"": 0}
    load = {
        "device_map": device_map,
        "max_memory": max_memory,
        "tokenizer": tokenizer,
        "revision": revision,
        "trust_remote_code": trust_remote_code,
    }
    ask = {
        "span": span,
        "occurrence": occurrence,
        "method": method,
        "engine": engine,
        "objective": objective,
        "frozen": frozen,
        "prefix": prefix,
        "baseline": baseline,
        "rows": rows,
        "method_options": method_options,
        "batch_size": batch_size,
        "seed": seed,
        "progress": progress,
    }
    results: list[Attribution] = []
    log_probs: list[Tensor] = []
    lines: list[PrecisionDrift] = []
    with progress_bar(len(names), "precisions", progress, unit=" models") as tick:
        for name in names:
            written = target if target is not None or not results else results[0].provenance.target_ids
            asked = ask | {"generation_options": generation_options if written is None else None}
            result, log_prob = _at(name, name_or_path, prompt, written, load, asked)
            results.append(result)
            log_probs.append(log_prob)
            lines.append(_line(name, result, log_prob, results[0], log_probs[0], top_k))
            tick(1)
    return Drift(tuple(lines), tuple(results), torch.stack(log_probs), top_k)


def _order(precisions: Sequence[str], reference: str | None) -> list[str]:
    """Returns the precisions with the reference first."""
    if isinstance(precisions, str) or not isinstance(precisions, Sequence):
        raise OptionError(f"precisions is a list of names, not {precisions!r}. Allowed: {', '.join(PRECISIONS)}.")
    names = [one_of("precision", name, PRECISIONS) for name in precisions]
    if reference is not None:
        one_of("precision", reference, PRECISIONS)
        if reference in names:
            names.remove(reference)
        names.insert(0, reference)
    if len(names) < 2:
        found = ", ".join(names) or "none"
        raise OptionError(f"a comparison needs at least two precisions, the reference included; found: {found}.")
    return names


def _check_packages(names: Sequence[str]) -> None:
    """Checks before any work that nothing will be missing."""
    require("scipy", "flow", "a rank correlation")
    for name in names:
        if name in QUANTIZATIONS:
            require("bitsandbytes", "quantization", f"the precision {name!r}")
            require("accelerate", "quantization", f"the precision {name!r}")


def _at(
    name: str,
    name_or_path: str | os.PathLike[str],
    prompt: str,
    target: Any,
    load: Mapping[str, Any],
    asked: Mapping[str, Any],
) -> tuple[Attribution, Float[Tensor, " target"]]:
    """Returns one precision's attribution and the target's log-probabilities; the model is gone afterwards."""
    kind = {"quantization": name} if name in QUANTIZATIONS else {"dtype": _DTYPES[name]}
    lm = load_model(name_or_path, **load, **kind)  # type: ignore[arg-type] # checked by _order
    try:
        result = attribute(lm, prompt, target, **asked)
        return result, _log_probs(lm, result)
    finally:
        del lm
        release_memory()


def _log_probs(lm: LanguageModel, result: Attribution) -> Float[Tensor, " target"]:
    """Returns the log-probability of each target token (nats); by a forward of its own for another objective."""
    facts = result.provenance
    if facts.objective == "log_prob":
        return result.target_scores
    count = len(facts.target_ids)
    ids = torch.tensor([[*facts.prompt_ids, *facts.target_ids][:-1]], device=lm.device)
    with lm.session(), torch.no_grad():
        # A decoder begins with a token of its own, which stands as the prompt's last.
        outputs, _ = forward(lm, ids, count, encoder_length=len(facts.prompt_ids) - 1 if lm.is_encoder_decoder else 0)
    logits = outputs.logits[0].float().cpu()
    return logits.log_softmax(-1)[torch.arange(count), torch.tensor(facts.target_ids)]


def _line(
    name: str, result: Attribution, log_probs: Tensor, first: Attribution, first_log_probs: Tensor, top_k: int
) -> PrecisionDrift:
    scores, expected = _rows(result), _rows(first)
    chosen = torch.zeros(len(result.target), dtype=torch.bool)
    for span in result.spans:
        chosen[span.first_token : span.last_token] = True
    if not result.spans:
        chosen[:] = True
    return PrecisionDrift(
        precision=name,
        spearman=_mean(rank_correlation(scores, expected, "spearman")),
        kendall=_mean(rank_correlation(scores, expected, "kendall")),
        overlap=float(top_k_overlap(scores, expected, top_k).mean()),
        completeness_gap=result.completeness_gap,
        log_prob=float(log_probs[chosen].sum()),
        log_prob_change=float((log_probs - first_log_probs)[chosen].sum()),
        seconds=result.provenance.seconds,
    )


def _rows(result: Attribution) -> Float[Tensor, "row source"]:
    """Returns the rows that were asked for: where rows are tokens, those of the spans."""
    if result.rows == "span" or not result.spans:
        return result.scores
    return torch.cat([result.scores[span.first_token : span.last_token] for span in result.spans])


def _mean(values: Float[Tensor, " row"]) -> float | None:
    return None if values.isnan().all() else float(values.nanmean())
