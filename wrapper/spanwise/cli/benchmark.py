"""`spanwise benchmark`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from spanwise.cli.common import Debug, Json, quiet
from spanwise.errors import OptionError
from spanwise.methods import METHODS

benchmark = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@benchmark.callback()
def _about() -> None:
    """Measure attribution methods where the truth is known."""


@benchmark.command("ground-truth")
def ground_truth(
    quick: Annotated[bool, typer.Option("--quick", help="3 prompts a family instead of 40: under a minute.")] = False,
    all_: Annotated[
        bool, typer.Option("--all", help="Inseq's methods too: eight times as long, so ask for fewer prompts.")
    ] = False,
    per_family: Annotated[int | None, typer.Option(help="Prompts of each family; default: 40.")] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="float32 or nf4; repeat it. Default: both, one after the other.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Only this method; may be repeated. Default: all.", autocompletion=lambda: list(METHODS)),
    ] = None,
    family: Annotated[
        list[str] | None,
        typer.Option(help="facts, agreement, profile, retrieval or pronoun; may be repeated. Default: all."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="'tiny' (bundled), or the folder of a model trained on the same corpus.")
    ] = "tiny",
    seed: Annotated[int, typer.Option(help="Of prompts, sampled methods and intervals.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Write the tables as a Markdown page (.md).")] = None,
    as_json: Json = False,
    progress: Annotated[bool | None, typer.Option(help="Show a progress bar; default: on a terminal.")] = None,
    debug: Debug = False,
) -> None:
    """Which methods find the cause? Held-out prompts of the bundled model, whose causes were planted.

    For each method: how often its strongest source token is a cause (pointing), how many causes are among its first
    k and 5 (recall), how much of its scores lies on causes (mass), 1 / rank of the first cause; each with a 95 %
    bootstrap interval, at float32 and nf4, beside a random ranking and one that takes rare tokens first. Prompts whose
    planted causes do not change the model's answer when they are swapped are dropped and counted.

    Some 6 minutes on two cores; --quick under one; --all --per-family 12 some 17 on one core.

    Example: spanwise benchmark ground-truth --quick --precision float32 --output ground-truth.md
    """
    from spanwise.evaluation.benchmark.benchmark import PER_FAMILY, PRECISIONS, QUICK_PER_FAMILY, ground_truth_benchmark
    from spanwise.views.benchmark import check_path

    if quick and per_family is not None:
        raise OptionError(f"--quick and --per-family were both given; --quick means --per-family {QUICK_PER_FAMILY}.")
    if output is not None:
        check_path(output)
    with quiet(as_json):
        found = ground_truth_benchmark(
            model,
            methods=method or None,
            all_engines=all_,
            families=family or None,
            precisions=precision or PRECISIONS,
            per_family=per_family if per_family is not None else QUICK_PER_FAMILY if quick else PER_FAMILY,
            seed=seed,
            progress=progress,
        )
    if output is not None:
        found.write(output, command=" ".join(["spanwise", *sys.argv[1:]]))
    if as_json:
        typer.echo(json.dumps(found.as_dict(), ensure_ascii=False))
        return
    found.show()
    if output is not None:
        typer.echo(f"wrote {output}")
