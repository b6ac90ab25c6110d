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
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            numpy.random.seed(seed)
            yield
    finally:
        numpy.random.set_state(numpy_state)
