"""`spanwise checklist`."""

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
    TargetFile,
    messages_of,
    number,
    quiet,
    source_of,
    text_of,
)
from spanwise.cli.compare import method_options
from spanwise.cli.loading import Load, loads_a_model, model_of
from spanwise.errors import OptionError
from spanwise.methods import METHODS


@loads_a_model
def checklist(
    prompt: Prompt = None,
    prompt_file: PromptFile = None,
    messages: MessagesFile = None,
    target: Annotated[str | None, typer.Option(help="What it wrote; left out: the model generates it.")] = None,
    target_file: TargetFile = None,
    span: Annotated[str | None, typer.Option(help="Part of the target to explain; default: all of it.")] = None,
    occurrence: Occurrence = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME or NAME@ENGINE; repeat it. Default: one of each family.",
            autocompletion=lambda: list(METHODS),
        ),
    ] = None,
    objective: Objective = "log_prob",
    features: Features = "token",
    source: Sources = None,
    source_role: SourceRole = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="unk, zero, pad, mean, mask, delete, token:TEXT or text:TEXT; default: each's own."),
    ] = None,
    prefix: Prefix = "fixed",
    frozen: Frozen = "special",
    strict_boundary: Annotated[bool, typer.Option(help="Refuse a token that straddles prompt and target.")] = False,
    option: Annotated[
        list[str] | None,
        typer.Option(help="A method's own: --option integrated_gradients.n_steps=100. May be repeated."),
    ] = None,
    permutations: Annotated[int, typer.Option(help="Orders that an agreement is compared with.")] = 1000,
    *,
    load: Load,
    max_new_tokens: Annotated[int, typer.Option(help="Length of a target that is generated, in tokens.")] = 25,
    batch_size: Annotated[str, typer.Option(help="Sequences a forward, or auto.")] = "auto",
    checkpointing: Annotated[
        bool, typer.Option(help="Keep one block's activations instead of all: less memory, a third more time.")
    ] = False,
    seed: Annotated[int, typer.Option(help="For methods that sample, and of the random orders.")] = 0,
    quick: Annotated[bool, typer.Option(help="Coarser curves, fewer random models and seeds.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write the table: .md, or .json with everything behind it.")
    ] = None,
    as_json: Json = False,
    progress: Annotated[bool | None, typer.Option(help="Show a progress bar; default: on a terminal.")] = None,
    debug: Debug = False,
) -> None:
    """Run every check on several methods, and print one table: pass, fail or not applicable.

    Example: spanwise checklist --prompt "The keys to the old cabinet" --target " are new." --span are --output list.md
    """
    from spanwise.evaluation.checklist.checklist import DEFAULT_METHODS
    from spanwise.evaluation.checklist.checklist import checklist as run
    from spanwise.evaluation.checklist.result import check_path

    if output is not None:
        check_path(output)
    text = text_of("prompt", prompt, prompt_file)
    if text is None and messages is None:
        raise OptionError("a prompt is needed: --prompt TEXT, --prompt-file FILE or --messages FILE.")
    wanted = text_of("target", target, target_file)
    own = method_options(option or [])
    with quiet(as_json):
        lm = model_of(load, progress)
        found = run(
            lm,
            text,
            wanted,
            method or DEFAULT_METHODS,
            quick=quick,
            messages=messages_of(messages),
            span=span,
            occurrence=number(occurrence) if occurrence is not None else None,
            objective=objective,
            features=features,
            source=source_of(source, source_role),
            baseline=baseline,
            prefix=prefix,  # type: ignore[arg-type] # checked by attribute
            frozen=frozen,  # type: ignore[arg-type]
            strict_boundary=strict_boundary,
            method_options=own,
            generation_options={"max_new_tokens": max_new_tokens} if wanted is None else None,
            batch_size=number(batch_size),
            checkpointing=checkpointing,
            n_permutations=permutations,
            seed=seed,
            progress=progress,
        )
    if output:
        found.save(output)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), ensure_ascii=False))
        return
    found.show()
    if output:
        typer.echo(f"wrote {output}")
