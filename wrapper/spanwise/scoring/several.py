"""Several targets behind one prompt: each changed prompt is read once, and every target is read behind it.

changed prompt   p0 p1' p2 ... pP-1        once, its keys and values kept
behind it        a0 a1 ... | b0 b1 ... | c0 ...        a short forward for each target
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.model.forward import forward
from spanwise.model.prefix import Kept, grown
from spanwise.scoring.scorer import Scorer


@dataclass
class SeveralTargets(Scorer):
    """A scorer whose rows are those of several targets, one target's behind the other's.

    Its own fields are those of the first target. For perturbation methods: it gives no gradients.

    Attributes:
        parts: A scorer for each target: of one model, prompt, objective, features, baseline and counts.
    """

    parts: Sequence[Scorer] = dataclasses.field(kw_only=True)

    @property
    def row_count(self) -> int:
        """Number of rows of all targets."""
        return sum(scorer.row_count for scorer in self.parts)

    def reference(self) -> Float[Tensor, " target"]:
        """Returns the objective of the first target's tokens; those of the others are remembered."""
        values = [scorer.reference() for scorer in self.parts]
        self._reference, self._kept = self.parts[0]._reference, self.parts[0]._kept
        return values[0]

    def scores(self, gates: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch row"]:
        """Returns the rows' values for each setting of the gates, without gradients."""
        shared = self._kept is not None and isinstance(self.baseline, Tensor) and self.objective.local
        if not shared:
            return torch.cat([scorer.scores(gates) for scorer in self.parts], dim=1)
        with torch.no_grad():
            whole = (gates == 1).all(1)
            values = torch.empty(len(gates), self.row_count, device=self._ids.device)
            if whole.any():
                values[whole] = torch.cat([scorer.scores(gates[whole]) for scorer in self.parts], dim=1).to(values)
            if not whole.all():
                values[~whole] = self._in_order(gates[~whole], self._read_once).to(values)
        return values

    def _read_once(self, gates: Float[Tensor, "batch feature"], start: int) -> Float[Tensor, "batch row"]:
        """Returns the rows' values; what stands before `start` is as in the unchanged prompt."""
        count = len(self.prompt_ids)
        start = min(start, count - 1)
        embeddings = self._on_path(gates)[:, start:count]
        kept: Kept = self._kept  # type: ignore[assignment] # asked before
        cache = kept.growing(start)
        ids = self._ids[:, start:count].expand(len(gates), -1)
        outputs, _ = forward(self.lm, ids, 1, embeddings=embeddings, past=cache)
        self._count(len(gates))
        read = grown(cache)
        return torch.cat([self._behind(scorer, read, outputs, len(gates)) for scorer in self.parts], dim=1)

    def _behind(self, scorer: Scorer, read: Kept, outputs: Any, batch: int) -> Float[Tensor, "batch row"]:
        """Returns one target's rows, read behind the changed prompts."""
        count = len(self.prompt_ids)
        logits = outputs.logits  # [batch, 1, vocabulary], of the prompt's last position
        behind = scorer._ids[:, count:].expand(batch, -1)
        if behind.shape[1]:
            further, _ = forward(self.lm, behind, behind.shape[1], past=read.before(count))
            self.counts.calls += 1
            logits = torch.cat([logits, further.logits], dim=1)
        asked = type(outputs)(logits=logits[:, scorer._first : scorer._last])
        return scorer.objective.value(asked, scorer._context) @ scorer._row_weights.T
