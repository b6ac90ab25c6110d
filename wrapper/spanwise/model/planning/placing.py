"""Devices as a plan sees them: this machine's, or described; and the map of modules that results."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from spanwise.errors import OptionError, one_of, require
from spanwise.model.device_maps import STRATEGIES, check_map, device_of, work_out
from spanwise.model.devices import Device, parse_size
from spanwise.model.memory import available_memory
from spanwise.model.module_sizes import device_bytes, sized
from spanwise.model.planning.weights import quantized_layers

_KEPT_FREE = 0.9
"""Share of an accelerator that weights may take; the rest is for activations."""
_LEAST = 2**16
"""Bytes of the smallest device: fewer are a size without its unit."""
_MORE = 1.04
"""By how much each device is taken to be larger, step by step, while quantized weights have no room."""


def device_sizes(devices: Sequence[int | str] | None) -> dict[Device, int]:
    """Returns the bytes of each device: accelerators by index, in the order given, and "cpu".

    Args:
        devices: Sizes of accelerators ("24GiB", bytes), "cpu" (this machine's memory) or "cpu:64GiB"; None: this
            machine's accelerators, or its memory where it has none.

    Raises:
        OptionError: Something else was given.
    """
    if devices is None:
        count = torch.cuda.device_count()
        return {i: int(torch.cuda.mem_get_info(i)[0]) for i in range(count)} if count else {"cpu": available_memory()}
    if isinstance(devices, str) or not isinstance(devices, Sequence) or not devices:
        raise OptionError(f"devices takes a list of sizes, such as ['24GiB', '24GiB'] or ['cpu'], not {devices!r}.")
    found: dict[Device, int] = {}
    for given in devices:
        name, _, size = given.strip().partition(":") if isinstance(given, str) else ("", "", "")
        if name.lower() == "cpu":
            if "cpu" in found:
                raise OptionError(f"devices names the CPU twice: {list(devices)!r}.")
            found["cpu"] = parse_size(size) if size else available_memory()
        else:
            found[sum(isinstance(each, int) for each in found)] = parse_size(given)
    if small := [device for device, size in found.items() if 0 < size < _LEAST]:
        raise OptionError(
            f"devices gives device {small[0]} {found[small[0]]} bytes, less than any model needs: write the unit, such "
            "as '8GiB'."
        )
    if empty := [device for device, size in found.items() if size == 0]:
        raise OptionError(f"devices gives device {empty[0]} no memory; a size is at least 1 byte.")
    return found


def planned_map(
    asked: "str | Mapping[str, Device]",
    shape: Any,
    sizes: Mapping[Device, int],
    quantization: str | None,
    *,
    double_quant: bool,
) -> tuple[dict[str, Device], bool]:
    """Returns where each module would be, and whether the weights have room there.

    Quantized weights never go to the CPU or the disk beside accelerators: where they have no room with a tenth kept
    free, the map is the one that accelerators slightly larger would get, until they have.

    Args:
        asked: A strategy, "cpu", or a map, which is checked.
        shape: The model on the meta device.
        sizes: Bytes of each device.
        quantization: "nf4", "fp4", "int8" or None.
        double_quant: The 4-bit scales are quantized too.

    Raises:
        OptionError: An unknown strategy, a map that does not fit the model, or a device that was not given.
    """
    if isinstance(asked, Mapping):
        check_map(asked, shape)
        if unknown := [device for device in asked.values() if device not in (*sizes, "disk")]:
            raise OptionError(f"device_map names {unknown[0]!r}. Devices given: {', '.join(map(str, sizes))}.")
        return dict(asked), "disk" not in asked.values()
    one_of("device_map", asked, (*STRATEGIES, "cpu"))
    if asked == "cpu" or set(sizes) == {"cpu"}:
        if "cpu" not in sizes:
            raise OptionError("device_map='cpu' was asked, but devices does not name the CPU.")
        return {"": "cpu"}, True
    require("accelerate", "quantization", "a device map")
    limits = room_for_weights(sizes, quantization)
    with _without_notices(), _as_large(shape, quantization, double_quant):
        found = work_out(asked, limits, shape, quantized=quantization is not None)
        while quantization is not None and {"cpu", "disk"} & set(found.values()):
            limits = {device: int(size * _MORE) for device, size in limits.items()}
            found = work_out(asked, limits, shape, quantized=True)
        held = device_bytes(shape, lambda name: device_of(name, found))
    return found, "disk" not in found.values() and all(held.get(each, 0) <= size for each, size in sizes.items())


def room_for_weights(sizes: Mapping[Device, int], quantization: str | None) -> dict[Device, int]:
    """Returns the `max_memory` with which `load_model` makes the planned map.

    transformers itself keeps a tenth free of quantized models; of others we do.
    """
    if quantization is not None:
        return {device: size for device, size in sizes.items() if device != "cpu"}
    return {device: int(size * _KEPT_FREE) for device, size in sizes.items()}


@contextmanager
def _as_large(shape: Any, quantization: str | None, double_quant: bool) -> Iterator[None]:
    """Makes weights on the meta device as large as they will be, inside the block."""
    before = {name: module.weight for name, module in quantized_layers(shape).items()} if quantization else {}
    try:
        sized(shape, quantization, double_quant=double_quant)
        yield
    finally:
        for name, weight in before.items():
            shape.get_submodule(name).weight = weight


@contextmanager
def _without_notices() -> Iterator[None]:
    """Keeps accelerate from saying that a described device is not there."""
    logger = logging.getLogger("accelerate.utils.modeling")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
