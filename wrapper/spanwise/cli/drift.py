"""`spanwise drift`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from spanwise.cli.common import Debug, DeviceMap, Json, ModelName, Objective, number, options_of, quiet, text_of
from spanwise.errors import OptionError
from spanwise.methods import METHODS


def drift(
    model: ModelName = "tiny",
    prompt: Annotated[str | None, typer.Option(help="What the model was given.")] = None,
    prompt_file: Annotated[Path | None, typer.Option(help="A file that holds the prompt.")] = None,
    target: Annotated[str | None, typer.Option(help="What it wrote; left out: the reference generates it.")] = None,
    target_file: Annotated[Path | None, typer.Option(help="A file that holds the target.")] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="float32, bf16, float16, nf4, fp4 or int8; repeat it. Default: bf16, int8 and nf4."),
    ] = None,
    reference: Annotated[str | None, typer.Option(help="What to compare with; default: the first precision.")] = None,
    span: Annotated[list[str] | None, typer.Option(help="Part of the target to explain; may be repeated.")] = None,
    occurrence: Annotated[str | None, typer.Option(help="Which one of a repeated span: 0, 1, ... or 'all'.")] = None,
    method: Annotated[
        str, typer.Option(help="See `spanwise methods`.", autocompletion=lambda: list(METHODS))
    ] = "integrated_gradients",
    engine: Annotated[str, typer.Option(help="'auto', or the engine to insist on.")] = "auto",
    objective: Objective = "log_prob",
    baseline: Annotated[
        str | None, typer.Option(help="unk, zero, pad, mean, mask, delete or token:TEXT; default: the method's.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="The method's own, as name=value: --option n_steps=100. May be repeated.")
    ] = None,
    top_k: Annotated[int, typer.Option(help="How many of the strongest source tokens are compared.")] = 5,
    device_map: DeviceMap = None,
    batch_size: Annotated[str, typer.Option(help="Sequences a forward, or auto.")] = "auto",
    seed: Annotated[int, typer.Option(help="For methods that sample.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Write one figure: .png, .svg or .pdf.")] = None,
    as_json: Json = False,
    progress: Annotated[bool | None, typer.Option(help="Show a progress bar; default: on a terminal.")] = None,
    debug: Debug = False,
) -> None:
    """Compare an attribution at several precisions: does quantization change the explanation?

    Example: spanwise drift --prompt "The keys to the cabinet" --target " are new." --span are --top-k 3
    """
    from spanwise.evaluation.drift.drift import compare_precision
    from spanwise.views.figures import check_format

    if plot is not None:
        check_format(plot)
    text = text_of("prompt", prompt, prompt_file)
    if text is None:
        raise OptionError("a prompt is needed: --prompt TEXT or --prompt-file FILE.")
    with quiet(as_json):
        found = compare_precision(
            model,
            text,
            text_of("target", target, target_file),
            precisions=precision or ["bf16", "int8", "nf4"],
            reference=reference,
            top_k=top_k,
            span=span or None,
            occurrence=number(occurrence) if occurrence is not None else None,
            method=method,
            engine=engine,
            objective=objective,
            baseline=baseline,
            method_options=options_of(option or []),
            batch_size=number(batch_size),
            seed=seed,
            device_map=device_map,
            progress=progress,
        )
    if plot:
        found.plot(plot)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), ensure_ascii=False))
        return
    found.show()
    if plot:
        typer.echo(f"wrote {plot}")
