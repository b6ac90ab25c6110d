"""`spanwise sanity`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from spanwise.cli.common import Debug, Json, number, quiet
from spanwise.cli.loading import Load, loads_a_model, model_of


@loads_a_model
def sanity(
    result: Annotated[Path, typer.Argument(help="A saved result, .safetensors.")],
    row: Annotated[int | None, typer.Option(help="Row of the scores; default: the first span.")] = None,
    check: Annotated[
        list[str] | None,
        typer.Option(
            help="repeat, model_randomization, completeness, baseline_sensitivity, seed_stability, input_invariance or "
            "attention_counterfactual; repeat it. Default: all."
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="To compare, at least two. Default: unk, pad, zero, mean and token:. as the tokenizer has."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Random models, and seeds of a method that samples.")] = 5,
    top_k: Annotated[
        int | None,
        typer.Option(
            help="How many of the strongest source tokens are compared; default: 5, or half of fewer than 10."
        ),
    ] = None,
    batch_size: Annotated[str, typer.Option(help="Sequences a forward, or auto.")] = "auto",
    *,
    load: Load,
    as_json: Json = False,
    progress: Annotated[bool | None, typer.Option(help="Show a progress bar; default: on a terminal.")] = None,
    debug: Debug = False,
) -> None:
    """Check a saved attribution: does it depend on the model, the baseline, the seed?

    Example: spanwise attribute --prompt "The keys to the old cabinet" --target " are new." --span are --save
    keys.safetensors; spanwise sanity keys.safetensors --model tiny
    """
    import spanwise
    from spanwise.evaluation.sanity.sanity import sanity as checked

    loaded = spanwise.Attribution.load(result)
    with quiet(as_json):
        lm = model_of(load, progress)
        found = checked(
            lm,
            loaded,
            row=row,
            baselines=baseline or None,
            seeds=seeds,
            checks=check or None,
            top_k=top_k,
            batch_size=number(batch_size),
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(found.as_dict(), ensure_ascii=False, allow_nan=False))
        return
    found.show()
