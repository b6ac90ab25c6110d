"""Memory: what this process has used, and what is left."""

import os
import re
import sys
from pathlib import Path

import torch


def peak_memory_gib(device: torch.device) -> float | None:
    """Returns the most memory used so far, in GiB: allocated on all GPUs, or resident in this process on the CPU.

    None where the system does not say.
    """
    if device.type == "cuda":
        return sum(torch.cuda.max_memory_allocated(index) for index in range(torch.cuda.device_count())) / 2**30
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def available_memory() -> int:
    """Returns the bytes that this machine has for new tensors on the CPU; all it has where the system does not say."""
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_memory(model: torch.nn.Module) -> int:
    """Returns the bytes left for activations on the devices that a model's parameters are on, all together."""
    indices = {each.device.index or 0 for each in model.parameters() if each.device.type == "cuda"}
    if not indices:
        return available_memory()
    cached = sum(torch.cuda.memory_reserved(i) - torch.cuda.memory_allocated(i) for i in indices)
    return cached + sum(int(torch.cuda.mem_get_info(i)[0]) for i in indices)
