"""`Runner`: one process's share of a run."""

import gc
import itertools
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from spanwise.asking import Asked
from spanwise.batch import parts
from spanwise.batch.bar import Bar, bar_of
from spanwise.batch.columns import Names, names_of, survey
from spanwise.batch.folder import Folder, check_same
from spanwise.batch.lines import Line, Lines, digest
from spanwise.batch.processes import Processes
from spanwise.batch.run import Run
from spanwise.batch.working import Worker
from spanwise.errors import AttributionWarning, FileError, InputError, OptionError

POLL = 0.2
"""Seconds between looks at parts that other processes work on."""
INDEX_EVERY = 10.0
"""Seconds between two writings of the index."""


@dataclass(frozen=True)
class Plan:
    """What a run is to do.

    Attributes:
        asked: What all rows share.
        span: For inputs without a column of spans.
        columns: By what they are, the columns the user named.
        part_rows: Rows of the input in a part.
        new_run: Whether a run that was asked otherwise is moved away.
        told: The command, as the index has it.
    """

    asked: Asked
    span: Any
    columns: Mapping[str, str | None]
    part_rows: int
    new_run: bool
    told: Mapping[str, Any]


class Runner:
    """Does the parts of a run that are not there and that nobody else does.

    Args:
        plan: What to do.
        lines: The input.
        folder: Of the run.
        which: This process among those of the run.
        progress: As `attribute` takes it.
    """

    def __init__(self, plan: Plan, lines: Lines, folder: Folder, which: Processes, progress: bool | None) -> None:
        self.plan, self.folder, self.which = plan, folder, which
        self.progress = progress if which.rank == 0 else False
        self.lines, self._pending = lines, lines.start() if not lines.again else None

    def run(self) -> Run:
        """Returns the run when all its parts are there; in a process that is not the first, when none is left to do."""
        self._index: dict[str, Any] = {}
        with ExitStack() as stack:
            index = self.which.from_first(lambda: self._begin(stack))
            names = Names(**index["columns"])
            stack.enter_context(self.folder.claiming())
            with bar_of(index["rows"], str(index["asked"]["method"]), self.progress) as bar:
                worker = Worker(self.plan.asked, names, self.plan.span, bar)
                try:
                    with older_objects_left_alone():
                        self._work(worker, bar, index)
                except BaseException:
                    if self.which.rank == 0:  # what is there can be read, and the failures so far
                        with suppress(OSError):
                            self.folder.write_failures()
                            self.folder.write_index(index, done=False)
                    raise
            if self.which.rank == 0:
                self._end(index)
            return Run(self.folder)

    def _begin(self, stack: ExitStack) -> dict[str, Any]:
        """Returns the index of the run, made or found. Done by the first process alone, which then holds the lock."""
        self.folder.make()
        stack.enter_context(self.folder.locked())
        index = self.folder.read_index()
        if index is not None and self.plan.new_run and index["asked"] != self.plan.told:
            self.folder.move_away()
            index = None
        if index is not None:
            check_same(index["asked"], self.plan.told, self.folder.path)
        torn = self.folder.clean()
        if torn:
            warnings.warn(f"torn, and done again: {', '.join(torn)}", AttributionWarning, stacklevel=6)
        if index is None:
            index = self._new_index()
            self.folder.write_index(index, done=False)
        return index

    def _new_index(self) -> dict[str, Any]:
        if self._pending is not None:  # an iterator: its first rows say what its columns hold
            first = list(itertools.islice(self._pending, self.plan.part_rows))
            self._pending = itertools.chain(first, self._pending)
            found, count = survey(first), None
        else:
            found = survey(self.lines.start())
            count = found.count
        if not found.count:
            raise InputError(f"the input {self.lines.name!r} has no rows.")
        if not found.readable:
            next(self._start()).read()  # which says why
        names = names_of(found, self.plan.columns, parts.COLUMNS)
        if names.span is not None and self.plan.span is not None:
            raise OptionError(
                f"span={self.plan.span!r} was given for all rows, but the input has a column {names.span!r} of spans."
            )
        return {
            "format": "spanwise.run",
            "version": 1,
            "asked": dict(self.plan.told),
            "columns": names.as_dict(),
            "rows": count,
        }

    def _start(self) -> Iterator[Line]:
        return self._pending if self._pending is not None else self.lines.start()

    def _work(self, worker: Worker, bar: Bar, index: dict[str, Any]) -> None:
        """Goes through the input once, then sees to the parts that others had."""
        lines, written = self._start(), time.monotonic()
        number = count = 0
        left: list[int] = []
        while window := list(itertools.islice(lines, self.plan.part_rows)):
            count += len(window)
            if not self._done(worker, bar, number, window):
                left.append(number)
            if self.which.rank == 0 and time.monotonic() - written > INDEX_EVERY:
                self.folder.write_index(index, done=False)
                written = time.monotonic()
            number += 1
        if self.which.rank:
            return
        index["rows"] = count
        while left := [each for each in left if not self._taken_up(worker, bar, each)]:
            time.sleep(POLL)
        self._check_end(number)

    def _check_end(self, number: int) -> None:
        """Checks that there are no parts but the first `number`, which the input has."""
        surplus = [each for each in self.folder.numbers() if each >= number]
        if surplus:
            raise _changed(f"it ends before row {surplus[0] * self.plan.part_rows}", self.folder.part(surplus[0]).name)

    def _done(self, worker: Worker, bar: Bar, number: int, window: list[Line]) -> bool:
        """Does a part, if nobody has done it or is doing it. Returns False where somebody is doing it."""
        path, first = self.folder.part(number), number * self.plan.part_rows
        with self.folder.claimed(number) as mine:
            if path.exists():
                self._compare(number, window)
                bar.skip(len(window), len(parts.read_info(path).failures))
            elif mine:
                made = worker.make(number, first, window)
                self.folder.write_part(made.lines, worker.names.extra, made.info)
            return path.exists()

    def _taken_up(self, worker: Worker, bar: Bar, number: int) -> bool:
        """Does a part that another process had and lost. Returns False while it is at work on it."""
        with self.folder.claimed(number) as mine:
            lost = mine and not self.folder.part(number).exists()
        if not lost and not self.folder.part(number).exists():
            return False
        if lost and not self.lines.again:
            raise FileError(
                f"a process of the run was lost, and {self.folder.part(number).name} with it: run it again."
            )
        first = number * self.plan.part_rows
        window = list(itertools.islice(self.lines.start(), first, first + self.plan.part_rows)) if lost else None
        if window is None:
            info = parts.read_info(self.folder.part(number))
            bar.skip(info.last - info.first, len(info.failures))
            return True
        return self._done(worker, bar, number, window)

    def _compare(self, number: int, window: list[Line]) -> None:
        if self.which.rank:
            return
        info = parts.read_info(self.folder.part(number))
        if info.digest != digest(window):
            raise _changed(
                f"some of the rows {info.first} to {info.last - 1} are others", self.folder.part(number).name
            )

    def _end(self, index: dict[str, Any]) -> None:
        self.folder.write_failures()
        self.folder.write_index(index, done=True)
        wide = sum(info.gaps for info in self.folder.infos())
        if wide:
            warnings.warn(
                f"{wide} results have a completeness gap above 5 %: see `completeness_gap` and the notes of each.",
                AttributionWarning,
                stacklevel=4,
            )


@contextmanager
def older_objects_left_alone() -> Iterator[None]:
    """Keeps the garbage collector from looking at what is there already.

    The many small objects of a part make Python go through all objects again and again, which are mostly those of the
    packages: half a million of them, a tenth of a second each time.
    """
    if gc.get_freeze_count():  # somebody else has done so, and decides for how long
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _changed(how: str, part: str) -> InputError:
    """Returns the error for an input that is not the one `part` was made from."""
    return InputError(
        f"the input has changed since {part} was written: {how}. Give the same input to go on, or name another folder."
    )
