"""Which column is the prompt, the target and the span, and what the others hold."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

from spanwise.batch.lines import Line
from spanwise.errors import InputError, OptionError

KINDS = ("bool", "int", "float", "text", "json")
"""Of a column that is carried through; "json" holds what is of several kinds, or nested, as JSON."""


@dataclass(frozen=True)
class Names:
    """What the input calls its columns.

    Attributes:
        prompt: The prompt; None where there are messages.
        messages: Messages in its place.
        target: What the model wrote; None: it is generated.
        span: The part of the target to explain.
        extra: The kind of each other column, which is carried through.
    """

    prompt: str | None
    messages: str | None
    target: str | None
    span: str | None
    extra: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON has them."""
        return asdict(self)


@dataclass(frozen=True)
class Row:
    """A row of the input, as `attribute` takes it.

    Attributes:
        prompt: The prompt.
        messages: Messages in its place.
        target: What the model wrote; None: it is generated.
        span: The part of the target to explain.
        extra: The other columns.
    """

    prompt: str | None
    messages: Any
    target: Any
    span: Any
    extra: Mapping[str, Any]


@dataclass(frozen=True)
class Survey:
    """What a reading of the lines found.

    Attributes:
        count: How many there are.
        kinds: The kind of each column, in their order; None: only null.
        readable: How many could be read.
    """

    count: int
    kinds: Mapping[str, str | None]
    readable: int


def survey(lines: Iterable[Line]) -> Survey:
    """Returns how many lines there are and what their columns hold."""
    kinds: dict[str, str | None] = {}
    count = readable = 0
    for line in lines:
        count += 1
        try:
            values = line.read()
        except InputError:
            continue
        readable += 1
        for name, value in values.items():
            kinds[str(name)] = _both(kinds.get(str(name)), _kind(value))
    return Survey(count, kinds, readable)


def names_of(found: Survey, asked: Mapping[str, str | None], ours: Iterable[str]) -> Names:
    """Returns which column is what.

    Args:
        found: What the input has.
        asked: By "prompt", "messages", "target" and "span", the column the user named; None: that of the same name, if
            there is one.
        ours: Columns that the output has anyway.

    Raises:
        OptionError: There is no such column, or none of prompt and messages, or both, or one has a name of ours.
    """
    there = list(found.kinds)
    told = f"the input has the columns {', '.join(map(repr, there)) or 'none'}"
    used: dict[str, str | None] = {}
    for what, name in asked.items():
        if name is not None and name not in found.kinds:
            close = get_close_matches(name, there, n=1)
            raise OptionError(
                f"the {what} was asked from the column {name!r}, but {told}."
                + (f" Did you mean {close[0]!r}?" if close else "")
            )
        used[what] = name if name is not None else what if what in found.kinds else None
    if asked["prompt"] is not None and asked["messages"] is None:
        used["messages"] = None
    if asked["messages"] is not None and asked["prompt"] is None:
        used["prompt"] = None
    if used["prompt"] is None and used["messages"] is None:
        raise OptionError(
            f"no column 'prompt' or 'messages' was found: {told}. Name the prompt's: prompt_column='...' "
            "(--prompt-column)."
        )
    if used["prompt"] is not None and used["messages"] is not None:
        raise OptionError(f"{told}: prompt_column or messages_column must say which of the two is meant.")
    extra = {name: kind or "text" for name, kind in found.kinds.items() if name not in used.values()}
    clash = sorted(set(extra) & set(ours))
    if clash:
        raise OptionError(
            f"the input's columns {', '.join(map(repr, clash))} have names of the output's own columns: rename them."
        )
    return Names(**used, extra=extra)


def row_of(line: Line, names: Names, span: Any) -> Row:
    """Returns the row of a line.

    Args:
        line: Of the input.
        names: Which column is what.
        span: For inputs without a column of spans.

    Raises:
        InputError: The line cannot be read, or a column is missing or of another kind than before.
    """
    values = line.read()
    first = names.prompt or names.messages
    assert first is not None
    if first not in values:
        raise InputError(f"{line.place} has no column {first!r}.")
    messages = values[names.messages] if names.messages else None
    if isinstance(messages, str):
        messages = _messages(messages, line.place)
    if names.prompt and values[names.prompt] is None:
        raise InputError(f"{line.place} has no prompt: the column {names.prompt!r} is null.")
    return Row(
        values[names.prompt] if names.prompt else None,
        messages,
        values.get(names.target) if names.target else None,
        _span(values.get(names.span)) if names.span else span,
        {name: _as_kind(name, values.get(name), kind) for name, kind in names.extra.items()},
    )


def _messages(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{place}: the messages are not JSON: {error}.") from error


def _span(value: Any) -> Any:
    """Returns a span, or several, as `attribute` takes them: JSON has lists where Python has pairs."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) == 2 and all(type(end) is int for end in value):
            return tuple(value)
        return [_span(each) for each in value]
    return value


def _kind(value: Any) -> str | None:
    if value is None:
        return None
    kinds: dict[type, str] = {bool: "bool", int: "int", float: "float", str: "text"}
    kind = kinds.get(type(value), "json")
    return "json" if kind == "int" and not -(2**63) <= value < 2**63 else kind


def _both(one: str | None, other: str | None) -> str | None:
    if one is None or other is None or one == other:
        return one or other
    return "float" if {one, other} == {"int", "float"} else "json"


def _as_kind(name: str, value: Any, kind: str) -> Any:
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError(f"the column {name!r} holds half of a surrogate pair, which no file can: {value[:80]!r}.")
    found = _both(kind, _kind(value))
    if kind == "json":
        return None if value is None else json.dumps(value, ensure_ascii=False, default=str)
    if found != kind:
        raise InputError(f"the column {name!r} held {kind} in the rows before, but here it is {value!r}.")
    return float(value) if kind == "float" and value is not None else value
