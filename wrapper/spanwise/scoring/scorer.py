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

from spanwise.errors import MethodError
from spanwise.model.forward import embed, forward
from spanwise.model.language_model import LanguageModel
from spanwise.model.reading import check_length
from spanwise.scoring.batching import Batches
from spanwise.scoring.objectives import Context, Objective
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
        self._reference: Tensor | None = None  # [target]
        self.embeddings = embed(self.lm, self._ids, self.encoder_length)[0]  # [source, hidden]
        if isinstance(self.baseline, Tensor):
            start = self.baseline[: self.length].to(device)
            self.baseline_embeddings = torch.where(self._attributed[:, None], start, self.embeddings)

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
            with torch.no_grad():
                self._reference = self.batches.over(ids, self._plain)[0].float()
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
                return self.batches.over(gates, rows)
            known = self._reference[self._first : self._last] @ self._row_weights.T
            values = known.repeat(len(gates), 1)
            if not whole.all():
                values[~whole.to(values.device)] = self.batches.over(gates[~whole], rows).to(values)
            return values

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
            values, below_head = self._values(embedded(leaf))  # [batch, target]
            self._count(len(inputs), tick=False)
            top, of_target = _begin(values, below_head if self.objective.local else None)
            gradients = []
            for row, weights in enumerate(self._row_weights):
                last = row == self.row_count - 1
                outer = of_target * weights.to(of_target).view(1, -1, *[1] * (of_target.ndim - 2))
                gradients.append(torch.autograd.grad(top, leaf, outer, retain_graph=not last)[0])
                self.counts.backwards += len(inputs)
                self.tick(len(inputs) if not last else 2 * len(inputs))  # the forward counts as done with the last
        return torch.stack(gradients, dim=1)

    def _plain(self, ids: Int[Tensor, "1 source"]) -> Float[Tensor, "1 target"]:
        outputs, _ = self._forward(ids, len(self.target_ids))
        self._count(1)
        return self.objective.value(outputs, self.context_of(0, len(self.target_ids)))

    def _values(
        self, embeddings: Float[Tensor, "batch source hidden"]
    ) -> tuple[Float[Tensor, "batch target"], Tensor | None]:
        ids = self._ids.expand(len(embeddings), -1)
        outputs, below_head = self._forward(ids, self._last - self._first, embeddings)
        return self.objective.value(outputs, self._context), below_head

    def _replaced(self, gates: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch row"]:
        values, _ = self._values(self._on_path(gates))
        self._count(len(gates))
        return values @ self._row_weights.T.to(values)

    def _without(self, gates: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch row"]:
        """Returns the rows' values where features that are off are hidden, left out, or other text."""
        if self.baseline == "mask":
            there = self._there(gates)
            self._check_sight(there)
            return self._rows_of(self._ids.expand(len(gates), -1), self.encoder_length, mask=there)
        if isinstance(self.baseline, Rewriting):
            sequences = [self._rewritten(self.baseline, row) for row in (gates > 0.5).tolist()]
        else:
            sequences = [self._left(there) for there in self._there(gates)]
        # Sequences of one length go together, so that nothing is padded.
        rows = torch.empty(len(gates), self.row_count, device=self._ids.device)
        lengths = [(len(ids), encoder_length) for ids, encoder_length in sequences]
        for kind in sorted(set(lengths)):
            same = [i for i, length in enumerate(lengths) if length == kind]
            rows[same] = self._rows_of(torch.stack([sequences[i][0] for i in same]), kind[1])
        return rows

    def _check_sight(self, there: Bool[Tensor, "batch source"]) -> None:
        """Refuses a mask that hides the whole prompt, where attention to nothing becomes attention to everything."""
        blind = not there[:, : self.encoder_length or len(self.prompt_ids)].any(1).all()
        attention = getattr(self.lm.model.config, "_attn_implementation", None)
        if blind and (self.encoder_length or attention != "sdpa"):
            raise MethodError(
                f"baseline='mask' leaves nothing of the prompt to attend to, and attn_implementation={attention!r} "
                "attends to hidden tokens then. Keep a part of the prompt frozen (a BOS token, say), or use a token "
                "as baseline."
            )

    def _there(self, gates: Float[Tensor, "batch feature"]) -> Bool[Tensor, "batch source"]:
        on = gates.to(self._ids.device)[:, self._features.clamp(min=0)] > 0.5
        return on | ~self._attributed

    def _left(self, there: Bool[Tensor, " source"]) -> tuple[Int[Tensor, " left"], int]:
        """Returns the ids that are there, and where the decoder's begin."""
        if self.encoder_length and not there[self.encoder_length]:
            raise MethodError("baseline='delete' cannot leave out the decoder's first token: leave frozen='none' out.")
        prompt = int(there[: self.encoder_length or len(self.prompt_ids)].sum())
        if prompt == 0:
            raise MethodError(
                "baseline='delete' leaves nothing of the prompt to predict the target from. Keep a part of it "
                "frozen (a BOS token, say), or use baseline='mask'."
            )
        return self._ids[0][there], prompt if self.encoder_length else 0

    def _rewritten(self, rewriting: Rewriting, on: list[bool]) -> tuple[Int[Tensor, " left"], int]:
        """Returns the ids of a rewritten prompt and the target, and where the decoder's begin."""
        prompt = self.prompt_ids if all(on) else rewriting.ids(tuple(on))
        check_length(self.lm, len(prompt), self._last)
        ids = torch.tensor([*prompt, *self.target_ids][: len(prompt) + self._last - 1], device=self._ids.device)
        return ids, len(prompt) - 1 if self.encoder_length else 0

    def _rows_of(self, ids: Int[Tensor, "batch source"], encoder_length: int, **options: Any) -> Tensor:
        keep = self._last - self._first
        outputs, _ = forward(self.lm, ids, keep, encoder_length=encoder_length, **self._reads(), **options)
        self._count(len(ids))
        return self.objective.value(outputs, self._context) @ self._row_weights.T

    def _forward(
        self, ids: Int[Tensor, "batch source"], keep: int, embeddings: Tensor | None = None
    ) -> tuple[Any, Tensor | None]:
        length = self.encoder_length
        return forward(self.lm, ids, keep, embeddings=embeddings, encoder_length=length, **self._reads())

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


def _begin(values: Tensor, below_head: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns where the backward for each row begins, and what it begins with.

    A target's value depends on the head's input at its own position only. So one backward of the sum of all values
    gives every target's gradient there, and the rows' backwards can leave out the head, the widest layer of the model.

    Args:
        values: [batch, target], with a graph.
        below_head: The head's input, [batch, target, hidden]; or None to begin at the values.

    Returns:
        A tensor of the graph and the gradient of the sum of all values with respect to it, [batch, target, ...].
    """
    if below_head is None:
        return values, torch.ones_like(values)
    return below_head, torch.autograd.grad(values.sum(), below_head, retain_graph=True)[0]
