"""Memory used by this process."""

import sys

import torch


def peak_memory_gib(device: torch.device) -> float | None:
    """Returns the most memory used so far, in GiB: allocated on the GPU, or resident in this process on the CPU.

    None where the system does not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
