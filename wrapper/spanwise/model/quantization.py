"""Quantization: what is asked of bitsandbytes, and what a checkpoint already is."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
import transformers
from torch import nn

from spanwise.errors import OptionError, QuantizationError, one_of

Quantization: TypeAlias = Literal["nf4", "fp4", "int8"]
QUANTIZATIONS = ("nf4", "fp4", "int8")
_FLOATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
_SHORT = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_STORAGES = {name: dtype for name, dtype in _FLOATS.items() if name != "float64"} | {"uint8": torch.uint8}


@dataclass(frozen=True)
class Request:
    """What the caller of `load_model` said about quantization, its names checked.

    Attributes:
        quantization: "nf4", "fp4", "int8", a config object, or None.
        compute_dtype: In which 4-bit layers multiply.
        storage_dtype: As which 4-bit codes are stored.
        double_quant: Whether the 4-bit scales are quantized too.
        skip_modules: Names of modules that stay as they are.
    """

    quantization: "Quantization | transformers.BitsAndBytesConfig | None" = None
    compute_dtype: torch.dtype | str | None = None
    storage_dtype: torch.dtype | str | None = None
    double_quant: bool = False
    skip_modules: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.quantization, str):
            one_of("quantization", self.quantization, QUANTIZATIONS)
        elif self.quantization is not None and not isinstance(self.quantization, transformers.BitsAndBytesConfig):
            raise OptionError(
                f"quantization takes {', '.join(QUANTIZATIONS)} or a BitsAndBytesConfig, not {self.quantization!r}."
            )
        if isinstance(self.skip_modules, str) or not all(isinstance(name, str) for name in self.skip_modules):
            raise OptionError(f"skip_modules takes a list of module names, not {self.skip_modules!r}.")
        if self.compute_dtype is not None:
            as_dtype("compute_dtype", self.compute_dtype)
        if self.storage_dtype is not None:
            as_dtype("storage_dtype", self.storage_dtype, _STORAGES)

    def details(self) -> list[str]:
        """Returns the names of what was given beside the quantization itself."""
        given = {
            "compute_dtype": self.compute_dtype is not None,
            "storage_dtype": self.storage_dtype is not None,
            "double_quant": self.double_quant,
            "skip_modules": len(self.skip_modules) > 0,
        }
        return [name for name, is_given in given.items() if is_given]

    def kind(self) -> str | None:
        """Returns "nf4", "fp4", "int8", or None."""
        if self.quantization is None or isinstance(self.quantization, str):
            return self.quantization
        return name_of(self.quantization.to_dict())


def as_dtype(what: str, dtype: torch.dtype | str, allowed: Mapping[str, torch.dtype] = _FLOATS) -> torch.dtype:
    """Returns a type given as such or by name ("float32", "bf16", ...), one of `allowed` (default: floating-point).

    Raises:
        OptionError: It is neither.
    """
    if isinstance(dtype, torch.dtype) and dtype in allowed.values():
        return dtype
    name = str(dtype).removeprefix("torch.")
    return allowed[one_of(what, _SHORT.get(name, name), allowed)]


def stored(config: Any) -> dict[str, Any] | None:
    """Returns the quantization that a model's config names, as a mapping, or None."""
    text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    for each in (config, text):
        found = getattr(each, "quantization_config", None)
        if found is not None:
            return dict(found) if isinstance(found, Mapping) else dict(found.to_dict())
    return None


def name_of(values: Mapping[str, Any]) -> str:
    """Returns "nf4", "fp4", "int8", or the name of another method."""
    if values.get("load_in_4bit"):
        return str(values.get("bnb_4bit_quant_type", "fp4"))
    method = values.get("quant_method", "unknown")
    return "int8" if values.get("load_in_8bit") else str(getattr(method, "value", method))


def is_bitsandbytes(values: Mapping[str, Any] | None) -> bool:
    """Whether these are settings of bitsandbytes."""
    return values is not None and bool(values.get("load_in_4bit") or values.get("load_in_8bit"))


def new_config(request: Request, shape: Any) -> "transformers.BitsAndBytesConfig | None":
    """Returns the config for a checkpoint that is not quantized, or None where no quantization is asked.

    Args:
        request: What was asked.
        shape: Gives the model on the meta device; called where its module names are needed.

    Raises:
        OptionError: Something was given that this quantization does not have, or an unknown module.
    """
    details, kind = request.details(), request.quantization
    if isinstance(kind, transformers.BitsAndBytesConfig):
        if details:
            raise OptionError(f"{_and(details)}: the config object has its own; set it there.")
        if kind.llm_int8_skip_modules:
            _check_head_is_skipped(shape(), kind.llm_int8_skip_modules)
        return kind
    if kind is None:
        if details:
            raise OptionError(f"{_and(details)}: only with quantization='nf4' or 'fp4' (skip_modules: 'int8' too).")
        return None
    skip = skipped(shape(), request.skip_modules) if request.skip_modules else None
    if kind == "int8":
        if wrong := [name for name in details if name != "skip_modules"]:
            raise OptionError(f"{_and(wrong)}: only with 4-bit quantization, not with 'int8'.")
        return transformers.BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skip)
    default = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    storage = request.storage_dtype
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_compute_dtype=default if request.compute_dtype is None else as_dtype("", request.compute_dtype),
        bnb_4bit_quant_storage=torch.uint8 if storage is None else as_dtype("", storage, _STORAGES),
        bnb_4bit_use_double_quant=request.double_quant,
        llm_int8_skip_modules=skip,
    )


def check_agrees(request: Request, values: Mapping[str, Any], name: str) -> None:
    """Checks that what was asked is what the checkpoint already is; its compute type may be chosen.

    Raises:
        QuantizationError: Another quantization was asked.
        OptionError: A setting was given that was fixed when the checkpoint was made.
    """
    found, asked = name_of(values), request.kind()
    if asked is not None and asked != found:
        raise QuantizationError(
            f"{name} already is quantized, with {found!r}; quantization={asked!r} would need its original weights. "
            f"Leave quantization out, or name a checkpoint that is not quantized."
        )
    fixed = [detail for detail in request.details() if detail != "compute_dtype"]
    if fixed:
        raise OptionError(f"{_and(fixed)}: fixed when {name} was quantized (with {found!r}); leave it out.")
    if request.compute_dtype is not None and not values.get("load_in_4bit"):
        raise OptionError(f"compute_dtype: only 4-bit layers have one, and {name} is quantized with {found!r}.")


def skipped(shape: nn.Module, names: Sequence[str]) -> list[str]:
    """Returns the full names of the modules to leave as they are: those named, and those left by default.

    transformers leaves its defaults out (the head, tied weights) as soon as it is given names, and would quantize a
    head that is tied to the embedding.

    Args:
        shape: The model on the meta device.
        names: Full names ("model.layers.0.mlp"), or the ends of some ("down_proj": in every layer).

    Raises:
        OptionError: A name that no module has.
    """
    known = [name for name, _ in shape.named_modules() if name]
    found: list[str] = []
    for asked in names:
        matches = [name for name in known if name == asked or name.endswith(f".{asked}")]
        if not matches:
            raise OptionError(
                f"skip_modules names {asked!r}, which is no module of {type(shape).__name__}."
                f"{did_you_mean(asked, [*known, *(name.rpartition('.')[2] for name in known)])}"
            )
        found += matches
    return sorted({*found, *_default_skips(shape)})


def did_you_mean(asked: str, known: Sequence[str]) -> str:
    """Returns " Did you mean 'x'?" for the closest of the known names, or ""."""
    close = difflib.get_close_matches(asked, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _default_skips(shape: nn.Module) -> list[str]:
    from transformers.quantizers.base import get_keys_to_not_convert

    return list(get_keys_to_not_convert(shape))


def _check_head_is_skipped(shape: Any, names: Sequence[str]) -> None:
    from transformers.quantizers.quantizers_utils import should_convert_module

    tied = {**shape.all_tied_weights_keys}
    heads = {name.removesuffix(".weight") for pair in tied.items() for name in pair}
    modules = [name for name in heads if isinstance(shape.get_submodule(name), nn.Linear)]
    if open_heads := [name for name in modules if should_convert_module(name, list(names))]:
        raise OptionError(
            f"llm_int8_skip_modules={list(names)} does not have {_and(open_heads)}, which shares its weights with the "
            "embedding and cannot be quantized. Add it, or give the names as skip_modules=, which keeps it."
        )


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)
