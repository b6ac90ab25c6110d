"""The figure of `quantized_span.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from common import figure, shown
from torch import Tensor


def draw(path: Path, tables: Mapping[str, Tensor], phrases: Sequence[str], parts: Sequence[str]) -> None:
    """Write the tables beside each other, a row a phrase and a column a part, each with its own scale of color."""
    with figure(path, len(tables), width=13, height=2.5, sharey=True) as panels:
        for axes, (name, values) in zip(panels, tables.items(), strict=True):
            most = float(values.abs().max())
            axes.imshow(values.numpy(), cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
            axes.set_xticks(range(len(parts)), parts, rotation=30, ha="right", fontsize=7)
            axes.set_yticks(range(len(phrases)), phrases, fontsize=7)
            axes.set_title(f"{name} (nats)", loc="left", fontsize=9)
            for (row, column), value in np.ndenumerate(values.numpy()):
                color = "white" if abs(value) > 0.6 * most else "black"
                axes.text(column, row, shown(float(value)), ha="center", va="center", fontsize=7, color=color)
        panels[0].set_xlabel("full color: the largest of each table", fontsize=7, loc="left")
