"""`spanwise view`."""

import json
import sys
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from spanwise.cli.common import Debug
from spanwise.errors import FileError, OptionError


def view(
    results: Annotated[
        list[Path], typer.Argument(help="What --save wrote, several methods of one question; or the folder of one run.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Where to write it, .html; default: beside the first result, under its name.")
    ] = None,
    check: Annotated[
        list[Path] | None,
        typer.Option(
            help="What `spanwise evaluate --json` and others printed, shown under the file's name; repeatable."
        ),
    ] = None,
    most_rows: Annotated[
        int, typer.Option(min=1, help="Of a run: the rows on the page, from the first on; it says how many there are.")
    ] = 10_000,
    title: Annotated[str | None, typer.Option(help="Above the page; default: method and model.")] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Write it, and do not open a browser.")] = False,
    debug: Debug = False,
) -> None:
    """Write saved results, or a run of `spanwise batch`, as one HTML page, and open it in the browser.

    The page needs no network and no server. A browser is opened where there is a terminal to say so.

    Example: spanwise view run.safetensors --output report.html --no-open
    """
    if any(each.is_dir() for each in results):
        path, told = _run(results, output, check, most_rows, title)
    else:
        path, told = _results(results, output, check, title), ""
    typer.echo(f"wrote {path}{told}")
    if not no_open and sys.stdout.isatty():
        webbrowser.open(path.resolve().as_uri())


def _results(results: list[Path], output: Path | None, check: list[Path] | None, title: str | None) -> Path:
    """Writes the report of one question, and returns where it is."""
    from spanwise.attribution import Attribution
    from spanwise.methods import METHODS
    from spanwise.views.report import check_path, report

    path = results[0].with_suffix(".html") if output is None else output
    check_path(path)
    checks = {file.stem: _read(file) for file in check or []}
    loaded = [Attribution.load(file) for file in results]
    linear = {name: info.linear for name, info in METHODS.items()}
    report(loaded, path, linear=linear, checks=checks, title=title)
    return path


def _run(
    results: list[Path], output: Path | None, check: list[Path] | None, most: int, title: str | None
) -> tuple[Path, str]:
    """Writes the page of a run, and returns where it is and what it leaves out.

    Raises:
        OptionError: More than one folder, or checks, which are about one question.
    """
    from spanwise.batch.by_column import grouping
    from spanwise.batch.run import open_run
    from spanwise.batch.summary import check_results, summarize
    from spanwise.views.report import check_path
    from spanwise.views.run_page import write_run
    from spanwise.views.summary_tables import extent

    if len(results) > 1 or check:
        what = f"{len(results)} were given" if len(results) > 1 else "--check was given"
        raise OptionError(f"view takes one folder of a run, alone, or files of one question; {what}.")
    folder = results[0].resolve()
    path = folder.parent / f"{folder.name}.html" if output is None else output
    check_path(path)
    run = open_run(results[0])
    check_results(run)
    rows = ((entry.row, entry.result, entry.extra) for entry in run.entries())
    summary, failures = summarize(run, by=grouping(run)).as_dict(), (vars(each) for each in run.failures)
    count = write_run(path, rows, summary, failures=failures, extra=run.extra, most=most, title=title)
    left_out = f"; the page holds the first {count:,} results" if count < len(run) else ""
    return path, f": {extent(summary['run'])}{left_out}"


def _read(file: Path) -> Any:
    """Returns what a JSON file holds.

    Raises:
        FileError: It cannot be read, or is no JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read the checks from {file}: {error}.") from error
