"""How features lie in the text: in messages, paragraphs and sentences."""

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from spanwise.text.columns import by_level
from spanwise.text.composing import Composed
from spanwise.text.encoding import Encoding
from spanwise.text.layout import Axes

NESTED = ("message", "paragraph", "sentence")
"""From the coarsest to the finest. The generated prefix, and a prompt without messages, count as one message each."""


def nested_levels(axes: Axes, encoding: Encoding, composed: Composed) -> Int[Tensor, "level feature"]:
    """Returns for each of `NESTED` the number of the part that each feature lies in.

    Features of one part are in one part of every coarser level. A feature that reaches into several parts, or lies in
    several places, counts where it begins.

    Args:
        axes: With the features.
        encoding: Prompt and target.
        composed: How the prompt came about.

    Raises:
        DependencyError: The package that finds sentences is missing.
    """
    columns = axes.feature_columns
    inside: list[tuple[int, ...]] = [()] * len(columns)
    numbers = torch.empty(len(NESTED), len(columns), dtype=torch.long)
    for row, level in enumerate(NESTED):
        found = by_level(columns, encoding.target_text, replace(composed, level=level))
        # A special token is in no part (-1) and stands for itself.
        inside = [
            (*path, part if part >= 0 else -1 - feature)
            for feature, (path, part) in enumerate(zip(inside, found, strict=True))
        ]
        known = {path: number for number, path in enumerate(dict.fromkeys(inside))}
        numbers[row] = torch.tensor([known[path] for path in inside])
    return numbers
