"""The figures of `rag_citations.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

import numpy as np
from common import figure, shown

import spanwise
from spanwise.views.labels import visible


def draw_documents(path: Path, result: spanwise.Attribution) -> None:
    """Write the figure: every sentence of one answer, and what every document had to do with it."""
    columns = [i for i, token in enumerate(result.source) if token.name]
    scores = result.scores[:, columns].numpy()
    most = float(np.abs(scores).max())
    with figure(path, width=7.2, height=1.2 + 0.35 * len(scores)) as axes:
        axes.imshow(scores, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
        axes.set_xticks(range(len(columns)), [result.source[i].name for i in columns], rotation=30, ha="right")
        axes.set_yticks(
            range(len(scores)), [visible(shorten(span.text, 36, placeholder=" …")) for span in result.spans]
        )
        axes.set_title("score of each document for each sentence (nats)", loc="left", fontsize=9)
        for (row, column), value in np.ndenumerate(scores):
            color = "white" if abs(value) > 0.6 * most else "black"
            axes.text(column, row, shown(float(value)), ha="center", va="center", fontsize=7, color=color)


def draw_dropping(path: Path, cited: Sequence[float], others: Sequence[float]) -> None:
    """Write the figure: how far sentences fall without the cited document, and without the most needed other."""
    edges = np.arange(np.floor(min(*cited, *others)), np.ceil(max(*cited, *others)) + 0.5, 0.5)
    with figure(path, width=5.5, height=2.8) as axes:
        axes.hist(cited, bins=edges, color="#b2182b", label="the cited document")
        axes.hist(others, bins=edges, color="#2166ac", alpha=0.8, label="the most needed other")
        axes.set_xlabel("fall of the sentence's log-probability without the document (nats)", fontsize=8)
        axes.set_ylabel("sentences", fontsize=8)
        axes.legend(fontsize=7, frameon=False)
