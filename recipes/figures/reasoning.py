"""The figure of `reasoning_trace.py`."""

from __future__ import annotations

from pathlib import Path

import torch
from common import figure
from grammars.calls import KINDS

import spanwise
from spanwise.views.labels import visible


def draw(
    path: Path, example: tuple[spanwise.Attribution, torch.Tensor, float], shares: dict[str, dict[str, float]]
) -> None:
    """Write the figure: the shares by kind, and one prompt's direct and through-reasoning parts."""
    result, indirect, begins = example
    with figure(path, 2, width=9.5, height=4.2, gridspec_kw={"width_ratios": (1, 2.6)}) as (left, right):
        bottom = [0.0] * len(KINDS)
        for part, color in (("prompt", "#2166ac"), ("reasoning", "#b2182b"), ("answer", "#bbbbbb")):
            values = [shares[kind][part] for kind in KINDS]
            left.bar(
                KINDS, values, bottom=bottom, color=color, label={"answer": "the answer's own words"}.get(part, part)
            )
            bottom = [a + b for a, b in zip(bottom, values, strict=True)]
        left.set_ylabel("share of the absolute scores", fontsize=8)
        left.legend(fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        places, names = (
            range(len(indirect)),
            [visible(token.text.strip(" ")) for token in result.source[: len(indirect)]],
        )
        direct = result.scores[0, : len(indirect)].nan_to_num(0.0).tolist()
        right.bar([p - 0.2 for p in places], direct, 0.4, color="#2166ac", label="direct")
        right.bar(
            [p + 0.2 for p in places],
            indirect.tolist(),
            0.4,
            color="#b2182b",
            label=f"through the reasoning\n(another {begins:.1f} nats begin in it)",
        )
        right.set_xticks(places, names, rotation=90, fontsize=6)
        right.set_ylabel("score (nats)", fontsize=8)
        right.set_title(f"for {result.spans[0].text!r} in {result.target_text!r}", loc="left", fontsize=8)
        right.legend(fontsize=7, frameon=False)
