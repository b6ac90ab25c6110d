"""Several devices on a machine that has none: `sim:0`, `sim:1`, ..., which refuse to be mixed as GPUs do.

A tensor on `sim:i` is a tensor subclass around a CPU tensor and the number i. torch is told that a device type "sim"
exists and is the accelerator of this machine, so that transformers and accelerate dispatch to it as they would to CUDA:
whole numbers in a device map mean `sim:0`, `sim:1`. The CPU computes each operation on inner tensors, after a check:

    every tensor of an operation on one device        runs, and the result is on that device
    tensors of two devices, or of one and the CPU     RuntimeError, in CUDA's words
    `to`, `copy_` and the like                        cross devices, which is what they are for
    a CPU tensor without dimensions in arithmetic     runs, as on CUDA: it is a number
    indices on the CPU for a tensor on a device       run, as on CUDA

Left out are kernels of other libraries (bitsandbytes' 4-bit and 8-bit products), streams, and memory: nothing is ever
full. Attention is computed by the plain formula, since torch knows fused kernels for its own devices only. Operations
of a backward are checked too, but an error there may end the process, since torch's guard of such devices cannot be
unwound; its message goes to the standard error output as well.

`register` is for a process of its own: a device type cannot be taken back, and with one, `torch.device(0)` and all that
asks for "the accelerator" mean it. It uses private parts of torch; it was written with 2.13.
"""

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils._python_dispatch import return_and_correct_aliasing

TYPE = "sim"
_MOVES = {"copy_", "_to_copy", "_copy_from"}
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
_TAKES_A_NUMBER = {"fill", "fill_", "masked_fill", "masked_fill_", *_INDEXED}

_CREATE = ("empty.memory_format", "empty_strided", "arange", "arange.start", "arange.start_step", "eye", "eye.m")
"""What makes tensors out of nothing; torch builds zeros, ones, random numbers, ... on the first two."""


class SimulatedTensor(torch.Tensor):
    """A tensor on `sim:index` that is computed by the CPU."""

    inner: torch.Tensor
    index: int

    @staticmethod
    def __new__(cls, inner: torch.Tensor, index: int | None = None, requires_grad: bool = False) -> torch.Tensor:
        if index is None:  # accelerate makes a parameter out of a tensor by calling the class of another parameter
            return torch.nn.Parameter(inner, requires_grad=requires_grad)
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(TYPE, index),
        )
        tensor.inner, tensor.index = inner, index
        return tensor

    def data_ptr(self) -> int:
        """Where the inner tensor is: accelerate tells tied weights by it, and a wrapper has no memory of its own."""
        return self.inner.data_ptr()

    def tolist(self) -> Any:
        """As lists: torch copies from a device it knows by itself, but not from a subclass."""
        return self.inner.tolist()

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"{self.inner!r} on {TYPE}:{self.index}"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        device = _common_device(func, args, kwargs)
        inner = {name: _unwrapped(value) for name, value in kwargs.items()}
        if kwargs.get("device") is not None:
            device = kwargs["device"]
            inner["device"] = torch.device("cpu") if device.type == TYPE else device
        found = func(*_unwrapped(args), **inner)
        if func._schema.name == "aten::copy_":
            return args[0]  # which may be on the CPU, or on another device than the source
        return return_and_correct_aliasing(func, args, kwargs, _wrapped(found, device))


def register(count: int) -> None:
    """Gives this process `count` simulated devices, for good."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    module = SimpleNamespace(  # `torch.sim`, as `torch.cuda`
        is_available=lambda: True,
        is_initialized=lambda: True,
        _is_in_bad_fork=lambda: False,
        device_count=lambda: count,
        current_device=lambda: 0,
        get_amp_supported_dtype=lambda: [torch.bfloat16],
        manual_seed_all=torch.default_generator.manual_seed,  # random numbers are the CPU's
        get_rng_state=lambda device: torch.get_rng_state(),
        set_rng_state=lambda state, device: torch.set_rng_state(state),
    )
    _setup_privateuseone_for_python_backend(TYPE, module)
    library = torch.library.Library("aten", "IMPL", "PrivateUse1")
    register.library = library  # type: ignore[attr-defined] # torch takes the operations back with the object
    for name in _CREATE:
        library.impl(name, _creating(name))
    library.impl("_copy_from", _copy_from)
    # A thread of autograd's for each device would need a runtime of that device.
    torch.autograd.set_multithreading_enabled(False)


def _creating(name: str) -> Any:
    operator, _, overload = name.partition(".")
    function = getattr(getattr(torch.ops.aten, operator), overload or "default")

    def create(*args: Any, device: torch.device, pin_memory: object = None, **kwargs: Any) -> SimulatedTensor:
        return SimulatedTensor(function(*args, device=torch.device("cpu"), **kwargs), device.index or 0)

    return create


def _copy_from(source: torch.Tensor, to: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    _unwrapped(to).copy_(_unwrapped(source))
    return to


def _common_device(func: Any, args: Any, kwargs: Any) -> torch.device:
    """Returns the device of an operation.

    Raises:
        RuntimeError: Its tensors are on several.
    """
    name = func._schema.name.removeprefix("aten::")
    tensors = list(_tensors((args, kwargs)))
    device = next(tensor.device for tensor in tensors if isinstance(tensor, SimulatedTensor))
    if name in _MOVES:
        return device
    numbers = torch.Tag.pointwise in func.tags or name in _TAKES_A_NUMBER
    indices = set(map(id, _tensors(args[1]))) if name in _INDEXED and args[0].device.type == TYPE else set()
    for tensor in tensors:
        a_number = numbers and tensor.ndim == 0 and not (func._schema.is_mutable and tensor is args[0])
        if tensor.device != device and not (tensor.device.type == "cpu" and (a_number or id(tensor) in indices)):
            message = (
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{device} and {tensor.device}! (when checking {func})"
            )
            print(message, file=sys.stderr, flush=True)
            raise RuntimeError(message)
    return device


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))


def _unwrapped(value: Any) -> Any:
    if isinstance(value, SimulatedTensor):
        return value.inner
    return type(value)(map(_unwrapped, value)) if isinstance(value, list | tuple) else value


def _wrapped(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return SimulatedTensor(value, device.index or 0) if device.type == TYPE else value
    return type(value)(_wrapped(each, device) for each in value) if isinstance(value, list | tuple) else value
