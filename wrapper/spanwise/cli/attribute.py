"""`spanwise attribute`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from spanwise.cli.common import (
    Debug,
    Features,
    Frozen,
    Json,
    MessagesFile,
    Objective,
    Occurrence,
    Prefix,
    Prompt,
    PromptFile,
    SourceRole,
    Sources,
    Spans,
    TargetFile,
    messages_of,
    number,
    options_of,
    quiet,
    source_of,
    text_of,
)
from spanwise.cli.loading import Load, loads_a_model, model_of
from spanwise.errors import OptionError
from spanwise.methods import METHODS


@loads_a_model
def attribute(
    prompt: Prompt = None,
    prompt_file: PromptFile = None,
    messages: MessagesFile = None,
    target: Annotated[str | None, typer.Option(help="What it wrote; left out: the model generates it.")] = None,
    target_file: TargetFile = None,
    span: Spans = None,
    occurrence: Occurrence = None,
    method: Annotated[
        str, typer.Option(help="See `spanwise methods`.", autocompletion=lambda: list(METHODS))
    ] = "integrated_gradients",
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
    max_new_tokens: Annotated[int, typer.Option(help="Length of a target that is generated, in tokens.")] = 25,
    batch_size: Annotated[str, typer.Option(help="Sequences a forward, or auto.")] = "auto",
    checkpointing: Annotated[
        bool, typer.Option(help="Keep one block's activations instead of all: less memory, a third more time.")
    ] = False,
    seed: Annotated[int, typer.Option(help="For methods that sample.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Write a heatmap: .png, .svg or .pdf.")] = None,
    bars: Annotated[Path | None, typer.Option(help="Write bars: .png, .svg or .pdf.")] = None,
    strip: Annotated[Path | None, typer.Option(help="Write colored text: .png, .svg, .pdf or .tex.")] = None,
    width: Annotated[
        str | None,
        typer.Option(help="Of .png, .svg and .pdf: column (3.5 inches), page (7.2) or inches; default: as needed."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page for the browser: .html.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the whole result: .safetensors.")] = None,
    export: Annotated[
        list[Path] | None,
        typer.Option(help="Write for other programs: .csv, .json, .parquet or .inseq.json. May be repeated."),
    ] = None,
    as_json: Json = False,
    progress: Annotated[bool | None, typer.Option(help="Show a progress bar; default: on a terminal.")] = None,
    debug: Debug = False,
) -> None:
    """Attribute a target, or spans of it, to the prompt.

    Example: spanwise attribute --prompt "The keys to the cabinet" --target " are on the table." --span are
    """
    import spanwise
    from spanwise.exports import check_export_path, to_json
    from spanwise.storage import check_result_path
    from spanwise.views.figures import check_format
    from spanwise.views.report import check_path
    from spanwise.views.sizes import check_width

    figures = [(plot, "heatmap"), (bars, "bars"), (strip, "strip")]
    for path, kind in figures:
        if path is not None:
            check_format(path, kind)
    wide = check_width(None if width is None else number(width))
    if width is not None and not (plot or bars or strip):
        raise OptionError("--width is of a figure, but none was asked for: --plot, --bars or --strip FILE.")
    if report is not None:
        check_path(report)
    if save is not None:
        check_result_path(save)
    for path in export or []:
        check_export_path(path)
    text = text_of("prompt", prompt, prompt_file)
    if text is None and messages is None:
        raise OptionError("a prompt is needed: --prompt TEXT, --prompt-file FILE or --messages FILE.")
    chat = messages_of(messages)
    wanted = text_of("target", target, target_file)
    with quiet(as_json):
        lm = model_of(load, progress)
        result = spanwise.attribute(
            lm,
            text,
            wanted,
            messages=chat,
            span=span or None,
            occurrence=number(occurrence) if occurrence is not None else None,
            method=method,
            engine=engine,
            objective=objective,
            features=features,
            target_features=target_features,
            source=source_of(source, source_role),
            baseline=baseline,
            rows=rows,  # type: ignore[arg-type] # checked by attribute
            prefix=prefix,  # type: ignore[arg-type]
            frozen=frozen,  # type: ignore[arg-type]
            strict_boundary=strict_boundary,
            method_options=options_of(option or []),
            generation_options={"max_new_tokens": max_new_tokens} if wanted is None else None,
            batch_size=number(batch_size),
            checkpointing=checkpointing,
            seed=seed,
            progress=progress,
        )
    for path, kind in figures:
        if path is not None:
            inches = None if path.suffix.lower() == ".tex" else wide
            result.plot(path, kind=kind, width=inches)  # type: ignore[arg-type] # one of the three
    if report:
        result.report(report)
    if save:
        result.save(save)
    for path in export or []:
        result.export(path)
    if as_json:
        typer.echo(json.dumps(to_json(result), ensure_ascii=False))
        return
    result.show()
    for path in (plot, bars, strip, report, save, *(export or [])):
        if path is not None:
            typer.echo(f"wrote {path}")
