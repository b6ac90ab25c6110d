"""A checklist as Markdown and in the terminal, read from the plain values that `Checklist.as_dict` returns."""

import re
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spanwise.views.labels import visible

Plain = Mapping[str, Any]

STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red", "not applicable": "dim"}
_LONGEST = 300  # characters of a prompt or target that are printed
_SPECIAL = "\\`*_{}[]#|~$@"
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def to_markdown(found: Plain) -> str:
    """Returns the table, what was found in words, the thresholds and the notes.

    Whatever comes from outside (model, prompt, target, texts of tokens) is escaped: it stays text in Markdown, in a
    cell of a table, and in the HTML made from it.

    Args:
        found: What `Checklist.as_dict` returns.
    """
    methods = found["methods"]
    lines = [
        f"# Checklist: {len(methods)} methods on {escaped(found['model'])}",
        "",
        f"Prompt: {escaped(_cut(found['prompt']))}",
        "",
        f"Target: {escaped(_cut(found['target']))}",
        "",
        f"Explained: {escaped(_cut(found['span']))}",
        "",
        f"| check | {' | '.join(escaped(name) for name in methods)} |",
        f"|---|{'---|' * len(methods)}",
    ]
    for check in found["checks"]:
        cells = [_cell(entry) for entry in _of(found, check["name"])]
        lines.append(f"| {escaped(check['title'])} | {' | '.join(cells)} |")
    lines += ["", f"{_done(found)}", "", "## What was found", ""]
    for check in found["checks"]:
        lines += [f"### {escaped(check['title'])}", "", f"Threshold: {escaped(check['threshold'])}.", ""]
        for entry in _of(found, check["name"]):
            lines.append(f"* {escaped(entry['method'])}: **{entry['status']}**. {escaped(entry['summary'])}")
        lines.append("")
    lines += ["## Notes", "", *(f"* {escaped(note)}" for note in found["notes"])]
    return "\n".join(lines) + "\n"


def show(found: Plain, *, console: Console | None = None) -> None:
    """Prints the table, in words what was not passed, and the thresholds.

    Args:
        found: What `Checklist.as_dict` returns.
        console: Where to; default: standard output.
    """
    console = Console() if console is None else console
    console.print(Text(visible(f"{len(found['methods'])} methods on {found['model']}"), style="bold"))
    console.print(Text(visible(f"explained: {_cut(found['span'])}")))
    console.print()
    console.print(_table(found))
    console.print()
    for entry in found["entries"]:
        if entry["status"] != "pass":
            title = next(check["title"] for check in found["checks"] if check["name"] == entry["check"])
            about = Text.assemble((visible(f"{title}, {entry['method']}: "), "bold"), visible(entry["summary"]))
            about.stylize("dim" if entry["status"] == "not applicable" else "")
            console.print(about)
    console.print()
    for check in found["checks"]:
        console.print(Text(f"{check['title']}: {check['threshold']}", style="dim"))
    for note in found["notes"]:
        console.print(Text(f"note: {visible(note)}", style="dim"))
    console.print(Text(_done(found), style="dim"))


def escaped(text: str) -> str:
    """Returns `text` on one line, so that neither Markdown nor HTML reads anything in it.

    Characters that Markdown may read get a backslash, `&`, `<` and `>` become entities, and what would not be seen, or
    would turn the direction of what follows, is spelled out. A colon gets its backslash where it is no punctuation
    (links, names of emoji).
    """
    safe = "".join(_HTML.get(c) or (f"\\{c}" if c in _SPECIAL else c) for c in visible(text))
    return re.sub(r":(?=\S)", r"\\:", safe)


def _table(found: Plain) -> Table:
    table = Table(pad_edge=False, box=None, padding=(0, 2, 1, 0))
    table.add_column("check")
    for name in found["methods"]:
        table.add_column(Text(visible(name)), overflow="fold")
    for check in found["checks"]:
        cells = []
        for entry in _of(found, check["name"]):
            cell = Text(entry["status"], style=STYLES[entry["status"]])
            cells.append(Text.assemble(cell, ("\n" + visible(entry["figure"])) if entry["figure"] else ""))
        table.add_row(Text(check["title"]), *cells)
    return table


def _cell(entry: Plain) -> str:
    figure = f"<br>{escaped(entry['figure'])}" if entry["figure"] else ""
    return f"**{entry['status']}**{figure}" if entry["status"] != "not applicable" else f"not applicable{figure}"


def _of(found: Plain, check: str) -> list[Plain]:
    return [entry for entry in found["entries"] if entry["check"] == check]


def _done(found: Plain) -> str:
    own = [entry["status"] for entry in found["entries"]]
    counts = ", ".join(f"{own.count(status)} {status}" for status in STYLES if status in own)
    return f"{counts}; {found['seconds']:.0f} s{', quick' if found['quick'] else ''}."


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
