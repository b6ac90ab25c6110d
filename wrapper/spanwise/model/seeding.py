"""Random numbers that repeat, without touching the caller's."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds torch's and numpy's global generators inside the block, and puts their states back afterwards."""
    numpy_state = numpy.random.get_state()
    try:
        # The devices are named, since torch warns where there are two and they are not.
        with torch.random.fork_rng(devices=range(torch.accelerator.device_count())):
            torch.manual_seed(seed)
            numpy.random.seed(seed)
            yield
    finally:
        numpy.random.set_state(numpy_state)
