"""`spanwise compare`."""

import json
from pathlib import Path
from typing import Annotated, Any

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
def compare(
    prompt: Prompt = None,
    prompt_file: PromptFile = None,
    messages: MessagesFile = None,
    target: Annotated[str | None, typer.Option(help="What it wrote; left out: the model generates it.")] = None,
    target_file: TargetFile = None,
    span: Spans = None,
    occurrence: Occurrence = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME or NAME@ENGINE; repeat it. Default: a few cheap ones of each family.",
            autocompletion=lambda: list(METHODS),
        ),
    ] = None,
    objective: Objective = "log_prob",
    features: Features = "token",
    target_features: Annotated[
        str | None, typer.Option(help="One row for each word, phrase or sentence of the target, or of the spans.")
    ] = None,
    source: Sources = None,
    source_role: SourceRole = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="unk, zero, pad, mean, mask, delete, token:TEXT or text:TEXT; default: each's own."),
    ] = None,
    rows: Annotated[str, typer.Option(help="token, span or auto (span).")] = "auto",
    prefix: Prefix = "fixed",
    frozen: Frozen = "special",
    strict_boundary: Annotated[bool, typer.Option(help="Refuse a token that straddles prompt and target.")] = False,
    option: Annotated[
        list[str] | None,
        typer.Option(help="A method's own: --option integrated_gradients.n_steps=100. May be repeated."),
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="How many of the strongest source tokens are compared.")] = None,
    permutations: Annotated[int, typer.Option(help="Orders that an agreement is compared with.")] = 1000,
    *,
    load: Load,
    max_new_tokens: Annotated[int, typer.Option(help="Length of a target that is generated, in tokens.")] = 25,
    batch_size: Annotated[str, typer.Option(help="Sequences a forward, or auto.")] = "auto",
    checkpointing: Annotated[
        bool, typer.Option(help="Keep one block's activations instead of all: less memory, a third more time.")
    ] = False,
    seed: Annotated[int, typer.Option(help="For methods that sample, and of the random orders.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Write one figure: .png, .svg or .pdf.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page for the browser: .html.")] = None,
    as_json: Json = False,
    progress: Annotated[bool | None, typer.Option(help="Show a progress bar; default: on a terminal.")] = None,
    debug: Debug = False,
) -> None:
    """Compare several methods on one prompt: which agree, which stands apart, where they differ.

    Example: spanwise compare --prompt "The keys to the cabinet" --target " are new." --span are
    --method saliency --method feature_ablation --method attention_rollout
    """
    from spanwise.evaluation.comparison.compare import compare as compare_methods
    from spanwise.evaluation.comparison.methods import DEFAULT_METHODS
    from spanwise.views.figures import check_format

    if plot is not None:
        check_format(plot)
    if report is not None:
        from spanwise.views.report import check_path

        check_path(report)
    text = text_of("prompt", prompt, prompt_file)
    if text is None and messages is None:
        raise OptionError("a prompt is needed: --prompt TEXT, --prompt-file FILE or --messages FILE.")
    wanted = text_of("target", target, target_file)
    own = method_options(option or [])
    with quiet(as_json):
        lm = model_of(load, progress)
        found = compare_methods(
            lm,
            text,
            wanted,
            methods=method or DEFAULT_METHODS,
            messages=messages_of(messages),
            span=span or None,
            occurrence=number(occurrence) if occurrence is not None else None,
            objective=objective,
            features=features,
            target_features=target_features,
            source=source_of(source, source_role),
            baseline=baseline,
            rows=rows,  # type: ignore[arg-type] # checked by compare
            prefix=prefix,  # type: ignore[arg-type]
            frozen=frozen,  # type: ignore[arg-type]
            strict_boundary=strict_boundary,
            method_options=own,
            generation_options={"max_new_tokens": max_new_tokens} if wanted is None else None,
            batch_size=number(batch_size),
            checkpointing=checkpointing,
            top_k=top_k,
            n_permutations=permutations,
            seed=seed,
            progress=progress,
        )
    if plot:
        found.plot(plot)
    if report:
        found.report(report)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), ensure_ascii=False))
        return
    found.show()
    if plot:
        typer.echo(f"wrote {plot}")
    if report:
        typer.echo(f"wrote {report}")


def method_options(pairs: list[str]) -> dict[str, dict[str, Any]]:
    """Returns METHOD.name=value pairs as a mapping for each method.

    Raises:
        OptionError: One of them is none.
    """
    found: dict[str, dict[str, Any]] = {}
    for key, value in options_of(pairs).items():
        method, dot, name = key.rpartition(".")
        if not dot or not method or not name:
            raise OptionError(f"--option takes METHOD.name=value here, such as saliency.reduction=sum, not {key!r}.")
        found.setdefault(method, {})[name] = value
    return found
