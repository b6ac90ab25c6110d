"""The figure of `regression_test.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import figure


def draw(path: Path, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the figure: the score of each part of the prompt, a panel a change, and whether the check holds."""
    with figure(path, len(found), width=11, height=2, sharey=True, sharex=True) as panels:
        for axes, (name, each) in zip(panels, found.items(), strict=True):
            bars = axes.barh(list(each["scores"]), list(each["scores"].values()), color="#2166ac")
            axes.bar_label(bars, fmt="%.3f", fontsize=7, padding=2)
            axes.set_title(f"{name}\n{'fails' if each['reason'] else 'holds'}", loc="left", fontsize=7)
            axes.set_xlabel("score (nats)", fontsize=8)
            axes.margins(x=0.25)
        panels[0].invert_yaxis()
