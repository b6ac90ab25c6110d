"""The legend at the foot of a page: small boxes with their meaning, in as many rows as they need."""

from collections.abc import Sequence
from dataclasses import dataclass

from spanwise.views.colors import Rgb, hexadecimal
from spanwise.views.page import LEGEND_ROW, MARGIN, Page, fit, swatch, swatch_width
from spanwise.views.sizes import Paper

FOOTER = 0.4  # inches, with one row


@dataclass(frozen=True)
class Entry:
    """A color and its meaning."""

    text: str
    color: Rgb
    hatched: bool = False


def legend_height(entries: Sequence[Entry], width: float, paper: Paper) -> float:
    """Returns the height of the legend on a page `width` inches wide."""
    return FOOTER + LEGEND_ROW * max(row for row, _ in _places(entries, width, paper))


def draw_legend(page: Page, entries: Sequence[Entry]) -> None:
    """Draws the legend."""
    width = float(page.figure.get_size_inches()[0])
    for entry, (row, x) in zip(entries, _places(entries, width, page.paper), strict=True):
        text = fit(entry.text, page.paper.small, width - x - MARGIN - 0.28)
        swatch(page, x, text, hexadecimal(entry.color), hatched=entry.hatched, row=row)


def _places(entries: Sequence[Entry], width: float, paper: Paper) -> list[tuple[int, float]]:
    """Returns row and left border of each entry, inches."""
    places, row, x = [], 0, MARGIN
    for entry in entries:
        wide = swatch_width(entry.text, paper)
        if x > MARGIN and x + wide - 0.25 > width - MARGIN:
            row, x = row + 1, MARGIN
        places.append((row, x))
        x += wide
    return places
