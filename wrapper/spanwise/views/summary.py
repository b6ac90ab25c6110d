"""A run over all its rows, and beside it another: a figure and tables, read from what `Summary.as_dict` returns."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spanwise.errors import require
from spanwise.views.figures import check_format, write_figure
from spanwise.views.labels import label, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Plain = Mapping[str, Any]

TITLES = {
    "kind": "by kind of source token",
    "role": "by role",
    "relative_position": "by place in the prompt",
    "position": "by distance to the target",
    "token": "top sources",
}
_TOP = 12
"""Lines of a table in the terminal and in reports; all are in `as_dict`."""


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
    console.print(_table(["", *names(found)], facts(found)))
    for by in found["run"]["tables"]:
        console.print()
        console.print(Text(TITLES[by], style="bold"))
        console.print(_table(headings(found), lines(found, by)))
        if note := left_out(found, by):
            console.print(Text(note, style="dim"))
    if found["drift"]:
        console.print()
        console.print(Text(f"{found['other']['folder']} compared with {found['run']['folder']}", style="bold"))
        console.print(_table(["", ""], drift_facts(found["drift"])))


def default_title(found: Plain) -> str:
    """Returns the method and the model of the run, or of both."""
    titles = [f"{run['method']} of {run['model']} ({run['precision']})" for _, run in runs(found)]
    return " beside ".join(dict.fromkeys(titles))


def runs(found: Plain) -> Iterator[tuple[str, Plain]]:
    """Yields the run, and the other where there is one, each with the name it has in tables."""
    yield "run", found["run"]
    if found["other"] is not None:
        yield "other", found["other"]


def names(found: Plain) -> list[str]:
    """Returns the folders of the runs, as headings."""
    return [visible(str(run["folder"])) for _, run in runs(found)]


def facts(found: Plain) -> list[list[str]]:
    """Returns a line a fact, a column a run."""
    told = {
        "method": lambda run: f"{run['method']} ({run['engine']})",
        "model": lambda run: f"{visible(run['model'])} ({run['precision']})",
        "scores": lambda run: f"{run['objective']}, {run['unit']}, " + ("signed" if run["signed"] else "no sign"),
        "rows": lambda run: "not known yet" if run["rows"] is None else f"{run['rows']:,}",
        "results": lambda run: f"{run['results']:,}" + ("" if run["done"] else " (the run is not finished)"),
        "failures": _failures,
        "source columns scored": lambda run: f"{run['scored']:,}",
        "share of the strongest": lambda run: estimated(run["strongest_share"]),
        "completeness gap": lambda run: estimated(run["completeness_gap"]),
    }
    return [[name, *(tell(run) for _, run in runs(found))] for name, tell in told.items()]


def headings(found: Plain) -> list[str]:
    """Returns the headings of a category's table; with two runs the other's are the last three."""
    if found["other"] is None:
        return ["category", "columns", "results", "mean score", "share", "strongest"]
    return ["category", "results", "mean", "share", "strongest", "other: mean", "share", "strongest"]


def lines(found: Plain, by: str, most: int | None = _TOP) -> list[list[str]]:
    """Returns the lines of a category's table, those of the first run beside the other's; `most` None: all."""
    shown = ordered(found["run"], by)[:most]
    if found["other"] is None:
        return [
            [category(by, line["category"]), f"{line['count']:,}", f"{line['results']:,}", *_figures(line, error=True)]
            for line in shown
        ]
    beside = {line["category"]: _figures(line) for line in found["other"]["tables"].get(by, ())}
    return [
        [
            category(by, line["category"]),
            f"{line['results']:,}",
            *_figures(line),
            *beside.get(line["category"], ["none"] * 3),
        ]
        for line in shown
    ]


def ordered(run: Plain, by: str) -> list[Plain]:
    """Returns the lines of a table; tokens by how often they are the strongest."""
    table = list(run["tables"].get(by, ()))
    return sorted(table, key=lambda line: (-line["strongest"], -line["share"])) if by == "token" else table


def left_out(found: Plain, by: str, most: int = _TOP) -> str:
    """Returns what a table of `most` lines does not show, or ""."""
    count = len(found["run"]["tables"][by]) - most
    return f"and {count:,} more, in summary.json" if count > 0 else ""


def category(by: str, name: str | int) -> str:
    """Returns what a category is called."""
    if by == "relative_position":
        return f"{10 * int(name)}-{10 * int(name) + 10} %"
    if by == "position":
        return f"{name} before"
    return label(str(name), 40)


def drift_facts(drift: Plain) -> list[list[str]]:
    """Returns a line a fact about two runs."""
    unmatched = [
        f"{drift[name]:,} {what}"
        for name, what in (
            ("only_first", "only in the first"),
            ("only_second", "only in the second"),
            ("different", "ask for something else"),
        )
        if drift[name]
    ]
    return [
        ["rows compared", f"{drift['matched']:,}" + (f"; {', '.join(unmatched)}" if unmatched else "")],
        ["Spearman correlation", estimated(drift["spearman"])],
        [f"top {drift['top_k']} in both", estimated(drift["overlap"])],
        ["change of log-probability, nats", estimated(drift["log_prob_change"])],
        ["rows that agree least", ", ".join(f"{row} ({value:.2f})" for row, value in drift["lowest"]) or "none"],
    ]


def estimated(value: Plain | None) -> str:
    """Returns a mean with its 95 % interval."""
    if value is None:
        return "none"
    interval = "" if value["low"] is None else f" [{_figure(value['low'])}, {_figure(value['high'])}]"
    return f"{_figure(value['mean'])}{interval}"


def _failures(run: Plain) -> str:
    reasons = ", ".join(f"{count} {name}" for name, count in run["reasons"])
    return f"{run['failures']:,}" + (f" ({reasons})" if reasons else "")


def _figures(line: Plain, *, error: bool = False) -> list[str]:
    told = f" ± {line['stderr']:.3f}" if error and line["stderr"] is not None else ""
    return [f"{line['mean']:.3f}{told}", f"{line['share']:.1%}", f"{line['strongest']:.1%}"]


def _figure(value: float) -> str:
    return f"{value:.2g}" if 0 < abs(value) < 0.005 else f"{value:.3f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, head in enumerate(heads):
        numeric = number > 0 and heads[0] == "category"
        table.add_column(head, justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    for row in rows:
        table.add_row(*map(Text, row))
    return table
