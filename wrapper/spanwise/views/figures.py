"""Figures of a result: a heat map, bars or colored text, in memory, in a file, or in axes of the user's.

Nothing here touches pyplot or the user's matplotlib settings, and the same result gives the same bytes.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from spanwise.attribution import Attribution
from spanwise.errors import FileError, OptionError, one_of, require
from spanwise.storage import check_folder, writing
from spanwise.views.series import drawn_columns
from spanwise.views.sizes import check_width, paper

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("heatmap", "bars", "strip")
# What each format would write that differs from run to run.
_METADATA: dict[str, dict[str, None]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
_RESOLUTION = 150  # dots per inch; the largest page is 1800 x 2400


def plot(
    attribution: Attribution,
    path: str | os.PathLike[str] | None = None,
    *,
    kind: str = "heatmap",
    ax: "Axes | None" = None,
    width: float | str | None = None,
    title: str | None = None,
    columns: tuple[int, int] | None = None,
    colorbar: bool = False,
) -> "Axes | None":
    """Writes a figure of the result to a file, or draws it into axes of the user's.

    Args:
        attribution: The result.
        path: Where to; the suffix decides the format: .png, .svg or .pdf, for a strip .tex as well.
        kind: "heatmap" (rows over source), "bars" (a panel a span over the source) or "strip" (the source as colored
            running text, a block a span or row).
        ax: Axes to draw into instead of a file, as large as they are now; one of `path` and `ax` is needed.
        width: Of the file's figure: inches, "column" (3.5), "page" (7.2) or None: as wide as it needs, 12 at most. The
            height follows. Letters are 6 points or larger.
        title: Above the figure; default: method, model and objective in a file, none in `ax`.
        columns: The source tokens to draw, half-open; default: what fits, by score.
        colorbar: Whether `ax` gives room to a color bar; a file's heat map and strip have one.

    Returns:
        `ax`, None for a file.

    Raises:
        OptionError: An unknown kind or width, columns that are not there, or not exactly one of `path` and `ax`.
        FileError: The format is not supported or the folder cannot be written.
        DependencyError: matplotlib is not installed.
    """
    one_of("kind of figure", kind, KINDS)
    if (path is None) == (ax is None):
        found = "neither" if path is None else "both"
        raise OptionError(f"plot() needs one of path= (a file) and ax= (axes of a figure), not {found}.")
    within = _within(attribution, columns)
    if path is None:
        if width is not None:
            raise OptionError("width= is for files; axes keep the size they have.")
        return _draw_into(attribution, ax, kind, title, within, colorbar)
    check_width(width)
    if Path(path).suffix.lower() == ".tex":
        _write_latex(attribution, path, kind, title, (width, columns))
        return None
    check_format(path, kind)
    figure = {"heatmap": heatmap, "bars": bars, "strip": strip}[kind](
        attribution, title=title, width=width, columns=columns
    )
    write_figure(figure, path)
    return None


def write_figure(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Writes a figure, drawn in `page.style`, to a path that `check_format` has passed: the same bytes each time."""
    from spanwise.views.page import style

    form = Path(path).suffix.lower().removeprefix(".")
    with writing(path) as temporary, style():
        figure.savefig(temporary, format=form, dpi=_RESOLUTION, metadata=_METADATA[form])


def check_format(path: str | os.PathLike[str], kind: str = "heatmap") -> None:
    """Checks before any work that a figure could be written to `path`.

    Raises:
        FileError: The format is not supported or the folder cannot be written.
    """
    forms = [*_METADATA, "tex"] if kind == "strip" else [*_METADATA]
    if isinstance(path, str | os.PathLike) and Path(path).suffix.lower().removeprefix(".") not in forms:
        allowed = ", ".join(f".{name}" for name in forms)
        latex = " (.tex is for kind='strip')" if Path(path).suffix.lower() == ".tex" else ""
        raise FileError(f"figures are written as {allowed}, not {Path(path).name!r}{latex}.")
    check_folder(path)


def heatmap(
    attribution: Attribution,
    *,
    title: str | None = None,
    width: float | str | None = None,
    columns: tuple[int, int] | None = None,
) -> "Figure":
    """Returns a heat map: target tokens or spans as rows, source tokens as columns, zero in the middle of the colors.

    Args:
        attribution: The result.
        title: Above the figure; default: method, model and objective.
        width: Inches, "column", "page" or None: see `plot`.
        columns: The source tokens to draw: see `plot`.

    Returns:
        A figure of at most 12 x 16 inches. A long source is wrapped into panels; what does not fit the page is named
        on it.

    Raises:
        OptionError: An unknown width, or columns that are not there.
        DependencyError: matplotlib is not installed.
    """
    require("matplotlib", "plots", "plot()")
    from spanwise.views.heatmap import draw

    return draw(attribution, title, paper(width), _within(attribution, columns))


def bars(
    attribution: Attribution,
    *,
    title: str | None = None,
    width: float | str | None = None,
    columns: tuple[int, int] | None = None,
) -> "Figure":
    """Returns bars over the source tokens: one panel a span, or one of all rows together where no span was asked for.

    Args:
        attribution: The result.
        title: Above the figure; default: method, model and objective.
        width: Inches, "column", "page" or None: see `plot`.
        columns: The source tokens to draw: see `plot`.

    Returns:
        A figure of at most 12 x 16 inches, wrapped as in `heatmap`.

    Raises:
        OptionError: An unknown width, or columns that are not there.
        DependencyError: matplotlib is not installed.
    """
    require("matplotlib", "plots", "plot()")
    from spanwise.views.bars import draw

    return draw(attribution, title, paper(width), _within(attribution, columns))


def strip(
    attribution: Attribution,
    *,
    title: str | None = None,
    width: float | str | None = None,
    columns: tuple[int, int] | None = None,
) -> "Figure":
    """Returns the source as colored running text: a block a span, or a target token where no span was asked for.

    Args:
        attribution: The result.
        title: Above the figure; default: method, model and objective.
        width: Inches, "column", "page" or None: 7.2.
        columns: The source tokens to draw: see `plot`.

    Returns:
        A figure of at most 16 inches. Lines and blocks that do not fit are named on it.

    Raises:
        OptionError: An unknown width, or columns that are not there.
        DependencyError: matplotlib is not installed.
    """
    require("matplotlib", "plots", "plot()")
    from spanwise.views.strip import draw

    return draw(attribution, title, paper("page" if width is None else width), _within(attribution, columns))


def _within(attribution: Attribution, columns: tuple[int, int] | None) -> range | None:
    if columns is None:
        return None
    count = drawn_columns(attribution)
    whole = isinstance(columns, tuple | list) and len(columns) == 2
    if not whole or not all(isinstance(edge, int) and not isinstance(edge, bool) for edge in columns):
        raise OptionError(
            f"columns must be two integers, the first source token and one past the last, not {columns!r}."
        )
    first, last = columns
    if not 0 <= first < last <= count:
        raise OptionError(
            f"columns must lie within [0, {count}), the source tokens that are drawn, not [{first}, {last})."
        )
    return range(first, last)


def _draw_into(
    attribution: Attribution, ax: object, kind: str, title: str | None, within: range | None, colorbar: bool
) -> "Axes":
    require("matplotlib", "plots", "plot()")
    from spanwise.views import bars, heatmap, into, strip

    axes = into.check_axes(ax)
    if kind == "bars":
        if colorbar:
            raise OptionError("colorbar= is for heat maps and strips; the height of a bar is its score.")
        bars.draw_into(axes, attribution, title, within)
    else:
        draw_into = heatmap.draw_into if kind == "heatmap" else strip.draw_into
        draw_into(axes, attribution, title, within, color_bar=colorbar)
    return axes


def _write_latex(
    attribution: Attribution, path: str | os.PathLike[str], kind: str, title: str | None, others: tuple[object, object]
) -> None:
    """Writes the strip as LaTeX; a document has a width of its own, and its text is all there."""
    check_format(path, kind)
    if others != (None, None):
        raise OptionError(
            "width= and columns= are for figures; a .tex file holds the whole text at the document's width."
        )
    from spanwise.views.latex import latex

    with writing(path) as temporary:
        temporary.write_text(latex(attribution, title=title), encoding="utf-8")
