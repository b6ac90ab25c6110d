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
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from spanwise.batch.place import Place, place_of
from spanwise.model.forward import forward
from spanwise.model.prefix import Kept, empty_cache
from spanwise.question import LEAST_KEPT
from spanwise.scoring.backward import begin_backward
from spanwise.scoring.batching import Batches
from spanwise.scoring.scorer import Counts, Scorer


class Stack(Scorer):
    """A scorer of several prompts. Made inside the model's session.

    Args:
        scorers: One a prompt, of one model and objective; causal, and the objective local (see `Objective`).
        batches: How sequences are cut.
        side_by_side: The algorithm works on embeddings, not on gates.
    """

    def __init__(self, scorers: Sequence[Scorer], batches: Batches, *, side_by_side: bool) -> None:
        first = scorers[0]
        self.side_by_side = side_by_side
        self.lm, self.objective, self.batches, self.counts = first.lm, first.objective, batches, Counts()
        self.places = [place_of(each) for each in scorers]
        device, count = self.lm.device, len(scorers)
        self.length = max(each.length for each in scorers)
        self._latest = min(place.first for place in self.places)  # from there on logits are read
        self.keep = self.length - self._latest
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
            if has_baseline:
                self._starts[k, : each.length] = each.baseline_embeddings
        self._most_rows = max(each.row_count for each in scorers)
        self._counts = [each.feature_count for each in scorers]
        self._offsets = [0, *itertools.accumulate(self._counts)]
        pairs = [(k, row) for k, each in enumerate(scorers) for row in range(each.row_count)]
        self._of_row = torch.tensor(pairs, device=device)
        attributed = self._features >= 0
        self._first_attributed = int(attributed.int().argmax(1).min())
        self.embeddings = self._inputs.flatten(0, 1)  # [prompt x source, hidden]

    @property
    def feature_count(self) -> int:
        """Features of the prompt that has most."""
        return max(self._counts)

    @property
    def row_count(self) -> int:
        """Rows of all prompts."""
        return len(self._of_row)

    def rows_of(self, prompt: int) -> slice:
        """Returns the rows of a prompt."""
        before = sum(place.scorer.row_count for place in self.places[:prompt])
        return slice(before, before + self.places[prompt].scorer.row_count)

    def read_references(self, *, keeping: bool) -> None:
        """Scores every target token of every unchanged input, several inputs at once.

        Args:
            keeping: Keep the keys and values too, so that an input is read from its first change on. Only for a model
                that gives the same values with them: `spanwise.model.prefix` says how that is found out.
        """
        whole = [[*each.scorer.prompt_ids, *each.scorer.target_ids][:-1] for each in self.places]
        longest = max(map(len, whole))
        ids = torch.tensor([each + [0] * (longest - len(each)) for each in whole], device=self.lm.device)
        cut = min(len(place.scorer.prompt_ids) - 1 for place in self.places)  # positions before it have no logits
        layers: list[Any] = []

        def work(chosen: Int[Tensor, " prompt"]) -> Int[Tensor, " prompt"]:
            cache = empty_cache(self.lm) if keeping else None
            outputs, _ = forward(self.lm, ids[chosen.to(ids.device)], longest - cut, past=cache)
            for logits, k in zip(outputs.logits, chosen.tolist(), strict=True):
                place = self.places[k]
                targets, begin = len(place.scorer.target_ids), len(place.scorer.prompt_ids) - 1 - cut
                seen = SimpleNamespace(logits=logits[None, begin : begin + targets])
                place.reference = self.objective.value(seen, place.scorer.context_of(0, targets))[0].float()
            self._count_pairs(chosen)
            if cache is not None:
                layers.append([(layer.keys, layer.values) for layer in cache.layers])
            return chosen

        with torch.no_grad():
            self.batches.over(torch.arange(len(whole)), work)
            if layers:
                parts = zip(*layers, strict=True)  # for each layer, the pairs of all batches
                self._kept = Kept(tuple((torch.cat(keys), torch.cat(values)) for keys, values in map(_unzipped, parts)))

    def scores(self, gates: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch row"]:
        """Returns every prompt's rows for each setting of the gates, without gradients.

        Where all features of a prompt are on, that is its reference.
        """
        with torch.no_grad():
            device = self.lm.device
            values = torch.empty(len(self.places), len(gates), self._most_rows, device=device)
            pairs = []
            for k, place in enumerate(self.places):
                changed = (gates[:, : self._counts[k]] != 1).any(1)
                if place.reference is None:
                    changed[:] = True
                else:
                    known = place.reference[place.window] @ place.weights.T
                    values[k, :, : len(known)] = known
                settings = changed.nonzero().flatten()
                pairs.append(torch.stack([torch.full_like(settings, k), settings], dim=1))
            chosen = torch.cat(pairs)  # [pair, (prompt, gates)]
            if len(chosen):
                at = chosen.to(device)
                values[at[:, 0], at[:, 1]] = self._late_together(chosen, gates)
            return values[self._of_row[:, 0], :, self._of_row[:, 1]].T

    def _late_together(self, pairs: Int[Tensor, "pair 2"], gates: Tensor) -> Float[Tensor, "pair row"]:
        """Returns the rows of the pairs, late changes together, each batch beginning with its first."""
        if self._kept is None:
            return self.batches.over(pairs, lambda part: self._changed(part, gates, 0))
        starts = self._starts_of(pairs, gates)
        return self.batches.over_late(starts, self.length, lambda part, start: self._changed(pairs[part], gates, start))

    def _starts_of(self, pairs: Int[Tensor, "pair 2"], gates: Tensor) -> Int[Tensor, " pair"]:
        """Returns for each pair how many of its first positions are as in the unchanged input."""
        features = self._features.cpu()[pairs[:, 0]]
        changed = (gates[pairs[:, 1]].cpu().gather(1, features.clamp(min=0)) != 1) & (features >= 0)
        first = torch.where(changed.any(1), changed.int().argmax(1), self.length)
        return first.clamp(max=self._latest)

    def gate_gradients(self, gates: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch row feature"]:
        """Returns the gradient of each prompt's rows with respect to the gates."""
        prompts, settings = len(self.places), len(gates)
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
        inputs = embeddings[0].view(len(self.places), self.length, -1).to(self.lm.device)
        frozen = (self._features < 0).unsqueeze(-1)

        def work(chosen: Int[Tensor, " prompt"]) -> Float[Tensor, "prompt row source hidden"]:
            at = chosen.to(inputs.device)
            return self._gradients_of(chosen, inputs[at], lambda each: torch.where(frozen[at], self._inputs[at], each))

        found = self.batches.over(torch.arange(len(self.places)), work)  # [prompt, row, source, hidden]
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
        rows, features = self.places[prompt].scorer.row_count, self._counts[prompt]
        if self.side_by_side:
            return found[:rows, self._offsets[prompt] : self._offsets[prompt] + features]
        return found[self.rows_of(prompt), :features]

    def _between(self, prompts: Tensor, gates: Float[Tensor, "pair feature"]) -> Float[Tensor, "pair source hidden"]:
        at = prompts.to(self._ids.device)
        of_position = gates.to(self._inputs).gather(1, self._features[at].clamp(min=0))
        return torch.lerp(self._starts[at], self._inputs[at], of_position.unsqueeze(-1))

    def _changed(self, pairs: Int[Tensor, "pair 2"], gates: Tensor, start: int) -> Float[Tensor, "pair row"]:
        embeddings = self._between(pairs[:, 0], gates[pairs[:, 1]])
        logits, _ = self._forward_of(pairs[:, 0], embeddings, start)
        rows = torch.zeros(len(pairs), self._most_rows, device=logits.device)
        for part, place, values in self._values_of(pairs[:, 0], logits):
            rows[part, : len(place.weights)] = values.float() @ place.weights.T
        return rows

    def _gradients_of(self, prompts: Tensor, inputs: Tensor, embedded: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.enable_grad():
            leaf = inputs.detach().requires_grad_()
            fixed = self._first_attributed
            start = min(fixed, self._latest) if self._kept is not None and fixed >= LEAST_KEPT else 0
            logits, below_head = self._forward_of(prompts, embedded(leaf), start)
            assert below_head is not None, "the head is a module: `fits` says so"
            weights = torch.zeros(len(prompts), self._most_rows, self.keep, device=below_head.device)
            all_values = []
            for part, place, values in self._values_of(prompts, logits):
                begin = self._begin(place)
                weights[part, : len(place.weights), begin : begin + values.shape[1]] = place.weights.to(weights)
                all_values.append(values.sum())
                place.counts.backwards += len(values) * len(place.weights)
            top, of_target = begin_backward(torch.stack(all_values), below_head)
            gradients = []
            for row in range(self._most_rows):
                last = row == self._most_rows - 1
                outer = of_target * weights[:, row].to(of_target).unsqueeze(-1)
                gradients.append(torch.autograd.grad(top, leaf, outer, retain_graph=not last)[0])
        return torch.stack(gradients, dim=1)

    def _forward_of(self, prompts: Tensor, embeddings: Tensor, start: int) -> tuple[Tensor, Tensor | None]:
        """Returns the logits of the last `keep` positions, and what the head was given."""
        at, past = prompts.to(self._ids.device), None
        if self._kept is not None and start:
            past = Kept(tuple((keys[_on(at, keys)], values[_on(at, values)]) for keys, values in self._kept.layers))
        outputs, below_head = forward(
            self.lm,
            self._ids[at, start:],
            self.keep,
            embeddings=embeddings[:, start:],
            past=past.before(start) if past is not None else None,
        )
        self._count_pairs(prompts)
        return outputs.logits, below_head

    def _values_of(self, prompts: Tensor, logits: Tensor) -> list[tuple[slice, Place, Tensor]]:
        """Returns the objective for each prompt's share of a batch, whose sequences are in the order of the prompts."""
        found, begin = [], 0
        chosen, counts = torch.unique_consecutive(prompts, return_counts=True)
        for k, count in zip(chosen.tolist(), counts.tolist(), strict=True):
            place, part = self.places[k], slice(begin, begin + count)
            at = self._begin(place)
            seen: Any = SimpleNamespace(logits=logits[part, at : at + place.weights.shape[1]])
            found.append((part, place, self.objective.value(seen, place.context)))
            begin += count
        return found

    def _begin(self, place: Place) -> int:
        """Returns where a prompt's logits begin among those that are kept."""
        return place.first - (self.length - self.keep)

    def _count_pairs(self, prompts: Tensor) -> None:
        self.counts.calls += 1
        self.counts.forwards += len(prompts)
        chosen, counts = torch.unique_consecutive(prompts, return_counts=True)
        for k, count in zip(chosen.tolist(), counts.tolist(), strict=True):
            self.places[k].counts.calls += 1
            self.places[k].counts.forwards += count


def _on(index: Tensor, values: Tensor) -> Tensor:
    """Returns the index where the values are: layers may lie on several devices."""
    return index.to(values.device)


def _unzipped(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [keys for keys, _ in pairs], [values for _, values in pairs]
