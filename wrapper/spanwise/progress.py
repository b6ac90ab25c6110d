"""Progress bars: work done, total and time left, for what takes more than two seconds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm


@contextmanager
def progress_bar(
    total: int, what: str, progress: bool | None, *, unit: str = " passes"
) -> Iterator[Callable[[int], object]]:
    """Gives a function to call with the work done.

    Args:
        total: Work in all.
        what: Named in front of the bar.
        progress: None: on a terminal, after two seconds; True: anywhere and at once; False: never.
        unit: Of the work.
    """
    disable = {None: None, True: False, False: True}[progress]
    with tqdm(total=total, desc=what, unit=unit, delay=0 if progress else 2, disable=disable, leave=False) as bar:
        yield bar.update
