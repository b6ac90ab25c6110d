"""The machine's devices, named as accelerate names them, and sizes of memory."""

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch

from spanwise.errors import OptionError

Device: TypeAlias = int | str
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def accelerators() -> list[int]:
    """Returns the indices of this machine's accelerators."""
    found = getattr(torch, "accelerator", None)  # from torch 2.6 on
    if found is None:
        return list(range(torch.cuda.device_count()))
    return list(range(found.device_count())) if found.is_available() else []


def checked_device(what: str, device: Any) -> Device:
    """Returns a device as accelerate names it: an accelerator's index, "cpu", "disk" or "mps".

    Raises:
        OptionError: There is no such device here, or none of that name.
    """
    kind, indices = _accelerator_kind(), accelerators()
    index = device
    if isinstance(device, torch.device | str) and str(device) not in ("cpu", "disk"):
        name, _, number = str(device).partition(":")
        index = (
            int(name) if name.isdecimal() else int(number or 0) if name == kind and (number or "0").isdecimal() else -1
        )
    elif not isinstance(device, int):
        return str(device)
    if isinstance(index, bool) or index not in indices:
        names = [f"{each} ({kind}:{each})" for each in indices]
        none = "" if indices else " No accelerator was found."
        raise OptionError(
            f"{what} names {device!r}, which is no device of this machine. "
            f"Devices: {', '.join([*names, 'cpu', 'disk'])}.{none}"
        )
    return "mps" if kind == "mps" else int(index)


def checked_limits(max_memory: Mapping[Any, Any]) -> dict[Device, int]:
    """Returns the most bytes for each device.

    Raises:
        OptionError: A size that cannot be read, or a device that this machine does not have.
    """
    if not isinstance(max_memory, Mapping) or not max_memory:
        raise OptionError(
            f"max_memory takes sizes by device, such as {{0: '9GiB', 'cpu': '30GiB'}}, not {max_memory!r}."
        )
    limits: dict[Device, int] = {}
    for device, size in max_memory.items():
        place = checked_device("max_memory", device)
        if place == "disk":
            raise OptionError("max_memory has no limit for 'disk': what is left over goes to offload_folder.")
        limits[place] = parse_size(size)
    return dict(sorted(limits.items(), key=lambda each: (isinstance(each[0], str), str(each[0]).zfill(4))))


def parse_size(size: int | str) -> int:
    """Returns a size in bytes, given so or as text: "9GiB" (2^30), "9000MB" (10^6), "500 MiB".

    Raises:
        OptionError: It is neither, or below 0.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?B|)\s*", str(size), re.IGNORECASE)
    unit = match and match[2].upper()
    if isinstance(size, bool) or match is None or unit not in _UNITS or (unit in ("", "B") and "." in match[1]):
        raise OptionError(f"a size is bytes or a text such as '9GiB' or '9000MB', not {size!r}.")
    return int(float(match[1]) * _UNITS[unit]) if "." in match[1] else int(match[1]) * _UNITS[unit]


def _accelerator_kind() -> str:
    found = getattr(torch, "accelerator", None)
    return str(found.current_accelerator().type) if found is not None and found.is_available() else "cuda"
