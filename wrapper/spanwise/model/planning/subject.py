"""What a plan is made for: a config, or a model that is loaded."""

import os
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from spanwise.errors import LengthError, OptionError, QuantizationError, one_of
from spanwise.model import quantization as quantizing
from spanwise.model.devices import Device
from spanwise.model.language_model import LanguageModel
from spanwise.model.loading import model_path
from spanwise.model.meta import meta_model, read_config
from spanwise.model.planning.activations import Setting, plain_config, setting_of
from spanwise.model.planning.placing import device_sizes
from spanwise.model.planning.weights import Weights, loaded_weights, planned_weights


@dataclass(frozen=True)
class Subject:
    """The model that is planned for; `shape` on the meta device, in the type of its activations."""

    name: str
    config: Any
    shape: Any
    weights: Weights
    setting: Setting
    double_quant: bool
    sizes: dict[Device, int]
    notes: tuple[str, ...] = ()
    loaded: LanguageModel | None = None

    @property
    def quantization(self) -> str | None:
        """Its name, that of another library included."""
        return self.loaded.quantization if self.loaded else self.setting.quantization


def of_config(
    model: Any, quantization: str | None, double_quant: bool, dtype: Any, compute_dtype: Any, devices: Any, remote: bool
) -> Subject:
    """Returns a model of which only the config is read.

    Raises:
        OptionError: An unknown name, or options that do not go together.
        ModelError: There is no config, or no language model for it.
        QuantizationError: The checkpoint is quantized already, otherwise or by another library.
    """
    if quantization is not None:
        one_of("quantization", quantization, quantizing.QUANTIZATIONS)
    if double_quant and quantization == "int8":
        raise OptionError("double_quant belongs to 4-bit quantization, not to 'int8'.")
    sizes = device_sizes(devices)
    if isinstance(model, transformers.PretrainedConfig):
        name, config = model._name_or_path or type(model).__name__, model
    elif isinstance(model, str | os.PathLike):
        name, config = os.fspath(model), read_config(model_path(model), trust_remote_code=remote)
    else:
        raise OptionError(f"plan takes a name, a folder, a config or a LanguageModel, not {type(model).__name__}.")
    quantization, double_quant = _with_stored(name, config, quantization, double_quant)
    if double_quant and quantization not in ("nf4", "fp4"):
        raise OptionError("double_quant belongs to quantization='nf4' or 'fp4'.")
    own = getattr(config.get_text_config(), "dtype", None) or getattr(config, "dtype", None)
    kind = quantizing.as_dtype("dtype", dtype if dtype is not None else own if own is not None else torch.float32)
    note = () if dtype is not None or own is not None else ("the config names no dtype: float32 is assumed",)
    on_gpu = any(isinstance(each, int) for each in sizes)
    default = torch.bfloat16 if on_gpu else torch.float32
    compute = default if compute_dtype is None else quantizing.as_dtype("compute_dtype", compute_dtype)
    shape = meta_model(plain_config(config, kind), trust_remote_code=remote)
    weights = planned_weights(shape, quantization, double_quant=double_quant)
    return Subject(name, config, shape, weights, Setting(quantization, compute, on_gpu), double_quant, sizes, note)


def _with_stored(name: str, config: Any, quantization: str | None, double_quant: bool) -> tuple[str | None, bool]:
    """Returns what was asked, or what the checkpoint already is."""
    values = quantizing.stored(config)
    if values is None:
        return quantization, double_quant
    kind = quantizing.name_of(values)
    if not quantizing.is_bitsandbytes(values):
        raise QuantizationError(
            f"{name} is quantized by {kind!r}, whose sizes its config does not tell. Load it and "
            "give the LanguageModel: spanwise.plan(lm)."
        )
    if quantization not in (None, kind):
        raise QuantizationError(f"quantization={quantization!r} was asked, but {name} is already quantized: {kind}.")
    return kind, bool(values.get("bnb_4bit_use_double_quant"))


def of_loaded(lm: LanguageModel, devices: Any) -> Subject:
    """Returns a model that is loaded, with the weights that it has."""
    setting = setting_of(lm)
    if devices is None and lm.device.type == "cpu":
        devices = ["cpu"]
    shape = meta_model(plain_config(lm.model.config, lm.dtype))
    values = quantizing.stored(lm.model.config) or {}
    double = bool(values.get("bnb_4bit_use_double_quant"))
    notes: tuple[str, ...] = ()
    if lm.quantization and setting.quantization is None:
        notes = (f"activations are those of unquantized layers: {lm.quantization!r} may hold more beside them",)
    weights = loaded_weights(lm.model, lm.quantization)
    sizes = _with_own(device_sizes(devices), lm) if devices is None else device_sizes(devices)
    return Subject(lm.name, lm.model.config, shape, weights, setting, double, sizes, notes, lm)


def _with_own(sizes: dict[Device, int], lm: LanguageModel) -> dict[Device, int]:
    """Returns free memory of GPUs as it would be without the model, whose weights the plan counts itself."""
    for tensor in lm.model.parameters():
        if tensor.device.type == "cuda" and tensor.device.index in sizes:
            sizes[tensor.device.index] += tensor.numel() * tensor.element_size()
    return sizes


def check_length(config: Any, length: int) -> None:
    """Checks that the model's context holds so many tokens.

    Raises:
        LengthError: It does not.
    """
    text = config.get_text_config()
    for name in ("max_position_embeddings", "n_positions"):
        limit = getattr(text, name, None)
        if isinstance(limit, int) and length > limit:
            raise LengthError(f"prompt and target are {length} tokens, and the model's context holds {limit} ({name}).")
