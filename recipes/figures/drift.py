"""The figure of `quantization_drift.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import figure

COLORS = {"feature_ablation": "#b2182b", "integrated_gradients": "#2166ac"}


def draw(path: Path, table: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]) -> None:
    """Write the figure: means and intervals, a panel a figure, a color a method."""
    with figure(path, len(labels), width=11, height=2.2, sharey=True) as panels:
        for axes, (key, label) in zip(panels, labels.items(), strict=True):
            for shift, (method, color) in enumerate(COLORS.items()):
                for place, precisions in enumerate(table.values()):
                    each = precisions[method][key]
                    reach = [[each["mean"] - each["low"]], [each["high"] - each["mean"]]]
                    named = {"label": method} if not place else {}
                    at = place + 0.25 * shift - 0.125
                    axes.errorbar(each["mean"], at, xerr=reach, fmt="o", ms=4, capsize=3, color=color, **named)
            axes.set_xlabel(label, fontsize=8)
            axes.locator_params(axis="x", nbins=4)
            axes.set_yticks(range(len(table)), table)
        panels[0].set_ylim(len(table) - 0.6, -0.4)
        panels[0].legend(fontsize=7, frameon=False)
