"""Several methods on one prompt: one figure, and tables for the terminal."""

import os
from collections.abc import Mapping
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

Found = Mapping[str, Any]
"""As `Comparison.as_dict(results=False)` gives it."""
_STRONGEST = 3


def plot(
    path: str | os.PathLike[str], results: Mapping[str, Attribution], found: Found, *, title: str | None = None
) -> None:
    """Writes the figure to a file.

    Args:
        path: Where to; the suffix decides the format: .png, .svg or .pdf.
        results: The attributions by name.
        found: How far they agree.
        title: Above the figure; default: model and objective.

    Raises:
        FileError: The format is not supported or the folder cannot be written.
        DependencyError: matplotlib is not installed.
    """
    check_format(path)
    write_figure(figure(results, found, title=title), path)


def figure(results: Mapping[str, Attribution], found: Found, *, title: str | None = None) -> "Figure":
    """Returns the figure: methods over source tokens on the left, how far each two agree on the right.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    require("matplotlib", "plots", "plot()")
    from spanwise.views.comparison_page import draw

    return draw(results, found, title)


def show(results: Mapping[str, Attribution], found: Found, *, console: Console | None = None) -> None:
    """Prints the sentences, one line a method, one line a pair, and the notes.

    Args:
        results: The attributions by name.
        found: How far they agree.
        console: Where to; default: standard output.
    """
    console = Console() if console is None else console
    facts = next(iter(results.values())).provenance
    console.print(Text(visible(f"{len(results)} methods on {facts.model}, objective {facts.objective}"), style="bold"))
    for sentence in found["sentences"]:
        console.print(Text(visible(sentence)))
    console.print()
    console.print(_methods(results))
    console.print()
    console.print(_pairs(found))
    how = "all" if found["exact"] else "random"
    pairs = len(found["pairs"])
    about = f"p: against {found['permutations']:,} {how} orders, corrected for {pairs} pair{'s'[: pairs != 1]} (Holm)"
    notes = [*found["notes"], *(["†: of absolute scores"] if any(pair["absolute"] for pair in found["pairs"]) else [])]
    for note in (about, *notes):
        console.print(Text(f"note: {visible(note)}", style="dim"))


def _methods(results: Mapping[str, Attribution]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("method", "sign", "strongest source tokens"):
        table.add_column(heading)
    for name, result in results.items():
        top = "  ".join(label(token.name or token.text or f"[{token.id}]") for token, _ in result.top(_STRONGEST))
        table.add_row(Text(visible(name), style="bold"), Text("yes" if result.provenance.signed else "none"), Text(top))
    return table


def _pairs(found: Found) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("pair")
    for heading in ("Spearman", "p", "Kendall", "p", f"top {found['top_k']}", "p"):
        table.add_column(heading, justify="right")
    for pair in found["pairs"]:
        cells = []
        for measure in ("spearman", "kendall", "overlap"):
            form = "{:.0%}" if measure == "overlap" else "{:.2f}†" if pair["absolute"] else "{:.2f}"
            corrected = pair[f"{measure}_holm"]
            cells.append("none" if pair[measure] is None else form.format(pair[measure]))
            cells.append("none" if corrected is None else f"{corrected:.3f}")
        table.add_row(Text(visible(f"{pair['one']} ~ {pair['other']}")), *map(Text, cells))
    return table
