"""The input as lines, read one at a time: JSONL, CSV, Parquet, a saved or loaded `datasets` set, or any mappings."""

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spanwise.errors import FileError, InputError, require

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".parquet")


@dataclass(frozen=True)
class Line:
    """A row of the input, not yet read.

    Attributes:
        raw: Its bytes, to know it again.
        place: Where it is, for messages: "line 17", say.
        read: Returns its columns.
    """

    raw: bytes
    place: str
    read: Callable[[], Mapping[str, Any]]


@dataclass(frozen=True)
class Lines:
    """An input.

    Attributes:
        name: What the run's index calls it.
        start: Returns its lines from the first on.
        again: It can be read several times; an iterator cannot.
    """

    name: str
    start: Callable[[], Iterator[Line]]
    again: bool = True


def open_lines(given: Any) -> Lines:
    """Returns the lines of an input.

    Args:
        given: A file (.jsonl, .ndjson, .csv or .parquet), a folder that `datasets.save_to_disk` wrote, a data set of
            `datasets`, or mappings from column names to values.

    Raises:
        FileError: There is no such file, or it is of another kind.
        InputError: Nothing that has rows.
        DependencyError: A package that reads it is not installed.
    """
    if isinstance(given, str | os.PathLike):
        return _of_path(Path(given))
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise InputError(
            f"the rows are a file ({', '.join(SUFFIXES)}), a data set, or mappings such as {{'prompt': ...}}, not "
            f"{type(given).__name__}."
        )
    name = type(given).__name__
    if isinstance(given, Iterator):
        return Lines(name, lambda: map(_of_values, given, _places()), again=False)
    return Lines(name, lambda: map(_of_values, given, _places()))


def digest(lines: Iterable[Line]) -> str:
    """Returns what tells these lines from others."""
    found = hashlib.sha256()
    for line in lines:
        found.update(len(line.raw).to_bytes(8, "big") + line.raw)
    return found.hexdigest()


def _of_path(path: Path) -> Lines:
    if path.is_dir():
        if not (path / "state.json").exists():
            raise FileError(f"{path} is a folder, but none that datasets.save_to_disk wrote; name a file in it.")
        require("datasets", "datasets", f"the data set {path}")
        import datasets

        found = datasets.load_from_disk(str(path))
        return Lines(path.name, lambda: map(_of_values, found, _places()))
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise FileError(f"rows are read from {', '.join(SUFFIXES)} files, not {path.name!r}.")
    if not path.is_file():
        raise FileError(f"there is no file {path}.")
    try:
        path.open("rb").close()
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}.") from error
    if kind == ".parquet":
        require("pyarrow", "batch", f"the file {path}")
    readers = {".csv": _csv, ".parquet": _parquet}
    return Lines(path.name, lambda: readers.get(kind, _jsonl)(path))


def _places() -> Iterator[str]:
    number = 0
    while True:
        yield f"row {number}"
        number += 1


def _of_values(values: Any, place: str) -> Line:
    if not isinstance(values, Mapping):
        raise InputError(f"{place} is {type(values).__name__}, where a mapping from column names to values is needed.")
    raw = json.dumps(dict(values), sort_keys=True, default=repr).encode()
    return Line(raw, place, lambda: values)


def _jsonl(path: Path) -> Iterator[Line]:
    """Yields the lines that are not blank."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if raw.strip():
                yield _json_line(raw.strip(), f"line {number}")


def _json_line(raw: bytes, place: str) -> Line:
    def read() -> Mapping[str, Any]:
        try:
            values = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place} is not JSON: {error}.") from error
        if not isinstance(values, dict):
            raise InputError(f"{place} is no JSON object with columns, but {type(values).__name__}.")
        return values

    return Line(raw, place, read)


def _csv(path: Path) -> Iterator[Line]:
    previous = csv.field_size_limit(2**31 - 1)  # prompts are longer than the 128 KiB of csv
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            for record in reader:
                if record:
                    yield _csv_line(header, record, f"line {reader.line_num}")
    except csv.Error as error:
        raise FileError(f"{path} cannot be read as CSV after line {reader.line_num}: {error}.") from error
    finally:
        csv.field_size_limit(previous)


def _csv_line(header: list[str], record: list[str], place: str) -> Line:
    def read() -> Mapping[str, Any]:
        if len(record) != len(header):
            raise InputError(f"{place} has {len(record)} fields, but the header names {len(header)} columns.")
        values = dict(zip(header, record, strict=True))
        if any("\udc80" <= character <= "\udcff" for value in values.values() for character in value):
            raise InputError(f"{place} is not UTF-8.")
        return values

    return Line(json.dumps([header, record]).encode(), place, read)


def _parquet(path: Path) -> Iterator[Line]:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path) as file:
            places = _places()
            for batch in file.iter_batches(batch_size=1024):
                yield from map(_of_values, batch.to_pylist(), places)
    except (ArrowException, OSError) as error:
        raise FileError(f"{path} cannot be read as Parquet: {error}.") from error
