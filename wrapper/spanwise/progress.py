"""Progress bars: work done, total and time left, for what takes more than two seconds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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
    with bar_of(total, what, progress, unit=unit) as bar:
        yield bar.update


def bar_of(total: int | None, what: str, progress: bool | None, **options: Any) -> Any:
    """Returns tqdm's bar, as every progress here is shown.

    Args:
        total: Work in all; None where that is unknown.
        what: Named in front of the bar.
        progress: As `progress_bar` takes it.
        options: tqdm's own.
    """
    disable = {None: None, True: False, False: True}[progress]
    return tqdm(total=total, desc=what, delay=0 if progress else 2, disable=disable, leave=False, **options)
