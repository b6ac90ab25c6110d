"""What a strip shows: for each span, or each target token, the target with that part marked and the source's scores."""

from dataclasses import dataclass

from spanwise.attribution import Attribution
from spanwise.views import series
from spanwise.views.running import Piece, pieces

CONTEXT = 160  # characters of the target on each side of the span


@dataclass(frozen=True)
class Block:
    """One block of a strip.

    Attributes:
        name: "span", "span [1]" or "target token", and how rows were put together.
        before: Target text before the part that the scores are for, far ends cut.
        asked: That part.
        after: Target text after it.
        item: The scores.
    """

    name: str
    before: str
    asked: str
    after: str
    item: series.Series


def blocks(attribution: Attribution, context: int | None = CONTEXT) -> list[Block]:
    """Returns a block for each span, or for each target token where no span was asked for.

    Args:
        attribution: The result.
        context: Characters of the target kept on each side; None: all of them.
    """
    items = series.by_span(attribution) if attribution.spans else series.by_row(attribution)
    whole, found = attribution.target_text, []
    for number, item in enumerate(items):
        first = 0 if context is None else max(item.start - context, 0)
        last = len(whole) if context is None else item.end + context
        found.append(
            Block(
                item.name
                + (f" [{number}]" if len(items) > 1 else "")
                + (f" ({item.reduction})" if item.reduction else ""),
                ("…" if first else "") + whole[first : item.start],
                whole[item.start : item.end] or item.text,
                whole[item.end : last] + ("…" if last < len(whole) else ""),
                item,
            )
        )
    return found


def source(attribution: Attribution, item: series.Series, within: range | None = None) -> list[Piece]:
    """Returns the source as pieces with scores: "…" where `within` leaves some out, "‖" where generated text begins."""
    found: list[Piece] = []
    hidden, generated = False, False
    for piece in pieces(attribution, item, series.drawn_columns(attribution)):
        if within is not None and piece.index not in within:
            hidden = hidden or piece.index >= 0
            continue
        if hidden:
            found.append(Piece(" … ", float("nan"), -1))
            hidden = False
        if piece.index >= 0 and attribution.source[piece.index].role == "prefix" and not generated:
            found.append(Piece(" ‖ ", float("nan"), -1))
            generated = True
        found.append(piece)
    return [*found, Piece(" …", float("nan"), -1)] if hidden else found
