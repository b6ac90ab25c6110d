"""transformers' progress bars, where work takes long enough for one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_QUICK = 1.0
"""Seconds of work below which no bar is shown."""


@contextmanager
def bars_for_long_work() -> Iterator[None]:
    """Shows transformers' bars inside the block only where loading or saving takes longer than a moment."""
    from transformers.utils import logging

    set_hook: Callable[[Any], Any] | None = getattr(logging, "set_tqdm_hook", None)  # not in every transformers 5
    if set_hook is None:
        yield
        return
    previous = set_hook(lambda factory, args, options: factory(*args, **{"delay": _QUICK, **options}))
    try:
        yield
    finally:
        set_hook(previous)
