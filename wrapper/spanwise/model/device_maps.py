"""Device maps: read, checked and worked out before any weight is loaded.

A map names modules and where each is: an index of an accelerator, "cpu" or "disk". Everything is checked on the model's
shape (the meta device), since the libraries check little: a forgotten or misspelled module passes there until a forward
fails, or is never seen.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spanwise.errors import FileError, ModelError, OptionError, QuantizationError
from spanwise.model.blocks import named_blocks
from spanwise.model.devices import Device, checked_device, checked_limits
from spanwise.model.module_sizes import described, device_bytes, readable
from spanwise.model.quantization import did_you_mean

STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")
_KEPT_FREE = 0.9
"""Share of a device that weights may take: activations need room, and quantizing needs some while it loads."""


@dataclass(frozen=True)
class Placement:
    """What the caller of `load_model` said about devices.

    Attributes:
        device_map: A strategy, a device, a map, or None.
        max_memory: Most bytes for weights, by device; devices that are not named get none.
        offload_folder: Where weights on the disk may be written.
    """

    device_map: "str | int | torch.device | Mapping[str, int | str | torch.device] | None" = None
    max_memory: "Mapping[int | str, int | str] | None" = None
    offload_folder: "str | os.PathLike[str] | None" = None
    limits: dict[Device, int] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        given = self.device_map
        if self.max_memory is not None:
            object.__setattr__(self, "limits", checked_limits(self.max_memory))
            if given is not None and given not in STRATEGIES:
                raise OptionError(
                    f"max_memory steers device_map={', '.join(map(repr, STRATEGIES))}; with device_map={given!r} it "
                    "would not be read."
                )

    @property
    def strategy(self) -> str | None:
        """How the map is to be worked out, or None where it was given; "auto" where only `max_memory` was."""
        if self.device_map is None:
            return None if self.limits is None else "auto"
        return self.device_map if isinstance(self.device_map, str) and self.device_map in STRATEGIES else None

    def given_map(self) -> dict[str, Device] | None:
        """Returns the map that was given, devices as accelerate names them, or None.

        Raises:
            OptionError: A device that this machine does not have.
        """
        if self.device_map is None or self.strategy:
            return None
        if not isinstance(self.device_map, Mapping):
            return {"": checked_device("device_map", self.device_map)}
        if not self.device_map:
            raise OptionError("device_map is empty; {'': 'cpu'} puts the whole model on the CPU.")
        return {name: checked_device("device_map", device) for name, device in self.device_map.items()}


def check_map(device_map: Mapping[str, Device], shape: Any) -> None:
    """Checks a map written by hand against the model's shape.

    Raises:
        OptionError: A module that does not exist or is missing, tied weights on different devices, or a block that
            must stay whole and does not.
    """
    name = type(shape).__name__
    known = {each for each, _ in (*shape.named_modules(), *shape.named_parameters(), *shape.named_buffers())}
    for module in device_map:
        if module not in known:
            raise OptionError(
                f"device_map names {module!r}, which is no module of {name}.{did_you_mean(module, [*known])}"
            )
    missing = [each for each in shape.state_dict() if device_of(each, device_map) is None]
    if missing:
        whole = _topmost(shape, missing)
        more = f" and {len(whole) - 5} more" if len(whole) > 5 else ""
        raise OptionError(f"device_map does not say where these are: {', '.join(whole[:5])}{more}.")
    for one, other in shape.all_tied_weights_keys.items():
        places = [device_of(each, device_map) for each in (one, other)]
        if places[0] != places[1]:
            raise OptionError(
                f"device_map puts {one} on {places[0]!r} and {other} on {places[1]!r}, but they are the same weights "
                f"(tied) and must be on one device."
            )
    for block, layer in named_blocks(shape).items():
        holding = sorted({str(device_of(f"{block}.{each}", device_map)) for each, _ in layer.named_parameters()})
        if len(holding) > 1:
            raise OptionError(
                f"device_map splits {block} over {', '.join(holding)}; a {type(layer).__name__} must be on one."
            )


def device_of(name: str, device_map: Mapping[str, Device]) -> Device | None:
    """Returns where a tensor or module is: as the longest name in the map that contains it says."""
    parts = name.split(".")
    for length in range(len(parts), -1, -1):
        if (prefix := ".".join(parts[:length])) in device_map:
            return device_map[prefix]
    return None


def work_out(strategy: str, limits: Mapping[Device, int] | None, shape: Any, *, quantized: bool) -> dict[str, Device]:
    """Returns the map that accelerate works out for the model's shape.

    Args:
        strategy: One of `STRATEGIES`.
        limits: Most bytes for each device; None: nine tenths of what is free on each.
        shape: The model on the meta device, as large as it will be (`module_sizes.sized`).
        quantized: A tenth of each limit is kept for what quantizing needs, as transformers does.
    """
    from accelerate.utils import get_balanced_memory, get_max_memory, infer_auto_device_map

    room = dict(limits) if limits is not None else {each: size * _KEPT_FREE for each, size in get_max_memory().items()}
    if quantized:
        room = {each: size * _KEPT_FREE for each, size in room.items()}
    room = {each: int(size) for each, size in room.items()}
    blocks = list(shape._no_split_modules or ())
    if strategy != "sequential" and any(size for each, size in room.items() if each != "cpu"):
        room = get_balanced_memory(
            shape, dict(room), no_split_module_classes=blocks, low_zero=strategy == "balanced_low_0"
        )
    found = infer_auto_device_map(shape, dict(room), no_split_module_classes=blocks)
    return {name: device for name, device in found.items()}


def check_places(
    device_map: Mapping[str, Device], placement: Placement, shape: Any, *, quantization: str | None, needs_one: bool
) -> None:
    """Checks that every place in the map can hold what the map puts there.

    Args:
        device_map: The map.
        placement: What was asked.
        shape: The model on the meta device, as large as it will be.
        quantization: Its name, or None.
        needs_one: 4-bit and 8-bit layers, which cannot be offloaded.

    Raises:
        QuantizationError: A quantized model beside the CPU or the disk.
        ModelError: It does not fit; the message has the figures.
        FileError: The offload folder cannot take the part on the disk.
    """
    places = set(device_map.values())
    worked_out = placement.strategy is not None
    sizes = device_bytes(shape, lambda name: device_of(name, device_map))
    if needs_one and places != {"cpu"} and places & {"cpu", "disk"}:
        over = sum(sizes.get(place, 0) for place in ("cpu", "disk") if place in places)
        where = " and ".join(sorted(str(place) for place in places & {"cpu", "disk"}))
        raise QuantizationError(
            f"a model quantized with {quantization!r} must be on accelerators alone, or on the CPU alone: "
            + (f"{readable(over)} of it do not fit ({described(shape)}; {_room(placement)})" if worked_out else "")
            + ("" if worked_out else f"device_map puts {readable(over)} of it on the {where}")
            + ". Allowed: more or larger devices, double_quant=True, a smaller model."
        )
    if "disk" in places:
        _check_disk(placement, sizes["disk"], shape)
    if not worked_out:
        _check_free(sizes, shape)


def _check_disk(placement: Placement, size: int, shape: Any) -> None:
    if placement.offload_folder is None:
        if placement.strategy is None:
            raise OptionError(
                f"device_map puts {readable(size)} on the disk, and no offload_folder is given. The weights there are "
                "read again at every forward, and those that transformers has to convert are written to the folder."
            )
        raise ModelError(
            f"the model does not fit: {readable(size)} are left over ({described(shape)}; {_room(placement)}). With "
            "offload_folder= they stay on the disk and are read again at every forward, which is slow."
        )
    check_offload_folder(placement.offload_folder, size)


def check_offload_folder(folder: str | os.PathLike[str], size: int) -> None:
    """Checks that a folder, which need not exist yet, can take `size` bytes.

    Raises:
        FileError: It cannot be written, or has not that much room.
    """
    path = Path(folder).expanduser()
    existing = next(each for each in (path, *path.absolute().parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        raise FileError(f"offload_folder {path} cannot be written: {error.strerror} ({existing}).") from error
    if free < size:
        raise FileError(
            f"offload_folder {path} has {readable(free)} free, and the modules on the disk are {readable(size)}."
        )


def _check_free(sizes: Mapping[Device, int], shape: Any) -> None:
    from accelerate.utils import get_max_memory

    free = get_max_memory()
    for device, size in sizes.items():
        if isinstance(device, int) and size > free.get(device, size):
            raise ModelError(
                f"the model does not fit: device {device} would hold {readable(size)} of weights and has "
                f"{readable(free[device])} free ({described(shape)})."
            )


def _room(placement: Placement) -> str:
    from accelerate.utils import get_max_memory

    limits: Mapping[Device, int] = placement.limits if placement.limits is not None else get_max_memory()
    return "available: " + ", ".join(f"{readable(int(size))} on {device}" for device, size in limits.items())


def _topmost(shape: nn.Module, tensors: Sequence[str]) -> list[str]:
    """Returns the largest modules all of whose tensors are among `tensors`, and the tensors left over."""
    left, everything = set(tensors), list(shape.state_dict())
    found = []
    for name, _ in shape.named_modules():
        inside = [each for each in everything if name and each.startswith(f"{name}.")]
        if inside and left.issuperset(inside):
            found.append(name)
            left.difference_update(inside)
    return [*found, *sorted(left)]
