"""Where the target tokens of a stack's prompts are predicted."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from spanwise.scoring.objectives import Context
from spanwise.scoring.scorer import Scorer


@dataclass(frozen=True)
class Places:
    """For each prompt the target tokens that are read. Prompts with fewer repeat their first.

    Attributes:
        positions: That they are predicted at.
        ids: Of the tokens.
        length: Of the longest prompt with its targets, to which the others are filled up.
    """

    positions: Int[Tensor, "prompt target"]
    ids: Int[Tensor, "prompt target"]
    length: int

    def context(self, prompts: Int[Tensor, " pair"]) -> Context:
        """Returns what an objective is told of these prompts, with a row for each."""
        return Context(self.ids[prompts], self.positions[prompts] - self.length)


def places_of(scorers: Sequence[Scorer], windows: Sequence[tuple[int, int]]) -> Places:
    """Returns the places of prompts.

    Args:
        scorers: One a prompt.
        windows: For each of them the target tokens [first, last).
    """
    most = max(last - first for first, last in windows)
    positions, ids = [], []
    for each, (first, last) in zip(scorers, windows, strict=True):
        chosen = [*range(first, last), *[first] * (most - last + first)]
        positions.append([len(each.prompt_ids) - 1 + i for i in chosen])
        ids.append([each.target_ids[i] for i in chosen])
    device, length = scorers[0].lm.device, 1 + max(map(max, positions))
    return Places(torch.tensor(positions, device=device), torch.tensor(ids, device=device), length)
