"""The command line, `spanwise …`: one file a command, the options that several share in `common`."""

import io
import sys
from typing import Annotated

import typer

from spanwise._version import __version__
from spanwise.cli.attribute import attribute
from spanwise.cli.batch import batch
from spanwise.cli.benchmark import benchmark
from spanwise.cli.checklist import checklist
from spanwise.cli.compare import compare
from spanwise.cli.demo import demo
from spanwise.cli.doctor import doctor
from spanwise.cli.drift import drift
from spanwise.cli.evaluate import evaluate
from spanwise.cli.methods import methods
from spanwise.cli.plan import plan
from spanwise.cli.sanity import sanity
from spanwise.cli.summarize import summarize
from spanwise.cli.tokens import tokens
from spanwise.cli.view import view
from spanwise.errors import AttributionError

app = typer.Typer(
    help="Which parts of the input made this language model write that span?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    demo,
    attribute,
    batch,
    compare,
    evaluate,
    sanity,
    checklist,
    tokens,
    methods,
    plan,
    drift,
    doctor,
    view,
    summarize,
):
    app.command()(command)
app.add_typer(benchmark, name="benchmark")


def main() -> None:
    """Runs the command line; user errors are one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # prompts hold what an ASCII terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="spanwise")
    except AttributionError as error:
        if "--debug" in sys.argv:
            raise
        print(f"spanwise: error: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _version(asked: bool | None) -> None:
    if asked:
        typer.echo(f"spanwise {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = None,
) -> None:
    pass
