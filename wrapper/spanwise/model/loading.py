"""`load_model`: from a name or a folder to a `LanguageModel`, quantized and dispatched as asked."""

import importlib.resources
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from spanwise.errors import DependencyError, ModelError, QuantizationError, require
from spanwise.model import device_maps, four_bit
from spanwise.model import quantization as quantizing
from spanwise.model.bars import bars_for_long_work
from spanwise.model.device_maps import Placement
from spanwise.model.language_model import LanguageModel
from spanwise.model.meta import meta_model, model_class, read_config
from spanwise.model.module_sizes import sized
from spanwise.model.notices import notices_dropped
from spanwise.model.quantization import QUANTIZATIONS, Quantization, Request, as_dtype

__all__ = ["BUNDLED", "QUANTIZATIONS", "Quantization", "as_dtype", "load_model"]
BUNDLED = ("tiny",)


def load_model(
    name_or_path: str | os.PathLike[str],
    *,
    quantization: "Quantization | transformers.BitsAndBytesConfig | None" = None,
    compute_dtype: torch.dtype | str | None = None,
    storage_dtype: torch.dtype | str | None = None,
    double_quant: bool = False,
    skip_modules: Sequence[str] = (),
    dtype: torch.dtype | str | None = None,
    device_map: "str | int | torch.device | Mapping[str, int | str | torch.device] | None" = None,
    max_memory: Mapping[int | str, int | str] | None = None,
    offload_folder: str | os.PathLike[str] | None = None,
    tokenizer: Any = None,
    attn_implementation: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Returns a model ready to be attributed: in `eval()`, parameters frozen.

    Args:
        name_or_path: A name on the model hub, a folder, or "tiny" for the bundled model. A checkpoint that is quantized
            already is loaded as it is.
        quantization: "nf4", "fp4" or "int8" by bitsandbytes, or its own config object.
        compute_dtype: In which 4-bit layers multiply; default: float32 on the CPU, bfloat16 on a GPU.
        storage_dtype: As which 4-bit codes are stored (two a byte); default: uint8.
        double_quant: Quantize the 4-bit scales too (0.52 instead of 0.56 bytes a parameter).
        skip_modules: Modules to leave unquantized, by full name or by its end ("down_proj": in every layer); the head
            and tied weights always are.
        dtype: Of what is not quantized; default: the checkpoint's own.
        device_map: "auto", "balanced", "balanced_low_0" or "sequential"; one device; or a map from module names to
            devices (an accelerator's index, "cpu", "disk"), checked before anything is loaded. Default: "auto" with
            `max_memory`; else one GPU where there is one and the model is quantized, else the CPU.
        max_memory: Most memory for weights, by device ({0: "9GiB", "cpu": "30GiB"}); devices that are not named get
            none, except the disk. Default: nine tenths of what is free.
        offload_folder: Needed where weights stay on the disk; those that must be converted are written there.
        tokenizer: A tokenizer, or a name or folder to load one from; default: the model's.
        attn_implementation: As transformers takes it.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Run code that comes with the model.

    Raises:
        ModelError: The model or tokenizer cannot be found or loaded, or does not fit.
        OptionError: An unknown quantization, type, device or module, or a map that does not cover the model.
        DependencyError: Quantization or a device map needs a package that is not installed.
        QuantizationError: The library cannot quantize this model here, or it is quantized otherwise.
        FileError: The offload folder cannot be written, or is full.

    Example:
        >>> import spanwise
        >>> spanwise.load_model("tiny", dtype="bfloat16").dtype
        torch.bfloat16
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise ModelError(f"load_model takes a name or a folder, not {name_or_path!r}.")
    wanted = _Wanted(
        path=model_path(name_or_path),
        name=os.fspath(name_or_path),
        request=Request(quantization, compute_dtype, storage_dtype, double_quant, skip_modules),
        placement=Placement(device_map, max_memory, offload_folder),
        dtype=None if dtype is None else as_dtype("dtype", dtype),
        remote={"revision": revision, "trust_remote_code": trust_remote_code},
    )
    arguments = wanted.arguments()
    if attn_implementation is not None:
        arguments["attn_implementation"] = attn_implementation
    with _explained(wanted), notices_dropped(), bars_for_long_work():
        model = model_class(wanted.config).from_pretrained(wanted.path, **arguments)
        if tokenizer is None or isinstance(tokenizer, str | os.PathLike):
            tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer or wanted.path, **wanted.remote)
    model.requires_grad_(False)
    model.eval()
    four_bit.keep_unpacked(model)
    return LanguageModel(model, tokenizer, name=wanted.name, revision=revision)


@dataclass(frozen=True)
class _Wanted:
    """What `load_model` was asked, its names checked, and what follows from the model's config."""

    path: str
    name: str
    request: Request
    placement: Placement
    dtype: torch.dtype | None
    remote: dict[str, Any]

    @cached_property
    def config(self) -> Any:
        return read_config(self.path, **self.remote)

    @cached_property
    def stored(self) -> dict[str, Any] | None:
        return quantizing.stored(self.config)

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of `from_pretrained`.

        Raises:
            AttributionError: Whatever `load_model` refuses before it loads.
        """
        if self.request.quantization is not None:
            _require_bitsandbytes()
        asked = self.placement.strategy or self.placement.given_map()
        arguments = dict(self.remote)
        if self.dtype is not None:
            arguments["dtype"] = self.dtype
        values = self.stored
        if values is not None:
            arguments |= self._already_quantized(values)
        elif (config := quantizing.new_config(self.request, self.shape)) is not None:
            arguments["quantization_config"] = config
            values = config.to_dict()
        if asked is None and quantizing.is_bitsandbytes(values):
            asked = {"": 0} if torch.cuda.is_available() else {"": "cpu"}
        if asked is not None:
            require("accelerate", "quantization", "a device map")
            arguments |= self._placed(asked, values)
        return arguments

    def shape(self) -> Any:
        """Returns the model on the meta device, in the type it will have."""
        shape = meta_model(self.config, trust_remote_code=bool(self.remote["trust_remote_code"]))
        return shape if self.dtype is None else shape.to(self.dtype)

    def _already_quantized(self, values: dict[str, Any]) -> dict[str, Any]:
        if quantizing.is_bitsandbytes(values):
            _require_bitsandbytes()
        quantizing.check_agrees(self.request, values, self.name)
        if self.request.compute_dtype is None:
            return {}
        compute = str(as_dtype("compute_dtype", self.request.compute_dtype)).removeprefix("torch.")
        self.config.quantization_config = {**values, "bnb_4bit_compute_dtype": compute}
        return {"config": self.config}

    def _placed(self, asked: str | dict[str, Any], values: dict[str, Any] | None) -> dict[str, Any]:
        """Returns the checked device map, and what goes with it."""
        ours = quantizing.is_bitsandbytes(values)
        shape = self.shape()
        if isinstance(asked, dict):
            device_maps.check_map(asked, shape)
        elif values is not None and not ours:
            # The sizes of other libraries' layers are transformers' to know.
            limits = self.placement.limits
            return {"device_map": asked, "offload_folder": self.placement.offload_folder} | (
                {} if limits is None else {"max_memory": dict(limits)}
            )
        if values is None or ours:
            offloads = bool(ours and values and values.get("llm_int8_enable_fp32_cpu_offload"))
            kind = quantizing.name_of(values) if ours and values else None
            double = bool(values and values.get("bnb_4bit_use_double_quant"))
            shape = sized(shape, kind, double_quant=double, skip=(values or {}).get("llm_int8_skip_modules"))
            if isinstance(asked, str):
                asked = device_maps.work_out(asked, self.placement.limits, shape, quantized=kind is not None)
            device_maps.check_places(
                asked, self.placement, shape, quantization=kind, needs_one=kind is not None and not offloads
            )
        folder = self.placement.offload_folder
        return {"device_map": asked} | ({} if folder is None else {"offload_folder": str(Path(folder).expanduser())})


@contextmanager
def _explained(wanted: _Wanted) -> Iterator[None]:
    """Turns what the libraries raise while they load into our errors, with the name of the model."""
    try:
        with warnings.catch_warnings():
            # accelerate knows modules and parameters, not buffers; the map was checked against all three.
            warnings.filterwarnings("ignore", "The following device_map keys do not match any submodules")
            yield
    except ImportError as error:
        raise DependencyError(f"cannot load {wanted.name!r}: {str(error).strip()}") from error
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        quantized = wanted.request.kind() or (quantizing.name_of(wanted.stored) if wanted.stored else None)
        if quantized is None or isinstance(error, OSError):
            raise ModelError(f"cannot load {wanted.name!r}: {str(error).strip()}") from error
        raise QuantizationError(f"cannot load {wanted.name!r} with {quantized!r}: {str(error).strip()}") from error


def _require_bitsandbytes() -> None:
    require("bitsandbytes", "quantization", "quantization")
    require("accelerate", "quantization", "quantization")


def model_path(name_or_path: str | os.PathLike[str]) -> str:
    """Returns the folder of a bundled or local model, or the name on the hub as it is.

    Raises:
        ModelError: A folder that is not there, or holds no model.
    """
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


def load_tokenizer(
    name_or_path: str | os.PathLike[str], *, revision: str | None = None, trust_remote_code: bool = False
) -> Any:
    """Returns a model's tokenizer alone; the arguments are those of `load_model`.

    Raises:
        ModelError: It cannot be found or loaded.
    """
    try:
        return transformers.AutoTokenizer.from_pretrained(
            model_path(name_or_path), revision=revision, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"cannot load the tokenizer of {os.fspath(name_or_path)!r}: {str(error).strip()}") from error
