"""Bytes of a model's weights: from its shape alone, or of a model that is loaded."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from spanwise.model.blocks import named_blocks

_BLOCK = 64
"""4-bit codes that share a scale, bitsandbytes' default."""
_NESTED_BLOCK = 256
"""8-bit scales that share a scale, under double quantization."""


@dataclass(frozen=True)
class Weights:
    """Bytes of a model's parameters and buffers; tied ones once.

    Attributes:
        by_name: For each parameter and buffer; a quantized one with its scales and tables.
        by_dtype: For each type; 4-bit codes, int8 codes and the scales of both are listed apart.
        by_quantization: "nf4", "fp4" or "int8", and "none".
        by_module: "embedding", "head", "norms", each block by its name, and "other". Norms inside a block are the
            block's; a head that is tied to the embedding is 0.
        quantized: Names of the quantized layers.
    """

    by_name: Mapping[str, int]
    by_dtype: Mapping[str, int]
    by_quantization: Mapping[str, int]
    by_module: Mapping[str, int]
    quantized: frozenset[str] = field(default_factory=frozenset)

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.by_name.values())


@dataclass
class _Count:
    by_name: Counter[str] = field(default_factory=Counter)
    by_dtype: Counter[str] = field(default_factory=Counter)
    by_quantization: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, dtype: str, quantization: str, size: int) -> None:
        if size:
            self.by_name[name] += size
            self.by_dtype[dtype] += size
            self.by_quantization[quantization] += size

    def weights(self, model: nn.Module, quantized: Iterable[str]) -> Weights:
        return Weights(
            dict(self.by_name),
            dict(self.by_dtype),
            dict(self.by_quantization),
            _by_module(model, self.by_name),
            frozenset(quantized),
        )


def planned_weights(shape: Any, quantization: str | None, *, double_quant: bool = False) -> Weights:
    """Returns the weights of a model on the meta device as they will be once loaded.

    Args:
        shape: The model, in the type of what is not quantized.
        quantization: "nf4", "fp4", "int8" or None.
        double_quant: The 4-bit scales are quantized too.
    """
    layers = quantized_layers(shape) if quantization else {}
    count = _Count()
    for name, tensor in (*shape.named_parameters(), *shape.named_buffers()):
        layer = layers.get(name.removesuffix(".weight")) if name.endswith(".weight") else None
        if layer is None or quantization is None:
            count.add(name, _name(tensor.dtype), "none", tensor.numel() * tensor.element_size())
            continue
        for dtype, size in quantized_bytes(tensor.numel(), _rows(layer), quantization, double_quant).items():
            count.add(name, dtype, quantization, size)
    return count.weights(shape, layers)


def quantized_bytes(parameters: int, rows: int, quantization: str, double_quant: bool) -> dict[str, int]:
    """Returns the bytes of one quantized layer's codes and of what belongs to them.

    4-bit: half a byte each, a float32 scale for each 64, a table of 16 float32 values; under double quantization the
    scales are a byte each, with a float32 scale for each 256, a table of 256 float32 values and a float32 offset.
    int8: a byte each, and a float32 scale for each row.

    Args:
        parameters: Entries of the weight.
        rows: Its output features.
        quantization: "nf4", "fp4" or "int8".
        double_quant: The 4-bit scales are quantized too.
    """
    if quantization == "int8":
        return {"int8 codes": parameters, "int8 scales": 4 * rows}
    scales = -(-parameters // _BLOCK)
    state = 16 * 4
    state += scales + 4 * -(-scales // _NESTED_BLOCK) + 256 * 4 + 4 if double_quant else 4 * scales
    return {f"{quantization} codes": -(-parameters // 2), f"{quantization} scales": state}


def quantized_layers(shape: Any) -> dict[str, nn.Module]:
    """Returns the layers that transformers hands to bitsandbytes: no head, no embedding, no norm, nothing tied."""
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.base import HfQuantizer
    from transformers.quantizers.quantizers_utils import should_convert_module

    kept = HfQuantizer.get_modules_to_not_convert(shape, None, shape._keep_in_fp32_modules)
    return {
        name: module
        for name, module in shape.named_modules()
        if (type(module) is nn.Linear or isinstance(module, Conv1D)) and should_convert_module(name, kept)
    }


def loaded_weights(model: nn.Module, quantization: str | None) -> Weights:
    """Returns the weights of a loaded model: of its tensors, with the scales and tables of quantized ones.

    Args:
        model: The model; offloaded weights are counted in their own type.
        quantization: Its name, for `by_quantization`.
    """
    count, seen, quantized = _Count(), set(), []
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        state = _state_of(tensor)
        if state:
            quantized.append(name.removesuffix(".weight"))
        kind = quantization or "none" if state or not tensor.is_floating_point() else "none"
        for part in (tensor, *state):
            place = (part.device, part.data_ptr())
            if part.device.type == "meta" or place not in seen:
                dtype = _name(tensor.dtype) if kind == "none" else f"{kind} {'codes' if part is tensor else 'scales'}"
                count.add(name, dtype, kind, part.numel() * part.element_size())
            seen.add(place)
    return count.weights(model, quantized)


def _state_of(weight: Any) -> list[Tensor]:
    """Returns what bitsandbytes keeps beside a weight's codes; nothing for a plain weight."""
    scales = getattr(weight, "SCB", None)
    found = [scales] if isinstance(scales, Tensor) else []
    state = getattr(weight, "quant_state", None)
    while state is not None:
        parts = (state.absmax, state.code, getattr(state, "offset", None))
        found += [part for part in parts if isinstance(part, Tensor)]
        state = getattr(state, "state2", None)
    return found


def _rows(layer: Any) -> int:
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.nf)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _by_module(model: Any, sizes: Mapping[str, int]) -> dict[str, int]:
    blocks = set(named_blocks(model))
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    kinds = {name: _kind(name, module, embedding, head) for name, module in model.named_modules()}
    found: Counter[str] = Counter({"embedding": 0, "head": 0})
    for name, size in sizes.items():
        parts = name.split(".")
        prefixes = [".".join(parts[:end]) for end in range(1, len(parts))]
        block = next((prefix for prefix in prefixes if prefix in blocks), None)
        found[block or kinds.get(prefixes[-1] if prefixes else "", "other")] += size
    return dict(found)


def _kind(name: str, module: nn.Module, embedding: nn.Module, head: nn.Module | None) -> str:
    if module is embedding or isinstance(module, nn.Embedding):
        return "embedding"
    if module is head:
        return "head"
    last = name.rpartition(".")[2].lower()
    return "norms" if "norm" in type(module).__name__.lower() or last.startswith("ln") or "norm" in last else "other"
