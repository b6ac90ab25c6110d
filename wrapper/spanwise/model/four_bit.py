"""Keeps bitsandbytes' 4-bit weights exact and differentiable on the CPU.

On CPUs with AVX512-BF16, bitsandbytes 0.50 packs a `Linear4bit`'s weights in place at the first eval forward whose
input needs no gradient. The packed product has no backward: gradients afterwards are silently wrong, or crash. So the
packing is switched off, and weights that an earlier run has packed are unpacked.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from spanwise.errors import QuantizationError

_SWITCH = "support_avx512bf16_for_cpu"
# Packed again, plain scales must come out as they were; with double quantization bitsandbytes' inverse quantizes them
# to 8 bits anew, which moves them by up to 1 % of their mean.
_SCALE_TOLERANCE = {False: 0.0, True: 1e-2}


def layers(model: nn.Module) -> list[nn.Module]:
    """Returns the model's 4-bit layers; none where bitsandbytes is not in use."""
    return [module for module in model.modules() if hasattr(module, _SWITCH)]


@contextmanager
def exact_weights(model: nn.Module) -> Iterator[str]:
    """Switches the packing off inside the block, and gives a note where packed weights had to be unpacked.

    Unpacked layers stay unpacked, with the packing off, since each packing would round their scales again.

    Raises:
        QuantizationError: A packed layer could not be restored.
    """
    found = layers(model)
    packed = [layer for layer in found if _is_packed(layer) or _is_half_unpacked(layer)]
    for layer in packed:
        _unpack(layer)
        setattr(layer, _SWITCH, False)
    note = ""
    if packed:
        note = (
            f"{len(packed)} 4-bit layers had been packed for the CPU by an earlier run (a generate is enough); they "
            "were unpacked and stay so, with scales rounded to bfloat16 (relative 2^-9) by the packing. For the exact "
            "weights, load the model with spanwise.load_model"
        )
    switched = [layer for layer in found if getattr(layer, _SWITCH)]
    try:
        for layer in switched:
            setattr(layer, _SWITCH, False)
        yield note
    finally:
        for layer in switched:
            setattr(layer, _SWITCH, True)


def keep_unpacked(model: nn.Module) -> None:
    """Switches the packing off for good, for a model that we loaded."""
    for layer in layers(model):
        setattr(layer, _SWITCH, False)


def _is_packed(layer: nn.Module) -> bool:
    return bool(getattr(getattr(layer.weight, "quant_state", None), "packing_format_for_cpu", False))


def _is_half_unpacked(layer: nn.Module) -> bool:
    """Whether `state_dict` or `save_pretrained` ran on the packed layer: it unpacks the codes, but not the scales."""
    state = getattr(layer.weight, "quant_state", None)
    return state is not None and not _is_packed(layer) and state.absmax.ndim == 2


def _unpack(layer: nn.Module) -> None:
    weight: Any = layer.weight
    if _is_half_unpacked(layer):
        weight.quant_state.absmax = _plain(weight.quant_state.absmax)
        return
    restored = _unpacked(layer)
    if restored is None:
        raise QuantizationError(
            "the model's 4-bit weights were packed for the CPU by an earlier run, and bitsandbytes' own inverse does "
            "not restore them, so gradients would be wrong. Load the model again with spanwise.load_model, or wrap it "
            "in spanwise.LanguageModel before its first forward and attribute before anything else runs."
        )
    weight.data, weight.quant_state = restored
    layer.quant_state = weight.quant_state


def _unpacked(layer: nn.Module) -> tuple[torch.Tensor, Any] | None:
    """Returns the codes and their state by bitsandbytes' own inverse, or None where that does not restore them."""
    from bitsandbytes.functional import _convert_weight_packed_for_cpu_inverse as unpack

    weight: Any = layer.weight
    scales = weight.quant_state.absmax  # [blocks a row, rows], bfloat16
    data, state = unpack(weight.data, copy.deepcopy(weight.quant_state))
    if not state.nested:  # the inverse leaves the scales transposed and in bfloat16
        state.absmax = _plain(scales)
    return (data, state) if _repacks_to(weight.data, scales, data, state) else None


def _plain(scales: torch.Tensor) -> torch.Tensor:
    """Returns packed scales, [blocks a row, rows] in bfloat16, as the plain kernels read them: flat, in float32."""
    return scales.T.reshape(-1).float().contiguous()


def _repacks_to(codes: torch.Tensor, scales: torch.Tensor, data: torch.Tensor, state: Any) -> bool:
    from bitsandbytes.functional import _convert_weight_packed_for_cpu as pack

    nested = state.nested
    codes_again, state_again = pack(data, copy.deepcopy(state))
    difference = (state_again.absmax.float() - scales.float()).abs().max()
    return torch.equal(codes_again, codes) and bool(
        difference <= _SCALE_TOLERANCE[nested] * scales.float().abs().mean()
    )
