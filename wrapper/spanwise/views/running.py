"""Source text cut into pieces, each with the score that colors it: text that tokens share is printed once."""

import math
from dataclasses import dataclass

from spanwise.attribution import Attribution, Token
from spanwise.views.series import Series


@dataclass
class Piece:
    """A stretch of source text.

    Attributes:
        text: Its characters; the token's id in brackets where a token has none.
        score: NaN where not defined. Where tokens share a character, the score of the strongest of them.
        index: The source token that begins here; -1 for text that no token covers.
    """

    text: str
    score: float
    index: int


def pieces(attribution: Attribution, item: Series, count: int) -> list[Piece]:
    """Returns the first `count` source tokens as text in reading order, gaps between tokens included."""
    return [
        *_of_text(attribution, item, count, attribution.prompt, generated=False),
        *_of_text(attribution, item, count, attribution.target_text, generated=True),
    ]


def _of_text(attribution: Attribution, item: Series, count: int, whole: str, *, generated: bool) -> list[Piece]:
    runs = sorted(
        (start, index, end)
        for index, token in enumerate(attribution.source[:count])
        if (token.role == "prefix") == generated
        for start, end in _runs(token, whole)
    )
    found: list[Piece] = []
    at = 0
    for start, index, end in runs:
        score = float(item.scores[index])
        if start > at:
            found.append(Piece(whole[at:start], math.nan, -1))
        text = whole[max(at, start) : end]
        if start == end:
            found.append(Piece(f"[{attribution.source[index].id}]", score, index))
        elif text:
            found.append(Piece(text, score, index))
        else:
            found[-1].score = _stronger(found[-1].score, score)
        at = max(at, end)
    return found


def _runs(token: Token, whole: str) -> list[tuple[int, int]]:
    """Returns the characters of a column: several runs where its feature has holes, which its text shows as " … "."""
    parts = token.text.split(" … ")
    if len(parts) == 1 or whole[token.start : token.end] == token.text:
        return [(token.start, token.end)]
    runs, at = [], token.start
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        start = token.end - len(part) if last else whole.find(part, at, token.end)
        if start < 0:
            return [(token.start, token.end)]
        runs.append((start, start + len(part)))
        at = start + len(part)
    return runs


def _stronger(one: float, other: float) -> float:
    if math.isnan(one) or abs(other) > abs(one):
        return other
    return one
