"""A run by a column of its own input: one line a value, with the results and the failures that have it."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from spanwise.batch.parts import Failure
from spanwise.batch.run import Run
from spanwise.batch.summarized import ByColumn, ByValue, Value, estimate
from spanwise.errors import OptionError

LINES = 30
"""Values that have a line of their own, the most frequent ones."""
MOST_VALUES = 10_000
"""Values of a column that are counted, so that memory does not grow with the run."""


@dataclass
class Column:
    """The values of a column so far.

    Attributes:
        name: Of the column.
        kind: Of its values, as the run's index has it.
        codes: For each result the number of its value.
        numbers: The number of each value.
    """

    name: str
    kind: str
    codes: list[int] = field(default_factory=list)
    numbers: dict[Value, int] = field(default_factory=dict)

    def add(self, value: Any) -> None:
        """Takes the value of one more result.

        Raises:
            OptionError: The column has too many values to group by.
        """
        self.codes.append(self.numbers.setdefault(_key(value), len(self.numbers)))
        if len(self.numbers) > MOST_VALUES:
            raise OptionError(
                f"the column {self.name!r} has more than {MOST_VALUES:,} values in the first {len(self.codes):,} "
                "results: it does not group the rows. Summarize by a column whose values come again."
            )

    def table(
        self, strongest: Sequence[float], scores: Sequence[float], failures: Iterable[Failure], seed: int
    ) -> ByColumn:
        """Returns the table: the most frequent values, in order where they are numbers.

        Args:
            strongest: For each result its share of the strongest.
            scores: For each result its mean absolute score.
            failures: The rows without a result.
            seed: Of the intervals.
        """
        members: dict[Value, list[int]] = {value: [] for value in self.numbers}
        values = list(self.numbers)
        for place, code in enumerate(self.codes):
            members[values[code]].append(place)
        failed, unknown = _failed(failures, self.name, self.kind)
        for value in failed:
            members.setdefault(value, [])
        ordered = sorted(members, key=lambda value: (-len(members[value]), -failed[value], str(value)))
        shown, others = ordered[:LINES], ordered[LINES:]
        if all(isinstance(value, int | float) for value in shown):
            shown.sort(key=lambda value: value if isinstance(value, int | float) else 0)
        return ByColumn(
            lines=tuple(
                ByValue(
                    value,
                    len(members[value]),
                    failed[value],
                    estimate([strongest[i] for i in members[value]], seed),
                    estimate([scores[i] for i in members[value]], seed),
                )
                for value in shown
            ),
            other_values=len(others),
            other_results=sum(len(members[value]) for value in others),
            other_failures=sum(failed[value] for value in others),
            unknown_failures=unknown,
        )


def check_columns(run: Run, by: Sequence[str]) -> None:
    """Checks that the run has these columns.

    Raises:
        OptionError: It has not; the message names those there are.
    """
    for name in by:
        if name not in run.extra:
            close = get_close_matches(name, run.extra, n=1)
            told = f" Did you mean {close[0]!r}?" if close else ""
            raise OptionError(
                f"the run in {run.path} has no column {name!r} to summarize by.{told} The columns that its input has "
                f"beside prompt, target and span: {', '.join(map(repr, run.extra)) or 'none'}."
            )


def grouping(run: Run) -> tuple[str, ...]:
    """Returns the columns of a run that group its rows: those with a value that comes again, and not too many."""
    if not run.extra:
        return ()
    seen: dict[str, set[Value]] = {name: set() for name in run.extra}
    for table in run.tables(list(seen)):
        for name in list(seen):
            seen[name].update(_key(value) for value in table.column(name).unique().to_pylist())
            if len(seen[name]) > MOST_VALUES:
                del seen[name]
        if not seen:
            break
    return tuple(name for name, values in seen.items() if len(values) < max(len(run), 2))


def _key(value: Any) -> Value:
    return None if value != value else value


def _failed(failures: Iterable[Failure], name: str, kind: str) -> tuple[Counter[Value], int]:
    """Returns how many failures have each value of a column, and of how many the value is not known."""
    found: Counter[Value] = Counter()
    unknown = 0
    for failure in failures:
        values = dict(_values(failure.content))
        if name not in values:
            unknown += 1
            continue
        value = values[name]
        as_text = isinstance(value, dict | list) or (kind == "json" and value is not None)
        found[json.dumps(value, ensure_ascii=False) if as_text else _key(value)] += 1
    return found, unknown


def _values(content: str) -> Iterator[tuple[str, Any]]:
    """Yields the columns that can be read of the beginning of a row: an object, or [header, record] of a CSV file."""
    if content.startswith("{"):
        items = _items(content)
        yield from zip(items, items, strict=False)  # names and values in turn
    elif content.startswith("[["):
        try:
            header, end = json.JSONDecoder().raw_decode(content, 1)
        except ValueError:
            return
        yield from zip(header, _items(content[end:].lstrip(", ")), strict=False)


def _items(text: str) -> Iterator[Any]:
    """Yields what a JSON object (names and values in turn) or array holds, up to its end or to where it is cut."""
    decoder, at = json.JSONDecoder(), 1
    while True:
        at += len(text[at:]) - len(text[at:].lstrip(" \t,:"))
        try:
            value, end = decoder.raw_decode(text, at)
        except ValueError:
            return
        if text[end : end + 1] in ("", "…"):  # of a number that is cut perhaps not all digits
            return
        yield value
        at = end
