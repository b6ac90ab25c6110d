"""The checks of `doctor`: ours against plain forwards, the engines' own classes and dequantized weights."""

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from spanwise.api import attribute
from spanwise.attribution import Attribution
from spanwise.errors import require
from spanwise.evaluation.doctor.case import (
    FOIL,
    PROMPT,
    SPAN,
    TARGET,
    Case,
    Check,
    Measured,
    NotCheckedError,
    Outcome,
    difference,
    drops,
)
from spanwise.methods import MethodInfo, list_methods
from spanwise.model.dequantized import dequantized
from spanwise.model.language_model import LanguageModel
from spanwise.model.loading import QUANTIZATIONS, load_model
from spanwise.scoring.checks import GAP_WARNING
from spanwise.scoring.contrast import contrast
from spanwise.scoring.objectives import OBJECTIVES, Objective, kl, probe

Logits: TypeAlias = Float[Tensor, "input target vocab"]
Ids: TypeAlias = Int[Tensor, " target"]
Values: TypeAlias = Float[Tensor, "input target"]

EXACT = 1e-4  # float32 sums in another order; measured on the bundled model: at most 4e-6
INT8 = 0.1  # int8 layers round their inputs to 8 bits too; measured: 0.03
FOUR_BIT_HALF = 0.1  # a checkpoint that multiplies in bfloat16 or float16; measured: 0.014
CUDA = 1e-3  # other kernels, other orders; float32 products without TF32
STEPS = 64
RELATIVE = "of largest"
REFERENCES: Mapping[str, Callable[[Logits, Ids], Values]] = MappingProxyType(
    {
        "log_prob": lambda logits, ids: _at(logits.log_softmax(-1), ids),
        "prob": lambda logits, ids: _at(logits.softmax(-1), ids),
        "logit": lambda logits, ids: _at(logits, ids),
        "entropy": lambda logits, ids: torch.distributions.Categorical(logits=logits).entropy(),
    }
)
"""What an objective is by definition, written without its code. One that is not here is reported as not checked."""

SAME_ON_BOTH = ("saliency", "input_x_gradient", "integrated_gradients", "attention")
"""Methods that compute the same on the engines that have them, whatever the seed."""


def checks(case: Case) -> list[Check]:
    """Returns every check, in the order in which they are reported."""
    own: list[Check] = []
    for name in OBJECTIVES:
        own.append(Check("scorer", f"{name} equals a plain forward", partial(_objective, case, name)))
    own.append(Check("scorer", "kl equals a plain forward", partial(_kl, case)))
    own.append(Check("scorer", "probe equals a plain forward", partial(_probe, case)))
    own.append(Check("scorer", "contrast equals two plain forwards", partial(_contrast, case)))
    own.append(Check("engines", "ours are Captum's own integrated gradients", partial(_captum_gradients, case)))
    own.append(Check("engines", "ours are Captum's own feature ablation", partial(_captum_ablation, case)))
    own.append(Check("engines", "Captum's default path equals a plain forward", partial(_captum_default, case)))
    own.append(Check("engines", "ours are Inseq's own input x gradient", partial(_inseq_gradients, case)))
    own += _quantizations(case)
    for info in list_methods():
        for engine in info.engines:
            own.append(Check("methods", f"{info.name} on {engine}", partial(_method, case, info, engine)))
    if case.bundled:
        for index in range(torch.cuda.device_count()):
            own.append(Check("devices", f"cuda:{index} agrees with the CPU", partial(_cuda, case, index)))
    return own


def _ask(lm: LanguageModel, method: str, **asked: Any) -> Attribution:
    return attribute(lm, PROMPT, TARGET, method=method, progress=False, **asked)


def _ablation(case: Case, objective: Any, **asked: Any) -> Attribution:
    """Returns our drops of an objective, each prompt token in turn off, special ones too."""
    return _ask(case.lm, "feature_ablation", objective=objective, baseline=case.off, frozen="none", **asked)


def _prompt_part(case: Case, result: Attribution) -> Tensor:
    return result.scores[:, : len(case.prompt_ids)]


def _compared(case: Case, objective: str | Objective, values: Tensor) -> Measured:
    """Compares ours with `values`, [input, target], from plain forwards."""
    found = _ablation(case, objective, rows="token")
    largest = values.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    at_input = float((found.target_scores - values[0]).abs().max() / largest)
    return Measured(max(at_input, difference(_prompt_part(case, found), drops(values))), RELATIVE, EXACT)


def _at(values: Logits, ids: Ids) -> Values:
    return values[:, torch.arange(len(ids)), ids]


def _objective(case: Case, name: str) -> Measured:
    if name not in REFERENCES:
        raise NotCheckedError(f"no reference for {name!r} (REFERENCES in spanwise/evaluation/doctor/checks.py)")
    return _compared(case, name, REFERENCES[name](case.logits, torch.tensor(case.target_ids)))


def _kl(case: Case) -> Measured:
    log_probs = case.logits.log_softmax(-1)
    known = log_probs[:1].expand_as(log_probs)
    values = functional.kl_div(log_probs, known, log_target=True, reduction="none").sum(-1)
    return _compared(case, kl(), values)


def _probe(case: Case) -> Measured:
    weights = torch.linspace(-1, 1, case.lm.hidden_size)
    states = case.forward(case.target_ids, output_hidden_states=True).hidden_states[1].float().cpu()
    values = states[:, -len(case.target_ids) :] @ weights
    return _compared(case, probe(1, weights), values)


def _contrast(case: Case) -> Measured:
    found = _ablation(case, contrast(FOIL), span=SPAN)
    first, last = found.spans[0].first_token, found.spans[0].last_token
    ids, foil_ids = torch.tensor(case.target_ids), torch.tensor(case.foil_ids)
    foil_logits = case.forward(case.foil_ids).logits[:, -len(foil_ids) :].float().cpu()
    of_span = case.logits.log_softmax(-1)[:, torch.arange(first, last), ids[first:last]].sum(1, keepdim=True)
    of_foil = foil_logits.log_softmax(-1)[:, torch.arange(first, len(foil_ids)), foil_ids[first:]].sum(1, keepdim=True)
    return Measured(difference(_prompt_part(case, found), drops(of_span - of_foil)), RELATIVE, EXACT)


def _captum_gradients(case: Case) -> Measured:
    own = importlib.import_module("spanwise.engines.captum_check")
    options = {"n_steps": 10}
    asked = {"rows": "token", "frozen": "none", "baseline": case.off, "method_options": options}
    ours = _ask(case.lm, "integrated_gradients", engine="captum", **asked)
    with case.lm.session():
        theirs = own.integrated_gradients(case.lm, PROMPT, case.prompt_ids, case.target_ids, **options)
    return Measured(difference(_prompt_part(case, ours), theirs), RELATIVE, EXACT)


def _captum_ablation(case: Case) -> Measured:
    own = importlib.import_module("spanwise.engines.captum_check")
    ours = _ablation(case, "log_prob", rows="token")
    with case.lm.session():
        theirs = own.feature_ablation(case.lm, PROMPT, case.prompt_ids, case.target_ids)
    return Measured(difference(_prompt_part(case, ours), theirs), RELATIVE, EXACT)


def _captum_default(case: Case) -> Measured:
    """Captum's own promise, not ours: whatever happens here is a warning."""
    own = importlib.import_module("spanwise.engines.captum_check")
    ids = torch.tensor(case.target_ids)
    expected = drops(case.logits.log_softmax(-1)[:, torch.arange(len(ids)), ids])
    with case.lm.session():
        try:
            found = own.feature_ablation(case.lm, PROMPT, case.prompt_ids, case.target_ids, forward_in_tokens=True)
        except Exception as error:
            failed = f"Captum's LLMAttribution fails by default ({type(error).__name__}); spanwise does not use it"
            return Measured(float("inf"), "nats", EXACT, failed, over="warn")
    wrong = float((found - expected).abs().max())
    note = f"Captum's LLMAttribution is by default wrong by up to {wrong:.2g} nats here; spanwise does not use it"
    return Measured(wrong, "nats", 1e-3, note if wrong > 1e-3 else "", over="warn")


def _inseq_gradients(case: Case) -> Measured:
    require("inseq", "inseq", "Inseq's own classes")
    own = importlib.import_module("spanwise.engines.inseq_check")
    asked = {"rows": "token", "frozen": "none", "prefix": "attributed"}
    ours = _ask(case.lm, "input_x_gradient", engine="captum", **asked)
    with case.lm.session():
        theirs = own.input_x_gradient(case.lm, PROMPT, TARGET, [*case.prompt_ids, *case.target_ids])
    return Measured(difference(ours.scores, theirs), RELATIVE, EXACT)


def _quantizations(case: Case) -> list[Check]:
    own = case.lm.quantization
    kinds = QUANTIZATIONS if own is None else (own,) if own in QUANTIZATIONS else ()
    name = "{} gradients agree with dequantized weights"
    return [Check("quantization", name.format(kind), partial(_quantized, case, kind)) for kind in kinds]


def _quantized(case: Case, kind: str) -> Measured:
    """Integrated gradients of the quantized model and of its twin, after the forward that would pack the weights."""
    lm = case.lm
    if lm.quantization is None:
        compute_dtype = None if kind == "int8" else "float32"
        lm = load_model(
            lm.name, quantization=kind, compute_dtype=compute_dtype, dtype="float32", device_map=case.device_map
        )
    with torch.no_grad():
        lm.model(torch.tensor([case.prompt_ids], device=lm.device))
    asked = {"baseline": case.off, "method_options": {"n_steps": 10}}
    found = _ask(lm, "integrated_gradients", **asked)
    expected = _ask(dequantized(lm), "integrated_gradients", **asked)
    moved = float((found.target_scores - expected.target_scores).abs().max())
    exact = lm.compute_dtype in ("float32", "torch.float32") and lm.dtype == torch.float32
    tolerance = INT8 if kind == "int8" else EXACT if exact else FOUR_BIT_HALF
    note = f"log-probabilities differ by at most {moved:.1g} nats"
    # How much rounding there is in another model's int8 layers is the model's own matter.
    over: Outcome = "broken" if case.bundled or kind != "int8" else "warn"
    return Measured(difference(found.scores, expected.scores), RELATIVE, tolerance, note, over=over)


def _options(case: Case, info: MethodInfo) -> dict[str, int]:
    """Returns the method's own options that make it short; a complete method keeps enough steps to be complete."""
    short = {
        "n_steps": STEPS if info.complete else 6,
        "n_samples": 32,
        "num_probes": 2,
        "max_probe_steps": 20,
        "stopping_condition_top_k": len(case.lm.tokenizer),
    }
    return {name: short[name] for name in info.options if name in short}


def _method(case: Case, info: MethodInfo, engine: str) -> Measured:
    asked: dict[str, Any] = {"method_options": _options(case, info), "rows": "span"}
    if (info.name, engine) == ("feature_ablation", "inseq"):
        asked["rows"] = "token"  # its absolute drops do not add up to a span's
    prompt = " ".join(PROMPT.split()[:2]) if info.name == "shapley_values" else PROMPT  # every subset of its tokens
    found = attribute(case.lm, prompt, TARGET, method=info.name, engine=engine, progress=False, **asked)
    largest = float(found.scores.nan_to_num().abs().max())
    if not largest:
        raise AssertionError("every score is 0 or not defined")
    if engine != info.engines[0] and info.name in SAME_ON_BOTH:
        other = _ask(case.lm, info.name, engine=info.engines[0], **asked)
        note = f"beside {info.engines[0]}"
        return Measured(difference(found.scores, other.scores), RELATIVE, EXACT, note)
    if found.completeness_gap is not None:
        # From a baseline that another model does not know, the path may be hard to integrate.
        over: Outcome = "warn" if info.family == "gradient" and not case.bundled else "broken"
        return Measured(found.completeness_gap, "gap", GAP_WARNING, over=over)
    return Measured(largest, found.provenance.unit, None)


def _cuda(case: Case, index: int) -> Measured:
    asked = {"baseline": case.off, "method_options": {"n_steps": 10}}
    there = load_model(case.lm.name, dtype="float32", device_map={"": index})
    found, expected = (_ask(lm, "integrated_gradients", **asked) for lm in (there, case.lm))
    return Measured(difference(found.scores, expected.scores), RELATIVE, CUDA)
