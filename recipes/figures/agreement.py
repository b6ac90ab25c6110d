"""The figure of `agreement_error.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import figure


def draw(path: Path, errors: Sequence[dict[str, Any]], methods: Sequence[str]) -> None:
    """Write the figure: the distractor's score against what swapping its number does, a panel a method."""
    with figure(path, len(methods), width=3.2 * len(methods), squeeze=False, sharey=True) as panels:
        for axes, method in zip(panels[0], methods, strict=True):
            for by, color, marker, label in ((True, "#b2182b", "o", "distractor"), (False, "#2166ac", "^", "subject")):
                kept = [each for each in errors if each["by_distractor"] == by]
                xs, ys = [each[method]["distractor"] for each in kept], [each["fall"] for each in kept]
                axes.scatter(
                    xs, ys, s=14, alpha=0.6, color=color, marker=marker, label=f"{label} at fault ({len(kept)})"
                )
            axes.set_title(method, loc="left", fontsize=9)
            axes.set_xlabel("score of the distractor (nats)", fontsize=8)
        panels[0][0].set_ylabel("fall of the wrong verb's lead when the\ndistractor is exchanged (nats)", fontsize=8)
        panels[0][0].legend(fontsize=7, frameon=False)
