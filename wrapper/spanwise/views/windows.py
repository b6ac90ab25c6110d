"""Which part of a long axis is drawn: it is cut into windows, and the windows with the most score are kept."""

import itertools
import math
from collections.abc import Sequence


def split(count: int, width: int) -> list[range]:
    """Returns windows of nearly equal length, at most `width` each, that cover `range(count)`."""
    number = math.ceil(count / width)
    edges = [count * i // number for i in range(number + 1)]
    return [range(first, last) for first, last in itertools.pairwise(edges)]


def choose(weights: Sequence[float], width: int, most: int, within: range | None = None) -> list[range]:
    """Returns at most `most` windows of at most `width` entries, in order: those with the largest sum of weights.

    Args:
        weights: One an entry.
        width: Entries in a window.
        most: How many windows.
        within: Only of these entries; default: of all.
    """
    inside = range(len(weights)) if within is None else within
    windows = [range(inside.start + w.start, inside.start + w.stop) for w in split(len(inside), width)]
    heaviest = sorted(windows, key=lambda window: -sum(weights[i] for i in window))[: max(most, 1)]
    return sorted(heaviest, key=lambda window: window.start)


def squeeze(weights: Sequence[float], capacity: int, within: range | None = None) -> list[range]:
    """Returns windows that together have at most `capacity` entries: all of them, or the three with the most weight."""
    count = len(weights) if within is None else len(within)
    if count <= capacity:
        return choose(weights, max(count, 1), 1, within)
    width = max(capacity // 3, 1)
    return choose(weights, width, capacity // width, within)


def gaps(shown: Sequence[range], count: int) -> list[range]:
    """Returns what the windows leave out of `range(count)`, neighbours merged."""
    edges = [0, *(edge for window in shown for edge in (window.start, window.stop)), count]
    return [range(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True) if first < last]


def left_out_briefly(kind: str, shown: Sequence[range], weights: Sequence[float]) -> str:
    """Returns `left_out` in fewer words, without the ranges."""
    missing = gaps(shown, len(weights))
    if not missing:
        return ""
    return (
        f"{sum(map(len, missing))} of {len(weights)} {kind} left out ({_share(missing, weights)} of the absolute score)"
    )


def left_out(kind: str, shown: Sequence[range], weights: Sequence[float]) -> str:
    """Returns the note on what is not shown and how much of the absolute score it carries, or "" where all is shown."""
    missing = gaps(shown, len(weights))
    if not missing:
        return ""
    ranges = ", ".join(f"[{window.start}, {window.stop})" for window in missing)
    return f"{kind} {ranges} of {len(weights)} left out: {_share(missing, weights)} of the absolute score."


def _share(missing: Sequence[range], weights: Sequence[float]) -> str:
    total = sum(weights)
    part = sum(weights[i] for window in missing for i in window) / total if total else 0.0
    return "under 1 %" if 0 < part < 0.005 else f"{100 * part:.0f} %"
