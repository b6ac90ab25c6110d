"""The progress of a run: rows, tokens a second, time left, failures."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spanwise import progress as progress_bars


class Bar:
    """A bar on the terminal.

    Args:
        bar: tqdm's.
    """

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self.tokens = self.failures = 0
        self._began = time.perf_counter()

    def skip(self, rows: int, failures: int) -> None:
        """Counts rows that were there before, or that another process did: they say nothing of the speed."""
        self.failures += failures
        if self._bar.disable:  # tqdm then keeps no numbers
            return
        self._bar.initial += rows
        self._bar.n += rows
        self._tell()
        self._bar.refresh()

    def update(self, rows: int, tokens: int) -> None:
        """Counts rows that are done, and the tokens of their prompts and targets."""
        self.tokens += tokens
        self._tell()
        self._bar.update(rows)

    def _tell(self) -> None:
        seconds = max(time.perf_counter() - self._began, 1e-9)
        self._bar.set_postfix_str(f"{self.tokens / seconds:,.0f} tokens/s, {self.failures} failed", refresh=False)


@contextmanager
def bar_of(total: int | None, what: str, progress: bool | None) -> Iterator[Bar]:
    """Gives the bar of a run.

    Args:
        total: Rows in all; None where that is unknown.
        what: Named in front.
        progress: None: on a terminal, after two seconds; True: anywhere and at once; False: never.
    """
    # Rows of a part come shortest first, so that the time left is told from the mean speed.
    with progress_bars.bar_of(total, what, progress, unit=" rows", smoothing=0) as bar:
        yield Bar(bar)
