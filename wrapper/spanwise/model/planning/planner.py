"""`plan()`: what a model and a method need, before a weight is read."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import transformers

from spanwise.errors import OptionError, at_least, one_of
from spanwise.methods import MethodInfo, find_method
from spanwise.model.devices import Device
from spanwise.model.language_model import LanguageModel
from spanwise.model.module_sizes import readable
from spanwise.model.planning.activations import pass_of
from spanwise.model.planning.placing import planned_map, room_for_weights
from spanwise.model.planning.plan import Plan
from spanwise.model.planning.room import CUDA_CONTEXT, Room
from spanwise.model.planning.subject import Subject, check_length, of_config, of_loaded
from spanwise.model.planning.timing import with_time
from spanwise.model.planning.weights import planned_weights

TOKENS_AT_ONCE = {"cpu": 1024, "cuda": 16384}
"""Tokens in a batch that "auto" aims at; more are no faster."""


def plan(
    model: "str | os.PathLike[str] | transformers.PretrainedConfig | LanguageModel",
    *,
    quantization: str | None = None,
    double_quant: bool = False,
    dtype: torch.dtype | str | None = None,
    compute_dtype: torch.dtype | str | None = None,
    devices: Sequence[int | str] | None = None,
    device_map: str | Mapping[str, Device] = "auto",
    method: str = "integrated_gradients",
    engine: str = "auto",
    method_options: Mapping[str, Any] | None = None,
    prompt_tokens: int = 256,
    target_tokens: int = 32,
    rows: Literal["auto", "token", "span"] = "auto",
    batch_size: int | Literal["auto"] = "auto",
    trust_remote_code: bool = False,
) -> Plan:
    """Returns what a model and a method need: bytes, the device map, batch sizes, forwards and backwards.

    Args:
        model: A name on the hub or a folder, of which only the config is read; a config; or a loaded `LanguageModel`,
            of which a token rate is measured too.
        quantization: "nf4", "fp4" or "int8", as `load_model` takes it; default: the checkpoint's own, or none.
        double_quant: Quantize the 4-bit scales too.
        dtype: Of what is not quantized; default: the config's, else float32.
        compute_dtype: In which 4-bit layers multiply; default: float32 on the CPU, bfloat16 on GPUs.
        devices: Sizes of accelerators ("24GiB", "9000MB", bytes), "cpu" or "cpu:64GiB"; default: this machine's.
        device_map: "auto", "balanced", "balanced_low_0", "sequential", "cpu", or a map from modules to devices.
        method: See `spanwise.list_methods()`.
        engine: "auto", or the engine to insist on.
        method_options: The method's own.
        prompt_tokens: Of the prompt; each is a feature.
        target_tokens: Of the target.
        rows: "span" (the same as "auto"): one row for the span; "token": one a target token.
        batch_size: Sequences a forward.
        trust_remote_code: Run code that comes with the model.

    Raises:
        OptionError: An unknown name, or a value out of range.
        LengthError: More tokens than the model's context holds.
        ModelError: There is no config, or no language model for it.
        QuantizationError: A checkpoint quantized by a library whose sizes are not known from the config.

    Example:
        >>> import spanwise
        >>> found = spanwise.plan("tiny", quantization="nf4", devices=["8GiB"])
        >>> found.fits, found.weights_bytes
        (True, 1239424)
    """
    request = _request(method, engine, method_options, prompt_tokens, target_tokens, rows, batch_size)
    if isinstance(model, LanguageModel):
        if quantization is not None or double_quant or dtype is not None or compute_dtype is not None:
            raise OptionError("the model is loaded: quantization, double_quant, dtype and compute_dtype are its own.")
        subject = of_loaded(model, devices)
    else:
        subject = of_config(model, quantization, double_quant, dtype, compute_dtype, devices, trust_remote_code)
    check_length(subject.config, prompt_tokens + target_tokens - 1)
    return _planned(subject, request, device_map)


@dataclass(frozen=True)
class _Request:
    info: MethodInfo
    engine: str
    options: Mapping[str, Any]
    prompt_tokens: int
    target_tokens: int
    rows: str
    batch_size: int | str

    @property
    def row_count(self) -> int:
        return self.target_tokens if self.rows == "token" else 1

    def work(self, length: int) -> tuple[int, int]:
        """Returns forwards and backwards, as `attribute` counts them."""
        each = (self.prompt_tokens, self.row_count) if self.engine != "inseq" else (length + 1, self.target_tokens)
        return self.info.work_in_all(self.engine, *each, self.options)


def _request(
    method: str, engine: str, options: Mapping[str, Any] | None, prompt: int, target: int, rows: str, batch: Any
) -> _Request:
    info = find_method(method)
    if engine != "auto":
        one_of(f"engine for {info.name}", engine, info.engines)
    if options is not None and not isinstance(options, Mapping):
        raise OptionError(f"method_options is a mapping from names to values, not {options!r}.")
    at_least("prompt_tokens", prompt, 1)
    at_least("target_tokens", target, 1)
    one_of("rows", rows, ("auto", "token", "span"))
    if isinstance(batch, str):
        if batch != "auto":
            raise OptionError(f"batch_size must be 'auto' or an integer of at least 1, not {batch!r}.")
    else:
        at_least("batch_size", batch, 1)
    checked = info.checked_options(options or {})
    chosen = info.engines[0] if engine == "auto" else engine
    return _Request(info, chosen, checked, prompt, target, "token" if rows == "token" else "span", batch)


def _planned(subject: Subject, request: _Request, asked: Any) -> Plan:
    placed, has_room = _placed(subject, asked)
    one_pass = pass_of(
        request.info,
        request.engine,
        request.prompt_tokens,
        request.target_tokens,
        request.row_count,
        is_encoder_decoder=bool(getattr(subject.config, "is_encoder_decoder", False)),
    )
    room = Room(subject.shape, one_pass, subject.setting, placed, subject.weights, subject.sizes)
    forwards, backwards = request.work(one_pass.length)
    limit = max(1, TOKENS_AT_ONCE["cuda" if subject.setting.on_gpu else "cpu"] // one_pass.length)
    asked_size = request.batch_size
    size = asked_size if isinstance(asked_size, int) else max(1, min(limit, forwards, room.largest()))
    found = Plan(
        model=subject.name,
        quantization=subject.quantization,
        double_quant=subject.double_quant,
        dtype=_named(_dtype_of(subject.shape)),
        compute_dtype=_named(subject.setting.compute_dtype) if subject.quantization in ("nf4", "fp4") else None,
        method=request.info.name,
        engine=request.engine,
        options=request.options,
        prompt_tokens=request.prompt_tokens,
        target_tokens=request.target_tokens,
        rows=request.rows,
        weights_bytes=subject.weights.total,
        by_dtype=subject.weights.by_dtype,
        by_quantization=subject.weights.by_quantization,
        by_module=subject.weights.by_module,
        devices=room.devices(size),
        device_map=placed,
        max_memory=room_for_weights(subject.sizes, subject.quantization),
        activation_bytes=sum(room.held(size).values()),
        bytes_per_sequence=sum(room.per_sequence.values()),
        batch_size=size,
        largest_batch=room.largest(),
        forwards=forwards,
        backwards=backwards,
        peak_bytes=subject.weights.total + sum(room.held(size).values()),
        fits=True,
        reasons=(),
        notes=(*subject.notes, *room.notes, *_notes_of(request)),
    )
    reasons = _reasons(subject, found, has_room)
    found = replace(found, fits=not reasons, reasons=reasons)
    return found if subject.loaded is None else with_time(found, subject.loaded, one_pass)


def _placed(subject: Subject, asked: Any) -> tuple[dict[str, Device], bool]:
    """Returns the loaded model's own map, or the one that would result; and whether the weights have room."""
    own = getattr(subject.loaded.model, "hf_device_map", None) if subject.loaded else None
    if own and asked == "auto" and set(own.values()) <= {*subject.sizes, "disk"}:
        return dict(own), "disk" not in own.values()
    quantization = subject.setting.quantization
    return planned_map(asked, subject.shape, subject.sizes, quantization, double_quant=subject.double_quant)


def _reasons(subject: Subject, found: Plan, has_room: bool) -> tuple[str, ...]:
    """Returns why the plan does not fit, each in a sentence; nothing where it does."""
    total = sum(subject.sizes.values())
    reasons = []
    if not has_room:
        where = " + ".join(f"{readable(size)} on {device}" for device, size in subject.sizes.items())
        reasons.append(
            f"does not fit: the weights need {readable(subject.weights.total)} of {readable(total)} ({where}; a tenth "
            "is kept free)"
        )
    kept = f"; {readable(CUDA_CONTEXT)} are kept for CUDA itself"
    for each in found.devices:
        if each.bytes is not None and each.largest_batch < found.batch_size:
            reasons.append(
                f"does not fit: device {each.device} needs {readable(each.peak_bytes)} of {readable(each.bytes)} "
                f"({readable(each.weights_bytes)} weights, {readable(each.activation_bytes)} beside them"
                f"{kept if isinstance(each.device, int) else ''}, for "
                f"{found.batch_size} sequence{'s' if found.batch_size > 1 else ''}; the largest batch that fits is "
                f"{each.largest_batch})"
            )
    if reasons and subject.quantization in (None, "int8") and subject.loaded is None:
        smaller = planned_weights(subject.shape, "nf4").total
        reasons.append(f"nf4 would need {readable(smaller)} for the weights")
    return tuple(reasons)


def _notes_of(request: _Request) -> tuple[str, ...]:
    notes = []
    if request.engine == "inseq":
        notes.append("Inseq makes its own batches; memory is that of the batch size above, with logits everywhere")
    if request.info.family == "attention":
        notes.append("attention weights of every layer are held at once: bytes grow with the square of the length")
    return tuple(notes)


def _dtype_of(shape: Any) -> torch.dtype:
    kind = next(shape.get_input_embeddings().parameters()).dtype
    assert isinstance(kind, torch.dtype)
    return kind


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
