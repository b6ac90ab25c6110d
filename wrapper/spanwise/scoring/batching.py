"""How many sequences go through the model at once, and what happens when memory runs out."""

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from spanwise.errors import OptionError, OutOfMemoryError, at_least
from spanwise.model.language_model import LanguageModel
from spanwise.model.memory import free_memory
from spanwise.model.planning.activations import bytes_per_sequence
from spanwise.model.planning.planner import TOKENS_AT_ONCE

_SHARE = 0.8
"""Of the free memory: the rest is for what is not counted, and for holes."""

_CALL = {"cpu": 256, "cuda": 1024}
"""What a call costs by itself (starting it, putting kept keys before it), in tokens through a small model."""

_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")


@dataclass
class Batches:
    """Cuts inputs into batches; where memory runs out, into smaller ones from there on.

    Attributes:
        size: Sequences in a batch, as it is now.
        fixed: The user named the size, so it is kept, and running out of memory is an error.
        call: What a call costs by itself, in tokens.
        began: The size at the beginning.
    """

    size: int
    fixed: bool = False
    call: int = _CALL["cpu"]
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

    def over_late(
        self, starts: Int[Tensor, " input"], length: int, work: Callable[[Tensor, int], Tensor]
    ) -> Float[Tensor, "input row"]:
        """Returns what `work` makes of inputs that are known up to their starts.

        Those with late starts go together, each batch read from its first start on.

        Args:
            starts: For each input, how many of its positions need no forward.
            length: Positions of a whole input.
            work: From the indices of some inputs, ascending, and the position they are read from, to their results.
        """
        order = starts.argsort(stable=True)
        distinct, counts = starts[order].unique_consecutive(return_counts=True)
        found: list[Tensor] = []
        parts: list[Tensor] = []
        done = 0
        for start, count in self._cut(distinct.tolist(), counts.tolist(), length):
            parts.append(order[done : done + count].sort().values)
            cost = (length - start) / length
            found.append(self.over(parts[-1], lambda each, start=start: work(each, start), cost))  # type: ignore[misc]
            done += count
        values = torch.cat(found)
        return values[torch.cat(parts).argsort().to(values.device)]

    def _cut(self, starts: list[int], counts: list[int], length: int) -> list[tuple[int, int]]:
        """Returns the first start and the number of inputs of each batch, so that all batches take the fewest tokens.

        A batch takes what a call costs, and for each input the tokens from the batch's first start on.
        """
        groups = len(starts)
        least, ends = [0] * (groups + 1), [0] * groups
        for first in range(groups - 1, -1, -1):
            each = length - starts[first]
            room, count, best = self.sequences(each / length), 0, None
            for end in range(first + 1, groups + 1):
                count += counts[end - 1]
                if count > 4 * room and end > first + 1:
                    break
                tokens = self.call * -(-count // room) + count * each + least[end]
                if best is None or tokens < best:
                    best, ends[first] = tokens, end
            least[first] = best or 0
        found, first = [], 0
        while first < groups:
            found.append((starts[first], sum(counts[first : ends[first]])))
            first = ends[first]
        return found

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
    call = _CALL.get(lm.device.type, _CALL["cuda"])
    if asked != "auto":
        if isinstance(asked, str):
            raise OptionError(f"batch_size must be 'auto' or an integer of at least 1, not {asked!r}.")
        return Batches(at_least("batch_size", asked, 1), fixed=True, call=call)
    size = max(1, TOKENS_AT_ONCE.get(lm.device.type, TOKENS_AT_ONCE["cuda"]) // length)
    free = free_memory(lm.model)
    if size > 1 and size * _at_most(lm, length, targets, rows) >= free * _SHARE:
        each = bytes_per_sequence(lm, length, targets, gradients=gradients, rows=rows, per_position=per_position)
        size = max(1, min(size, int(free * _SHARE) // each))
    return Batches(size, call=call)


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
