"""`load_model`: from a name or a folder to a `LanguageModel`, quantized and dispatched as asked."""

import importlib.resources
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
import transformers

from spanwise.errors import ModelError, OptionError, QuantizationError, one_of, require
from spanwise.model import four_bit
from spanwise.model.language_model import LanguageModel
from spanwise.model.notices import notices_dropped

Quantization: TypeAlias = Literal["nf4", "fp4", "int8"]
QUANTIZATIONS = ("nf4", "fp4", "int8")
BUNDLED = ("tiny",)
_FLOATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
_SHORT = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def load_model(
    name_or_path: str | os.PathLike[str],
    *,
    quantization: "Quantization | transformers.BitsAndBytesConfig | None" = None,
    compute_dtype: torch.dtype | str | None = None,
    double_quant: bool = False,
    dtype: torch.dtype | str | None = None,
    device_map: str | Mapping[str, int | str] | None = None,
    max_memory: Mapping[int | str, int | str] | None = None,
    tokenizer: Any = None,
    attn_implementation: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Returns a model ready to be attributed: in `eval()`, parameters frozen.

    Args:
        name_or_path: A name on the model hub, a folder, or "tiny" for the bundled model.
        quantization: "nf4", "fp4" or "int8" by bitsandbytes, or its own config object.
        compute_dtype: In which 4-bit layers multiply; default: float32 on the CPU, bfloat16 on a GPU.
        double_quant: Quantize the 4-bit scales too (0.52 instead of 0.56 bytes a parameter).
        dtype: Of what is not quantized; default: the checkpoint's own.
        device_map: As transformers takes it; default: one GPU where there is one and the model is quantized, else CPU.
        max_memory: Most memory for each device, as transformers takes it.
        tokenizer: A tokenizer, or a name or folder to load one from; default: the model's.
        attn_implementation: As transformers takes it.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Run code that comes with the model.

    Raises:
        ModelError: The model or tokenizer cannot be found or loaded.
        OptionError: An unknown quantization or type.
        DependencyError: Quantization or a device map needs a package that is not installed.
        QuantizationError: The library cannot quantize this model here.

    Example:
        >>> import spanwise
        >>> spanwise.load_model("tiny", dtype="bfloat16").dtype
        torch.bfloat16
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise ModelError(f"load_model takes a name or a folder, not {name_or_path!r}.")
    path = _existing(name_or_path)
    arguments: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    config = _quantization_config(quantization, compute_dtype, double_quant)
    if config is not None:
        require("bitsandbytes", "quantization", "quantization")
        require("accelerate", "quantization", "quantization")
        arguments["quantization_config"] = config
        device_map = device_map or ({"": 0} if torch.cuda.is_available() else {"": "cpu"})
    if device_map is not None:
        require("accelerate", "quantization", "a device map")
        arguments["device_map"] = dict(device_map) if isinstance(device_map, Mapping) else device_map
    if max_memory is not None:
        arguments["max_memory"] = dict(max_memory)
    if attn_implementation is not None:
        arguments["attn_implementation"] = attn_implementation
    if dtype is not None:
        arguments["dtype"] = as_dtype("dtype", dtype)
    try:
        remote = {"revision": revision, "trust_remote_code": trust_remote_code}
        kind_of_model = transformers.AutoConfig.from_pretrained(path, **remote)
        family = (
            transformers.AutoModelForSeq2SeqLM
            if getattr(kind_of_model, "is_encoder_decoder", False)
            else transformers.AutoModelForCausalLM
        )
        with notices_dropped():
            model = family.from_pretrained(path, **arguments)
        if tokenizer is None or isinstance(tokenizer, str | os.PathLike):
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                tokenizer or path, revision=revision, trust_remote_code=trust_remote_code
            )
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        kind = QuantizationError if config is not None and not isinstance(error, OSError) else ModelError
        raise kind(f"cannot load {os.fspath(name_or_path)!r}: {str(error).strip()}") from error
    model.requires_grad_(False)
    model.eval()
    four_bit.keep_unpacked(model)
    return LanguageModel(model, tokenizer, name=os.fspath(name_or_path), revision=revision)


def as_dtype(what: str, dtype: torch.dtype | str) -> torch.dtype:
    """Returns a floating-point type given as such or by name ("float32", "bf16", ...).

    Raises:
        OptionError: It is neither.
    """
    if isinstance(dtype, torch.dtype) and dtype in _FLOATS.values():
        return dtype
    name = str(dtype).removeprefix("torch.")
    return _FLOATS[one_of(what, _SHORT.get(name, name), _FLOATS)]


def _existing(name_or_path: str | os.PathLike[str]) -> str:
    name = os.fspath(name_or_path)
    if name in BUNDLED:
        return str(importlib.resources.files("spanwise.model") / name)
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1 or (os.sep != "/" and os.sep in name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(f"the folder {name} holds no model: there is no config.json in it.")
        return str(folder)
    if looks_local or not name:
        raise ModelError(f"there is no model folder {name!r}. Bundled models: {', '.join(BUNDLED)}.")
    return name


def _quantization_config(
    quantization: "Quantization | transformers.BitsAndBytesConfig | None",
    compute_dtype: torch.dtype | str | None,
    double_quant: bool,
) -> "transformers.BitsAndBytesConfig | None":
    if not isinstance(quantization, str):
        if compute_dtype is not None or double_quant:
            asked = "no quantization" if quantization is None else "a config object, which has its own"
            raise OptionError(f"compute_dtype and double_quant belong to quantization='nf4' or 'fp4', not to {asked}.")
        return quantization
    one_of("quantization", quantization, QUANTIZATIONS)
    if quantization == "int8":
        if compute_dtype is not None or double_quant:
            raise OptionError("compute_dtype and double_quant belong to 4-bit quantization, not to 'int8'.")
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    default = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization,
        bnb_4bit_compute_dtype=default if compute_dtype is None else as_dtype("compute_dtype", compute_dtype),
        bnb_4bit_use_double_quant=double_quant,
    )
