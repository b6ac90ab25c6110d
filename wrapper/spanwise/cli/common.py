"""What several commands share: reading options, and silence while libraries work."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spanwise.errors import FileError, OptionError

if TYPE_CHECKING:
    pass

ModelName = Annotated[str, typer.Option("--model", help="A model folder, a name on the hub, or 'tiny' (bundled).")]
Quantization = Annotated[str | None, typer.Option(help="nf4, fp4 or int8.")]
ComputeDtype = Annotated[str | None, typer.Option(help="In which 4-bit layers multiply.")]
DoubleQuant = Annotated[bool, typer.Option(help="Quantize the 4-bit scales too.")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16, ...; default: the checkpoint's.")]
DeviceMap = Annotated[str | None, typer.Option(help="auto, balanced, ..., cpu, or a device.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to standard output.")]
Debug = Annotated[bool, typer.Option(help="Show the traceback of an error.")]


@contextmanager
def quiet(json_only: bool) -> Iterator[None]:
    """Keeps loading bars and log lines of the libraries away, and prints our warnings as one line."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        yield
    for warning in caught:
        from spanwise.errors import AttributionWarning

        if issubclass(warning.category, AttributionWarning):
            print(f"spanwise: warning: {warning.message}", file=sys.stderr)  # noqa: T201


def text_of(what: str, text: str | None, file: Path | None) -> str | None:
    """Returns a text given as such or in a file.

    Raises:
        OptionError: Both were given.
        FileError: The file cannot be read.
    """
    if file is None:
        return text
    if text is not None:
        raise OptionError(f"--{what} and --{what}-file were both given; one is allowed.")
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"cannot read the {what} from {file}: {error}.") from error


def number(text: str) -> Any:
    """Returns an integer or a number where the text is one, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def options_of(pairs: list[str]) -> dict[str, Any]:
    """Returns name=value pairs as a mapping.

    Raises:
        OptionError: One of them is none.
    """
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise OptionError(f"--option takes name=value, not {pair!r}.")
        options[name] = number(value)
    return options
