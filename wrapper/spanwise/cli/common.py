"""What several commands share: reading options, and silence while libraries work."""

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from spanwise.errors import FileError, OptionError
from spanwise.scoring.objectives import OBJECTIVES

ModelName = Annotated[str, typer.Option("--model", help="A model folder, a name on the hub, or 'tiny' (bundled).")]
Quantization = Annotated[str | None, typer.Option(help="nf4, fp4 or int8.")]
ComputeDtype = Annotated[str | None, typer.Option(help="In which 4-bit layers multiply.")]
DoubleQuant = Annotated[bool, typer.Option(help="Quantize the 4-bit scales too.")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16, ...; default: the checkpoint's.")]
DeviceMap = Annotated[str | None, typer.Option(help="auto, balanced, ..., cpu, or a device.")]
Prompt = Annotated[str | None, typer.Option(help="What the model was given.")]
PromptFile = Annotated[Path | None, typer.Option(help="A file that holds the prompt.")]
MessagesFile = Annotated[
    Path | None, typer.Option("--messages", help="A JSON file with a list of messages (role, content), not a prompt.")
]
TargetFile = Annotated[Path | None, typer.Option(help="A file that holds the target.")]
Spans = Annotated[list[str] | None, typer.Option("--span", help="Part of the target to explain; may be repeated.")]
Occurrence = Annotated[str | None, typer.Option(help="Which one of a repeated span: 0, 1, ... or 'all'.")]
Objective = Annotated[
    str, typer.Option(help=f"{', '.join(f'{each.name} ({each.unit})' for each in OBJECTIVES.values())}.")
]
Features = Annotated[
    str, typer.Option(help="What is scored as one: token, word, sentence, paragraph or message (of a chat).")
]
Sources = Annotated[
    list[str] | None, typer.Option("--source", help="The part of the prompt to attribute to; may be repeated.")
]
SourceRole = Annotated[str | None, typer.Option(help="Attribute to the messages of this role only: user, system, ...")]
Prefix = Annotated[str, typer.Option(help="The generated prefix: fixed or attributed.")]
Frozen = Annotated[str, typer.Option(help="special: special and template tokens get no score; none: they do.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to standard output.")]
Debug = Annotated[bool, typer.Option(help="Show the traceback of an error.")]


@contextmanager
def quiet(json_only: bool) -> Iterator[None]:
    """Keeps loading bars and log lines of the libraries away, and prints our warnings as one line."""
    import transformers

    bitsandbytes, said = logging.getLogger("bitsandbytes"), transformers.utils.logging
    before = bitsandbytes.level, said.get_verbosity(), said.is_progress_bar_enabled()
    said.disable_progress_bar()
    said.set_verbosity_error()
    bitsandbytes.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            yield
    finally:
        bitsandbytes.setLevel(before[0])
        said.set_verbosity(before[1])
        if before[2]:
            said.enable_progress_bar()
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


def messages_of(file: Path | None) -> list[dict[str, Any]] | None:
    """Returns the messages in a JSON file.

    Raises:
        FileError: The file cannot be read, or does not hold a list.
    """
    if file is None:
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read the messages from {file}: {error}.") from error
    if not isinstance(found, list):
        raise FileError(f'{file} must hold a JSON list of messages such as {{"role": "user", "content": "..."}}.')
    return found


def source_of(texts: list[str] | None, role: str | None) -> Any:
    """Returns what `source=` takes.

    Raises:
        OptionError: Both were given.
    """
    from spanwise.text.spans import role as with_role

    if texts and role is not None:
        raise OptionError("--source and --source-role were both given; one is allowed.")
    return with_role(role) if role is not None else texts or None


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
