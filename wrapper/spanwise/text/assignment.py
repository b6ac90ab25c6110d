"""Which segment of a text each token belongs to: one rule for features and for sums of scores."""

from bisect import bisect_right
from collections.abc import Sequence

from spanwise.attribution import Token


def assign(tokens: Sequence[Token], spans: Sequence[tuple[int, int]]) -> list[int]:
    """Returns for each token the index of the span it belongs to, or -1.

    A token belongs to the span that holds its first character that is not white space; a token that reaches into the
    next span belongs to the first of the two. A token of white space only, or without text, belongs to the span it
    lies in, else goes with the token before it, and at the beginning with the token after it. A special token is no
    such neighbor, and goes with none.

    Args:
        tokens: In order; their characters are counted in the text of the spans.
        spans: Half-open spans of characters, in order, not overlapping.

    Example:
        >>> tokens = [Token(" ", 0, 0, 1, "prompt"), Token("It", 1, 1, 3, "prompt"), Token("'s a", 2, 3, 7, "prompt")]
        >>> assign(tokens, [(1, 5), (6, 7)])
        [0, 0, 0]
    """
    starts = [start for start, _ in spans]

    def holder(at: int) -> int:
        index = bisect_right(starts, at) - 1
        return index if index >= 0 and at < spans[index][1] else -1

    found: list[int | None] = []  # None: goes with a neighbor
    for token in tokens:
        blank = len(token.text) - len(token.text.lstrip())
        if blank < len(token.text):
            found.append(holder(token.start + blank))
        else:
            inside = holder(token.start) if token.text else -1
            found.append(None if inside < 0 and not token.special else inside)
    return _with_neighbors(found, [not token.special for token in tokens])


def _with_neighbors(found: Sequence[int | None], counts: Sequence[bool]) -> list[int]:
    """Returns the indexes with None replaced by the one before; `counts` tells which tokens are neighbors."""
    first = next((index for index, own in zip(found, counts, strict=True) if own and index is not None), -1)
    filled, before = [], first
    for index, own in zip(found, counts, strict=True):
        filled.append(before if index is None else index)
        before = filled[-1] if own else before
    return filled
