"""Sanity checks in the terminal, read from the plain values that `Sanity.as_dict` returns."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spanwise.views.labels import visible

Plain = Mapping[str, Any]

STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red", "not applicable": "dim"}
_SHOWN = 3
"""Figures of a check in the table; all are in `as_dict`."""


def show(found: Plain, *, console: Console | None = None) -> None:
    """Prints one line a check, the layers of the randomization, and a sentence for each check.

    Args:
        found: What `Sanity.as_dict` returns.
        console: Where to; default: standard output.
    """
    console = Console() if console is None else console
    about = f"{found['method']} ({found['engine']}) of {found['model']}, explaining {found['span']!r}"
    console.print(Text(visible(about)))
    console.print(_checks(found))
    for check in found["checks"]:
        if check["name"] == "model_randomization" and check["details"]:
            console.print()
            console.print(_layers(check["details"], found["top_k"]))
    for check in found["checks"]:
        if check["status"] != "not applicable":
            told = Text.assemble((_words(check["name"]) + ": ", "bold"), visible(check["summary"]))
            console.print()
            console.print(told)
    console.print()
    console.print(Text(_work(found), style="dim"))


def _checks(found: Plain) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("check", "status", "figures"):
        table.add_column(heading)
    for check in found["checks"]:
        figures = ", ".join(
            f"{_words(name)} {_value(value)}" for name, value in list(check["figures"].items())[:_SHOWN]
        )
        status = Text(check["status"], style=STYLES[check["status"]])
        table.add_row(Text(_words(check["name"])), status, Text(visible(figures or check["summary"])))
    return table


def _layers(lines: list[Plain], top_k: int) -> Table:
    """Returns the rank correlations with the result, layer by layer."""
    table = Table(box=None, pad_edge=False)
    for heading in ("drawn again", "layer"):
        table.add_column(heading)
    for heading in ("Spearman", "of |scores|", "cosine", f"top {top_k}"):
        table.add_column(heading, justify="right")
    for line in lines:
        values = [Text(_value(line[name])) for name in ("spearman", "spearman_absolute", "cosine")]
        overlap = line["top_k_overlap"]
        shown = "none" if overlap is None else f"{overlap:.0%}"
        table.add_row(Text(line["randomization"]), Text(visible(str(line["layer"]))), *values, Text(shown))
    return table


def _work(found: Plain) -> str:
    return (
        f"{found['attributions']} attributions, {found['forwards']} forwards and {found['backwards']} backwards, "
        f"{found['seconds']:.1f} s"
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:.2g}" if isinstance(value, float) and 0 < abs(value) < 0.005 else f"{value:.3g}"
