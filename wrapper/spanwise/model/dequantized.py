"""A quantized model's twin: the same numbers as weights, in plain layers."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from spanwise.errors import QuantizationError, require
from spanwise.model.language_model import LanguageModel


def dequantized(lm: LanguageModel) -> LanguageModel:
    """Returns a model whose plain layers hold the dequantized weights of bitsandbytes' layers.

    Everything else (embeddings, norms, head) is the same tensors, not copies of them. It takes the memory of the
    weights in the model's own type beside the quantized ones.

    Raises:
        QuantizationError: The model has no layers that bitsandbytes has quantized.
        DependencyError: bitsandbytes is not installed.
    """
    require("bitsandbytes", "quantization", "dequantized weights")
    with lm.session():
        shared = [*lm.model.parameters(), *lm.model.buffers()]
        twin = copy.deepcopy(lm.model, {id(tensor): tensor for tensor in shared})
        found = [(name, module, _weight(module)) for name, module in twin.named_modules()]
    layers = [(name, module, weight) for name, module, weight in found if weight is not None]
    if not layers:
        raise QuantizationError(f"{lm!r} has no layers that bitsandbytes has quantized.")
    for name, module, weight in layers:
        parent, _, own = name.rpartition(".")
        setattr(twin.get_submodule(parent), own, _plain(weight.to(lm.dtype), module.bias))
    config: Any = twin.config
    del config.quantization_config
    return LanguageModel(twin.eval(), lm.tokenizer, name=f"{lm.name} (dequantized {lm.quantization})")


def packs_weights() -> bool | None:
    """Returns whether bitsandbytes packs 4-bit weights in place on this CPU (AVX512-BF16); None without the library."""
    try:
        from bitsandbytes.functional import has_avx512bf16
    except ImportError:
        return None
    return bool(has_avx512bf16())


def _weight(module: nn.Module) -> Tensor | None:
    """Returns the weights that a quantized layer stands for, [out, in]; None for any other layer."""
    import bitsandbytes

    layer: Any = module
    if isinstance(module, bitsandbytes.nn.Linear4bit):
        return bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    if isinstance(module, bitsandbytes.nn.Linear8bitLt):
        scale = layer.weight.SCB if layer.weight.SCB is not None else layer.state.SCB  # a forward moves it
        return layer.weight.data.float() * scale[:, None] / 127
    return None


def _plain(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.data.to(weight.dtype), requires_grad=False)
    return layer
