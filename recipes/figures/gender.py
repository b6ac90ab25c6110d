"""The figure of `gender_bias_translation.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import figure

FORMS = ("subject's article", "other's article", "participle")
COLORS = {
    "own occupation": "#762a83",
    "other occupation": "#c2a5cf",
    "his/her/the": "#1b7837",
    "other words": "#bbbbbb",
    "already written": "#fdb863",
}
TITLES = {"no cue": '"with the bag"', "cue": '"with his/her bag", against the stereotype'}


def draw(path: Path, found: Mapping[str, Any]) -> None:
    """Write the figure: planted stereotype against leaning, and what shares the gender of the three words."""
    with figure(path, 3, width=10.0, height=3.6) as (left, *others):
        left.set_title("subject's article, no cue", loc="left", fontsize=8)
        scatter(left, found["stereotypes"])
        for axes, condition in zip(others, TITLES, strict=True):
            bottom = [0.0] * len(FORMS)
            for kind, color in COLORS.items():
                values = [found[condition]["shares"][form].get(kind, 0.0) for form in FORMS]
                axes.bar(FORMS, values, 0.6, bottom=bottom, color=color, label=kind)
                bottom = [a + b for a, b in zip(bottom, values, strict=True)]
            axes.set_title(TITLES[condition], loc="left", fontsize=8)
            axes.tick_params(axis="x", labelsize=7)
            axes.set_ylim(0, 1)
        others[0].set_ylabel("share of the absolute scores", fontsize=8)
        others[1].legend(fontsize=6, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def scatter(axes: Any, stereotypes: Mapping[str, Mapping[str, float]]) -> None:
    """Draw each occupation's planted stereotype against the model's."""
    together: dict[float, list[tuple[str, float]]] = {}
    for name, each in stereotypes.items():
        axes.plot(each["planted"], each["leaning"], "o", color="#762a83", markersize=4)
        together.setdefault(each["planted"], []).append((name, each["leaning"]))
    for planted, named in together.items():
        text, height = "\n".join(name for name, _ in named), sum(leaning for _, leaning in named) / len(named)
        side = -1 if planted > 0 else 1  # towards the middle, where there is room
        spot = {"xytext": (5 * side, 0), "textcoords": "offset points", "ha": "right" if side < 0 else "left"}
        axes.annotate(text, (planted, height), fontsize=6, va="center", **spot)
    axes.axline((0, 0), slope=1, color="#999999", linewidth=0.8)
    axes.set_xlabel("log odds of a woman in the corpus (nats)", fontsize=8)
    axes.set_ylabel("leaning of the article (nats)", fontsize=8)
