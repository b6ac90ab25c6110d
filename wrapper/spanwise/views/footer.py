"""The foot of a page whose colors are scores: the color bar with its unit, and the box for undefined places."""

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize

from spanwise.views.page import (
    FROZEN_TEXT,
    LEGEND_ROW,
    MARGIN,
    Page,
    fit,
    frozen_swatch,
    swatch_width,
    write,
)
from spanwise.views.sizes import Paper

FOOTER = 0.62  # inches, where both stand beside each other
BAR_LENGTHS = (1.1, 2.6)  # inches


def footer_height(paper: Paper) -> float:
    """Returns the room that `draw_footer` needs, inches."""
    return FOOTER if _bar_length(paper)[1] else FOOTER + LEGEND_ROW


def draw_footer(page: Page, unit: str, norm: Normalize, colormap: Colormap, *, undefined: str = "") -> None:
    """Draws the color bar, its unit, and what undefined places look like.

    Args:
        page: Where.
        unit: What a score measures.
        norm: How scores become parts of the color bar.
        colormap: Its colors.
        undefined: "hatched" for the box; any other text is written; "" for nothing.
    """
    paper = page.paper
    width, height = page.figure.get_size_inches()
    (length, fits), base = _bar_length(paper), page.footer - 0.22
    axes = page.figure.add_axes((page.left / width, base / height, length / width, 0.12 / height))
    bar = page.figure.colorbar(ScalarMappable(norm, colormap), cax=axes, orientation="horizontal")
    bar.ax.tick_params(labelsize=paper.small, length=2, pad=1, width=0.5)
    ticks = [norm.vmin or 0.0, 0.0, norm.vmax or 0.0] if norm.vmin else [0.0, norm.vmax or 0.0]
    bar.set_ticks(ticks, labels=[f"{tick:.3g}" for tick in ticks])
    first, *_, last = bar.ax.get_xticklabels()
    first.set_horizontalalignment("left")  # within the ends of the bar, and so of the page
    last.set_horizontalalignment("right")
    label = fit(unit, paper.small, width - page.left - MARGIN)
    write(page.figure, page.left, base - 0.21, label, size=paper.small, va="top")
    x, row = (page.left + length + 0.4, 0) if fits else (page.left, 2.35)
    if undefined == "hatched":
        frozen_swatch(page, x, row)
    elif undefined:
        y = page.footer - 0.185 - LEGEND_ROW * row
        write(page.figure, x, y, undefined, size=paper.small, va="center", color="#767676")


def _bar_length(paper: Paper) -> tuple[float, bool]:
    """Returns the length of the color bar in inches, and whether the box for undefined places fits beside it."""
    beside = paper.width - 2 * MARGIN - 0.9 - swatch_width(FROZEN_TEXT, paper)
    return min(max(beside, BAR_LENGTHS[0]), BAR_LENGTHS[1]), beside >= BAR_LENGTHS[0]
