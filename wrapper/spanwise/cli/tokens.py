"""`spanwise tokens`."""

import json
from typing import Annotated, Any

import typer

from spanwise.cli.common import (
    Debug,
    Features,
    Frozen,
    Json,
    MessagesFile,
    ModelName,
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
    quiet,
    source_of,
    text_of,
)
from spanwise.errors import ModelError, OptionError


def tokens(
    model: ModelName = "tiny",
    prompt: Prompt = None,
    prompt_file: PromptFile = None,
    messages: MessagesFile = None,
    target: Annotated[str | None, typer.Option(help="What it wrote; left out: the prompt alone.")] = None,
    target_file: TargetFile = None,
    span: Spans = None,
    occurrence: Occurrence = None,
    features: Features = "token",
    source: Sources = None,
    source_role: SourceRole = None,
    prefix: Prefix = "fixed",
    frozen: Frozen = "special",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Print what the model will read: ids, texts, characters, roles, features, borders, and what is frozen.

    The first thing to look at when a result surprises. Only the tokenizer is loaded.

    Example: spanwise tokens --prompt "12 + 3" --target "4 is wrong"
    """
    from spanwise.model.loading import load_tokenizer, model_path
    from spanwise.model.meta import read_config
    from spanwise.previewing import preview

    text = text_of("prompt", prompt, prompt_file)
    if text is None and messages is None:
        raise OptionError("a prompt is needed: --prompt TEXT, --prompt-file FILE or --messages FILE.")
    with quiet(as_json):
        found = preview(
            load_tokenizer(model),
            text,
            text_of("target", target, target_file),
            messages=messages_of(messages),
            span=span or None,
            occurrence=number(occurrence) if occurrence is not None else None,
            features=features,
            source=source_of(source, source_role),
            prefix=prefix,
            frozen=frozen,
            decoder_start=_decoder_start(read_config(model_path(model))),
        )
    if as_json:
        typer.echo(json.dumps(found.as_dict(), ensure_ascii=False))
    else:
        found.show()


def _decoder_start(config: Any) -> int | None:
    if not getattr(config, "is_encoder_decoder", False):
        return None
    found = getattr(config, "decoder_start_token_id", None)
    if found is None:
        raise ModelError(
            "the config of this encoder-decoder model has no decoder_start_token_id: use spanwise.preview."
        )
    return int(found)
