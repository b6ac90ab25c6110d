"""What a test points at: a row of the result, and columns of its source."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from spanwise.aggregation import row_scores
from spanwise.attribution import Attribution, Token
from spanwise.errors import InputError, OptionError, SpanError, at_least
from spanwise.text.spans import Role, SpanLike, TokenRange, characters_of

_WIDTH = 48  # characters of a column's text


@dataclass(frozen=True)
class Part:
    """What was pointed at: a label for the message, and the columns of the result."""

    label: str
    columns: tuple[int, ...]


def find_row(result: Attribution, span: str | int | None) -> tuple[str, Float[Tensor, " source"]]:
    """Returns the text of the span that is checked, and its scores.

    Raises:
        SpanError: There is no such span.
        OptionError: There are several, and none was named.
    """
    texts = [each.text for each in result.spans]
    if not texts and span is None:
        return result.target_text, row_scores(result)
    if span is None and len(texts) > 1:
        raise OptionError(f"the result has {len(texts)} spans: say which with span=. {_numbered(texts)}.")
    if isinstance(span, str) and texts.count(span) == 1:
        number = texts.index(span)
    elif isinstance(span, str):
        found = f"{texts.count(span)} times: say which by number" if span in texts else "not in the result"
        raise SpanError(f"the span {span!r} is {found}. {_numbered(texts)}.")
    else:
        number = at_least("span", 0 if span is None else span, 0)
        if number >= len(texts):
            raise SpanError(f"span {number} was asked. {_numbered(texts)}.")
    if result.rows == "span":
        return texts[number], row_scores(result, number)
    first = replace(result, spans=result.spans[number:][:1], span_scores=result.span_scores[number:][:1])
    return texts[number], row_scores(first)


def _numbered(texts: Sequence[str]) -> str:
    if not texts:
        return "It was made without span=, so the whole target is checked and span= is left out"
    return "Its spans are " + ", ".join(f"{number}: {text!r}" for number, text in enumerate(texts))


def find_parts(
    result: Attribution, asked: SpanLike | Sequence[SpanLike] | None, scores: Float[Tensor, " source"]
) -> list[Part]:
    """Returns each part that was pointed at; none for None.

    Raises:
        SpanError: There is no such feature or place.
        InputError: A part has no scores, or is only a piece of a feature.
        OptionError: An empty list, or something that points at nothing.
    """
    if asked is None:
        return []
    is_range = isinstance(asked, tuple) and len(asked) == 2 and all(type(end) is int for end in asked)
    one = is_range or isinstance(asked, str | re.Pattern | TokenRange | Role) or not isinstance(asked, Sequence)
    several: list[SpanLike] = [asked] if one else list(asked)  # type: ignore[list-item, arg-type] # as `one` says
    if not several:
        raise OptionError("an empty list of parts was given; leave the argument out.")
    return [_part(result, each, scores) for each in several]


def _part(result: Attribution, asked: SpanLike, scores: Float[Tensor, " source"]) -> Part:
    """Returns the columns that were pointed at and have a score."""
    label, columns = _columns(result, asked)
    scored = tuple(i for i in columns if not scores[i].isnan())
    if not scored:
        raise InputError(f"{label} has no score for this span: it was frozen (special, template, prefix or source=).")
    return Part(label, scored)


def _columns(result: Attribution, asked: SpanLike) -> tuple[str, list[int]]:
    source = result.source
    if isinstance(asked, str) and (named := [i for i, token in enumerate(source) if token.name == asked]):
        return repr(asked), named
    if isinstance(asked, Role):
        own = [i for i, token in enumerate(source) if token.role == asked.name]
        if not own:
            there = ", ".join(sorted({token.role for token in source}))
            raise SpanError(f"role({asked.name!r}) is no column's role; there are: {there}.")
        return f"role {asked.name!r}", own
    if isinstance(asked, TokenRange):
        wanted = set(range(asked.first, asked.last))
        own = [i for i, token in enumerate(source) if wanted & set(token.positions or (i,))]
        if not own:
            raise SpanError(f"tokens({asked.first}, {asked.last}) is outside the {len(source)} source columns.")
        for i in own:
            if set(source[i].positions or (i,)) - wanted:
                raise _piece(f"tokens [{asked.first}, {asked.last})", source[i])
        return f"tokens [{asked.first}, {asked.last})", own
    return _places(result, asked)


def _places(result: Attribution, asked: str | re.Pattern[str] | tuple[int, int]) -> tuple[str, list[int]]:
    """Returns the columns of every place in the prompt."""
    try:
        places = characters_of(asked, result.prompt, result.source, "all")
    except (SpanError, OptionError) as error:
        names = ", ".join(repr(token.name) for token in result.source if token.name)
        told = str(error).replace("the target", "the prompt").replace("the span", "the part")
        raise type(error)(told + (f" The features are {names}." if names else "")) from error
    touched = [
        i
        for i, token in enumerate(result.source)
        if token.role != "prefix" and any(token.start < end and start < token.end for start, end in places)
    ]
    for token in (result.source[i] for i in touched):
        pieces = [(max(start, token.start), min(end, token.end)) for start, end in places]
        covered = {i for start, end in pieces for i in range(start, end)}
        outside = [i for i in range(token.start, token.end) if i not in covered and not result.prompt[i].isspace()]
        if outside and len(token.positions) > 1:
            raise _piece(_said(asked), token)
    return _said(asked), touched


def _piece(asked: str, token: Token) -> InputError:
    return InputError(
        f"{asked} is only a piece of {shown(token)}, which has one score: name the whole feature, or attribute with "
        "finer features."
    )


def _said(asked: str | re.Pattern[str] | tuple[int, int]) -> str:
    if isinstance(asked, tuple):
        return f"characters [{asked[0]}, {asked[1]})"
    return shortened(asked) if isinstance(asked, str) else f"regex {shortened(asked.pattern)}"


def shown(token: Token) -> str:
    """Returns a column's name and text, on one line and without control characters."""
    return f"{token.name!r} {shortened(token.text, _WIDTH // 2)}" if token.name else shortened(token.text)


def shortened(text: str, width: int = _WIDTH) -> str:
    """Returns a text on one line, in quotes, without control characters, cut where it is long."""
    return repr(text if len(text) <= width else text[: width - 1] + "…")
