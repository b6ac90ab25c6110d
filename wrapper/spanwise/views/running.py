"""Source text cut into pieces, each with the score that colors it: text that tokens share is printed once."""

import math
from dataclasses import dataclass

from spanwise.attribution import Attribution
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
    found: list[Piece] = []
    generated, at = False, 0
    for index, token in enumerate(attribution.source[:count]):
        whole = attribution.target_text if token.role == "prefix" else attribution.prompt
        if (token.role == "prefix") != generated:
            generated, at = True, 0
        score = float(item.scores[index])
        if token.start > at:
            found.append(Piece(whole[at : token.start], math.nan, -1))
        text = whole[max(at, token.start) : token.end]
        if token.start == token.end:
            found.append(Piece(f"[{token.id}]", score, index))
        elif text:
            found.append(Piece(text, score, index))
        else:
            found[-1].score = _stronger(found[-1].score, score)
        at = max(at, token.end)
    return found


def _stronger(one: float, other: float) -> float:
    if math.isnan(one) or abs(other) > abs(one):
        return other
    return one
