"""Drawing into axes of the user's: how much room there is, whose letters are used, and what is written below."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from spanwise.errors import OptionError
from spanwise.views.fonts import families
from spanwise.views.page import text_width
from spanwise.views.sizes import LEAST_LETTERS, Paper

GRAY = "#444444"
SAME = 0.1  # inches: a change of size that needs no other choice of tokens


def check_axes(asked: object) -> Axes:
    """Returns the axes that were asked for.

    Raises:
        OptionError: They are not plain two-dimensional axes of a figure.
    """
    if not isinstance(asked, Axes) or asked.figure is None:
        raise OptionError(f"ax must be axes of a matplotlib figure, not {type(asked).__name__}.")
    if asked.name != "rectilinear":
        raise OptionError(f"ax must be plain two-dimensional axes, not {asked.name} ones.")
    return asked


def fitted(axes: Axes, draw: Callable[[Paper], None]) -> None:
    """Draws for the size that the axes have; where a layout engine gives them another one after that, once more.

    Args:
        axes: The axes.
        draw: Adds artists to the axes.
    """
    before, size = axes.get_children(), _size(axes)
    draw(size)
    after = _size(axes)
    if abs(after.width - size.width) + abs(after.height - size.height) > SAME:
        for artist in axes.get_children():
            if artist not in before:
                artist.remove()
        draw(after)


def _size(axes: Axes) -> Paper:
    """Returns the size of the axes as they will be drawn, with the letters that their ticks have."""
    figure: Any = axes.figure if isinstance(axes.figure, Figure) else axes.figure.figure
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)  # as drawing will: before that the axes do not have their size
    points = FontProperties(size=matplotlib.rcParams["xtick.labelsize"]).get_size_in_points()
    text = max(min(points, 10.0), LEAST_LETTERS)
    width, height = axes.bbox.width / figure.dpi, axes.bbox.height / figure.dpi
    small = max(0.8 * text, LEAST_LETTERS)
    return Paper(max(width, 0.3), max(height, 0.3), True, text, text, small, text * 1.5 / 72, dpi=figure.dpi)


@contextmanager
def letters(text: str) -> Iterator[None]:
    """Draws with the user's fonts, and ours for what they lack, and leaves the user's settings alone."""
    settings: Any = matplotlib.rcParams
    asked = FontProperties().get_family()
    generic = {"sans-serif", "serif", "monospace", "cursive", "fantasy"}
    named = [name for each in asked for name in (settings[f"font.{each}"][:1] if each in generic else [each])]
    with matplotlib.rc_context({"font.family": [*named, *families(text)], "text.usetex": False}):
        yield


def finish(axes: Axes, title: str | None, notes: Sequence[str], paper: Paper) -> None:
    """Gives the labels of the axes the fonts in use, and writes the title and, below the ticks, the notes."""
    axes.set_xlabel(
        "\n".join(_wrapped(" · ".join(note.removesuffix(".") for note in notes if note), paper)),
        loc="left",
        fontsize=paper.small,
        color=GRAY,
        parse_math=False,
    )
    if title is not None:
        axes.set_title(title, loc="left", parse_math=False)
    family = list(matplotlib.rcParams["font.family"])
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label):
        text.set_fontfamily(family)
        text.set_usetex(False)


def color_bar(axes: Axes, norm: Normalize, colormap: Colormap, label: str) -> None:
    """Adds a color bar beside the axes, which give it room as matplotlib's own do."""
    small = _size(axes).small
    bar = axes.figure.colorbar(ScalarMappable(norm, colormap), ax=axes)
    bar.ax.tick_params(labelsize=small)
    bar.set_label(label, fontsize=small)
    bar.ax.yaxis.label.set_parse_math(False)


def _wrapped(note: str, paper: Paper) -> list[str]:
    lines = [""]
    for word in note.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width([longer], paper.small, paper.dpi) > paper.width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
