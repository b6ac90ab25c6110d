"""The figure of `factual_recall.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from common import figure

COLORS = {"subject": "#b2182b", "relation": "#ef8a62", "another word": "#bdbdbd"}


def draw(path: Path, methods: Mapping[str, Mapping[str, float]], count: int) -> None:
    """Write the figure: what share of its positive scores a method gives to each kind of word."""
    with figure(path, width=6.5, height=2.4) as axes:
        left = [0.0] * len(methods)
        for word, color in COLORS.items():
            values = [shares[word] for shares in methods.values()]
            axes.barh(list(methods), values, left=left, color=color, label=word)
            left = [a + b for a, b in zip(left, values, strict=True)]
        axes.invert_yaxis()
        axes.set_xlabel(f"share of the scores above 0, mean over {count} facts", fontsize=8)
        axes.legend(fontsize=7, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
