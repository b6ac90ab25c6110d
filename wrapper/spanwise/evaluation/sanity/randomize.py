"""A model's weights drawn again, layer by layer, in place; and put back as they were.

A floating-point tensor is drawn from a normal distribution with its own mean and standard deviation. Of a layer that
bitsandbytes has quantized, the codes and the scales are shuffled: the same numbers, in other places.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from spanwise.model.blocks import named_blocks
from spanwise.model.language_model import LanguageModel

MOST_GROUPS = 8
"""Blocks of a deep model are drawn again in at most so many groups."""


@dataclass(frozen=True)
class Weight:
    """One tensor of a model, and how it is drawn again.

    Attributes:
        name: Of the parameter.
        values: The tensor itself, or a view of it.
        shuffled: Its own values in another order, instead of new ones.
    """

    name: str
    values: Tensor
    shuffled: bool = False


@dataclass(frozen=True)
class Stage:
    """A part of the model that is drawn again as one: what is above the blocks, a group of blocks, the embeddings."""

    name: str
    weights: tuple[Weight, ...]


@dataclass(frozen=True)
class Stages:
    """A model's parts from the output down to the embeddings.

    Attributes:
        stages: The parts that have weights of their own, in this order.
        tied: The output's weights are the embeddings', and drawn again with them.
        left_out: What is left as it is, in words.
    """

    stages: tuple[Stage, ...]
    tied: bool
    left_out: tuple[str, ...]


def stages_of(lm: LanguageModel) -> Stages:
    """Returns the parts of a model; a tensor that several parts share belongs to the lowest."""
    groups = _groups(_blocks(lm.model))
    names = ["output", *groups, "embeddings"]
    place_of = {block: 1 + number for number, blocks in enumerate(groups.values()) for block in blocks}
    found: dict[int, tuple[int, Weight]] = {}
    meta, strange, tied = [], [], False
    embeddings = {id(layer) for layer in lm.embeddings}
    for name, module in lm.model.named_modules(remove_duplicate=False):
        inside = [place for block, place in place_of.items() if f"{name}.".startswith(f"{block}.")]
        is_embedding = isinstance(module, nn.Embedding) or id(module) in embeddings
        place = inside[0] if inside else len(names) - 1 if is_embedding else 0
        for own, parameter in module.named_parameters(recurse=False):
            weights = _weights(module, f"{name}.{own}", own, parameter)
            if parameter.is_meta:
                meta.append(name)
            elif not weights:
                strange.append(name)
            for weight in weights:
                key = weight.values.data_ptr()
                before = found.get(key, (place, weight))
                tied = tied or {before[0], place} == {0, len(names) - 1}
                found[key] = (max(before[0], place), weight)
    stages = [Stage(name, tuple(w for place, w in found.values() if place == i)) for i, name in enumerate(names)]
    return Stages(tuple(stage for stage in stages if stage.weights), tied, tuple(_told(lm, meta, strange)))


class Randomizer:
    """Draws stages again, and remembers what was there, on the CPU."""

    def __init__(self, seed: int) -> None:
        # A generator of the CPU gives every device the same numbers.
        self._generator = torch.Generator().manual_seed(seed)
        self._before: list[tuple[Tensor, Tensor]] = []

    def draw(self, stage: Stage) -> int:
        """Draws a stage again and returns how many of its tensors changed (one that is constant does not)."""
        changed = 0
        for weight in stage.weights:
            before = weight.values.detach().to("cpu", copy=True)
            drawn = _shuffled(before, self._generator) if weight.shuffled else _normal(before, self._generator)
            self._before.append((weight.values, before))
            with torch.no_grad():
                weight.values.copy_(drawn)
            changed += not torch.equal(drawn, before)
        return changed

    def put_back(self) -> None:
        """Writes every tensor back as it was."""
        with torch.no_grad():
            while self._before:
                values, before = self._before[-1]
                values.copy_(before)
                self._before.pop()


@contextmanager
def randomizer(seed: int) -> Iterator[Randomizer]:
    """Gives a `Randomizer` whose changes are undone when the block ends, on error and on Ctrl-C too.

    A second Ctrl-C waits until everything is back.
    """
    drawing = Randomizer(seed)
    try:
        yield drawing
    finally:
        with _interrupts_held():
            drawing.put_back()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keeps Ctrl-C waiting until the block ends, where this thread is the one that gets it."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    caught: list[tuple[Any, ...]] = []
    signal.signal(signal.SIGINT, lambda *args: caught.append(args))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if caught:
            before(*caught[0])


def _weights(module: nn.Module, name: str, own: str, parameter: Any) -> list[Weight]:
    """Returns what of a parameter can be drawn again: nothing where its values are elsewhere, or no numbers."""
    if parameter.is_meta:
        return []
    state = getattr(parameter, "quant_state", None)
    if state is not None:  # 4 bits: two codes a byte, whatever type they are stored as, and a scale for each block
        return [Weight(name, parameter.data.view(torch.uint8), True), Weight(f"{name} scales", state.absmax, True)]
    if parameter.dtype == torch.int8 and own == "weight" and hasattr(parameter, "SCB"):
        moved: Any = getattr(module, "state", None)  # a forward moves codes and scales there
        scales = parameter.SCB if parameter.SCB is not None else moved.SCB
        return [Weight(name, parameter.data, True), Weight(f"{name} scales", scales, True)]
    return [Weight(name, parameter.data)] if parameter.is_floating_point() else []


def _normal(values: Tensor, generator: torch.Generator) -> Tensor:
    std, mean = torch.std_mean(values.float(), correction=0)
    return torch.empty(values.shape).normal_(generator=generator).mul_(std).add_(mean).to(values.dtype)


def _shuffled(values: Tensor, generator: torch.Generator) -> Tensor:
    kind = torch.int32 if values.numel() < 2**31 else torch.int64  # half the memory where it is enough
    order = torch.randperm(values.numel(), generator=generator, dtype=kind)
    return values.reshape(-1).index_select(0, order).view(values.shape)


def _blocks(model: nn.Module) -> list[str]:
    """Returns the names of the outermost blocks; where the model does not say, the members of its module lists."""
    names = list(named_blocks(model))
    if not names:
        lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
        names = [f"{name}.{own}" for name, module in lists for own, _ in module.named_children()]
    return [name for name in names if not any(name.startswith(f"{other}.") for other in names)]


def _groups(blocks: list[str]) -> dict[str, list[str]]:
    """Returns groups of neighboring blocks by their names, last to first."""
    count = min(len(blocks), MOST_GROUPS)
    downwards = blocks[::-1]
    cuts = [round(i * len(blocks) / count) for i in range(count + 1)] if count else []
    parts = [downwards[first:last] for first, last in pairwise(cuts)]
    return {part[0] if len(part) == 1 else f"{part[0]} to {part[-1]}": part for part in parts}


def _told(lm: LanguageModel, meta: list[str], strange: list[str]) -> Iterator[str]:
    if meta:
        yield f"{len(set(meta))} modules that are offloaded ({meta[0]} and on)"
    if strange:
        yield f"{len(set(strange))} modules whose weights are no floating-point numbers ({strange[0]} and on)"
    if lm.quantization not in (None, "nf4", "fp4", "int8"):
        yield f"what {lm.quantization} has quantized"
