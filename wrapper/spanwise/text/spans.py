"""Spans of the target: from what the user points with to token positions."""

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from spanwise.attribution import Span, Token
from spanwise.errors import OptionError, SpanError, at_least, one_of
from spanwise.text.chat import reasoning_spans


@dataclass(frozen=True)
class TokenRange:
    """Target tokens [first, last), as `spanwise.tokens` makes them."""

    first: int
    last: int


@dataclass(frozen=True)
class Role:
    """What has a role, as `spanwise.role` makes it."""

    name: str


SpanLike: TypeAlias = str | re.Pattern[str] | tuple[int, int] | TokenRange | Role
"""Literal text, a compiled regex, (start, end) characters of the target, `tokens(a, b)` or `role(name)`."""


def tokens(first: int, last: int) -> TokenRange:
    """Returns the target tokens [first, last) as a span.

    >>> tokens(0, 2)
    TokenRange(first=0, last=2)

    Raises:
        OptionError: The range is empty or negative.
    """
    at_least("first", first, 0)
    if at_least("last", last, 0) <= first:
        raise OptionError(f"tokens({first}, {last}) is empty: last must be larger than first.")
    return TokenRange(first, last)


def role(name: str) -> Role:
    """Returns what has a role: as `source`, a chat's messages of that role; as `span`, "reasoning" or "answer".

    The reasoning of a target is what stands between <think> and </think>; the answer is the rest.

    >>> role("user")
    Role(name='user')

    Raises:
        OptionError: The name is empty or no text.
    """
    if not isinstance(name, str) or not name:
        raise OptionError(f"a role is a name such as 'user' or 'reasoning', not {name!r}.")
    return Role(name)


def resolve_spans(
    span: SpanLike | Sequence[SpanLike],
    target_text: str,
    target: Sequence[Token],
    occurrence: int | str | None = None,
    *,
    opened: bool = False,
) -> tuple[Span, ...]:
    """Returns the spans as characters and token positions of the target.

    Args:
        span: One span or several.
        target_text: The target.
        target: Its tokens.
        occurrence: For a text or regex found several times: which one (0 is the first, -1 the last), or "all".
        opened: The target begins inside a part of reasoning.

    Raises:
        SpanError: Not found, found several times without `occurrence`, empty, or outside the target.
        OptionError: `occurrence` or the span is of no known kind.
    """
    if (
        occurrence is not None
        and occurrence != "all"
        and (isinstance(occurrence, bool) or not isinstance(occurrence, int))
    ):
        raise OptionError(f"occurrence must be None, an index or 'all', not {occurrence!r}.")
    asked: Sequence[SpanLike]
    if isinstance(span, str | re.Pattern | TokenRange | Role) or (
        isinstance(span, tuple) and len(span) == 2 and all(isinstance(item, int) for item in span)
    ):
        asked = [span]  # type: ignore[list-item] # two ints are one span, as the type says
    elif isinstance(span, Sequence):
        asked = span  # type: ignore[assignment] # two ints were taken above
    else:
        asked = [span]
    if not asked:
        raise SpanError("an empty list of spans was given; leave span out to attribute every target token.")
    found: list[Span] = []
    for one in asked:
        for start, end in characters_of(one, target_text, target, occurrence, opened=opened):
            if isinstance(one, TokenRange):
                found.append(_exactly(one, start, end, target_text, target))
            else:
                found.append(_locate(start, end, target_text, target))
    return tuple(found)


def whole_target(target_text: str, target: Sequence[Token]) -> Span:
    """Returns the whole target as one span."""
    return Span(target_text, 0, len(target_text), 0, len(target))


def characters_of(
    span: SpanLike, text: str, target: Sequence[Token], occurrence: int | str | None, *, opened: bool = False
) -> list[tuple[int, int]]:
    """Returns the characters [start, end) of every place that one span means.

    Raises:
        SpanError: Not found, found several times without `occurrence`, empty, or outside the target.
        OptionError: The span is of no known kind.
    """
    if isinstance(span, Role):
        return _with_role(span, text, target, opened)
    if isinstance(span, TokenRange):
        if span.last > len(target):
            raise SpanError(f"tokens({span.first}, {span.last}) was asked, but the target has {len(target)} tokens.")
        return [(target[span.first].start, target[span.last - 1].end)]
    if isinstance(span, str):
        if not span:
            raise SpanError("an empty text was given as span.")
        matches = [(at, at + len(span)) for at in _positions(span, text)]
    elif isinstance(span, re.Pattern):
        matches = [match.span() for match in span.finditer(text) if match.end() > match.start()]
    elif isinstance(span, tuple) and len(span) == 2 and all(type(item) is int for item in span):
        start, end = span
        if not 0 <= start < end <= len(text):
            raise SpanError(f"characters [{start}, {end}) were asked, but the target has characters [0, {len(text)}).")
        return [(start, end)]
    else:
        raise OptionError(
            "a span is a text, a compiled regex, a tuple (start, end) of characters, spanwise.tokens(a, b) or "
            f"spanwise.role(name), not {span!r}."
        )
    return _choose(span if isinstance(span, str) else span.pattern, matches, text, occurrence)


def _with_role(asked: Role, text: str, target: Sequence[Token], opened: bool) -> list[tuple[int, int]]:
    one_of("role of a target's part", asked.name, ("reasoning", "answer"))
    reasoning = reasoning_spans(text, opened=opened)
    if not reasoning:
        raise SpanError(f"role({asked.name!r}) was asked, but the target {_shown(text)} has no <think>...</think>.")
    if asked.name == "reasoning":
        return list(reasoning)
    last = len(text)
    for token in reversed(target):  # the end-of-text token is no part of the answer
        if not token.special or token.end != last:
            break
        last = token.start
    ends = [0, *(end for span in reasoning for end in span), last]
    found = [
        (start, end)
        for start, end in zip(ends[::2], ends[1::2], strict=True)
        if start < end and text[start:end].strip()
    ]
    if not found:
        raise SpanError(f"role('answer') was asked, but the target {_shown(text)} is reasoning only.")
    return found


def _positions(part: str, text: str) -> list[int]:
    positions, at = [], text.find(part)
    while at >= 0:
        positions.append(at)
        at = text.find(part, at + 1)
    return positions


def _choose(
    asked: str, matches: list[tuple[int, int]], text: str, occurrence: int | str | None
) -> list[tuple[int, int]]:
    if not matches:
        hint = _other_form(asked, text) or _nearest(asked, text)
        raise SpanError(f"the span {asked!r} is not in the target {_shown(text)}.{hint}{_cut(text)}")
    if occurrence == "all":
        return matches
    if isinstance(occurrence, int):
        if not -len(matches) <= occurrence < len(matches):
            raise SpanError(f"occurrence {occurrence} of {asked!r} was asked, but it is there {len(matches)} times.")
        return [matches[occurrence]]
    if len(matches) > 1:
        places = ", ".join(str(start) for start, _ in matches[:8])
        raise SpanError(
            f"the span {asked!r} is in the target {len(matches)} times (at characters {places}): "
            f"say which with occurrence=0 to {len(matches) - 1}, or occurrence='all'."
        )
    return matches


def _shown(text: str, width: int = 200) -> str:
    return repr(text if len(text) <= width else text[: width - 3] + "...")


def _other_form(asked: str, text: str) -> str:
    """Returns a sentence where the target has the same characters composed in another way, or nothing."""
    for form in ("NFC", "NFD"):
        written = unicodedata.normalize(form, asked)
        if written != asked and written in text:
            return f" It is there in another Unicode form, {form}: {written!a}."
    return ""


def _cut(text: str) -> str:
    """Returns a sentence where generation ended, or went on, in the middle of a character, or nothing."""
    if "\ufffd" not in text:
        return ""
    return " A \ufffd in the target stands for bytes that are no whole character: one that was cut, mostly."


def _nearest(asked: str, text: str) -> str:
    """Returns a sentence with the run of words in `text` that is most like `asked`, or nothing."""
    words = [(match.start(), match.end()) for match in re.finditer(r"\S+", text[:2000])]
    count = max(len(asked.split()), 1)
    runs = {
        text[words[i][0] : words[min(i + size, len(words)) - 1][1]]
        for size in {max(count - 1, 1), count, count + 1}
        for i in range(len(words))
    }
    lowered = {run.lower(): run for run in sorted(runs)}
    close = difflib.get_close_matches(asked.strip().lower(), lowered, n=1, cutoff=0.5)
    return f" Nearest match: {lowered[close[0]]!r}." if close else ""


def _exactly(asked: TokenRange, start: int, end: int, text: str, target: Sequence[Token]) -> Span:
    """Returns the tokens asked for and no others, even where they have a part of a character, or none."""
    beside = [*target[: asked.first], *target[asked.last :]]
    shared = any(token.start < end and token.end > start for token in beside)
    note = f"the span {text[start:end]!r} shares characters with tokens beside it, which are left out" if shared else ""
    return Span(text[start:end], start, end, asked.first, asked.last, note)


def _locate(start: int, end: int, text: str, target: Sequence[Token]) -> Span:
    inside = [i for i, token in enumerate(target) if token.start < end and token.end > start]
    if not inside:
        raise SpanError(
            f"no token covers the characters [{start}, {end}) ({text[start:end]!r}) of the target: the tokenizer drops "
            "them, as some do with white space. Ask for characters beside them."
        )
    first, last = inside[0], inside[-1] + 1
    notes = []
    if target[first].start < start and text[target[first].start : start].strip():
        notes.append(f"begins inside the token {target[first].text!r}")
    if target[last - 1].end > end and text[end : target[last - 1].end].strip():
        notes.append(f"ends inside the token {target[last - 1].text!r}")
    note = f"the span {text[start:end]!r} {' and '.join(notes)}; whole tokens are attributed" if notes else ""
    return Span(text[start:end], start, end, first, last, note)
