"""Results as files: tensors in safetensors, everything else as JSON in its header. No pickle."""

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from spanwise.attribution import Attribution, Provenance, Span, Token
from spanwise.errors import AttributionError, FileError

FORMAT = "spanwise.attribution"
FORMAT_VERSION = 2
"""2: `standard_error` and `Provenance.used`; a file of version 1 has neither, and is read."""

TENSORS = ("scores", "span_scores", "target_scores")
MAYBE = ("standard_error",)
"""Tensors that a result may lack."""


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path beside `path`, and renames it to `path` when the block ends without an error.

    Raises:
        FileError: The folder does not exist or cannot be written.
    """
    final = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{final.name}.", suffix=final.suffix, dir=final.parent)
    except OSError as error:
        raise FileError(f"cannot write {final}: {error.strerror} (folder {final.parent}).") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp makes the file private; a result is an ordinary file
        temporary.replace(final)
    except OSError as error:
        raise FileError(f"cannot write {final}: {error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_folder(path: str | os.PathLike[str]) -> None:
    """Checks that a file could be made at `path`.

    Raises:
        FileError: The folder does not exist or cannot be written.
    """
    if not isinstance(path, str | os.PathLike):
        raise FileError(f"a path is needed, not {path!r}.")
    folder = Path(path).parent
    if not folder.is_dir():
        raise FileError(f"cannot write {os.fspath(path)}: there is no folder {folder}.")
    if not os.access(folder, os.W_OK):
        raise FileError(f"cannot write {os.fspath(path)}: the folder {folder} is read-only.")


def check_result_path(path: str | os.PathLike[str]) -> None:
    """Checks before any work that a result could be saved at `path`.

    Raises:
        FileError: The suffix is not ".safetensors", or the folder does not exist or cannot be written.
    """
    if isinstance(path, str | os.PathLike) and Path(path).suffix != ".safetensors":
        raise FileError(f"results are saved as '.safetensors' files, not {Path(path).name!r}.")
    check_folder(path)


def save(attribution: Attribution, path: str | os.PathLike[str]) -> None:
    """Writes `attribution` to `path`.

    Raises:
        FileError: The folder does not exist or cannot be written, or the suffix is not ".safetensors".
    """
    check_result_path(path)
    header = described(attribution)
    tensors = {name: tensor.contiguous().clone() for name, tensor in tensors_of(attribution).items()}
    with writing(path) as temporary:
        save_file(tensors, temporary, metadata={"spanwise": json.dumps(header, ensure_ascii=True)})


def tensors_of(attribution: Attribution) -> dict[str, Tensor]:
    """Returns the tensors that the result has, by name."""
    found = {name: getattr(attribution, name) for name in (*TENSORS, *MAYBE)}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def described(attribution: Attribution) -> dict[str, Any]:
    """Returns everything but the tensors as values that JSON has."""
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "source": [dataclasses.asdict(token) for token in attribution.source],
        "target": [dataclasses.asdict(token) for token in attribution.target],
        "spans": [dataclasses.asdict(span) for span in attribution.spans],
        "rows": attribution.rows,
        "prompt": attribution.prompt,
        "target_text": attribution.target_text,
        "completeness_gap": attribution.completeness_gap,
        "provenance": attribution.provenance.as_dict(),
    }


def load(path: str | os.PathLike[str]) -> Attribution:
    """Returns the result that `save` wrote to `path`.

    Raises:
        FileError: The file is missing, truncated, of another program, or of a newer format.
    """
    if not isinstance(path, str | os.PathLike) or not Path(path).is_file():
        raise FileError(f"there is no file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise FileError(f"{os.fspath(path)} is truncated or not a safetensors file ({error}).") from error
    try:
        header = json.loads(metadata["spanwise"])
    except (KeyError, ValueError) as error:
        raise FileError(f"{os.fspath(path)} is a safetensors file, but not a result of spanwise.") from error
    check_version(header, os.fspath(path))
    return built(header, tensors, os.fspath(path))


def check_version(header: Mapping[str, Any], name: str) -> None:
    """Checks that this spanwise reads a format.

    Raises:
        FileError: It is newer, or no result's.
    """
    if header.get("format") != FORMAT:
        raise FileError(f"{name} is not a result of spanwise: its format is {header.get('format')!r}, not {FORMAT!r}.")
    if header.get("version", 0) > FORMAT_VERSION:
        raise FileError(f"{name} has format version {header['version']}; this spanwise reads up to {FORMAT_VERSION}.")


def built(header: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> Attribution:
    """Returns the result that a header and its tensors describe.

    Raises:
        FileError: Something is missing or does not fit; `name` says where it was read.
    """
    try:
        provenance = dict(header["provenance"])
        for field in ("prompt_ids", "target_ids", "notes"):
            provenance[field] = tuple(provenance[field])
        return Attribution(
            **{field: tensors[field] for field in TENSORS},
            **{field: tensors[field] for field in MAYBE if field in tensors},
            source=tuple(Token.from_dict(values) for values in header["source"]),
            target=tuple(Token.from_dict(values) for values in header["target"]),
            spans=tuple(Span(**span) for span in header["spans"]),
            rows=header["rows"],
            prompt=header["prompt"],
            target_text=header["target_text"],
            completeness_gap=header["completeness_gap"],
            provenance=Provenance(**provenance),
        )
    except (KeyError, TypeError, AttributionError) as error:
        raise FileError(f"{name} is damaged: {error}.") from error
