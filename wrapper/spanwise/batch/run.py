"""`Run`: the folder of a run, read one part at a time."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, overload

from spanwise.attribution import Attribution
from spanwise.batch import parts
from spanwise.batch.folder import Folder
from spanwise.batch.parts import Failure, PartInfo
from spanwise.errors import FileError, InputError, require

if TYPE_CHECKING:
    import pandas
    import pyarrow


@dataclass(frozen=True)
class Entry:
    """A result, and the row of the input it answers.

    Attributes:
        row: Index in the input.
        result: The result.
        extra: The input's other columns.
    """

    row: int
    result: Attribution
    extra: Mapping[str, Any]


class Run(Sequence[Attribution]):
    """The results of a run, in the order of the input, without its failures. One part is in memory at a time.

    Args:
        folder: Where it is.

    Attributes:
        asked: What was asked, as the index has it.
        done: Whether every row has a result or a failure.
        row_count: Rows of the input; None for an iterator that has not ended.
    """

    def __init__(self, folder: Folder) -> None:
        index = folder.read_index()
        if index is None:
            raise FileError(f"{folder.path} holds no run: there is no index.json.")
        self.path = folder.path
        self.asked: Mapping[str, Any] = index["asked"]
        self.done: bool = index["state"] == "done"
        self.row_count: int | None = index["rows"]
        self.extra: Mapping[str, str] = index["columns"]["extra"]
        self.infos: tuple[PartInfo, ...] = tuple(folder.infos())
        self._folder = folder
        self._latest: tuple[int, list[Entry]] | None = None

    def __repr__(self) -> str:
        state = "done" if self.done else "not finished"
        return f"Run({str(self.path)!r}, {len(self)} results, {len(self.failures)} failures, {state})"

    def __len__(self) -> int:
        return sum(info.results for info in self.infos)

    @overload
    def __getitem__(self, index: int) -> Attribution: ...
    @overload
    def __getitem__(self, index: slice) -> list[Attribution]: ...
    def __getitem__(self, index: int | slice) -> Attribution | list[Attribution]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        at = index + len(self) if index < 0 else index
        for info in self.infos if at >= 0 else ():
            if at < info.results:
                return self._entries(info)[at].result
            at -= info.results
        raise IndexError(f"the run has {len(self)} results; there is no result {index}.")

    def __iter__(self) -> Iterator[Attribution]:
        return (entry.result for entry in self.entries())

    @property
    def failures(self) -> list[Failure]:
        """The rows without a result, and why."""
        return [failure for info in self.infos for failure in info.failures]

    def entries(self) -> Iterator[Entry]:
        """Yields every result with its row of the input and the input's other columns."""
        for info in self.infos:
            yield from self._entries(info)

    def of_row(self, row: int) -> Entry:
        """Returns the result of a row of the input.

        Raises:
            InputError: The row failed, was not done yet, or is none of the input's.
        """
        for info in self.infos:
            if info.first <= row < info.last:
                found = [entry for entry in self._entries(info) if entry.row == row]
                if found:
                    return found[0]
                reason = next(each.reason for each in info.failures if each.row == row)
                raise InputError(f"row {row} has no result: {reason}")
        last = max((info.last for info in self.infos), default=0)
        raise InputError(f"row {row} is in no part of the run: its {len(self.infos)} parts end before row {last}.")

    def tables(self, columns: Sequence[str] | None = None) -> "Iterator[pyarrow.Table]":
        """Yields the parts as tables.

        Args:
            columns: The columns to read; None: all.
        """
        for info in self.infos:
            yield parts.read(self._folder.part(info.number), columns)

    def to_dataframe(self) -> "pandas.DataFrame":
        """Returns one line a span (or target token) with all columns but `details`: everything in memory at once."""
        require("pandas", "parquet", "to_dataframe()")
        import pyarrow

        columns = [*(name for name in parts.COLUMNS if name != "details"), *self.extra]
        empty = parts.schema(self.extra).empty_table().select(columns)
        return pyarrow.concat_tables([empty, *self.tables(columns)]).to_pandas()

    def _entries(self, info: PartInfo) -> list[Entry]:
        if self._latest is None or self._latest[0] != info.number:
            path = self._folder.part(info.number)
            lines = parts.read(path).to_pylist()
            found = []
            for row, group in groupby(lines, key=lambda line: line["row"]):
                own = list(group)
                extra = {name: own[0][name] for name in self.extra}
                found.append(Entry(row, parts.result_of(own, f"{path}, row {row}"), extra))
            self._latest = info.number, found
        return self._latest[1]


def open_run(folder: str | os.PathLike[str]) -> Run:
    """Returns the results of a run that `attribute_many` or `spanwise batch` wrote, or is writing.

    Args:
        folder: The run's.

    Raises:
        FileError: There is no run, or it is damaged.
        DependencyError: pyarrow is not installed.

    Example:
        >>> import spanwise, tempfile
        >>> lm = spanwise.load_model("tiny")
        >>> rows = [{"prompt": "The keys to the cabinet", "target": " are", "split": "a"}]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = spanwise.attribute_many(lm, rows, folder, method="saliency")
        ...     spanwise.open_run(folder)[0].target_text
        ' are'
    """
    require("pyarrow", "batch", "a run")
    found = Folder(folder)
    if not found.path.is_dir():
        raise FileError(f"there is no folder {found.path}.")
    return Run(found)
