"""`spanwise view`."""

import json
import sys
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from spanwise.cli.common import Debug
from spanwise.errors import FileError


def view(
    results: Annotated[list[Path], typer.Argument(help="What --save wrote; several methods of one question.")],
    output: Annotated[
        Path | None, typer.Option(help="Where to write it, .html; default: beside the first result, under its name.")
    ] = None,
    check: Annotated[
        list[Path] | None,
        typer.Option(
            help="What `spanwise evaluate --json` and others printed, shown under the file's name; repeatable."
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Above the page; default: method and model.")] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Write it, and do not open a browser.")] = False,
    debug: Debug = False,
) -> None:
    """Write saved results as one HTML page, and open it in the browser.

    The page needs no network and no server. A browser is opened where there is a terminal to say so.

    Example: spanwise view run.safetensors --output report.html --no-open
    """
    from spanwise.attribution import Attribution
    from spanwise.methods import METHODS
    from spanwise.views.report import check_path, report

    path = results[0].with_suffix(".html") if output is None else output
    check_path(path)
    checks = {file.stem: _read(file) for file in check or []}
    loaded = [Attribution.load(file) for file in results]
    linear = {name: info.linear for name, info in METHODS.items()}
    report(loaded, path, linear=linear, checks=checks, title=title)
    typer.echo(f"wrote {path}")
    if not no_open and sys.stdout.isatty():
        webbrowser.open(path.resolve().as_uri())


def _read(file: Path) -> Any:
    """Returns what a JSON file holds.

    Raises:
        FileError: It cannot be read, or is no JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read the checks from {file}: {error}.") from error
