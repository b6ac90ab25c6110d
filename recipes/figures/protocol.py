"""The figures of `validation_protocol.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import figure

import spanwise

COLORS = {"pass": "#4393c3", "warn": "#fddbc7", "fail": "#d6604d", "not applicable": "#e0e0e0"}


def draw_checks(path: Path, lists: Sequence[spanwise.Checklist], methods: Sequence[str]) -> None:
    """Write the figure: what each check says of each method, a cell a prompt."""
    titles, width = lists[0].titles, 0.9 / len(lists)
    with figure(path, width=6, height=3.2) as axes:
        for row, check in enumerate(titles):
            for column, method in enumerate(methods):
                for number, each in enumerate(lists):
                    color = COLORS[each.entry(check, method).status]
                    axes.barh(row, width - 0.02, left=column + number * width, color=color)
        axes.set_yticks(range(len(titles)), titles.values(), fontsize=7)
        axes.set_xticks([column + 0.45 for column in range(len(methods))], methods, fontsize=7)
        axes.set_xlim(-0.05, len(methods) - 0.05)
        axes.invert_yaxis()
        if len(lists) > 1:
            axes.set_xlabel(f"{len(lists)} prompts, a cell each", fontsize=7)
        axes.legend(
            [axes.barh(0, 0, color=color) for color in COLORS.values()],
            COLORS, fontsize=7, frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1),
        )  # fmt: skip


def draw_planted(path: Path, methods: Mapping[str, Mapping[str, Any]], by_chance: float) -> None:
    """Write the figure: how often the strongest token is a planted cause, with 95 % intervals."""
    with figure(path, width=5.5, height=1.9) as axes:
        tops = [own["planted_cause_on_top"] for own in methods.values()]
        reach = [[t["mean"] - t["low"] for t in tops], [t["high"] - t["mean"] for t in tops]]
        axes.barh(list(methods), [t["mean"] for t in tops], xerr=reach, color="#4393c3", capsize=3)
        axes.axvline(by_chance, color="black", linestyle=":", label="a random token")
        axes.set_xlabel("share of prompts whose strongest token is a planted cause", fontsize=8)
        axes.legend(fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1))
        axes.invert_yaxis()
