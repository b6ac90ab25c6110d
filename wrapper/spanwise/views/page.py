"""A page of stacked panels, laid out in inches so that nothing overlaps and nothing grows past the page."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle

from spanwise.views.colors import FROZEN, HATCH, hexadecimal
from spanwise.views.fonts import drawable, families
from spanwise.views.sizes import WIDE, Paper

WIDTH, HEIGHT, NARROWEST = WIDE.width, WIDE.height, WIDE.narrowest  # inches, where no width is asked for
COLUMNS = 40  # source tokens in a panel
HEADLINE, TEXT, SMALL = WIDE.headline, WIDE.text, WIDE.small  # points
TITLE_LINES, NOTE_LINES = 3, 8  # the most there is room for
MARGIN, HEAD, LINE = 0.2, 0.28, 0.15  # inches: page border, above a panel, a line of notes
LEGEND_ROW = 0.2  # inches
FROZEN_TEXT = "frozen / not defined"


@contextmanager
def style(text: str = "") -> Iterator[None]:
    """Draws with the same settings whatever the user's own are, and leaves those alone.

    Args:
        text: What is drawn, where it decides between fonts: see `fonts.families`.
    """
    ours = {
        "font.family": families(text),
        "font.size": TEXT,
        "axes.linewidth": 0.6,
        "hatch.linewidth": 0.5,
        "text.hinting": "none",  # letters as wide in pixels as in vectors: boxes stand where they were measured
        "svg.fonttype": "none",
        "svg.hashsalt": "spanwise",
        "pdf.fonttype": 42,
    }
    with matplotlib.style.context(["default", ours]):
        yield


def text_width(labels: Sequence[str], size: float, dpi: float = WIDE.dpi) -> float:
    """Returns the width of the widest label in inches, as the fonts in use draw it on a screen of `dpi`."""
    family = tuple(matplotlib.rcParams["font.family"])
    return max((_text_width(label, size, dpi, family) for label in labels), default=0.0)


@lru_cache(maxsize=10_000)  # the words of a text come again
def _text_width(label: str, size: float, dpi: float, family: tuple[str, ...]) -> float:
    font = FontProperties(family=list(family), size=size)
    return RendererAgg(1, 1, dpi).get_text_width_height_descent(label, font, ismath=False)[0] / dpi


@dataclass(frozen=True)
class Page:
    """A figure with its panels from top to bottom, and the height in inches where the footer begins."""

    figure: Figure
    axes: list[Axes]
    left: float
    footer: float
    paper: Paper = WIDE


@dataclass(frozen=True)
class Shape:
    """Sizes in inches: the plots, the room for labels beside them, and below each of them; and the page they are on."""

    plot_width: float
    plot_height: float
    left: float
    below: Sequence[float]
    paper: Paper = WIDE
    head: float = HEAD

    @property
    def page_width(self) -> float:
        """Width of the whole page."""
        return min(max(self.left + self.plot_width + MARGIN, self.paper.narrowest), self.paper.width)


def room(footer: float, paper: Paper = WIDE) -> float:
    """Returns the height left for panels on the largest page, whatever the title and the notes are."""
    return paper.height - _title_height(TITLE_LINES) - footer - _notes_height(5 if paper.fixed else NOTE_LINES)


def make_page(shape: Shape, title: str, notes: Sequence[str], footer: float) -> Page:
    """Returns a page of empty panels, the title above them, below them `footer` inches and the notes."""
    width, paper = shape.page_width, shape.paper
    title_lines = _first(_lines(title, width, paper.headline), TITLE_LINES)
    note_lines = _first([line for note in notes for line in _lines(note, width, paper.small)], NOTE_LINES)
    top = _title_height(len(title_lines))
    bottom = footer + _notes_height(len(note_lines))
    height = top + sum(shape.head + shape.plot_height + below for below in shape.below) + bottom
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    if title_lines:
        write(figure, MARGIN, height - MARGIN, "\n".join(title_lines), size=paper.headline, va="top")
    axes, base = [], height - top
    for below in shape.below:
        base -= shape.head + shape.plot_height
        box = (shape.left / width, base / height, shape.plot_width / width, shape.plot_height / height)
        axes.append(figure.add_axes(box))
        base -= below
    if note_lines:
        write(figure, MARGIN, MARGIN / 2, "\n".join(note_lines), size=paper.small, va="bottom", color="#444444")
    return Page(figure, axes, min(shape.left, MARGIN + 0.5), bottom, paper)


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
    return MARGIN + 0.19 * lines + 0.06 if lines else MARGIN / 2


def _notes_height(lines: int) -> float:
    return LINE * lines + MARGIN


def write(figure: Figure, x: float, y: float, text: str, *, size: float, va: str, color: str = "black") -> None:
    """Writes plain text `x`, `y` inches from the lower left corner of the page."""
    width, height = figure.get_size_inches()
    figure.text(
        x / width, y / height, text, fontsize=size, ha="left", va=va, color=color, parse_math=False, linespacing=1.25
    )


def swatch(page: Page, x: float, text: str, color: str, *, hatched: bool = False, row: float = 0) -> float:
    """Draws a small box with its meaning in the footer, and returns where the next one may begin (inches)."""
    y, size = page.footer - 0.25 - LEGEND_ROW * row, page.paper.small
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
    write(page.figure, x + 0.28, y + 0.065, text, size=size, va="center")
    return x + swatch_width(text, page.paper)


def swatch_width(text: str, paper: Paper) -> float:
    """Returns the width of a swatch with its text, and the gap after it, inches."""
    return 0.28 + text_width([text], paper.small) + 0.25


def frozen_swatch(page: Page, x: float, row: float = 0) -> float:
    """Draws the box that explains hatched places."""
    return swatch(page, x, FROZEN_TEXT, hexadecimal(FROZEN), hatched=True, row=row)
