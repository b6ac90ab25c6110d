"""Whether gradients pass through a quantized model: tried on its layers, not believed."""

from typing import Any

import torch
from torch import nn

from spanwise.model.quantization import is_bitsandbytes, name_of, stored

BACKWARD = {
    # Measured here, transformers 5.23 on the CPU: the layer's own gradient against the change of its output.
    "bitsandbytes": "",
    "quanto": "",  # int8, int4, float8 weights: 1e-3 from finite differences; int2 6e-2 (optimum-quanto 0.2.7)
    # By transformers' own code: an autograd function (`EetqLinearMMFunction`; `FP8LinearFunction`, in 5.23 but not in
    # 5.0; HQQ's `HQQMatmulNoCacheMul`), or weights that are unpacked and multiplied by torch.
    "eetq": "",
    "hqq": "",
    "sinq": "",
    "compressed-tensors": "",
    "fp8": "",
    "mxfp8": "",
    # By `is_trainable` of transformers' quantizer: false, without exception.
    "auto-round": "its kernels are for inference",
    "fbgemm_fp8": "its kernel is for inference",
    "gemma": "its kernels are for inference",
    "gguf": "its kernels are for inference",
    "higgs": "its kernel is for inference",
    "metal": "its kernel is for inference",
    "mxfp4": "its kernel is for inference",
    "nvfp4": "its kernel is for inference",
    "quark": "its kernels are for inference",
    "spqr": "its kernel is for inference",
    "vptq": "its kernel is for inference",
    # `is_trainable` speaks of some kernels or settings only, and the model at hand does not show which it has.
    "gptq": "only some of its kernels have a backward (not Marlin, ExLlama)",
    "awq": "only some of its kernels have a backward (not Marlin, ExLlama)",
    "aqlm": "only some of its kernels have a backward",
    "bitnet": "only its online mode has a backward",
    "fouroversix": "it has a backward only where the original weights are kept",
    "fp_quant": "it has a backward only where the original weights are kept",
    "torchao": "only weight-only types of it have a backward",
}
"""By quantization method: why gradient methods cannot be used, or "" where they can.

Read where a model's quantized layers cannot be tried; where they can, what they do decides, whatever a library says of
itself: torchao 0.18's int8 with dynamic activations is "trainable" for transformers, and its gradients are wrong
without an error (0.47 against -524 by finite differences); its `IntxWeightOnlyConfig` is not, and has the right ones
(-697.6 against -697.0).
"""

_TOLERANCE = 0.25  # int8 activations round to 1 %; a gradient that only passes through the scales is off by 100 %


def no_backward(model: nn.Module, dtype: torch.dtype) -> str | None:
    """Returns why gradients do not pass through a quantized model, or None where they do.

    One quantized layer of each kind is tried: its gradient must agree with the change of its output. Where there is
    none to be tried, `BACKWARD` and transformers' quantizer decide.

    Args:
        model: The model.
        dtype: Of its activations.
    """
    values = stored(model.config)
    if values is None or is_bitsandbytes(values):
        return None
    method = name_of(values)
    layers = _kinds_of_layers(model)
    if layers:
        reasons = [reason for layer in layers if (reason := _tried(layer, dtype))]
        return f"quantized with {method}: {reasons[0]}" if reasons else None
    said = getattr(getattr(model, "hf_quantizer", None), "is_trainable", None)
    if method in BACKWARD and not BACKWARD[method] and said is not False:
        return None
    if method not in BACKWARD and said is True:
        return None
    why = BACKWARD.get(method) or "transformers does not count it among those that gradients pass through"
    return f"quantized with {method}: {why}"


def _kinds_of_layers(model: nn.Module) -> list[nn.Module]:
    """Returns one quantized linear layer of each kind: a class other than torch's, or a weight of another class."""
    kinds: dict[Any, nn.Module] = {}
    for module in model.modules():
        weight = getattr(module, "weight", None)
        plain = type(weight) in (nn.Parameter, torch.Tensor, type(None)) and type(module) is nn.Linear
        if isinstance(getattr(module, "in_features", None), int) and not plain:
            kinds.setdefault((type(module), type(weight)), module)
    return list(kinds.values())


def _tried(layer: Any, dtype: torch.dtype) -> str | None:
    """Returns what is wrong with the gradient of a linear layer, or None.

    L(x + v) - L(x) is L(v) for a linear L, and its gradient along v, weighted by L(v), is |L(v)|^2.
    """
    device = getattr(getattr(layer, "_hf_hook", None), "execution_device", None)
    if device is None:
        device = next((each.device for each in (*layer.parameters(), *layer.buffers())), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    point, step = (torch.randn(1, 4, layer.in_features, generator=generator).to(device, dtype) for _ in range(2))
    name = type(layer).__name__
    try:
        with torch.enable_grad():
            output = layer(point.requires_grad_())
            if not output.requires_grad:
                return f"its {name} gives no gradient"
            change = layer((point + step).detach()).detach() - output.detach()
            (gradient,) = torch.autograd.grad(output, point, change, allow_unused=True)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        return f"its {name} fails in the backward ({str(error).strip().splitlines()[0]})"
    if gradient is None:
        return f"its {name} gives no gradient"
    ratio = float((gradient.float() * step.float()).sum() / change.float().square().sum())
    if abs(ratio - 1) <= _TOLERANCE:
        return None
    return f"the gradient of its {name} is wrong ({ratio:.2f} of the change of its output)"
