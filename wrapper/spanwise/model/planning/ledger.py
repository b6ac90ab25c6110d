"""A ledger of tensors: the most bytes alive at once on each device, while a model runs on the meta device.

The meta device runs a model's own code, forward and backward, without memory or arithmetic. Every tensor that an
operation makes is entered when it is made and struck out when Python and autograd let it go, so that what is counted
is what the real run would hold: nothing about the architecture is assumed. Not seen is what a kernel takes and gives
back inside one operation.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Place = int | str


class Ledger(TorchDispatchMode):
    """Enters the tensors made inside it.

    Attributes:
        peak: The most bytes alive at once, by device.
        place: Where tensors are made that come from no other: the device of the module that is running.
        backward: Whether the backward is running. A tensor made there is where the forward's tensors are from which it
            is made, since no module says where it is.
    """

    def __init__(self, model: nn.Module, place_of: Callable[[str], Place]) -> None:
        super().__init__()
        self.peak: Counter[Place] = Counter()
        self.place = place_of(next(name for name, _ in model.named_parameters()))
        self.backward = False
        self._now: Counter[Place] = Counter()
        self._places: dict[int, tuple[Place, bool]] = {}  # storage -> its device, and whether the forward made it
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            self._places[tensor.untyped_storage()._cdata] = (place_of(name), True)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation and enters what it made."""
        if func is torch.ops.aten._local_scalar_dense.default:
            return True  # asked of masks that are all ones: "are they all ones?"
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._enter(tensor, args)
        return out

    def _enter(self, tensor: Tensor, args: Any) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._places:
            return
        size = storage.nbytes()
        place = self._place_from(args, size) if self.backward else self.place
        self._places[key] = (place, not self.backward)
        self._now[place] += size
        self.peak[place] = max(self.peak[place], self._now[place])
        weakref.finalize(storage, self._strike, key, place, size)

    def _strike(self, key: int, place: Place, size: int) -> None:
        self._places.pop(key, None)
        self._now[place] -= size

    def _place_from(self, args: Any, size: int) -> Place:
        storages = [each.untyped_storage() for each in tree_leaves(args) if isinstance(each, Tensor)]
        known = [
            (storage.nbytes(), *self._places[storage._cdata]) for storage in storages if storage._cdata in self._places
        ]
        # Small tensors that all layers share (angles, masks) are copied to each device, and say nothing.
        telling = [place for nbytes, place, forward in known if forward and 4 * nbytes >= size]
        return telling[0] if telling else known[0][1] if known else self.place


class Kernels(TorchFunctionMode):
    """Stands in for kernels that the meta device lacks: fused attention, and bitsandbytes' layers.

    Args:
        quantized: Weights of quantized layers, by `id`.
        quantization: "nf4", "fp4", "int8" or None.
        compute_dtype: In which 4-bit layers multiply.
        on_gpu: Whether the model will run on GPUs.
    """

    def __init__(
        self, quantized: Mapping[int, Tensor], quantization: str | None, compute_dtype: torch.dtype, on_gpu: bool
    ) -> None:
        super().__init__()
        self._quantized = quantized
        self._quantization = quantization
        self._compute_dtype = compute_dtype
        self._on_gpu = on_gpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs a function of torch, or what stands in for it."""
        kwargs = kwargs or {}
        if func is nn.functional.scaled_dot_product_attention and self._is_fused(args[0], kwargs):
            return _attention(*args, **kwargs)
        if func is nn.functional.linear and id(args[1]) in self._quantized:
            return self._product(args[0], args[1].shape[0], args[1], args[2] if len(args) > 2 else None)
        if func is torch.addmm and len(args) == 3 and id(args[2]) in self._quantized:  # GPT-2's Conv1D
            return self._product(args[1], args[2].shape[1], args[2], args[0])
        return func(*args, **kwargs)

    def _is_fused(self, query: Tensor, kwargs: Mapping[str, Any]) -> bool:
        # CUDA's fused kernels share keys between heads (GQA) in half precision only.
        return not (self._on_gpu and query.dtype == torch.float32 and kwargs.get("enable_gqa"))

    def _product(self, inputs: Tensor, features: int, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self._quantization == "int8":
            out = _Int8.apply(inputs, weight, features, self._on_gpu)
        else:
            out = _FourBit.apply(inputs.to(self._compute_dtype), weight, features).to(inputs.dtype)
        return out if bias is None or self._quantization != "int8" else out + bias


class _FourBit(torch.autograd.Function):
    """bitsandbytes' `MatMul4Bit`: the dequantized weight lives during the product, and again in the backward."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, features: int) -> Tensor:
        ctx.weight, ctx.shape = weight, inputs.shape
        dequantized = torch.empty_like(weight, dtype=inputs.dtype)  # noqa: F841 # alive until the product is there
        return inputs.new_empty((*inputs.shape[:-1], features))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        dequantized = torch.empty_like(ctx.weight, dtype=gradient.dtype)  # noqa: F841
        return gradient.new_empty(ctx.shape), None, None


class _Int8(torch.autograd.Function):
    """bitsandbytes' `MatMul8bitLt`: inputs as float16 and int8, an int32 product; it keeps its inputs."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, features: int, on_gpu: bool) -> Tensor:
        ctx.weight, ctx.inputs = weight, inputs
        shape = (*inputs.shape[:-1], features)
        codes = inputs.to(torch.float16).to(torch.int8)  # noqa: F841
        product = inputs.new_empty(shape, dtype=torch.int32)  # noqa: F841
        widened = None if on_gpu else inputs.new_empty(shape, dtype=torch.float32)  # noqa: F841
        return inputs.new_empty(shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        dequantized = torch.empty_like(ctx.weight, dtype=ctx.inputs.dtype)  # noqa: F841
        return torch.empty_like(ctx.inputs), None, None, None


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The fused kernel of the CPU, whose shapes are those of flash attention anywhere: nothing of length squared."""
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype)
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return fused(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]


@contextmanager
def following(model: nn.Module, ledger: Ledger, placed: Mapping[str, Place]) -> Iterator[None]:
    """Tells the ledger which device is running, as a map of modules to devices says."""
    with ExitStack() as stack:
        for name, place in placed.items():

            def arrive(module: nn.Module, args: Any, place: Place = place) -> None:
                ledger.place = place

            if len(set(placed.values())) > 1:
                stack.callback(model.get_submodule(name).register_forward_pre_hook(arrive).remove)
        yield
