"""The prompt as the model reads it, made from what the user has: a text, messages, documents or a template."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from spanwise.errors import InputError, OptionError, one_of
from spanwise.text.chat import Message, render
from spanwise.text.parts import Characters, Part
from spanwise.text.prompts import Documents, Template

FeaturesLike: TypeAlias = str | Documents | Template | Sequence[Characters]
"""A level, spans (start, end) of the prompt's characters, `documents([...])` or `template(...)`."""

LEVELS = ("token", "word", "sentence", "paragraph", "message")


@dataclass(frozen=True)
class Composed:
    """A prompt, and what is to be switched on and off in it.

    Attributes:
        text: The prompt.
        parts: In a chat, what each character is; else empty.
        level: One of `LEVELS`, or "spans", "documents", "template" where `groups` says what the features are.
        groups: For each feature its places in the text.
        names: What the features are called; empty where they are called by their text.
        template: Where the prompt is one.
        notes: What its reader should know.
    """

    text: str
    parts: tuple[Part, ...] = ()
    level: str = "token"
    groups: tuple[tuple[Characters, ...], ...] = ()
    names: tuple[str, ...] = ()
    template: Template | None = None
    notes: tuple[str, ...] = ()


def compose(
    tokenizer: Any,
    prompt: str | None,
    *,
    messages: Sequence[Message] | None = None,
    tools: Sequence[Any] | None = None,
    template_options: Mapping[str, Any] | None = None,
    features: FeaturesLike = "token",
) -> Composed:
    """Returns the prompt of `spanwise.attribute`'s arguments, whose names these are.

    Raises:
        InputError: Prompt and messages, or neither; a prompt beside a template; messages that cannot be rendered.
        OptionError: `features` is nothing known, its spans overlap or lie outside the prompt.
    """
    if isinstance(features, Template):
        if prompt is not None or messages is not None:
            raise InputError("a template makes the prompt: leave out prompt and messages, or write features=[...].")
        return _of_template(features)
    if (prompt is None) == (messages is None):
        given = "both were" if prompt is not None else "neither was"
        raise InputError(f"a prompt or messages are needed, one of the two; {given} given.")
    if not (template_options is None or isinstance(template_options, Mapping)):
        raise OptionError(f"template_options is a mapping from names to values, not {template_options!r}.")
    if messages is None:
        if tools is not None or template_options:
            raise InputError("tools and template_options are for messages, but a prompt was given.")
        if not isinstance(prompt, str):
            raise InputError(f"the prompt must be a text, not {prompt!r}.")
        return _with_features(prompt, (), features, ())
    spans: tuple[Characters, ...] = ()
    if isinstance(features, Documents):
        messages, spans = _with_documents(messages, features)
    rendered = render(tokenizer, messages, tools=tools, **_split_options(template_options or {}))
    if isinstance(features, Documents):
        moved = _moved(spans, rendered.parts, rendered.text, messages)
        return Composed(rendered.text, rendered.parts, "documents", moved, features.names, notes=rendered.notes)
    return _with_features(rendered.text, rendered.parts, features, rendered.notes)


def _split_options(options: Mapping[str, Any]) -> dict[str, Any]:
    own = ("add_generation_prompt", "continue_final_message")
    return {
        **{name: options[name] for name in own if name in options},
        "template_options": {name: value for name, value in options.items() if name not in own},
    }


def _with_features(text: str, parts: tuple[Part, ...], features: FeaturesLike, notes: tuple[str, ...]) -> Composed:
    if isinstance(features, str):
        level = one_of("features", features, LEVELS)
        if level == "message" and not parts:
            raise InputError("features='message' needs messages=[...], but a prompt was given.")
        return Composed(text, parts, level, notes=notes)
    if isinstance(features, Documents):
        built = features.build(text)
        return Composed(built.text, parts, "documents", tuple((span,) for span in built.spans), built.names)
    return Composed(text, parts, "spans", _checked_spans(features, text), notes=notes)


def _checked_spans(features: Any, text: str) -> tuple[tuple[Characters, ...], ...]:
    if not isinstance(features, Sequence) or not features:
        raise OptionError(
            f"features must be one of {', '.join(LEVELS)}, a list of (start, end) characters of the prompt, "
            f"spanwise.documents([...]) or spanwise.template(...), not {features!r}."
        )
    for one in features:
        whole = isinstance(one, Sequence) and len(one) == 2 and all(type(end) is int for end in one)
        if not whole or not 0 <= one[0] < one[1] <= len(text):
            raise OptionError(
                f"the feature {one!r} is no span (start, end) inside the prompt's characters [0, {len(text)})."
            )
    ordered = sorted((int(start), int(end)) for start, end in features)
    for before, after in itertools.pairwise(ordered):
        if after[0] < before[1]:
            raise OptionError(
                f"the features {list(before)} and {list(after)} overlap; each character is in one at most."
            )
    return tuple(((start, end),) for start, end in ordered)


def _of_template(template: Template) -> Composed:
    return Composed(
        template.prompt,
        level="template",
        groups=tuple(tuple(spans) for spans in template.slots.values()),
        names=tuple(template.slots),
        template=template,
    )


def _with_documents(messages: Sequence[Message], documents: Documents) -> tuple[list[Message], tuple[Characters, ...]]:
    """Returns the messages with the documents put into the last one, and each document's place in its content."""
    last = messages[-1] if isinstance(messages, Sequence) and messages else None
    if not isinstance(last, Mapping) or not isinstance(last.get("content"), str):
        raise InputError("documents go into the content of the last message, which must be a text.")
    built = documents.build(last["content"])
    return [*messages[:-1], {**last, "content": built.text}], built.spans


def _moved(
    spans: Sequence[Characters], parts: Sequence[Part], text: str, messages: Sequence[Message]
) -> tuple[tuple[Characters, ...], ...]:
    """Returns spans of the last message's content as spans of the rendered text."""
    content = messages[-1]["content"]
    own = [part for part in parts if part.message == len(messages) - 1]
    shown = text[own[0].start : own[0].end] if len(own) == 1 else None
    if shown is None or shown.strip() != content.strip():
        raise InputError("the chat template rewrites the last message, so the documents cannot be found in the prompt.")
    shift = own[0].start - content.index(shown)
    return tuple(((start + shift, end + shift),) for start, end in spans)
