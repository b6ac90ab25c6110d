"""Activation checkpointing: a block's activations are computed again in the backward instead of being kept.

transformers' own works only in training mode, where dropout and the like would change the scores.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from spanwise.errors import ModelError
from spanwise.model.blocks import named_blocks


def blocks(model: nn.Module) -> list[nn.Module]:
    """Returns the model's blocks: the layers that transformers says must stay on one device."""
    return list(named_blocks(model).values())


@contextmanager
def checkpointed(model: nn.Module) -> Iterator[None]:
    """Has each block forget its activations inside the `with` block; only what goes into it is kept.

    Offloaded weights are loaded again for the backward, one block at a time, instead of being held by the graph.

    Raises:
        ModelError: The model does not say what its blocks are.
    """
    found = blocks(model)
    if not found:
        raise ModelError(f"checkpointing=True was asked, but {type(model).__name__} does not say what its blocks are.")
    before = [vars(block).get("forward") for block in found]  # accelerate's hooks set it on the module itself
    try:
        for block in found:
            block.forward = partial(_forgetful, block.forward)
        yield
    finally:
        for block, forward in zip(found, before, strict=True):
            if forward is None:
                vars(block).pop("forward", None)
            else:
                block.forward = forward


def _forgetful(forward: Any, *args: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **options)
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **options)
