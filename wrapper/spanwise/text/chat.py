"""Chat messages as the prompt that the model sees, with the characters of each message's content."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from spanwise.errors import InputError, OptionError
from spanwise.text.parts import Part, Place, locate

Message: TypeAlias = Mapping[str, Any]
Key: TypeAlias = tuple[int, str]

_REASONING = ("reasoning_content", "thinking", "reasoning")  # the names under which transformers takes it
_OURS = {
    *("add_generation_prompt", "continue_final_message", "conversation", "max_length", "messages", "padding"),
    *("return_assistant_tokens_mask", "return_dict", "return_tensors", "sanitize_control_tokens", "tokenize"),
    *("tokenizer_kwargs", "tools", "truncation"),
}


@dataclass(frozen=True)
class Rendered:
    """A conversation as a prompt.

    Attributes:
        text: The prompt. It holds the special tokens that the template writes: BOS must not be added again.
        parts: What each character is; in order, without gaps, from 0 to the end.
        notes: What its reader should know: contents that the template shortens, leaves out or rewrites, and special
            tokens that a content spells.
    """

    text: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()


def render(
    tokenizer: Any,
    messages: Sequence[Message],
    *,
    tools: Sequence[Any] | None = None,
    add_generation_prompt: bool | None = None,
    continue_final_message: bool = False,
    template_options: Mapping[str, Any] | None = None,
) -> Rendered:
    """Returns the prompt that the tokenizer's own chat template makes of messages, and what its characters are.

    Args:
        tokenizer: A transformers tokenizer.
        messages: Mappings with "role" and "content". A content is a text or a list of text parts, which are joined
            without a separator. Tool calls are rendered and count as template.
        tools: What the model may call: functions or JSON schemas.
        add_generation_prompt: End with the header of the assistant's next message. Default: yes, unless
            `continue_final_message`.
        continue_final_message: Leave the last message open, so that the target continues it.
        template_options: Further variables of the template (`enable_thinking`, `documents`, ...), or another
            `chat_template`.

    Raises:
        InputError: No template, messages of another shape, messages or tools that the template refuses or leaves out,
            or a content whose place cannot be told for certain.
        OptionError: Options that exclude each other, or that the template does not know.
    """
    template = _template(tokenizer, tools, template_options or {})
    if continue_final_message and add_generation_prompt:
        raise OptionError("continue_final_message=True and add_generation_prompt=True exclude each other: give one.")
    options = {
        **_checked_options(template_options or {}, template),
        "continue_final_message": continue_final_message,
        "add_generation_prompt": not continue_final_message if add_generation_prompt is None else add_generation_prompt,
    }
    contents = _contents(messages)

    def apply(texts: Sequence[str], tools: Sequence[Any] | None = tools) -> str:
        filled = [dict(message) for message in messages]
        for (index, name), text in zip(contents, texts, strict=True):
            filled[index][name] = text
        tool_list = None if tools is None else list(tools)
        return str(tokenizer.apply_chat_template(filled, tools=tool_list, tokenize=False, **options))

    def attempt(texts: Sequence[str]) -> str | None:
        try:
            return apply(texts)
        except Exception:  # the template refuses the marks; what it raises is its author's choice
            return None

    texts = list(contents.values())
    try:
        plain = apply(texts)
        ignored = tools is not None and apply(texts, None) == plain
    except Exception as exc:  # a template is a program: whatever it raises is about these messages
        raise InputError(f"the chat template refuses the messages (roles {_roles(messages)}): {exc}") from exc
    if ignored:
        raise InputError("tools were given, but the chat template ignores them: the prompt is the same without them.")
    places = dict(zip(contents, locate(attempt, texts, plain), strict=True))
    notes = [*_spelled_tokens(tokenizer, contents), *_notes(messages, contents, places)]
    return Rendered(plain, _parts(plain, messages, places), tuple(notes))


def opens_reasoning(prompt: str) -> bool:
    """Whether the prompt ends inside a part of reasoning, as some chat templates leave it.

    >>> opens_reasoning("<user>Hi</user><think>"), opens_reasoning("Hi")
    (True, False)
    """
    return prompt.rstrip().endswith("<think>")


def reasoning_spans(text: str, *, opened: bool = False) -> tuple[tuple[int, int], ...]:
    """Returns the characters of the `<think>...</think>` parts of a target, tags included.

    A part that is not closed reaches to the end. A part without its opening tag begins at 0: the prompt opened it.

    Args:
        text: The target.
        opened: The prompt ends inside a part, so the target begins in it even where it never closes it.

    >>> reasoning_spans("<think>Two.</think>It is 2.<think>Or")
    ((0, 19), (27, 36))
    >>> reasoning_spans("Two.</think>It is 2.")
    ((0, 12),)
    """
    spans: list[tuple[int, int]] = []
    start: int | None = 0 if opened else None
    for tag in re.finditer(r"</?think>", text):
        if tag.group() == "<think>":
            start = tag.start() if start is None else start
        elif start is not None or not spans:
            spans.append((start or 0, tag.end()))
            start = None
    if start is not None and start < len(text):
        spans.append((start, len(text)))
    return tuple(spans)


def _template(tokenizer: Any, tools: Sequence[Any] | None, options: Mapping[str, Any]) -> str:
    try:
        return str(tokenizer.get_chat_template(chat_template=options.get("chat_template"), tools=tools))
    except (AttributeError, ValueError) as exc:
        raise InputError(
            f"messages were given, but {type(tokenizer).__name__} has no chat template to render them with: give the "
            "prompt as a text, set tokenizer.chat_template, or pass template_options={'chat_template': ...}."
        ) from exc


def _checked_options(options: Mapping[str, Any], template: str) -> dict[str, Any]:
    refused = sorted(_OURS & options.keys())
    if refused:
        raise OptionError(f"template_options cannot hold {', '.join(refused)}: these have arguments of their own.")
    unknown = [
        name for name in options if name != "chat_template" and not re.search(rf"\b{re.escape(name)}\b", template)
    ]
    if unknown:
        raise OptionError(f"template_options has {', '.join(unknown)}, which the chat template never reads.")
    return dict(options)


def _contents(messages: Sequence[Message]) -> dict[Key, str]:
    """Returns the texts of the messages by message and field."""
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise InputError(
            "messages must be a list of at least one mapping such as {'role': 'user', 'content': 'Hi'}, "
            f"not {messages!r}."
        )
    contents: dict[Key, str] = {}
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise InputError(f"message {index} must be a mapping with 'role' and 'content', not {message!r}.")
        if not isinstance(message.get("role"), str):
            found = f"its role is {message['role']!r}" if "role" in message else f"it has {_keys(message)}"
            raise InputError(f"message {index} needs a 'role' that is a text; {found}.")
        if message.get("content") is not None:
            contents[index, "content"] = _text(index, message["content"])
        elif not message.get("tool_calls"):
            found = "it is None" if "content" in message else f"the message has {_keys(message)}"
            raise InputError(f"message {index} (role {message['role']!r}) has no 'content': {found}.")
        name = next((name for name in _REASONING if isinstance(message.get(name), str)), None)
        if name is not None:
            contents[index, name] = message[name]
    return contents


def _keys(message: Message) -> str:
    return ", ".join(map(repr, message)) or "nothing"


def _text(index: int, content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise InputError(f"the content of message {index} must be a text or a list of text parts, not {content!r}.")
    texts = []
    for part in content:
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else part
            raise InputError(
                f"the content of message {index} has a part of the kind {kind!r}: only texts, "
                "{'type': 'text', 'text': ...}, can be attributed to."
            )
        texts.append(part["text"])
    return "".join(texts)


def _parts(plain: str, messages: Sequence[Message], places: Mapping[Key, Place | None]) -> tuple[Part, ...]:
    found = [
        Part(start, end, messages[index]["role"], "content", index)
        for (index, _), place in places.items()
        for start, end in (place.spans if place else ())
        if end > start
    ]
    found.sort(key=lambda part: part.start)
    borders = [0, *itertools.chain.from_iterable((part.start, part.end) for part in found), len(plain)]
    gaps = zip(borders[::2], borders[1::2], strict=True)
    template = [Part(start, end, "template", "template") for start, end in gaps if end > start]
    return tuple(sorted([*found, *template], key=lambda part: part.start))


def _notes(messages: Sequence[Message], contents: Mapping[Key, str], places: Mapping[Key, Place | None]) -> list[str]:
    """Returns what the template did to the contents, where that can be told and none is left out."""
    notes = []
    for (index, name), text in contents.items():
        place = places[index, name]
        what = f"the {name} of message {index} (role {messages[index]['role']!r})"
        if place is None:
            raise InputError(
                f"{what}, {text[:80]!r}, cannot be located for certain in the prompt that the chat template makes: "
                "give the rendered prompt as a text instead."
            )
        if place.whole and place.verbatim:
            continue
        if not place.spans and name == "content" and _outside_reasoning(text).strip():
            raise InputError(f"the chat template leaves out {what}. The roles found are {_roles(messages)}.")
        done = "leaves out" if not place.spans else "keeps only parts of" if place.verbatim else "rewrites"
        notes.append(f"the chat template {done} {what}")
    return notes


def _outside_reasoning(text: str) -> str:
    for start, end in reversed(reasoning_spans(text)):
        text = text[:start] + text[end:]
    return text


def _spelled_tokens(tokenizer: Any, contents: Mapping[Key, str]) -> list[str]:
    tokens = [token for token in tokenizer.get_added_vocab() if token.strip()]
    return [
        f"the {name} of message {index} spells {token!r}, which the tokenizer reads as a special token"
        for (index, name), text in contents.items()
        for token in tokens
        if token in text
    ]


def _roles(messages: Sequence[Message]) -> str:
    return ", ".join(dict.fromkeys(repr(message["role"]) for message in messages))
