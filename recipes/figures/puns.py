"""The figure of `pun_probe.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import figure

COLORS = {"other tokens": "#bbbbbb", "two-meaning word": "#762a83", "deciding place": "#b2182b"}


def draw(path: Path, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write the figure: a token's score against its effect, a panel a method, the two words that matter in color."""
    with figure(path, len(found), width=3.2 * len(found), height=3.4, sharey=True) as panels:
        for axes, (method, examples) in zip(panels, found.items(), strict=True):
            for shown, color in COLORS.items():
                points = [
                    (score, effect)
                    for each in examples
                    for score, effect, kind in zip(each["scores"], each["effects"], each["kinds"], strict=False)
                    if (kind if kind in COLORS else "other tokens") == shown
                ]
                axes.scatter([p[0] for p in points], [p[1] for p in points], s=8, alpha=0.6, color=color, label=shown)
            axes.set_title(method, loc="left", fontsize=9)
            axes.set_xlabel("score", fontsize=8)
        panels[0].set_ylabel("fall of the probe's output when\nthe token is removed", fontsize=8)
        panels[0].legend(fontsize=7, frameon=False)
