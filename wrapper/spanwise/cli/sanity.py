"""`spanwise sanity`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from spanwise.cli.common import (
    ComputeDtype,
    Debug,
    DeviceMap,
    DoubleQuant,
    Dtype,
    Json,
    MaxMemory,
    ModelName,
    OffloadFolder,
    Quantization,
    SkipModules,
    StorageDtype,
    memory_of,
    number,
    quiet,
)


def sanity(
    result: Annotated[Path, typer.Argument(help="A saved result, .safetensors.")],
    model: ModelName = "tiny",
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
    quantization: Quantization = None,
    compute_dtype: ComputeDtype = None,
    storage_dtype: StorageDtype = None,
    double_quant: DoubleQuant = False,
    skip_modules: SkipModules = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    max_memory: MaxMemory = None,
    offload_folder: OffloadFolder = None,
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
        lm = spanwise.load_model(
            model,
            quantization=quantization,
            compute_dtype=compute_dtype,
            storage_dtype=storage_dtype,
            double_quant=double_quant,
            skip_modules=skip_modules or (),
            dtype=dtype,
            device_map=device_map,
            max_memory=memory_of(max_memory),
            offload_folder=offload_folder,
        )
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
