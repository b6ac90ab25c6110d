"""One forward of the model: embeddings replaced, and the logits of the last positions only.

Positions are counted over everything the model reads. An encoder-decoder model reads two sequences; they stand one
behind the other, the encoder's first, and `encoder_length` is where the decoder's begins (0 for a causal model).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from spanwise.errors import ModelError
from spanwise.model.language_model import LanguageModel


def embed(
    lm: LanguageModel, ids: Int[Tensor, "batch source"], encoder_length: int = 0
) -> Float[Tensor, "batch source hidden"]:
    """Returns the embeddings as the model's embedding layers give them, in float32, without a graph."""
    parts = zip(lm.embeddings, _split(ids, encoder_length), strict=True)
    with torch.no_grad():
        return torch.cat([layer(part).float() for layer, part in parts], dim=1)


def forward(
    lm: LanguageModel,
    ids: Int[Tensor, "batch source"],
    keep: "int | Int[Tensor, 'batch position']",
    *,
    embeddings: Float[Tensor, "batch source hidden"] | None = None,
    encoder_length: int = 0,
    mask: Bool[Tensor, "batch position"] | None = None,
    past: Any = None,
    **options: Any,
) -> tuple[Any, Tensor | None]:
    """Returns the model's outputs, with `logits` of shape [batch, keep, vocab], and what its head was given.

    Args:
        lm: The model, inside its session.
        ids: What it reads.
        keep: How many of the last positions have logits; or which positions of each sequence, for a model whose head is
            a module of its own.
        embeddings: In place of those of `ids`.
        encoder_length: Where the decoder's part begins.
        mask: Positions that may be attended to, those of `past` first; None: all.
        past: A cache of the positions before `ids`.
        options: For the model's forward.

    Returns:
        The outputs, and the head's input [batch, keep, hidden] with its graph; None for a model whose head is no module
        of its own.
    """
    parts = _split(ids, encoder_length)
    before = 0 if past is None else past.get_seq_length()
    everything = ids.new_ones(len(ids), before + ids.shape[1]) if mask is None else mask.to(ids)
    masks = _split(everything, encoder_length)
    given = {"input_ids": parts[0], "attention_mask": masks[0]}
    if encoder_length:
        given |= {"decoder_input_ids": parts[1], "decoder_attention_mask": masks[1]}
    if past is not None:
        given["past_key_values"] = past
    with ExitStack() as stack:
        if embeddings is not None:
            stack.enter_context(_embeddings_replaced(lm, _split(embeddings, encoder_length)))
        caught = stack.enter_context(_some_positions(lm, keep))
        outputs = lm.model(**given, use_cache=past is not None, **options)
    logits = outputs.logits[:, -keep:] if isinstance(keep, int) else outputs.logits
    outputs.logits = logits.to(lm.device)  # the head may be elsewhere than the embedding
    return outputs, caught[0] if len(caught) == 1 else None


def _split(values: Tensor, encoder_length: int) -> tuple[Tensor, ...]:
    return (values[:, :encoder_length], values[:, encoder_length:]) if encoder_length else (values,)


@contextmanager
def _embeddings_replaced(lm: LanguageModel, parts: tuple[Tensor, ...]) -> Iterator[None]:
    """Makes the embedding layers return `parts`, whatever ids they are given.

    Where encoder and decoder share one layer, it is called for the encoder first.
    """
    waiting = list(parts)
    shared = len(lm.embeddings) > 1 and lm.embeddings[0] is lm.embeddings[1]

    def replacing(index: int) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            part = waiting.pop(0) if shared else parts[index]
            if output.shape != part.shape:
                raise ModelError(f"the embedding layer gave {tuple(output.shape)}, not {tuple(part.shape)}.")
            return part.to(device=output.device, dtype=output.dtype)

        return hook

    layers = lm.embeddings[:1] if shared else lm.embeddings
    handles = [layer.register_forward_hook(replacing(index)) for index, layer in enumerate(layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _some_positions(lm: LanguageModel, keep: "int | Int[Tensor, 'batch position']") -> Iterator[list[Tensor]]:
    """Cuts what the head is given to the last `keep` positions, or to those it names, and collects it.

    That leaves out the logits nobody asks for, on every architecture that has a head. The positions are made one
    contiguous block, since torch multiplies a cut one at half the speed.
    """
    caught: list[Tensor] = []
    head = lm.model.get_output_embeddings()  # type: ignore[operator] # a transformers model has it
    if head is None:
        yield caught
        return

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if isinstance(keep, int):
            caught.append(args[0][:, -keep:].contiguous())
        else:
            index = keep.to(args[0].device).unsqueeze(-1)
            caught.append(args[0].gather(1, index.expand(-1, -1, args[0].shape[-1])))
        return (caught[-1], *args[1:])

    handle = head.register_forward_pre_hook(hook)
    try:
        yield caught
    finally:
        handle.remove()
