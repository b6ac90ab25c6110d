"""The options of `load_model`, for every command that loads a model."""

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from spanwise.cli.common import ComputeDtype, DeviceMap, DoubleQuant, Dtype, ModelName, Quantization
from spanwise.errors import OptionError

if TYPE_CHECKING:
    from spanwise.model.language_model import LanguageModel

Load: TypeAlias = dict[str, Any]
"""The arguments of `load_model`."""


def _arguments(
    model: ModelName = "tiny",
    quantization: Quantization = None,
    compute_dtype: ComputeDtype = None,
    storage_dtype: Annotated[str | None, typer.Option(help="As which 4-bit codes are stored; default: uint8.")] = None,
    double_quant: DoubleQuant = False,
    skip_modules: Annotated[
        list[str] | None, typer.Option("--skip-module", help="A module to leave unquantized; may be repeated.")
    ] = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    max_memory: Annotated[
        list[str] | None, typer.Option(help="DEVICE=SIZE, such as 0=9GiB or cpu=30GiB; may be repeated.")
    ] = None,
    offload_folder: Annotated[Path | None, typer.Option(help="For weights that stay on the disk.")] = None,
) -> Load:
    return {
        "name_or_path": model,
        "quantization": quantization,
        "compute_dtype": compute_dtype,
        "storage_dtype": storage_dtype,
        "double_quant": double_quant,
        "skip_modules": skip_modules or (),
        "dtype": dtype,
        "device_map": device_map,
        "max_memory": memory_of(max_memory),
        "offload_folder": offload_folder,
    }


def loads_a_model(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of `load_model` to a command: `--model` first, the others where its argument `load` stands."""
    model, *others = inspect.signature(_arguments).parameters.values()
    parameters = [model]
    for each in inspect.signature(command).parameters.values():
        parameters += others if each.name == "load" else [each]
    names = [model.name, *(each.name for each in others)]

    @functools.wraps(command)
    def with_load(**given: Any) -> None:
        load = _arguments(**{name: given.pop(name) for name in names})
        command(**given, load=load)

    shown = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    with_load.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined] # what typer reads
    with_load.__annotations__ = {each.name: each.annotation for each in shown}
    return with_load


def model_of(load: Load, progress: bool | None) -> "LanguageModel":
    """Returns the model, after a line on the terminal: importing and loading take seconds to minutes."""
    import spanwise

    if progress or (progress is None and sys.stderr.isatty()):
        typer.echo(f"loading {load['name_or_path']} ...", err=True)
    return spanwise.load_model(**load)


def memory_of(pairs: list[str] | None) -> dict[int | str, int | str] | None:
    """Returns DEVICE=SIZE pairs as a mapping, or None.

    Raises:
        OptionError: One of them is no such pair.
    """
    for pair in pairs or []:
        if "=" not in pair:
            raise OptionError(f"--max-memory takes DEVICE=SIZE, such as 0=9GiB, not {pair!r}.")
    return {device: size for device, size in (pair.split("=", 1) for pair in pairs)} if pairs else None
