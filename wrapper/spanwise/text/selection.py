"""The part of the prompt that is attributed to: what `source=` of `spanwise.attribute` means."""

import re
from collections.abc import Sequence

from spanwise.attribution import Token
from spanwise.errors import InputError, OptionError, SpanError
from spanwise.text.composing import Composed
from spanwise.text.parts import Characters
from spanwise.text.spans import Role, SpanLike, TokenRange, characters_of


def select(source: SpanLike | Sequence[SpanLike] | None, composed: Composed, prompt: Sequence[Token]) -> set[int]:
    """Returns the positions of the prompt's tokens that a selection touches; None selects all.

    A text or regex selects every place where it is; a role every message of that role.

    Raises:
        InputError: The selection is empty, or a role was asked for and there are no messages.
        OptionError: The selection is of no known kind.
    """
    if source is None:
        return set(range(len(prompt)))
    one = isinstance(source, str | re.Pattern | TokenRange | Role) or _is_range(source)
    one = one or not isinstance(source, Sequence)  # which is refused below
    asked: list[SpanLike] = [source] if one else list(source)  # type: ignore[list-item, arg-type] # as `one` says
    if not asked:
        raise InputError("source=[] selects nothing; leave it out to attribute to the whole prompt.")
    found: set[int] = set()
    for each in asked:
        places = _characters(each, composed, prompt)
        if isinstance(each, TokenRange):  # tokens without text have no characters
            found |= set(range(each.first, each.last))
            continue
        for start, end in places:
            found |= {i for i, token in enumerate(prompt) if token.start < end and token.end > start}
    return found


def _is_range(source: object) -> bool:
    return isinstance(source, tuple) and len(source) == 2 and all(type(end) is int for end in source)


def _characters(source: SpanLike, composed: Composed, prompt: Sequence[Token]) -> list[Characters]:
    if isinstance(source, Role):
        found = [(part.start, part.end) for part in composed.parts if part.role == source.name]
        if not found:
            roles = sorted({part.role for part in composed.parts if part.kind == "content"})
            there = f"the messages have: {', '.join(roles)}" if roles else "a prompt without messages has no roles"
            raise InputError(f"source=role({source.name!r}) selects nothing; {there}.")
        return found
    try:
        return characters_of(source, composed.text, prompt, "all")
    except (SpanError, OptionError) as error:
        told = str(error).replace("the target", "the prompt").replace("the span", "the source")
        raise type(error)(f"source={source!r} cannot be used: {told}") from error
