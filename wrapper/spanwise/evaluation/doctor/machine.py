"""What this machine is and has: for bug reports."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from spanwise.model.dequantized import packs_weights

_PACKAGES = (
    *("spanwise", "torch", "transformers", "tokenizers", "safetensors", "numpy", "captum", "inseq"),
    *("bitsandbytes", "accelerate", "scikit-learn", "scipy", "pandas", "matplotlib", "jaxtyping", "rich"),
)


def installed() -> dict[str, str]:
    """Returns the version of Python and of every package that matters; "not installed" for one that is missing."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, Any]:
    """Returns the system, the CPU and its memory (GiB), the CUDA devices with theirs, and how 4-bit weights are kept.

    `packs_4bit_weights`: bitsandbytes packs them in place on this CPU (AVX512-BF16); spanwise switches that off. None
    where bitsandbytes is missing.
    """
    return {
        "system": platform.platform(),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": _memory_gib(),
        "cuda": [_cuda(index) for index in range(torch.cuda.device_count())],
        "packs_4bit_weights": packs_weights(),
    }


def machine_lines(found: dict[str, Any]) -> list[str]:
    """Returns what `machine` found as lines to read."""
    memory = "unknown" if found["memory_gib"] is None else f"{found['memory_gib']:.1f} GiB"
    packing = {
        None: "bitsandbytes is not installed",
        True: "bitsandbytes packs 4-bit weights in place here (AVX512-BF16); spanwise switches that off",
        False: "bitsandbytes leaves 4-bit weights as they are here (no AVX512-BF16)",
    }[found["packs_4bit_weights"]]
    devices = [
        f"{each['device']}: {each['name']}, {each['memory_gib']:.1f} GiB, {each['free_gib']:.1f} GiB free"
        for each in found["cuda"]
    ]
    return [
        found["system"],
        f"CPU: {found['cpu']}, {found['cores']} cores, {found['threads']} threads, memory {memory}; {packing}",
        *(devices or ["no CUDA device was seen"]),
    ]


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (AttributeError, ValueError, OSError):
        return None


def _cuda(index: int) -> dict[str, Any]:
    free, total = torch.cuda.mem_get_info(index)
    return {
        "device": f"cuda:{index}",
        "name": torch.cuda.get_device_name(index),
        "memory_gib": total / 2**30,
        "free_gib": free / 2**30,
    }
