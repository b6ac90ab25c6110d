"""The same prompt at several precisions: one figure, and a table for the terminal."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spanwise.attribution import Attribution
from spanwise.errors import require
from spanwise.views.figures import check_format, write_figure
from spanwise.views.labels import label, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Line = Mapping[str, Any]
"""precision, spearman, kendall, overlap, completeness_gap, log_prob, log_prob_change (nats), seconds."""


def plot(
    path: str | os.PathLike[str],
    results: Sequence[Attribution],
    lines: Sequence[Line],
    top_k: int,
    *,
    title: str | None = None,
) -> None:
    """Writes the figure to a file.

    Args:
        path: Where to; the suffix decides the format: .png, .svg or .pdf.
        results: The attributions, the reference first.
        lines: What was found at each precision, in the same order.
        top_k: How many of the strongest tokens the overlap compares.
        title: Above the figure; default: method, model and objective.

    Raises:
        FileError: The format is not supported or the folder cannot be written.
        DependencyError: matplotlib is not installed.
    """
    check_format(path)
    write_figure(figure(results, lines, top_k, title=title), path)


def figure(results: Sequence[Attribution], lines: Sequence[Line], top_k: int, *, title: str | None = None) -> "Figure":
    """Returns the figure: scores by token on the left, agreement and changes of log-probability on the right.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    require("matplotlib", "plots", "plot()")
    from spanwise.views.drift_page import draw

    return draw(results, lines, top_k, title)


def show(results: Sequence[Attribution], lines: Sequence[Line], top_k: int, *, console: Console | None = None) -> None:
    """Prints one line a precision, and its strongest tokens.

    Args:
        results: The attributions, the reference first.
        lines: What was found at each precision, in the same order.
        top_k: How many of the strongest tokens the overlap compares.
        console: Where to; default: standard output.
    """
    console = Console() if console is None else console
    facts = results[0].provenance
    about = f"{facts.method} ({facts.engine}) of {facts.model}; compared with {lines[0]['precision']}; log p in nats"
    console.print(Text(visible(about)))
    table = Table(box=None, pad_edge=False)
    headings = (
        "precision",
        "Spearman",
        "Kendall",
        f"top {top_k}",
        "gap",
        "log p",
        "change",
        "strongest",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("precision", "strongest") else "right")
    for result, line in zip(results, lines, strict=True):
        top = " ".join(label(token.text or f"[{token.id}]") for token, _ in result.top(2))
        table.add_row(
            Text(line["precision"], style="bold"),
            *(Text("none" if line[name] is None else f"{line[name]:.3f}") for name in ("spearman", "kendall")),
            Text(f"{line['overlap']:.0%}"),
            Text("none" if line["completeness_gap"] is None else f"{line['completeness_gap']:.2%}"),
            Text(f"{line['log_prob']:.3g}"),
            Text(f"{line['log_prob_change']:+.2g}"),
            Text(top),
        )
    console.print(table)
