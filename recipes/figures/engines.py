"""The figure of `compare_engines.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import figure


def draw(path: Path, found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Write the figure: seconds a way to ask, and how far its scores are from the scorer's, a panel a method."""
    with figure(path, len(found), width=4 * len(found), height=2.2, squeeze=False) as panels:
        for axes, (method, ways) in zip(panels[0], found.items(), strict=True):
            done = {name: each for name, each in ways.items() if "seconds" in each}
            axes.barh(list(done), [each["seconds"] for each in done.values()], color="#4393c3")
            for place, (name, each) in enumerate(done.items()):
                text = "the reference" if name == "scorer" else f"differs by {each['difference']:.1g}"
                axes.text(each["seconds"], place, f" {text}", va="center", fontsize=7)
            axes.margins(x=0.6)
            axes.invert_yaxis()
            axes.set_title(method, loc="left", fontsize=9)
            axes.set_xlabel("seconds of the processor\n(difference: in parts of the largest score)", fontsize=7)
