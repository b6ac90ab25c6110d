"""A model's attention weights, which only the plain ("eager") way of computing attention can hand out."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from spanwise.errors import MethodError
from spanwise.model.forward import forward
from spanwise.model.kept import configs
from spanwise.model.language_model import LanguageModel


def attention_weights(
    lm: LanguageModel, ids: Int[Tensor, "1 source"], encoder_length: int = 0
) -> list[Float[Tensor, "head source source"]]:
    """Returns the attention weights of every step of attention at `ids`, lowest first, each on its layer's device.

    Weight [h, i, j] is how much position i looks at position j in head h. A causal layer is one step. In an
    encoder-decoder model each encoder layer is a step of the encoder's positions, and each decoder layer two steps of
    the decoder's: at its own positions, then at the encoder's; positions that a step leaves alone look at themselves.
    Layers without attention, as hybrid models have them, are left out.

    Raises:
        MethodError: The model gives no attention weights.
    """
    outputs = _outputs(lm, ids, encoder_length)
    if not encoder_length:
        length = ids.shape[1]
        square = [each for each in _given(lm, outputs, "attentions") if each.shape[-2:] == (length, length)]
        return [layer[0] for layer in square]
    length, cut = ids.shape[1], encoder_length
    steps = [_step(each[0], length, 0, 0) for each in _given(lm, outputs, "encoder_attentions")]
    pairs = zip(_given(lm, outputs, "decoder_attentions"), _given(lm, outputs, "cross_attentions"), strict=True)
    for own, cross in pairs:
        steps += [_step(own[0], length, cut, cut), _step(cross[0], length, cut, 0)]
    return steps


def attention_looks(
    lm: LanguageModel, ids: Int[Tensor, "1 source"], encoder_length: int = 0
) -> list[Float[Tensor, "head source source"]]:
    """Returns each layer's attention weights as one table a layer of the part that writes the target.

    For an encoder-decoder model a decoder position's row holds its look at the encoder's positions and its look at the
    decoder's, side by side; each of the two sums to 1.

    Raises:
        MethodError: The model gives no attention weights.
    """
    if not encoder_length:
        return attention_weights(lm, ids)
    outputs = _outputs(lm, ids, encoder_length)
    pairs = zip(_given(lm, outputs, "cross_attentions"), _given(lm, outputs, "decoder_attentions"), strict=True)
    looks = [torch.cat([cross[0], own[0]], dim=-1) for cross, own in pairs]  # [head, decoder, source]
    return [torch.nn.functional.pad(look, (0, 0, encoder_length, 0)) for look in looks]


def _outputs(lm: LanguageModel, ids: Tensor, encoder_length: int) -> Any:
    with eager_attention(lm.model), torch.no_grad():
        if not _takes_output_attentions(lm.model):
            return None
        return forward(lm, ids, 1, encoder_length=encoder_length, output_attentions=True)[0]


def _given(lm: LanguageModel, outputs: Any, name: str) -> list[Tensor]:
    found = [each for each in getattr(outputs, name, None) or () if isinstance(each, Tensor)]
    if not found:
        raise MethodError(
            f"attention weights were asked, but {lm.architecture} returns none, not even with "
            "attn_implementation='eager'. Gradient and perturbation methods work on it."
        )
    return found


def _step(weights: Float[Tensor, "head query key"], length: int, row: int, column: int) -> Tensor:
    """Returns [head, source, source] with `weights` at (row, column) and every other position looking at itself."""
    heads, queries, keys = weights.shape
    step = torch.eye(length, dtype=weights.dtype, device=weights.device).repeat(heads, 1, 1)
    step[:, row : row + queries] = 0
    step[:, row : row + queries, column : column + keys] = weights
    return step


@contextmanager
def eager_attention(model: nn.Module) -> Iterator[None]:
    """Has the model compute attention by the plain formula; the implementation it had is put back afterwards.

    transformers 5 returns an empty tuple of attentions, without a word, from a forward under SDPA.
    """
    found = [config for config in configs(model) if hasattr(config, "_attn_implementation_internal")]
    before = [config._attn_implementation_internal for config in found]
    try:
        if hasattr(model, "set_attn_implementation"):
            model.set_attn_implementation("eager")  # type: ignore[operator] # a method of transformers' models
        yield
    finally:
        # Past `set_attn_implementation`, which would check again what was already in use, and past the config's own
        # setter, which would give its sub-configs the same implementation.
        for config, implementation in zip(found, before, strict=True):
            config._attn_implementation_internal = implementation


def _takes_output_attentions(model: nn.Module) -> bool:
    parameters = inspect.signature(model.forward).parameters.values()
    return any(each.name == "output_attentions" or each.kind is each.VAR_KEYWORD for each in parameters)
