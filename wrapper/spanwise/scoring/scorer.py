"""The scorer: what the model thinks of a target when parts of its input are changed.

A causal model scores every target token in one forward over prompt + target (teacher forcing):

    position     0    1   ...  P-1 |  P   ...  P+T-2
    input        p0   p1  ...  pP-1|  t0  ...  tT-2      the last target token is never an input
    logits of                  t0  |  t1  ...  tT-1      so target k is read at position P-1+k

A gate of 1 leaves a feature's embeddings as they are, a gate of 0 puts their baseline there, and what lies between is
on the straight line. Perturbation methods use gates of 0 and 1, path methods the line.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import Cache, DynamicCache

from spanwise.model.forward import embed, forward
from spanwise.model.language_model import LanguageModel
from spanwise.model.prefix import Kept, empty_cache, kept_in
from spanwise.scoring.backward import begin_backward
from spanwise.scoring.batching import Batches
from spanwise.scoring.objectives import Context, Objective
from spanwise.scoring.removal import Removal
from spanwise.text.rewriting import Rewriting


@dataclass
class Counts:
    """Work done: batches, sequences forward, and sequences backward for one row each."""

    calls: int = 0
    forwards: int = 0
    backwards: int = 0


@dataclass
class Scorer:
    """Scores rows (target tokens or spans) for changed inputs, in batches.

    Made inside the model's session, for one prompt and target.

    Attributes:
        lm: The model.
        prompt_ids: Ids of the prompt.
        target_ids: Ids of the target.
        objective: From logits to one value a target token.
        rows: For each row the target tokens whose values are added.
        features: For each source position the index of its feature, or -1 where it is frozen.
        baseline: The embeddings of features that are off; or "mask" or "delete" where off means not there, or what
            writes the prompt without them.
        batches: How many sequences go through the model at once.
        tick: Called with the sequences done since the last call.
        counts: The work done so far.
        reuse: Keep the keys and values of the unchanged input, and begin with them as far as an input is the same. It
            takes the memory of one sequence's cache, and `reference` to be called first.
    """

    lm: LanguageModel
    prompt_ids: Sequence[int]
    target_ids: Sequence[int]
    objective: Objective
    rows: Bool[Tensor, "row target"]
    features: Int[Tensor, " source"]
    baseline: Float[Tensor, "source hidden"] | str | Rewriting | None
    batches: Batches
    tick: Callable[[int], object] = lambda done: None
    counts: Counts = field(default_factory=Counts)
    reuse: bool = False

    def __post_init__(self) -> None:
        device = self.lm.device
        asked = self.rows.any(0).nonzero().flatten()
        # Target tokens after the last one asked for cannot change anything, so they are not put in.
        self._first, self._last = int(asked[0]), int(asked[-1]) + 1
        self.length = len(self.prompt_ids) + self._last - 1
        ids = [*self.prompt_ids, *self.target_ids][: self.length]
        self._ids = torch.tensor([ids], device=device)
        self._row_weights = self.rows[:, self._first : self._last].to(device=device, dtype=torch.float32)
        self._features = self.features[: self.length].to(device)
        self._attributed = self._features >= 0
        # A decoder begins with a token of its own, which stands as the prompt's last.
        self.encoder_length = len(self.prompt_ids) - 1 if self.lm.is_encoder_decoder else 0
        self._context = self.context_of(self._first, self._last)
        self._latest = len(self.prompt_ids) - 1 + self._first  # from there on logits are read
        self._reference: Tensor | None = None  # [target]
        self._kept: Kept | None = None
        self.embeddings = embed(self.lm, self._ids, self.encoder_length)[0]  # [source, hidden]
        if isinstance(self.baseline, Tensor):
            start = self.baseline[: self.length].to(device)
            self.baseline_embeddings = torch.where(self._attributed[:, None], start, self.embeddings)
        elif self.baseline is not None:
            count, asked_ids = len(self.prompt_ids), self.target_ids[: self._last]
            self._removal = Removal(
                self.lm, self.baseline, self._ids[0], self._features, count, asked_ids, self.encoder_length
            )

    @property
    def batch_size(self) -> int:
        """Sequences in a batch, as it is now."""
        return self.batches.size

    @property
    def feature_count(self) -> int:
        """Number of features."""
        return int(self.features.max()) + 1

    @property
    def row_count(self) -> int:
        """Number of rows."""
        return self.rows.shape[0]

    def reference(self) -> Float[Tensor, " target"]:
        """Returns the objective of every target token at the unchanged input, by one plain forward the first time."""
        if self._reference is None:
            ids = torch.tensor([[*self.prompt_ids, *self.target_ids][:-1]], device=self.lm.device)
            cache = empty_cache(self.lm) if self.reuse and not self.objective.hidden_states else None
            with torch.no_grad():
                self._reference = self.batches.over(ids, lambda part: self._plain(part, cache))[0].float()
                if cache is not None:
                    context = self.context_of(0, len(self.target_ids))
                    self._kept = kept_in(
                        self.lm, cache, ids, self._reference, lambda out: self.objective.value(out, context)[0].float()
                    )
        return self._reference.cpu()

    def scores(self, gates: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch row"]:
        """Returns the rows' values for each setting of the gates, without gradients.

        Where every feature is on, that is the reference, if it is known and read from the same positions.
        """
        with torch.no_grad():
            rows = self._replaced if isinstance(self.baseline, Tensor) else self._without
            whole = (gates == 1).all(1)
            everything = self._first == 0 and self._last == len(self.target_ids)
            if self._reference is None or not (self.objective.local or everything) or not whole.any():
                return self._in_order(gates, rows)
            known = self._reference[self._first : self._last] @ self._row_weights.T
            values = known.repeat(len(gates), 1)
            if not whole.all():
                values[~whole.to(values.device)] = self._in_order(gates[~whole], rows).to(values)
            return values

    def _in_order(
        self, gates: Float[Tensor, "batch feature"], rows: Callable[[Tensor, int], Tensor]
    ) -> Float[Tensor, "batch row"]:
        """Returns the rows' values, inputs that change late together, each batch beginning where its first changes."""
        if self._kept is None or isinstance(self.baseline, Rewriting):
            return self.batches.over(gates, lambda part: rows(part, 0))
        starts = self._first_changes(gates)
        return self.batches.over_late(starts, self.length, lambda part, start: rows(gates[part], start))

    def _first_changes(self, gates: Float[Tensor, "batch feature"]) -> Int[Tensor, " batch"]:
        """Returns for each input how many of its first positions are as in the unchanged one."""
        features = self._features.cpu()
        changed = (gates.cpu()[:, features.clamp(min=0)] != 1) & (features >= 0)
        first = torch.where(changed.any(1), changed.int().argmax(1), self.length)
        return first.clamp(max=self._latest)

    def gate_gradients(self, gates: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch row feature"]:
        """Returns the gradient of each row with respect to the gates.

        By the chain rule it is the gradient at the embeddings times (input - baseline), summed over the hidden axis and
        over a feature's positions: what a path method adds up, without holding [batch, row, source, hidden].
        """
        return self.batches.over(gates, lambda part: self._gradients(part, self._on_path))

    def embedding_gradients(
        self, embeddings: Float[Tensor, "batch source hidden"]
    ) -> Float[Tensor, "batch row source hidden"]:
        """Returns the gradient of each row at the given embeddings; frozen positions keep their own and get zero."""
        return self.batches.over(embeddings, lambda part: self._gradients(part, self._thawed))

    def add_positions(self, values: Float[Tensor, "row source"]) -> Float[Tensor, "row feature"]:
        """Returns the sum of each feature's positions; frozen positions are left out."""
        kept = values[:, self._attributed]
        sums = torch.zeros(len(values), self.feature_count, device=values.device, dtype=values.dtype)
        return sums.index_add_(1, self._features[self._attributed], kept)

    def _on_path(self, gates: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch source hidden"]:
        gates = gates.to(device=self.embeddings.device, dtype=torch.float32)
        of_position = gates[:, self._features.clamp(min=0)]  # [batch, source]
        # lerp gives both ends exactly; frozen positions have equal ends.
        return torch.lerp(self.baseline_embeddings, self.embeddings, of_position.unsqueeze(-1))

    def _thawed(self, embeddings: Float[Tensor, "batch source hidden"]) -> Float[Tensor, "batch source hidden"]:
        return torch.where(self._attributed[:, None], embeddings.to(self.embeddings.device), self.embeddings)

    def _gradients(self, inputs: Tensor, embedded: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.enable_grad():
            leaf = inputs.detach().requires_grad_()
            start = self._begin_gradients()
            values, below_head = self._values(embedded(leaf)[:, start:], start)  # [batch, target]
            self._count(len(inputs), tick=False)
            top, of_target = begin_backward(values, below_head if self.objective.local else None)
            gradients = []
            for row, weights in enumerate(self._row_weights):
                last = row == self.row_count - 1
                outer = of_target * weights.to(of_target).view(1, -1, *[1] * (of_target.ndim - 2))
                gradients.append(torch.autograd.grad(top, leaf, outer, retain_graph=not last)[0])
                self.counts.backwards += len(inputs)
                self.tick(len(inputs) if not last else 2 * len(inputs))  # the forward counts as done with the last
        return torch.stack(gradients, dim=1)

    def _begin_gradients(self) -> int:
        """Returns how many positions before the first attributed one need no forward, and so no backward."""
        if self._kept is None:
            return 0
        return min(int(self._attributed.int().argmax()), self._latest)

    def _plain(self, ids: Int[Tensor, "1 source"], cache: DynamicCache | None) -> Float[Tensor, "1 target"]:
        outputs, _ = self._forward(ids, len(self.target_ids), past=cache)
        self._count(1)
        return self.objective.value(outputs, self.context_of(0, len(self.target_ids)))

    def _values(
        self, embeddings: Float[Tensor, "batch position hidden"], start: int
    ) -> tuple[Float[Tensor, "batch target"], Tensor | None]:
        """Returns the targets' values for the embeddings of the positions from `start` on."""
        ids = self._ids[:, start:].expand(len(embeddings), -1)
        outputs, below_head = self._forward(ids, self._last - self._first, embeddings, self._before(start))
        return self.objective.value(outputs, self._context), below_head

    def _before(self, start: int) -> Cache | None:
        return self._kept.before(start) if self._kept is not None and start else None

    def _replaced(self, gates: Float[Tensor, "batch feature"], start: int) -> Float[Tensor, "batch row"]:
        values, _ = self._values(self._on_path(gates)[:, start:], start)
        self._count(len(gates))
        return values @ self._row_weights.T.to(values)

    def _without(self, gates: Float[Tensor, "batch feature"], start: int) -> Float[Tensor, "batch row"]:
        """Returns the rows' values where features that are off are hidden, left out, or other text."""
        if self.baseline == "mask":
            there = self._removal.there(gates)
            return self._rows_of(self._ids.expand(len(gates), -1), self.encoder_length, start, mask=there)
        sequences = self._removal.sequences(gates)
        # Where features before the target are gone, the first logits are read further to the front.
        start = min(start, *(len(ids) - (self._last - self._first) for ids, _ in sequences))
        # Sequences of one length go together, so that nothing is padded.
        rows = torch.empty(len(gates), self.row_count, device=self._ids.device)
        lengths = [(len(ids), encoder_length) for ids, encoder_length in sequences]
        for kind in sorted(set(lengths)):
            same = [i for i, length in enumerate(lengths) if length == kind]
            rows[same] = self._rows_of(torch.stack([sequences[i][0] for i in same]), kind[1], start)
        return rows

    def _rows_of(self, ids: Int[Tensor, "batch source"], encoder_length: int, start: int, **options: Any) -> Tensor:
        keep, options = self._last - self._first, self._reads() | options
        past = self._before(start)
        outputs, _ = forward(self.lm, ids[:, start:], keep, encoder_length=encoder_length, past=past, **options)
        self._count(len(ids))
        return self.objective.value(outputs, self._context) @ self._row_weights.T

    def _forward(
        self, ids: Int[Tensor, "batch source"], keep: int, embeddings: Tensor | None = None, past: Cache | None = None
    ) -> tuple[Any, Tensor | None]:
        length = self.encoder_length
        return forward(self.lm, ids, keep, embeddings=embeddings, encoder_length=length, past=past, **self._reads())

    def _reads(self) -> dict[str, Any]:
        return {"output_hidden_states": True} if self.objective.hidden_states else {}

    def context_of(self, first: int, last: int) -> Context:
        """Returns the context of target tokens [first, last)."""
        device = self.lm.device
        ids = torch.tensor(self.target_ids[first:last], device=device)

        @cache
        def at_input() -> Any:
            whole = [*self.prompt_ids, *self.target_ids][: len(self.prompt_ids) + last - 1]
            with torch.no_grad():
                outputs, _ = self._forward(torch.tensor([whole], device=device), last - first)
            self._count(1, tick=False)
            return outputs

        return Context(ids, torch.arange(first - last, 0, device=device), at_input, first)

    def _count(self, batch: int, *, tick: bool = True) -> None:
        self.counts.calls += 1
        self.counts.forwards += batch
        if tick:
            self.tick(batch)
