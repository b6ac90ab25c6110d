"""What a result is about, and how it came about: tokens, spans, provenance."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
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


@dataclass(frozen=True)
class Provenance:
    """Everything needed to read a result and to repeat it. `None` where a fact is unknown.

    `orientation`, `objective`, `reduction`, `normalization` and `coverage` must be equal before two results are
    compared. Times are seconds, memory is GiB. A forward is one sequence through the model once, a call one batch.
    `options` are as they were asked; `used` says what those asked as "auto" came to, such as {"n_steps": 32}.
    """

    model: str
    architecture: str
    method: str
    engine: str
    objective: str
    baseline: str | None
    options: dict[str, Any]
    seed: int
    features: str = "token"
    revision: str | None = None
    quantization: str | None = None
    dtype: str = "float32"
    compute_dtype: str | None = None
    device_map: dict[str, str] | None = None
    orientation: str = "target source"
    reduction: str = "sum"
    normalization: str = "none"
    coverage: str = "prompt"
    signed: bool = True
    unit: str = "nats"
    boundary: str = "clean"
    prompt_ids: tuple[int, ...] = ()
    target_ids: tuple[int, ...] = ()
    generated: bool = False
    generation_options: dict[str, Any] = field(default_factory=dict)
    batch_size: int = 1
    checkpointing: bool = False
    calls: int = 0
    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    peak_memory_gib: float | None = None
    versions: dict[str, str] = field(default_factory=dict)
    used: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields as a plain dictionary."""
        return asdict(self)
