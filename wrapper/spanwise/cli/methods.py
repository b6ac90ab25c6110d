"""`spanwise methods`."""

import json
from typing import Annotated, Any

import rich
import rich.table
import typer

from spanwise.methods import MethodInfo, find_method, list_methods


def methods(
    name: Annotated[str | None, typer.Argument(help="One method, with its options and what is known about it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the methods: what each is, costs and promises."""
    rows = [find_method(name)] if name else list_methods()
    if as_json:
        typer.echo(json.dumps([row.as_dict() for row in rows], ensure_ascii=False))
    elif name:
        rich.print(_method_page(rows[0]))
    else:
        rich.print(_method_table())
        typer.echo("\n`spanwise methods NAME` says more: paper, cost, promises, options, and what is known against it.")


def _method_table() -> rich.table.Table:
    table = rich.table.Table(box=None, pad_edge=False)
    for heading in ("method", "engines", "what it is"):
        table.add_column(heading, no_wrap=heading == "method")
    for row in list_methods():
        table.add_row(row.name, ", ".join(row.engines), row.summary)
    return table


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (", ".join(value) if isinstance(value, tuple) else value) or "none"


def _method_page(row: MethodInfo) -> rich.table.Table:
    page = rich.table.Table(box=None, show_header=False, pad_edge=False, title=None)
    page.add_column(no_wrap=True)
    page.add_column()
    for key in (
        "name",
        "family",
        "summary",
        "paper",
        "engines",
        "signed",
        "complete",
        "cost",
        "unit",
        "baselines",
        "needs",
        "caveat",
    ):
        value = getattr(row, key)
        page.add_row(key, _shown(value))
    for key, option in row.options.items():
        allowed = f"; one of {', '.join(option.choices)}" if option.choices else ""
        page.add_row(f"option {key}", f"{option.doc} (default {option.default}{allowed})")
    return page
