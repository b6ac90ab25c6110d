"""How many sequences go through the model at once, and what happens when memory runs out."""

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from spanwise.errors import OptionError, OutOfMemoryError, at_least
from spanwise.model.language_model import LanguageModel
from spanwise.model.memory import free_memory
from spanwise.model.planning.activations import bytes_per_sequence
from spanwise.model.planning.planner import TOKENS_AT_ONCE

_SHARE = 0.8
"""Of the free memory: the rest is for what is not counted, and for holes."""

_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")


@dataclass
class Batches:
    """Cuts inputs into batches; where memory runs out, into smaller ones from there on.

    Attributes:
        size: Sequences in a batch, as it is now.
        fixed: The user named the size, so it is kept, and running out of memory is an error.
        began: The size at the beginning.
    """

    size: int
    fixed: bool = False
    began: int = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.size

    @property
    def note(self) -> str:
        """Says that the size was halved; else ""."""
        if self.size == self.began:
            return ""
        return f"memory ran out with batches of {self.began} sequences; it ended with {self.size}"

    def sequences(self, cost: float) -> int:
        """Returns how many sequences go at once where each costs this share of a whole one."""
        return self.size if self.fixed else max(1, int(self.size / cost))

    def over(self, inputs: Tensor, work: Callable[[Tensor], Tensor], cost: float = 1.0) -> Tensor:
        """Returns what `work` makes of `inputs`, [batch, ...], put together again.

        Args:
            inputs: One line a sequence.
            work: From a batch of them to as many results.
            cost: Of one of them, as a share of a whole sequence's.

        Raises:
            OutOfMemoryError: A batch of the size that was asked for, or one sequence, does not fit.
        """
        parts: list[Tensor] = []
        done = 0
        while done < len(inputs):
            part = inputs[done : done + self.sequences(cost)]
            found = self._attempt(work, part)
            if found is None:
                self.size = max(1, int(len(part) * cost) // 2)
                release_memory()
                continue
            parts.append(found)
            done += len(part)
        return torch.cat(parts)

    def _attempt(self, work: Callable[[Tensor], Tensor], part: Tensor) -> Tensor | None:
        """Returns None where memory ran out: after the error is gone, and with it the tensors its traceback holds."""
        try:
            return work(part)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if self.fixed or len(part) == 1:
                raise OutOfMemoryError(_told(len(part), self.fixed, error)) from error
        return None


def choose_batches(
    lm: LanguageModel, asked: int | str, length: int, targets: int, *, gradients: bool, rows: int, per_position: bool
) -> Batches:
    """Returns how inputs are cut into batches; "auto": as many sequences as are of use and have memory.

    Args:
        lm: The model.
        asked: "auto" or a number of sequences.
        length: Tokens of an input.
        targets: Last positions that get logits.
        gradients: Whether a backward follows.
        rows: Rows that each get a backward.
        per_position: Gradients come back at every embedding, not summed up.

    Raises:
        OptionError: Neither "auto" nor an integer of at least 1.
    """
    if asked != "auto":
        if isinstance(asked, str):
            raise OptionError(f"batch_size must be 'auto' or an integer of at least 1, not {asked!r}.")
        return Batches(at_least("batch_size", asked, 1), fixed=True)
    size = max(1, TOKENS_AT_ONCE.get(lm.device.type, TOKENS_AT_ONCE["cuda"]) // length)
    free = free_memory(lm.model)
    if size == 1 or size * _at_most(lm, length, targets, rows) < free * _SHARE:
        return Batches(size)
    each = bytes_per_sequence(lm, length, targets, gradients=gradients, rows=rows, per_position=per_position)
    return Batches(max(1, min(size, int(free * _SHARE) // each)))


def _at_most(lm: LanguageModel, length: int, targets: int, rows: int) -> int:
    """Returns more bytes than a sequence needs, so that small models need no plan, which takes half a second.

    Held for a backward are about 50 numbers a token, layer and hidden unit, with 4 bytes each, and the attention
    weights of 64 heads at most; five copies of the logits; the gradient at every embedding for each row.
    """
    config: Any = lm.model.config.get_text_config()  # type: ignore[union-attr, operator] # a transformers model's
    layers = int(getattr(config, "num_hidden_layers", 100))
    blocks = layers * length * (50 * lm.hidden_size + 2 * 64 * length)
    return 4 * (blocks + 5 * targets * int(config.vocab_size) + rows * length * lm.hidden_size)


def release_memory() -> None:
    """Gives back what no tensor uses any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(sign in str(error).lower() for sign in _SIGNS)


def _told(sequences: int, fixed: bool, error: BaseException) -> str:
    first_line = str(error).strip().split("\n")[0]
    if fixed and sequences > 1:
        asked, cure = f"a batch of {sequences} sequences", "batch_size='auto' makes batches as small as they have to be"
    else:
        asked, cure = (
            "one sequence",
            "checkpointing=True keeps less for gradients, perturbation methods keep nothing; `spanwise plan` says how "
            "much each needs",
        )
    return f"memory ran out with {asked}: {cure}. ({first_line})"
