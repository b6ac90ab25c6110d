"""`spanwise plan`."""

import json
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import rich
import rich.table
import typer

from spanwise.cli.common import ComputeDtype, Debug, DoubleQuant, Dtype, Json, Quantization, number, options_of, quiet
from spanwise.methods import METHODS

if TYPE_CHECKING:
    from spanwise.model.planning.plan import Plan


def plan(
    model: Annotated[str, typer.Argument(help="A folder with a config.json, a name on the hub, or 'tiny' (bundled).")],
    quantization: Quantization = None,
    double_quant: DoubleQuant = False,
    dtype: Dtype = None,
    compute_dtype: ComputeDtype = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="Memory of a GPU (24GiB, 9000MB), cpu or cpu:64GiB; one for each. Default: this machine's."),
    ] = None,
    device_map: Annotated[str, typer.Option(help="auto, balanced, balanced_low_0, sequential or cpu.")] = "auto",
    method: Annotated[
        str, typer.Option(help="See `spanwise methods`.", autocompletion=lambda: list(METHODS))
    ] = "integrated_gradients",
    engine: Annotated[str, typer.Option(help="'auto', or the engine to insist on.")] = "auto",
    option: Annotated[
        list[str] | None, typer.Option(help="The method's own, as name=value: --option n_steps=100. May be repeated.")
    ] = None,
    prompt_tokens: Annotated[int, typer.Option(help="Tokens of the prompt.")] = 256,
    target_tokens: Annotated[int, typer.Option(help="Tokens of the target.")] = 32,
    rows: Annotated[str, typer.Option(help="span or token.")] = "span",
    batch_size: Annotated[str, typer.Option(help="Sequences a forward, or auto.")] = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a model and a method need, before a weight is read. Exit code 1 where it does not fit.

    Example: spanwise plan tiny --quantization nf4 --device 8GiB
    """
    from spanwise.model.planning.planner import plan as make_plan

    with quiet(as_json):
        found = make_plan(
            model,
            quantization=quantization,
            double_quant=double_quant,
            dtype=dtype,
            compute_dtype=compute_dtype,
            devices=device or None,
            device_map=device_map,
            method=method,
            engine=engine,
            method_options=options_of(option or []),
            prompt_tokens=prompt_tokens,
            target_tokens=target_tokens,
            rows=rows,  # type: ignore[arg-type] # checked by plan
            batch_size=number(batch_size),
        )
    if as_json:
        typer.echo(json.dumps(found.as_dict(), ensure_ascii=False))
    else:
        rich.print(_page(found))
    if not found.fits:
        raise typer.Exit(1)


def _page(found: "Plan") -> rich.table.Table:
    from spanwise.model.module_sizes import readable

    page = rich.table.Table(box=None, show_header=False, pad_edge=False)
    page.add_column(no_wrap=True)
    page.add_column()
    kind = found.dtype if found.quantization is None else f"{found.quantization}, the rest {found.dtype}"
    page.add_row("model", f"{found.model} ({kind})")
    page.add_row("weights", readable(found.weights_bytes))
    for name, size in found.by_dtype.items():
        page.add_row("", f"{readable(size)} {name}")
    for name, size in _modules(found):
        page.add_row("", f"{readable(size)} in {name}")
    page.add_row(
        "method", f"{found.method} on {found.engine}, prompt {found.prompt_tokens}, target {found.target_tokens} tokens"
    )
    page.add_row("work", f"{found.forwards} forwards, {found.backwards} backwards, {found.batch_size} at a time")
    page.add_row(
        "beside the weights", f"{readable(found.activation_bytes)}; {readable(found.bytes_per_sequence)} a sequence"
    )
    for each in found.devices:
        of = "" if each.bytes is None else f" of {readable(each.bytes)}"
        most = "" if each.bytes is None else f"; largest batch {each.largest_batch}"
        page.add_row(
            f"device {each.device}",
            f"{readable(each.peak_bytes)}{of}: {readable(each.weights_bytes)} weights, "
            f"{readable(each.activation_bytes)} beside them{most}",
        )
    for place, names in groupby(found.device_map.items(), key=lambda each: each[1]):
        held = [name or "everything" for name, _ in names]
        page.add_row("", f"{place}: {held[0]}" + (f" ... {held[-1]} ({len(held)} modules)" if len(held) > 1 else ""))
    if found.seconds is not None:
        page.add_row("time", f"{found.seconds:.3g} seconds")
    page.add_row("fits", "yes" if found.fits else "no")
    for reason in (*found.reasons, *found.notes):
        page.add_row("", reason)
    return page


def _modules(found: "Plan") -> list[tuple[str, int]]:
    """Returns the parts, with all blocks as one."""
    named = {"embedding", "head", "norms", "other"}
    blocks = [size for name, size in found.by_module.items() if name not in named]
    parts = [(name, size) for name, size in found.by_module.items() if name in named and size]
    return [*parts, (f"{len(blocks)} blocks", sum(blocks))] if blocks else parts
