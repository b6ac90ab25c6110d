"""What `doctor` checks on: a model, a short prompt and target, and plain forwards without any of the scorer's code."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.errors import ModelError
from spanwise.model.language_model import LanguageModel
from spanwise.model.loading import BUNDLED, load_model
from spanwise.text.encoding import encode

PROMPT, TARGET, SPAN, FOIL = "The keys to the cabinet", " are on the table.", "are", "is"

Outcome = Literal["ok", "warn", "broken", "not checked", "not installed"]


@dataclass(frozen=True)
class Measured:
    """What a check measured.

    Attributes:
        figure: The number.
        unit: Of the number.
        tolerance: The most it may be; None: no promise is made on it.
        note: What the reader should know about it.
        over: What it means when the figure is over the tolerance (or is no number).
    """

    figure: float
    unit: str
    tolerance: float | None
    note: str = ""
    over: Outcome = "broken"

    @property
    def outcome(self) -> Outcome:
        """`over` where the figure is over the tolerance, else "ok"."""
        return "ok" if self.tolerance is None or self.figure <= self.tolerance else self.over


@dataclass(frozen=True)
class Check:
    """One thing to check: the group it belongs to, its name, and the work."""

    group: str
    name: str
    run: Callable[[], Measured]


class NotCheckedError(Exception):
    """There is nothing to compare with; the message says what is missing."""


class Case:
    """A model and what it is asked; every attribution is of the prompt's tokens for the target's.

    Args:
        lm: The model; causal.
        device_map: Where it was asked to be; None: where `load_model` puts a model by itself.
    """

    def __init__(self, lm: LanguageModel, device_map: str | None = None) -> None:
        if lm.is_encoder_decoder:
            raise ModelError(f"doctor checks causal models; {lm.architecture} is an encoder-decoder model.")
        self.lm, self.device_map = lm, device_map
        encoding = encode(lm.tokenizer, PROMPT, TARGET)
        self.prompt_ids, self.target_ids = encoding.prompt_ids, encoding.target_ids
        self.foil_ids = encode(lm.tokenizer, PROMPT, TARGET[: TARGET.index(SPAN)] + FOIL).target_ids
        self.off = f"token:{lm.tokenizer.convert_ids_to_tokens(0)}"
        """The baseline: the token with id 0, which is also Captum's default."""

    @property
    def bundled(self) -> bool:
        """Whether it is the bundled model, of which everything is known."""
        return self.lm.name in BUNDLED

    @cached_property
    def logits(self) -> Float[Tensor, "input target vocab"]:
        """Logits of the target's tokens: at the input as it is, then with each prompt token in turn off."""
        return self.forward(self.target_ids).logits[:, -len(self.target_ids) :].float().cpu()

    def forward(self, target_ids: Sequence[int], **options: Any) -> Any:
        """Returns the outputs of plain, uncached forwards: the input as it is, then with each prompt token off."""
        ids = torch.tensor([[*self.prompt_ids, *target_ids][:-1]]).repeat(len(self.prompt_ids) + 1, 1)
        for position in range(len(self.prompt_ids)):
            ids[position + 1, position] = 0
        with self.lm.session(), torch.no_grad():
            return self.lm.model(input_ids=ids.to(self.lm.device), use_cache=False, **options)


def make_case(name_or_path: str, device_map: str | None) -> Case:
    """Returns the case of a model loaded in float32, where a difference is an error and not a rounding.

    Raises:
        ModelError: The model cannot be loaded, or is not a causal one.
    """
    return Case(load_model(name_or_path, dtype="float32", device_map=device_map), device_map)


def drops(values: Float[Tensor, "input target"]) -> Float[Tensor, "target source"]:
    """Returns how much each target's value drops when a prompt token is off."""
    return (values[:1] - values[1:]).T


def difference(found: Tensor, expected: Tensor) -> float:
    """Returns the largest difference as a part of the largest expected value; undefined places must be the same.

    Raises:
        AssertionError: The shapes are not the same.
    """
    if found.shape != expected.shape:
        raise AssertionError(f"scores of shape {list(found.shape)}, where {list(expected.shape)} were expected")
    if not torch.equal(found.isnan(), expected.isnan()):
        return float("inf")
    largest = expected.nan_to_num().abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return float((found.nan_to_num() - expected.nan_to_num()).abs().max() / largest)
