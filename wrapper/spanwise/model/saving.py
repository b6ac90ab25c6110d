"""Writes a model and its tokenizer to a folder, whole or not at all."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from spanwise.errors import FileError, ModelError
from spanwise.model.bars import bars_for_long_work
from spanwise.model.notices import notices_dropped


def save(model: Any, tokenizer: Any, folder: str | os.PathLike[str]) -> None:
    """Writes both to `folder`, in transformers' format.

    Raises:
        FileError: The folder exists and is not empty, or cannot be written.
        ModelError: transformers cannot save this model.
    """
    with _new_folder(folder) as temporary, notices_dropped(), bars_for_long_work():
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Attempting to save a model with offloaded modules")
                model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
        except (ValueError, NotImplementedError) as error:
            raise ModelError(f"transformers cannot save this {type(model).__name__}: {str(error).strip()}") from error


@contextmanager
def _new_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary folder beside `folder`, and renames it to `folder` when the block ends without an error."""
    if not isinstance(folder, str | os.PathLike):
        raise FileError(f"a folder is needed, not {folder!r}.")
    final = Path(folder).expanduser()
    temporary: Path | None = None
    try:
        if final.exists() and (not final.is_dir() or any(final.iterdir())):
            raise FileError(f"cannot save to {final}: it exists and is not an empty folder.")
        temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o777 & ~mask)  # mkdtemp makes the folder private
        temporary.replace(final)
    except FileError:
        raise
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"cannot save to {final}: {reason} (folder {final.parent}).") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
