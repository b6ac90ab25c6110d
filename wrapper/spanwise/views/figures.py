"""Figures of a result: a heat map or bars, in memory or as a PNG, SVG or PDF file.

Nothing here touches pyplot or the user's matplotlib settings, and the same result gives the same bytes.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from spanwise.attribution import Attribution
from spanwise.errors import FileError, one_of, require
from spanwise.storage import check_folder, writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What each format would write that differs from run to run.
_METADATA: dict[str, dict[str, None]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
_RESOLUTION = 150  # dots per inch; the largest page is 1800 x 2400


def plot(
    attribution: Attribution, path: str | os.PathLike[str], *, kind: str = "heatmap", title: str | None = None
) -> None:
    """Writes a figure of the result to a file.

    Args:
        attribution: The result.
        path: Where to; the suffix decides the format: .png, .svg or .pdf.
        kind: "heatmap" (rows over source) or "bars" (a panel a span over the source).
        title: Above the figure; default: method, model and objective.

    Raises:
        OptionError: `kind` is neither.
        FileError: The format is not supported or the folder cannot be written.
        DependencyError: matplotlib is not installed.
    """
    one_of("kind of figure", kind, ("heatmap", "bars"))
    check_format(path)
    form = Path(path).suffix.lower().removeprefix(".")
    figure = (heatmap if kind == "heatmap" else bars)(attribution, title=title)
    from spanwise.views.page import style

    with writing(path) as temporary, style():
        figure.savefig(temporary, format=form, dpi=_RESOLUTION, metadata=_METADATA[form])


def check_format(path: str | os.PathLike[str]) -> None:
    """Checks before any work that a figure could be written to `path`.

    Raises:
        FileError: The format is not supported or the folder cannot be written.
    """
    if isinstance(path, str | os.PathLike) and Path(path).suffix.lower().removeprefix(".") not in _METADATA:
        allowed = ", ".join(f".{name}" for name in _METADATA)
        raise FileError(f"figures are written as {allowed}, not {Path(path).name!r}.")
    check_folder(path)


def heatmap(attribution: Attribution, *, title: str | None = None) -> "Figure":
    """Returns a heat map: target tokens or spans as rows, source tokens as columns, zero in the middle of the colors.

    Args:
        attribution: The result.
        title: Above the figure; default: method, model and objective.

    Returns:
        A figure of at most 12 x 16 inches. A long source is wrapped into panels; what does not fit the page is named
        on it.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    require("matplotlib", "plots", "plot()")
    from spanwise.views.heatmap import draw

    return draw(attribution, title)


def bars(attribution: Attribution, *, title: str | None = None) -> "Figure":
    """Returns bars over the source tokens: one panel a span, or one of all rows together where no span was asked for.

    Args:
        attribution: The result.
        title: Above the figure; default: method, model and objective.

    Returns:
        A figure of at most 12 x 16 inches, wrapped as in `heatmap`.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    require("matplotlib", "plots", "plot()")
    from spanwise.views.bars import draw

    return draw(attribution, title)
