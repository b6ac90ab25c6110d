"""A page of stacked panels, laid out in inches so that nothing overlaps and nothing grows past the page."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle

from spanwise.views.colors import FROZEN, HATCH, hexadecimal
from spanwise.views.fonts import drawable, installed

WIDTH, HEIGHT = 12.0, 16.0  # the largest page, inches
NARROWEST = 6.0
COLUMNS = 40  # source tokens in a panel
HEADLINE, TEXT, SMALL = 9.5, 8.0, 7.0  # points
TITLE_LINES, NOTE_LINES = 3, 8  # the most there is room for
MARGIN, HEAD, LINE = 0.2, 0.28, 0.15  # inches: page border, above a panel, a line of notes


@contextmanager
def style() -> Iterator[None]:
    """Draws with the same settings whatever the user's own are, and leaves those alone."""
    ours = {
        "font.family": list(installed()),
        "font.size": TEXT,
        "axes.linewidth": 0.6,
        "hatch.linewidth": 0.5,
        "svg.fonttype": "none",
        "svg.hashsalt": "spanwise",
        "pdf.fonttype": 42,
    }
    with matplotlib.style.context(["default", ours]):
        yield


def text_width(labels: Sequence[str], size: float) -> float:
    """Returns the width of the widest label in inches, as the fonts of `style` draw it."""
    renderer, font = RendererAgg(1, 1, 72), FontProperties(size=size)
    widths = (renderer.get_text_width_height_descent(label, font, ismath=False)[0] for label in labels)
    return max(widths, default=0.0) / 72


@dataclass(frozen=True)
class Page:
    """A figure with its panels from top to bottom, and the height in inches where the footer begins."""

    figure: Figure
    axes: list[Axes]
    left: float
    footer: float


@dataclass(frozen=True)
class Shape:
    """Sizes in inches: the plots, the room for labels beside them, and below each of them."""

    plot_width: float
    plot_height: float
    left: float
    below: Sequence[float]

    @property
    def page_width(self) -> float:
        """Width of the whole page."""
        return min(max(self.left + self.plot_width + MARGIN, NARROWEST), WIDTH)


def room(footer: float) -> float:
    """Returns the height left for panels on the largest page, whatever the title and the notes are."""
    return HEIGHT - _title_height(TITLE_LINES) - footer - _notes_height(NOTE_LINES)


def make_page(shape: Shape, title: str, notes: Sequence[str], footer: float) -> Page:
    """Returns a page of empty panels, the title above them, below them `footer` inches and the notes."""
    width = shape.page_width
    title_lines = _first(_lines(title, width, HEADLINE), TITLE_LINES)
    note_lines = _first([line for note in notes for line in _lines(note, width, SMALL)], NOTE_LINES)
    top = _title_height(len(title_lines))
    bottom = footer + _notes_height(len(note_lines))
    height = top + sum(HEAD + shape.plot_height + below for below in shape.below) + bottom
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    write(figure, MARGIN, height - MARGIN, "\n".join(title_lines), size=HEADLINE, va="top")
    axes, base = [], height - top
    for below in shape.below:
        base -= HEAD + shape.plot_height
        box = (shape.left / width, base / height, shape.plot_width / width, shape.plot_height / height)
        axes.append(figure.add_axes(box))
        base -= below
    if note_lines:
        write(figure, MARGIN, MARGIN / 2, "\n".join(note_lines), size=SMALL, va="bottom", color="#444444")
    return Page(figure, axes, min(shape.left, MARGIN + 0.5), bottom)


def fit(label: str, size: float, width: float) -> str:
    """Returns a label, cut with an ellipsis where it is wider than `width` inches."""
    kept = label
    while len(kept) > 2 and text_width([kept], size) > width:
        kept = kept.rstrip("…")[:-1] + "…"
    return kept


def _lines(text: str, width: float, size: float) -> list[str]:
    """Returns `text` wrapped to a page `width` inches wide."""
    lines = []
    for part in map(drawable, text.splitlines()):
        shrink = (width - 2 * MARGIN) / max(text_width([part], size), 0.01)
        across = len(part) if shrink >= 1 else int(len(part) * 0.95 * shrink)
        lines += textwrap.wrap(part, max(across, 1))
    return lines


def _first(lines: list[str], most: int) -> list[str]:
    return lines if len(lines) <= most else [*lines[: most - 1], lines[most - 1] + " …"]


def _title_height(lines: int) -> float:
    return MARGIN + 0.19 * lines + 0.06


def _notes_height(lines: int) -> float:
    return LINE * lines + MARGIN


def write(figure: Figure, x: float, y: float, text: str, *, size: float, va: str, color: str = "black") -> None:
    """Writes plain text `x`, `y` inches from the lower left corner of the page."""
    width, height = figure.get_size_inches()
    figure.text(
        x / width, y / height, text, fontsize=size, ha="left", va=va, color=color, parse_math=False, linespacing=1.25
    )


def swatch(page: Page, x: float, text: str, color: str, *, hatched: bool = False) -> float:
    """Draws a small box with its meaning in the footer, and returns where the next one may begin (inches)."""
    y = page.footer - 0.25
    box = Rectangle(
        (x, y),
        0.22,
        0.13,
        facecolor=color,
        edgecolor=hexadecimal(HATCH),
        hatch="/////" if hatched else None,
        linewidth=0.4,
        transform=page.figure.dpi_scale_trans,
    )
    page.figure.add_artist(box)
    write(page.figure, x + 0.28, y + 0.065, text, size=SMALL, va="center")
    return x + 0.28 + text_width([text], SMALL) + 0.25


def frozen_swatch(page: Page, x: float) -> float:
    """Draws the box that explains hatched places."""
    return swatch(page, x, "frozen / not defined", hexadecimal(FROZEN), hatched=True)
