"""`Folder`: where a run lives. Locks, parts, index, failures; what is written is there whole or not at all.

.run.lock            held by the run's first process (flock): a second run is refused
.parts.lock          byte n is held by the process that works on part n (lockf); both locks die with their process
part-00000.parquet   results of the input's first rows, then part-00001.parquet, ...
failures.parquet     rows without a result, with the reason
index.json           what was asked, and which part holds which rows
_earlier-1/          what was here before --new-run
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spanwise.batch import parts
from spanwise.batch.parts import Failure, PartInfo
from spanwise.errors import FileError, OptionError
from spanwise.storage import writing

FORMAT = "spanwise.run"
FORMAT_VERSION = 1
_PART = re.compile(r"part-(\d{5,})\.parquet")
_TEMPORARY = re.compile(r"\.(part-\d{5,}\.parquet|index\.json|failures\.parquet)\..+")


class Folder:
    """The folder of one run.

    Args:
        path: Where it is, or will be.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._infos: dict[int, PartInfo] = {}
        self._claims: Any = None

    @property
    def index_path(self) -> Path:
        """The index."""
        return self.path / "index.json"

    def part(self, number: int) -> Path:
        """Returns the file of a part."""
        return self.path / f"part-{number:05d}.parquet"

    def numbers(self) -> list[int]:
        """Returns the parts that are there."""
        found = (_PART.fullmatch(each.name) for each in self.path.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def make(self) -> None:
        """Makes the folder.

        Raises:
            FileError: It cannot be made or written, or holds what is not of a run.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            there = sorted(each.name for each in self.path.iterdir() if not each.name.startswith("."))
        except OSError as error:
            what = "it is a file" if self.path.is_file() else error.strerror
            raise FileError(f"cannot write the output folder {self.path}: {what}.") from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise FileError(f"cannot write the output folder {self.path}: it is read-only.")
        if there and "index.json" not in there:
            raise FileError(f"the output folder {self.path} holds {there[0]!r} but no run: name a new or empty folder.")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run's lock.

        Raises:
            FileError: Another run holds it, or it cannot be made.
        """
        with self._opened(".run.lock") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if not isinstance(error, BlockingIOError):
                    raise FileError(f"cannot lock {self.path}: {error.strerror}.") from error
                raise FileError(
                    f"another run is writing to {self.path} (process {file.read().strip() or 'unknown'}): wait for it, "
                    "or name another folder."
                ) from error
            file.seek(0)
            file.truncate()
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """Holds the file in which parts are claimed open: closing it gives all claims back."""
        with self._opened(".parts.lock") as self._claims:
            yield

    @contextmanager
    def claimed(self, number: int) -> Iterator[bool]:
        """Gives whether this process has the part to itself."""
        try:
            fcntl.lockf(self._claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(self._claims, fcntl.LOCK_UN, 1, number)

    @contextmanager
    def _opened(self, name: str) -> Iterator[Any]:
        try:
            descriptor = os.open(self.path / name, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise FileError(f"cannot write {self.path / name}: {error.strerror}.") from error
        with os.fdopen(descriptor, "r+", encoding="ascii") as file:
            yield file

    def read_index(self) -> dict[str, Any] | None:
        """Returns the index; None where there is no run.

        Raises:
            FileError: It is not one of ours, or newer.
        """
        try:
            found = json.loads(self.index_path.read_text(encoding="utf-8"))
            if found["format"] != FORMAT:
                raise FileError(f"{self.index_path} is no index of a run of spanwise.")
            if found["version"] > FORMAT_VERSION:
                raise FileError(
                    f"{self.index_path} has version {found['version']}; this spanwise reads up to {FORMAT_VERSION}."
                )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, FileError):
                raise
            raise FileError(f"{self.index_path} is no index of a run of spanwise: {error}.") from error
        return dict(found)

    def write_index(self, index: Mapping[str, Any], *, done: bool) -> None:
        """Writes the index with the parts that are there."""
        rows = [
            {
                "file": self.part(info.number).name,
                "first": info.first,
                "last": info.last,
                "results": info.results,
                "failures": len(info.failures),
                "digest": info.digest,
            }
            for info in self.infos()
        ]
        whole = {**index, "state": "done" if done else "running", "parts": rows}
        with writing(self.index_path) as temporary:
            temporary.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            _sync(temporary)
        _sync(self.path)

    def write_part(self, lines: Sequence[Mapping[str, Any]], extra: Mapping[str, str], info: PartInfo) -> None:
        """Writes a part: to a temporary name, synced, renamed, and the folder synced.

        Raises:
            FileError: The disk is full, or cannot be written.
        """
        with writing(self.part(info.number)) as temporary:
            parts.write(temporary, lines, extra, info)
            _sync(temporary)
        _sync(self.path)

    def write_failures(self) -> list[Failure]:
        """Writes the rows without a result to `failures.parquet`, and returns them."""
        import pyarrow
        from pyarrow import parquet

        found = [failure for info in self.infos() for failure in info.failures]
        columns = pyarrow.schema(
            [("row", pyarrow.int64())] + [(name, pyarrow.string()) for name in ("place", "error", "reason", "content")]
        )
        with writing(self.path / "failures.parquet") as temporary:
            parquet.write_table(pyarrow.Table.from_pylist([vars(each) for each in found], columns), temporary)
            _sync(temporary)
        _sync(self.path)
        return found

    def infos(self) -> list[PartInfo]:
        """Returns what the parts that are there say of themselves, in their order."""
        numbers = self.numbers()
        for number in numbers:
            if number not in self._infos:
                self._infos[number] = parts.read_info(self.part(number))
        return [self._infos[number] for number in numbers]

    def clean(self) -> list[str]:
        """Removes what a killed run left half written, and parts that are torn; returns the latter's names."""
        torn = []
        for each in self.path.iterdir():
            if _TEMPORARY.fullmatch(each.name):
                each.unlink(missing_ok=True)
        for number in self.numbers():
            try:
                info = parts.read_info(self.part(number))
                if info.number != number:
                    raise FileError(f"{self.part(number)} says that it is part {info.number}.")
                parts.read(self.part(number))
            except FileError:
                torn.append(self.part(number).name)
                self.part(number).unlink()
        return torn

    def move_away(self) -> None:
        """Moves the run that is here to a folder of its own."""
        number = 1
        while (self.path / f"_earlier-{number}").exists():
            number += 1
        place = self.path / f"_earlier-{number}"
        place.mkdir()
        names = [self.part(each).name for each in self.numbers()] + ["failures.parquet", "index.json"]
        for name in names:  # the index last: while it is here, the run is here
            if (self.path / name).exists():
                (self.path / name).rename(place / name)
        self._infos.clear()


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Checks that a run is asked for with the same command.

    Raises:
        OptionError: It is not; the message shows what differs.
    """
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if names:
        shown = "; ".join(_differences(name, before.get(name), now.get(name)) for name in names)
        raise OptionError(
            f"the run in {folder} was asked otherwise: {shown}. Ask as before to go on, name another folder, or "
            "start anew with new_run=True (--new-run), which moves what is there to a folder _earlier-N."
        )


def _differences(name: str, before: Any, now: Any) -> str:
    """Says what a value was and is; of options, those that differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [each for each in {**before, **now} if before.get(each) != now.get(each)]
        return "; ".join(_differences(f"{name}[{each!r}]", before.get(each), now.get(each)) for each in names)
    return f"{name} was {before!r} and is {now!r}"


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}.") from error
