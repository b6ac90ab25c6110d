"""`spanwise summarize`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from spanwise.cli.common import Debug, Json, quiet
from spanwise.errors import FileError


def summarize(
    run: Annotated[Path, typer.Argument(help="The folder that `spanwise batch` wrote.")],
    other: Annotated[
        Path | None, typer.Option(help="A run of the same rows with another model, precision or method.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="A folder for summary.md, summary.html, summary.png and summary.json.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="A column of the input, a category say: a table with a line a value; repeatable."),
    ] = None,
    top_k: Annotated[int, typer.Option(help="How many of the strongest sources of two runs are compared.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the bootstrap intervals.")] = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a run of many prompts shows over all: by kind, role, place, your own columns; top sources; drift.

    Example: spanwise summarize run --by category --output report
    """
    from spanwise.batch.run import open_run
    from spanwise.batch.summary import summarize as found_in

    first, second = open_run(run), None if other is None else open_run(other)
    if output is not None:
        _make(output)
    with quiet(as_json):
        found = found_in(first, second, by=by or (), top_k=top_k, seed=seed)
    text = json.dumps(found.as_dict(), ensure_ascii=False)
    if output is not None:
        from spanwise.storage import writing

        found.report(output / "summary.md")
        found.report(output / "summary.html")
        with writing(output / "summary.json") as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    if as_json:
        typer.echo(text)
        return
    found.show()
    if output is not None:
        typer.echo(f"wrote {output / 'summary.md'}, .html, .png and .json")


def _make(folder: Path) -> None:
    """Makes the folder.

    Raises:
        FileError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot write the folder {folder}: {error.strerror}.") from error
