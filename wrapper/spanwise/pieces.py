"""What a result is about: tokens and spans."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Token:
    """A position of the model's input or target; or, as a column of a result by words, say, a feature of several.

    Attributes:
        text: The characters it covers. A character that several tokens share (an emoji in a byte-level vocabulary) is
            the text of each of them.
        id: The token's id in the vocabulary; -1 for a feature of several tokens.
        start: First character, counted in `Attribution.target_text` for the roles "prefix" and "target", else in
            `Attribution.prompt`.
        end: One past the last character. A token without text (BOS) has `start == end`.
        role: "prompt", "prefix" (a target token already written, seen as a source) or "target"; in a chat the role of
            the message instead of "prompt" ("system", "user", ...).
        special: One of the tokenizer's special tokens.
        frozen: Not attributed to: its column is NaN and no method changes it.
        template: Written by the chat template, not by the one who wrote the message.
        message: Index of the message in a chat.
        positions: Which positions of the source it stands for; empty where that is unknown, and for the target.
        name: What the user called it: a document or a template's slot.
    """

    text: str
    id: int
    start: int
    end: int
    role: str
    special: bool = False
    frozen: bool = False
    template: bool = False
    message: int | None = None
    positions: tuple[int, ...] = ()
    name: str = ""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Token":
        """Returns the token whose fields these are, as JSON has them."""
        return cls(**{**values, "positions": tuple(values.get("positions", ()))})


@dataclass(frozen=True)
class Span:
    """A part of the target that was asked about.

    Attributes:
        text: The characters asked for.
        start: First character in the target text.
        end: One past the last character.
        first_token: Index of the first target token that overlaps the characters.
        last_token: One past the index of the last one.
        note: Says which token the span cuts, where its borders lie inside a token; else "".
    """

    text: str
    start: int
    end: int
    first_token: int
    last_token: int
    note: str = ""
