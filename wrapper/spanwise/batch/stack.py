"""`Stack`: several prompts that pose as one, so that an engine's algorithm runs once and its forwards hold them all.

Gates are shared: gate f of a batch switches feature f of every prompt. Rows stand one behind the other:

    prompt A (2 rows, 3 features)      gates [batch, 4]     scores [batch, A0 A1 B0]
    prompt B (1 row,  4 features)      A has no feature 3: it does not see that gate

Embeddings stand side by side, as if they were one long source with all prompts' features; row r is then the sum of
every prompt's own row r, whose gradient at a prompt's embeddings is that prompt's alone.
Shorter prompts are filled up at the end, where nothing a causal model reads can see it, so that no mask is needed and
every position keeps its number.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from spanwise.batch.place import places_of
from spanwise.model.forward import forward
from spanwise.model.prefix import Kept, empty_cache
from spanwise.question import LEAST_KEPT
from spanwise.scoring.backward import begin_backward
from spanwise.scoring.batching import Batches
from spanwise.scoring.scorer import Counts, Scorer


class Stack(Scorer):
    """A scorer of several prompts. Made inside the model's session.

    Args:
        scorers: One a prompt, of one causal model and one objective, which is one of `OBJECTIVES`.
        batches: How sequences are cut.
        side_by_side: The algorithm works on embeddings, not on gates.
    """

    def __init__(self, scorers: Sequence[Scorer], batches: Batches, *, side_by_side: bool) -> None:
        first = scorers[0]
        self.side_by_side, self.scorers = side_by_side, scorers
        self.lm, self.objective, self.batches = first.lm, first.objective, batches
        device, count = self.lm.device, len(scorers)
        self.length = max(each.length for each in scorers)
        windows = [(each._first, each._last) for each in scorers]
        self.places = places_of(scorers, windows)
        self._most_rows = max(each.row_count for each in scorers)
        self._weights = torch.zeros(count, self._most_rows, self.places.ids.shape[1], device=device)
        self._latest = int(self.places.positions.min())  # from there on logits are read
        self._kept: Kept | None = None
        self._ids = torch.zeros(count, self.length, dtype=torch.long, device=device)
        self._features = torch.full((count, self.length), -1, device=device)
        self._inputs = torch.zeros(count, self.length, first.embeddings.shape[-1], device=device)
        has_baseline = isinstance(first.baseline, Tensor)
        self._starts = torch.zeros_like(self._inputs) if has_baseline else self._inputs
        for k, each in enumerate(scorers):
            of_target = [*each.prompt_ids, *each.target_ids][: each.length]
            self._ids[k, : each.length] = torch.tensor(of_target, device=device)
            self._features[k, : each.length] = each.features[: each.length].to(device)
            self._inputs[k, : each.length] = each.embeddings
            self._weights[k, : each.row_count, : each._last - each._first] = each._row_weights
            if has_baseline:
                self._starts[k, : each.length] = each.baseline_embeddings
        self._counts = torch.tensor([each.feature_count for each in scorers])
        self._rows = torch.tensor([each.row_count for each in scorers])
        self._offsets = [0, *itertools.accumulate(self._counts.tolist())]
        pairs = [(k, row) for k, each in enumerate(scorers) for row in range(each.row_count)]
        self._of_row = torch.tensor(pairs, device=device)
        self._first_attributed = int((self._features >= 0).int().argmax(1).min())
        self.embeddings = self._inputs.flatten(0, 1)  # [prompt x source, hidden]
        self._work = torch.zeros(3, count, dtype=torch.long)  # calls, forwards, backwards of each prompt

    @property
    def feature_count(self) -> int:
        """Features of the prompt that has most."""
        return int(self._counts.max())

    @property
    def row_count(self) -> int:
        """Rows of all prompts."""
        return len(self._of_row)

    def rows_of(self, prompt: int) -> slice:
        """Returns the rows of a prompt."""
        before = sum(each.row_count for each in self.scorers[:prompt])
        return slice(before, before + self.scorers[prompt].row_count)

    def counts_of(self, prompt: int) -> Counts:
        """Returns the work done for a prompt; a call that it shares counts for it too."""
        return Counts(*self._work[:, prompt].tolist())

    def read_references(self, *, keeping: bool) -> None:
        """Scores every target token of every unchanged input, several inputs at once.

        Args:
            keeping: Keep the keys and values too, so that an input is read from its first change on. Only for a model
                that gives the same values with them: `spanwise.model.prefix` says how that is found out.
        """
        inputs = [[*each.prompt_ids, *each.target_ids][:-1] for each in self.scorers]
        longest = max(map(len, inputs))
        targets = places_of(self.scorers, [(0, len(each.target_ids)) for each in self.scorers])
        ids = torch.tensor([each + [0] * (longest - len(each)) for each in inputs], device=self.lm.device)
        layers: list[Any] = []

        def work(chosen: Int[Tensor, " prompt"]) -> Float[Tensor, "prompt target"]:
            cache, at = empty_cache(self.lm) if keeping else None, chosen.to(ids.device)
            outputs, _ = forward(self.lm, ids[at], targets.positions[at], past=cache)
            values = self.objective.value(outputs, targets.context(at))
            self._count_work(chosen)
            if cache is not None:
                layers.append([(layer.keys, layer.values) for layer in cache.layers])
            return values.float()

        with torch.no_grad():
            values = self.batches.over(torch.arange(len(inputs)), work)
            if layers:
                parts = zip(*layers, strict=True)  # for each layer, the pairs of all batches
                self._kept = Kept(tuple((torch.cat(keys), torch.cat(values)) for keys, values in map(_unzipped, parts)))
        self.references = [row[: len(each.target_ids)] for row, each in zip(values, self.scorers, strict=True)]
        wanted = self.places.positions - targets.positions[:, :1]  # indices into the target
        self._known = _added(values.gather(1, wanted), self._weights)

    def scores(self, gates: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch row"]:
        """Returns every prompt's rows for each setting of the gates, without gradients.

        Where all features of a prompt are on, that is its reference.
        """
        with torch.no_grad():
            there = torch.arange(gates.shape[1]) < self._counts[:, None]  # [prompt, feature]
            off = (gates.cpu() != 1)[None] & there[:, None]
            chosen = off.any(-1).nonzero()  # [pair, (prompt, gates)]
            values = self._known[:, None].repeat(1, len(gates), 1)  # [prompt, batch, row]
            if len(chosen):
                at = chosen.to(values.device)
                values[at[:, 0], at[:, 1]] = self._late_together(chosen, gates, off[chosen[:, 0], chosen[:, 1]])
            return values[self._of_row[:, 0], :, self._of_row[:, 1]].T

    def _late_together(
        self, pairs: Int[Tensor, "pair 2"], gates: Tensor, off: Bool[Tensor, "pair feature"]
    ) -> Float[Tensor, "pair row"]:
        """Returns the rows of the pairs, late changes together, each batch beginning with its first."""
        if self._kept is None:
            return self.batches.over(pairs, lambda part: self._changed(part, gates, 0))
        features = self._features.cpu()[pairs[:, 0]]
        changed = off.gather(1, features.clamp(min=0)) & (features >= 0)
        starts = torch.where(changed.any(1), changed.int().argmax(1), self.length).clamp(max=self._latest)
        return self.batches.over_late(starts, self.length, lambda part, start: self._changed(pairs[part], gates, start))

    def _changed(self, pairs: Int[Tensor, "pair 2"], gates: Tensor, start: int) -> Float[Tensor, "pair row"]:
        embeddings = self._between(pairs[:, 0], gates[pairs[:, 1]])
        values, _ = self._read(pairs[:, 0], embeddings, start)
        return _added(values.float(), self._weights[pairs[:, 0].to(values.device)])

    def gate_gradients(self, gates: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch row feature"]:
        """Returns the gradient of each prompt's rows with respect to the gates."""
        prompts, settings = len(self.scorers), len(gates)
        pairs = torch.cartesian_prod(torch.arange(prompts), torch.arange(settings))

        def work(part: Int[Tensor, "pair 2"]) -> Float[Tensor, "pair row feature"]:
            leaf = gates[part[:, 1]].to(device=self.lm.device, dtype=torch.float32)
            return self._gradients_of(part[:, 0], leaf, lambda each: self._between(part[:, 0], each))

        found = self.batches.over(pairs, work).view(
            prompts, settings, self._most_rows, -1
        )  # [prompt, batch, row, feature]
        return found[self._of_row[:, 0], :, self._of_row[:, 1]].transpose(0, 1)

    def embedding_gradients(
        self, embeddings: Float[Tensor, "batch source hidden"]
    ) -> Float[Tensor, "batch row source hidden"]:
        """Returns the gradients at the embeddings, side by side; row r is that of every prompt's own row r."""
        assert len(embeddings) == 1, "one setting of the embeddings at a time"
        inputs = embeddings[0].view(len(self.scorers), self.length, -1).to(self.lm.device)
        frozen = (self._features < 0).unsqueeze(-1)

        def work(chosen: Int[Tensor, " prompt"]) -> Float[Tensor, "prompt row source hidden"]:
            at = chosen.to(inputs.device)
            return self._gradients_of(chosen, inputs[at], lambda each: torch.where(frozen[at], self._inputs[at], each))

        found = self.batches.over(torch.arange(len(self.scorers)), work)  # [prompt, row, source, hidden]
        return found.transpose(0, 1).flatten(1, 2)[None]

    def add_positions(self, values: Float[Tensor, "row source"]) -> Float[Tensor, "row feature"]:
        """Returns the sum of each feature's positions, the features of all prompts side by side."""
        sums = torch.zeros(len(values), self._offsets[-1] + 1, device=values.device, dtype=values.dtype)
        before = torch.tensor(self._offsets[:-1], device=values.device).unsqueeze(1)
        features = self._features.to(values.device)
        index = torch.where(features < 0, self._offsets[-1], features + before)  # frozen ones: a column to drop
        return sums.index_add_(1, index.flatten(), values)[:, :-1]

    def part_of(self, prompt: int, found: Float[Tensor, "row feature"]) -> Float[Tensor, "own_row own_feature"]:
        """Returns a prompt's part of what an algorithm found, with shared gates or with features side by side."""
        rows, features = self.scorers[prompt].row_count, int(self._counts[prompt])
        if self.side_by_side:
            return found[:rows, self._offsets[prompt] : self._offsets[prompt] + features]
        return found[self.rows_of(prompt), :features]

    def _between(self, prompts: Tensor, gates: Float[Tensor, "pair feature"]) -> Float[Tensor, "pair source hidden"]:
        at = prompts.to(self._ids.device)
        of_position = gates.to(self._inputs).gather(1, self._features[at].clamp(min=0))
        return torch.lerp(self._starts[at], self._inputs[at], of_position.unsqueeze(-1))

    def _gradients_of(self, prompts: Tensor, inputs: Tensor, embedded: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.enable_grad():
            leaf = inputs.detach().requires_grad_()
            fixed = self._first_attributed
            start = min(fixed, self._latest) if self._kept is not None and fixed >= LEAST_KEPT else 0
            values, below_head = self._read(prompts, embedded(leaf), start)
            assert below_head is not None, "the head is a module: `stacker` says so"
            top, of_target = begin_backward(values, below_head)
            weights = self._weights[prompts.to(values.device)].to(of_target)
            gradients = []
            for row in range(self._most_rows):
                last = row == self._most_rows - 1
                outer = of_target * weights[:, row].unsqueeze(-1)
                gradients.append(torch.autograd.grad(top, leaf, outer, retain_graph=not last)[0])
        self._work[2] += torch.bincount(prompts, minlength=len(self.scorers)) * self._rows
        return torch.stack(gradients, dim=1)

    def _read(self, prompts: Tensor, embeddings: Tensor, start: int) -> tuple[Tensor, Tensor | None]:
        """Returns the objective at the places of the prompts, [pair, target], and what the head was given."""
        at = prompts.to(self._ids.device)
        past = self._kept.before(start, at) if self._kept is not None and start else None
        positions = self.places.positions[at] - start
        outputs, below_head = forward(
            self.lm, self._ids[at, start:], positions, embeddings=embeddings[:, start:], past=past
        )
        self._count_work(prompts)
        return self.objective.value(outputs, self.places.context(at)), below_head

    def _count_work(self, prompts: Int[Tensor, " pair"]) -> None:
        forwards = torch.bincount(prompts, minlength=len(self.scorers))
        self._work[0] += forwards > 0
        self._work[1] += forwards


def _added(
    values: Float[Tensor, "prompt target"], weights: Float[Tensor, "prompt row target"]
) -> Float[Tensor, "prompt row"]:
    return (weights.to(values) @ values.unsqueeze(-1)).squeeze(-1)


def _unzipped(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [keys for keys, _ in pairs], [values for _, values in pairs]
