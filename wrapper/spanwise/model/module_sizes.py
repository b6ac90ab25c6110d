"""Bytes of a model's modules, from its shape."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from spanwise.model.blocks import named_blocks

_PER_PARAMETER = {"nf4": 0.5625, "fp4": 0.5625}  # 4 bits, and a float32 scale for each 64
_DOUBLE_QUANT = 0.5165  # the scales in 8 bits, with a scale for each 256 of them


def sized(shape: Any, quantization: str | None, *, double_quant: bool = False, skip: list[str] | None = None) -> Any:
    """Returns the shape with its weights as large as they will be: those of quantized layers as bytes. In place.

    Args:
        shape: The model on the meta device, in the type of what is not quantized.
        quantization: "nf4", "fp4", "int8" or None.
        double_quant: The 4-bit scales are quantized too.
        skip: Modules that stay as they are; None: transformers' defaults.
    """
    if quantization is None:
        return shape
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.base import HfQuantizer
    from transformers.quantizers.quantizers_utils import should_convert_module

    kept = HfQuantizer.get_modules_to_not_convert(shape, skip, shape._keep_in_fp32_modules)
    for name, module in list(shape.named_modules()):
        if (type(module) is nn.Linear or isinstance(module, Conv1D)) and should_convert_module(name, kept):
            size = _quantized_bytes(module, quantization, double_quant)
            module.weight = nn.Parameter(torch.empty(size, dtype=torch.uint8, device="meta"), requires_grad=False)
    return shape


def _quantized_bytes(module: Any, quantization: str, double_quant: bool) -> int:
    count = module.weight.numel()
    if quantization == "int8":
        rows = module.out_features if type(module) is nn.Linear else module.nf
        return int(count + 4 * rows)
    return int(count * (_DOUBLE_QUANT if double_quant else _PER_PARAMETER[quantization]))


def device_bytes(shape: nn.Module, device_of: Callable[[str], Any]) -> dict[Any, int]:
    """Returns the bytes of parameters and buffers on each device; shared ones once."""
    sizes: Counter[Any] = Counter()
    for name, tensor in (*shape.named_parameters(), *shape.named_buffers()):
        sizes[device_of(name)] += tensor.numel() * tensor.element_size()
    return dict(sizes)


def described(shape: Any) -> str:
    """Returns what the model needs as a text: in all, and by group of modules, the largest first."""
    blocks = list(named_blocks(shape))
    groups: Counter[str] = Counter()
    for name, tensor in (*shape.named_parameters(), *shape.named_buffers()):
        block = next((each for each in blocks if name.startswith(f"{each}.")), None)
        group = f"{block.rpartition('.')[0]}.*" if block else name.rpartition(".")[0]
        groups[group] += tensor.numel() * tensor.element_size()
    counts = Counter(f"{each.rpartition('.')[0]}.*" for each in blocks)
    parts = [
        f"{name} {readable(size)}" + (f" in {counts[name]} blocks" if name in counts else "")
        for name, size in groups.most_common(4)
        if size
    ]
    return f"needed: {readable(sum(groups.values()))}: {', '.join(parts)}"


def readable(size: int) -> str:
    """Returns a number of bytes as a text with a binary unit."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 2**power:
            return f"{size / 2**power:.3g} {unit}" if size < 1000 * 2**power else f"{size / 2**power:.0f} {unit}"
    return f"{size} bytes"
