"""Where one prompt's numbers are among those of a stack."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.scoring.objectives import Context
from spanwise.scoring.scorer import Counts, Scorer


@dataclass
class Place:
    """Where a prompt's numbers are in the stack.

    Attributes:
        scorer: Of this prompt alone.
        context: Of the target tokens that are scored.
        weights: Which of them each row adds, [row, target].
        first: The position that the first of them is predicted from.
        reference: The objective of every target token at the unchanged input, once known.
        counts: The work done for this prompt.
    """

    scorer: Scorer
    context: Context
    weights: Float[Tensor, "row target"]
    first: int
    reference: Tensor | None = None
    counts: Counts = field(default_factory=Counts)

    @property
    def window(self) -> slice:
        """The target tokens that are scored."""
        return slice(self.context.first, self.context.first + len(self.context.target_ids))


def place_of(scorer: Scorer) -> Place:
    """Returns the place of a prompt with this scorer."""
    asked = scorer.rows.any(0).nonzero().flatten()
    first, last = int(asked[0]), int(asked[-1]) + 1
    weights = scorer.rows[:, first:last].to(device=scorer.lm.device, dtype=torch.float32)
    return Place(scorer, scorer.context_of(first, last), weights, len(scorer.prompt_ids) - 1 + first)
