"""Where the target tokens of a stack's prompts are predicted."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from spanwise.scoring.objectives import Context
from spanwise.scoring.scorer import Scorer


@dataclass(frozen=True)
class Places:
    """For each prompt the target tokens that are read. Prompts with fewer repeat their first, with weight 0.

    Attributes:
        positions: That they are predicted at.
        ids: Of the tokens.
        weights: Which of them each row adds.
        length: Of the longest prompt with its targets, to which the others are filled up.
    """

    positions: Int[Tensor, "prompt target"]
    ids: Int[Tensor, "prompt target"]
    weights: Float[Tensor, "prompt row target"]
    length: int

    def context(self, prompts: Int[Tensor, " pair"]) -> Context:
        """Returns what an objective is told of these prompts, with a row for each."""
        return Context(self.ids[prompts], self.positions[prompts] - self.length)


def places_of(scorers: Sequence[Scorer], *, whole: bool) -> Places:
    """Returns the places of prompts.

    Args:
        scorers: One a prompt.
        whole: Every target token, each with a row of its own; else those from the first to the last that a row adds,
            and the scorers' rows.
    """
    windows = []
    for each in scorers:
        asked = each.rows.any(0).nonzero().flatten()
        windows.append((0, len(each.target_ids)) if whole else (int(asked[0]), int(asked[-1]) + 1))
    most = max(last - first for first, last in windows)
    rows = most if whole else max(each.row_count for each in scorers)
    weights = torch.zeros(len(scorers), rows, most)
    positions, ids = [], []
    for k, (each, (first, last)) in enumerate(zip(scorers, windows, strict=True)):
        chosen = [*range(first, last), *[first] * (most - last + first)]
        positions.append([len(each.prompt_ids) - 1 + i for i in chosen])
        ids.append([each.target_ids[i] for i in chosen])
        own = torch.eye(last) if whole else each.rows[:, first:last]
        weights[k, : len(own), : last - first] = own
    device, length = scorers[0].lm.device, 1 + max(map(max, positions))
    return Places(torch.tensor(positions, device=device), torch.tensor(ids, device=device), weights.to(device), length)
