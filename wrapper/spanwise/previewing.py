"""`preview()`: what the model will read, before anything is computed."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spanwise.attribution import Span, Token
from spanwise.errors import InputError, one_of
from spanwise.model.language_model import LanguageModel
from spanwise.text.chat import Message
from spanwise.text.columns import grouped, source_tokens
from spanwise.text.composing import FeaturesLike, compose
from spanwise.text.encoding import DOUBLED_BOS, Encoding, encode, encode_for_decoder, encode_prompt
from spanwise.text.layout import asked_spans
from spanwise.text.spans import SpanLike


@dataclass(frozen=True)
class Preview:
    """What the model will read, and what of it is attributed to.

    Attributes:
        prompt: The prompt as text, a chat rendered.
        target_text: The target; "" where none was given.
        source: One a position: the prompt, then the generated prefix; its role, and whether it is frozen.
        target: The target's tokens.
        pieces: How each token of `source` and the last one of `target` stand in the vocabulary.
        features: For each position the index of the feature it belongs to, -1 where it is frozen.
        feature_names: What the features are called.
        spans: The spans asked for.
        boundary: "clean", or which token would span prompt and target if both were tokenized together.
        notes: What to look at: a doubled BOS, special tokens in a message, a target cut by a span.
    """

    prompt: str
    target_text: str
    source: tuple[Token, ...]
    target: tuple[Token, ...]
    pieces: tuple[str, ...]
    features: tuple[int, ...]
    feature_names: tuple[str, ...]
    spans: tuple[Span, ...]
    boundary: str
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        count = len(self.source) - max(len(self.target) - 1, 0)
        return f"Preview({count} prompt tokens, {len(self.target)} target tokens, {len(self.feature_names)} features)"

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields as values that JSON has."""
        return dataclasses.asdict(self)

    def show(self) -> None:
        """Prints the tokens as a table, and what to look at."""
        from spanwise.views.tokens import show

        show(self)


def preview(
    lm: LanguageModel | Any,
    prompt: str | None = None,
    target: str | Sequence[int] | None = None,
    *,
    messages: Sequence[Message] | None = None,
    tools: Sequence[Any] | None = None,
    template_options: Mapping[str, Any] | None = None,
    span: SpanLike | Sequence[SpanLike] | None = None,
    occurrence: int | str | None = None,
    features: FeaturesLike = "token",
    source: SpanLike | Sequence[SpanLike] | None = None,
    frozen: str = "special",
    prefix: str = "fixed",
    decoder_start: int | None = None,
) -> Preview:
    """Returns what `attribute` would make of the same arguments: ids, texts, characters, roles, features, borders.

    Args:
        lm: The model, or its tokenizer alone.
        prompt: As `attribute` takes it, like all that follow.
        target: None: the prompt alone; nothing is generated.
        messages: Instead of a prompt.
        tools: With messages.
        template_options: With messages.
        span: Parts of the target.
        occurrence: Which one of a repeated span.
        features: What is switched on and off as one.
        source: The part of the prompt to attribute to.
        frozen: What is done with special and template tokens.
        prefix: What is done with the generated prefix.
        decoder_start: With a tokenizer alone: the id that the decoder begins with; None: the model is causal.

    Raises:
        AttributionError: As `attribute` would.

    Example:
        >>> import spanwise
        >>> spanwise.preview(spanwise.load_model("tiny"), "In his free time, he enjoys", " painting.", features="word")
        Preview(7 prompt tokens, 2 target tokens, 7 features)
    """
    one_of("frozen", frozen, ("special", "none"))
    one_of("prefix", prefix, ("fixed", "attributed"))
    if not isinstance(lm, LanguageModel) and not hasattr(lm, "convert_ids_to_tokens"):
        raise InputError(f"a LanguageModel or a tokenizer is needed, not {lm!r}.")
    tokenizer, start = (lm.tokenizer, lm.decoder_start) if isinstance(lm, LanguageModel) else (lm, decoder_start)
    composed = compose(
        tokenizer, prompt, messages=messages, tools=tools, template_options=template_options, features=features
    )
    if target is None:
        if span is not None:
            raise InputError("a span is a part of the target, but no target was given.")
        encoding = Encoding(composed.text, "", encode_prompt(tokenizer, composed.text), ())
    elif start is None:
        encoding = encode(tokenizer, composed.text, target)
    else:
        encoding = encode_for_decoder(tokenizer, composed.text, target, start)
    spans = asked_spans(encoding, composed, span, occurrence)
    tokens = source_tokens(encoding, composed, frozen=frozen, prefix=prefix, source=source)
    columns, _ = grouped(tokens, encoding.target_text, composed)
    free = [column for column in columns if not column.frozen]
    feature_of = {position: index for index, column in enumerate(free) for position in column.positions}
    held = {position for column in columns if column.frozen for position in column.positions}
    ids = [*encoding.prompt_ids, *encoding.target_ids]
    notes = [
        *composed.notes,
        *(each.note for each in spans if each.note),
        *([DOUBLED_BOS] if encoding.doubled_bos else []),
    ]
    if encoding.boundary != "clean":
        notes.append(f"{encoding.boundary}; the target is tokenized as a continuation")
    return Preview(
        prompt=composed.text,
        target_text=encoding.target_text,
        source=tuple(_with_frozen(token, position in held) for position, token in enumerate(tokens)),
        target=encoding.target_tokens,
        pieces=tuple(tokenizer.convert_ids_to_tokens(ids)),
        features=tuple(feature_of.get(position, -1) for position in range(len(tokens))),
        feature_names=tuple(column.name or column.text.strip() or f"[{column.id}]" for column in free),
        spans=spans,
        boundary=encoding.boundary,
        notes=tuple(notes),
    )


def _with_frozen(token: Token, frozen: bool) -> Token:
    return dataclasses.replace(token, frozen=frozen)
