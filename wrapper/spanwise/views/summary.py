"""A run over all its rows, and beside it another: a figure and tables, read from what `Summary.as_dict` returns."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spanwise.errors import require
from spanwise.views.figures import check_format, write_figure
from spanwise.views.labels import visible
from spanwise.views.summary_tables import default_title, drift_facts, facts, names, sections, unfinished

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Plain = Mapping[str, Any]


def plot(path: str | os.PathLike[str], found: Plain, *, title: str | None = None) -> None:
    """Writes the figure to a file.

    Args:
        path: Where to; the suffix decides the format: .png, .svg or .pdf.
        found: What `Summary.as_dict` returns.
        title: Above the figure; default: method and model.

    Raises:
        FileError: The format is not supported or the folder cannot be written.
        DependencyError: matplotlib is not installed.
    """
    check_format(path)
    write_figure(figure(found, title=title), path)


def figure(found: Plain, *, title: str | None = None) -> "Figure":
    """Returns the figure: shares by place, mean scores by distance, top sources, and the agreement of two runs.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    require("matplotlib", "plots", "plot()")
    from spanwise.views.summary_page import draw

    return draw(found, default_title(found) if title is None else title)


def show(found: Plain, *, console: Console | None = None) -> None:
    """Prints the facts of the run or the two runs, a table a category, and how the two agree.

    Args:
        found: What `Summary.as_dict` returns.
        console: Where to; default: standard output.
    """
    console = Console() if console is None else console
    console.print(Text(visible(default_title(found)), style="bold"))
    for sentence in unfinished(found):
        console.print(Text(sentence, style="bold"))
    console.print(_table(["", *names(found)], facts(found)))
    for section in sections(found, more="all with --json or as_dict()"):
        console.print()
        console.print(Text(section.title, style="bold"))
        whole = not section.column and found["other"] is None  # the heads of two runs need two lines
        console.print(_table(section.heads, section.lines, whole=whole))
        if section.note:
            console.print(Text(section.note, style="dim"))
    if found["drift"]:
        console.print()
        console.print(Text(f"{found['other']['folder']} compared with {found['run']['folder']}", style="bold"))
        console.print(_table(["", ""], drift_facts(found["drift"])))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, whole: bool = False) -> Table:
    """Returns the table; with a head above the first column the others hold numbers, kept `whole` or wrapped."""
    table = Table(box=None, pad_edge=False)
    for number, head in enumerate(heads):
        numeric = number > 0 and bool(heads[0])
        table.add_column(Text(head), justify="right" if numeric else "left", overflow="fold", no_wrap=numeric and whole)
    for row in rows:
        table.add_row(*map(Text, row))
    return table
