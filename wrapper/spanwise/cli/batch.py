"""`spanwise batch`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from spanwise.cli.common import (
    Debug,
    Features,
    Frozen,
    Json,
    Objective,
    Occurrence,
    Prefix,
    SourceRole,
    Sources,
    number,
    options_of,
    quiet,
    source_of,
)
from spanwise.cli.loading import Load, loads_a_model, model_of
from spanwise.errors import OptionError, one_of
from spanwise.methods import METHODS

FAILED = 3
"""The exit code of a run that ended with rows in failures.parquet."""


@loads_a_model
def batch(
    input: Annotated[Path, typer.Argument(help="A .jsonl, .csv or .parquet file, or a folder that datasets saved.")],
    output: Annotated[Path, typer.Option(help="A folder: new, empty, or of the same run, which then goes on.")],
    method: Annotated[
        str, typer.Option(help="See `spanwise methods`.", autocompletion=lambda: list(METHODS))
    ] = "integrated_gradients",
    prompt_column: Annotated[str | None, typer.Option(help="Default: prompt.")] = None,
    messages_column: Annotated[str | None, typer.Option(help="In place of the prompt; default: messages.")] = None,
    target_column: Annotated[
        str | None, typer.Option(help="Default: target. Without one, the model generates it.")
    ] = None,
    span_column: Annotated[str | None, typer.Option(help="Default: span. Other columns are carried through.")] = None,
    span: Annotated[
        list[str] | None, typer.Option(help="The span of every row, where no column has it; may be repeated.")
    ] = None,
    occurrence: Occurrence = None,
    new_run: Annotated[
        bool, typer.Option("--new-run", help="Move a run that was asked otherwise to _earlier-N, and start anew.")
    ] = False,
    part_rows: Annotated[int, typer.Option(help="Rows in a part: what a kill can cost.")] = 256,
    engine: Annotated[str, typer.Option(help="'auto', or the engine to insist on.")] = "auto",
    objective: Objective = "log_prob",
    features: Features = "token",
    target_features: Annotated[
        str | None, typer.Option(help="One row for each word, phrase or sentence of the target, or of the spans.")
    ] = None,
    source: Sources = None,
    source_role: SourceRole = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="unk, zero, pad, mean, mask, delete, token:TEXT or text:TEXT; default: the method's."),
    ] = None,
    rows: Annotated[str, typer.Option(help="token, span or auto.")] = "auto",
    prefix: Prefix = "fixed",
    frozen: Frozen = "special",
    strict_boundary: Annotated[bool, typer.Option(help="Refuse a token that straddles prompt and target.")] = False,
    option: Annotated[
        list[str] | None, typer.Option(help="The method's own, as name=value: --option n_steps=100. May be repeated.")
    ] = None,
    *,
    load: Load,
    devices_per_process: Annotated[
        int, typer.Option(min=1, help="Under accelerate launch: GPUs that each process has to itself.")
    ] = 1,
    runner: Annotated[
        str, typer.Option(help="processes: this one, or those of accelerate launch; ray: actors of Ray Data.")
    ] = "processes",
    actors: Annotated[str, typer.Option(help="Of Ray: how many, or the least and the most, such as 2-64.")] = "2",
    actor_option: Annotated[
        list[str] | None, typer.Option(help="What each of them needs, in Ray's words: num_gpus=1. May be repeated.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Length of a target that is generated, in tokens.")] = 25,
    batch_size: Annotated[str, typer.Option(help="Sequences a forward, or auto.")] = "auto",
    checkpointing: Annotated[
        bool, typer.Option(help="Keep one block's activations instead of all: less memory, a third more time.")
    ] = False,
    seed: Annotated[int, typer.Option(help="For methods that sample; each row begins with it.")] = 0,
    as_json: Json = False,
    progress: Annotated[bool | None, typer.Option(help="Show a progress bar; default: on a terminal.")] = None,
    debug: Debug = False,
) -> None:
    """Attribute many prompts: one row of the input each, with the columns prompt (or messages), target and span.

    The same command goes on where a run was killed or stopped by Ctrl-C. A row that cannot be attributed is put into
    failures.parquet with its reason.

    Exit codes: 0, every row has a result; 3, some rows are in failures.parquet (0 under a launcher of several
    processes, which would take it for a crash); 2, the run was refused or stopped, and the message says why; 130,
    Ctrl-C.

    Several processes share the rows: accelerate launch --num_processes 2 -m spanwise batch ...

    Example: spanwise batch prompts.jsonl --model tiny --method feature_ablation --output run
    """
    import spanwise
    from spanwise.batch.lines import open_lines
    from spanwise.batch.processes import devices_of, processes
    from spanwise.batch.ray_runner import RayActors

    one_of("runner", runner, ("processes", "ray"))
    open_lines(input)  # before a model is loaded
    which = processes()
    if which.count > 1 and load["device_map"] is None and load["max_memory"] is None:
        own = devices_of(which, devices_per_process)
        if len(own) == 1:
            load["device_map"] = own[0]
        elif own:
            load |= {"device_map": "auto", "max_memory": _all_of(own)}
    with quiet(as_json), _stopped_by_ctrl_c(output, which.rank):
        lm = model_of(load, progress if which.rank == 0 else False)
        pool = RayActors(load, _count_of(actors), options_of(actor_option or [])) if runner == "ray" else None
        run = spanwise.attribute_many(
            lm,
            input,
            output,
            prompt_column=prompt_column,
            messages_column=messages_column,
            target_column=target_column,
            span_column=span_column,
            part_rows=part_rows,
            new_run=new_run,
            actors=pool,
            span=span or None,
            occurrence=number(occurrence) if occurrence is not None else None,
            method=method,
            engine=engine,
            objective=objective,
            features=features,
            target_features=target_features,
            source=source_of(source, source_role),
            baseline=baseline,
            rows=rows,  # type: ignore[arg-type] # checked by attribute_many
            prefix=prefix,  # type: ignore[arg-type]
            frozen=frozen,  # type: ignore[arg-type]
            strict_boundary=strict_boundary,
            method_options=options_of(option or []),
            generation_options={"max_new_tokens": max_new_tokens},
            batch_size=number(batch_size),
            checkpointing=checkpointing,
            seed=seed,
            progress=progress,
        )
    if which.rank:
        return
    failures = run.failures
    if as_json:
        told = {"output": str(output), "results": len(run), "failures": [vars(each) for each in failures]}
        typer.echo(json.dumps(told, ensure_ascii=False))
    else:
        counts = [f"{n} {what}{'s'[: n != 1]}" for n, what in ((len(run), "result"), (len(run.infos), "part"))]
        typer.echo(f"wrote {output}: {' in '.join(counts)}, {len(failures)} failures")
        for each in failures[:3]:
            typer.echo(f"  row {each.row} ({each.place}): {each.reason[:200]}", err=True)
        if len(failures) > 3:
            typer.echo(f"  and {len(failures) - 3} more in {output / 'failures.parquet'}", err=True)
    if failures and which.count == 1:
        raise typer.Exit(FAILED)


@contextmanager
def _stopped_by_ctrl_c(output: Path, rank: int) -> Iterator[None]:
    """Says what is there when the user stops a run."""
    import spanwise

    try:
        yield
    except KeyboardInterrupt:
        if rank == 0:
            there = ""
            if (output / "index.json").is_file():
                run = spanwise.open_run(output)
                done = sum(info.last - info.first for info in run.infos)
                there = f": {done} of {run.row_count} rows are in {output}, and the same command goes on"
            typer.echo(f"spanwise: stopped{there}.", err=True)
        raise


def _count_of(actors: str) -> int | tuple[int, int]:
    """Returns a number, or the two of a range.

    Raises:
        OptionError: It is neither.
    """
    ends = actors.split("-")
    if len(ends) > 2 or not all(end.isdecimal() for end in ends):
        raise OptionError(f"--actors takes a number such as 8, or the least and the most such as 2-64, not {actors!r}.")
    return int(ends[0]) if len(ends) == 1 else (int(ends[0]), int(ends[1]))


def _all_of(devices: list[int]) -> dict[int | str, int | str]:
    """Returns the whole memory of devices, which no other process uses."""
    import torch

    return {each: int(torch.cuda.mem_get_info(each)[0] * 0.9) for each in devices}
