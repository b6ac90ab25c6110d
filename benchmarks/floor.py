"""How far from the floor: the forwards and backwards a method must do, in a loop of plain PyTorch, and ours.

The loop knows its model, its sizes and its batches, keeps what can be kept, and does nothing else: no tokens, no spans,
no checks, no result. Its scores are compared with ours in the same row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common import Row, attributed, by_turns, difference, groups_of, prompt_of, target_of, words_of
from torch import Tensor
from transformers import DynamicCache

import spanwise

TOKENS_AT_ONCE = 1024
"""Positions that go through the model together: from there on a processor's matrix products gain nothing."""

PAD = 1


@dataclass
class Loop:
    """The floor for one prompt and target: ids of both, and the id that stands for a removed token."""

    model: Any
    prompt: Tensor
    target: Tensor

    def __post_init__(self) -> None:
        self.ids = torch.cat([self.prompt, self.target])[None, :-1]
        with torch.no_grad():
            self.embedded = self.model.get_input_embeddings()(self.ids)[0]
            self.off = self.embedded.clone()
            self.off[: len(self.prompt)] = self.model.get_input_embeddings()(torch.tensor(PAD))

    def values(self, embedded: Tensor, past: Any = None) -> tuple[Tensor, Tensor]:
        """Returns log-probabilities of the target, [batch, target], and the head's input."""
        hidden = self.model.model(inputs_embeds=embedded, past_key_values=past, use_cache=past is not None)[0]
        below = hidden[:, -len(self.target) :].contiguous()
        logits = self.model.lm_head(below).float()
        of_target = self.target[None, :, None].expand(len(embedded), -1, 1)
        return logits.gather(-1, of_target)[..., 0] - logits.logsumexp(-1), below

    def integrated_gradients(self, steps: int, *, matrix: bool) -> Tensor:
        """Returns the scores of each prompt token for the target, or for each target token."""
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        points = torch.tensor((1 + nodes) / 2, dtype=self.embedded.dtype)
        shares = torch.tensor(weights / 2, dtype=torch.float32)
        way = (self.embedded - self.off).float()
        size = max(1, TOKENS_AT_ONCE // len(way))
        total = torch.zeros(len(self.target) if matrix else 1, len(way))
        for begin in range(0, steps, size):
            at = points[begin : begin + size, None, None]
            inputs = (self.off + at * (self.embedded - self.off)).requires_grad_()
            values, below = self.values(inputs)
            if matrix:
                outer = torch.autograd.grad(values.sum(), below, retain_graph=True)[0]
                for k in range(len(self.target)):
                    one = torch.zeros_like(outer)
                    one[:, k] = outer[:, k]
                    last = k == len(self.target) - 1
                    slope = torch.autograd.grad(below, inputs, one, retain_graph=not last)[0].float()
                    total[k] += ((slope * way).sum(-1) * shares[begin : begin + size, None]).sum(0)
            else:
                slope = torch.autograd.grad(values.sum(), inputs)[0].float()
                total[0] += ((slope * way).sum(-1) * shares[begin : begin + size, None]).sum(0)
        return total[:, : len(self.prompt)]

    @torch.no_grad()
    def without(self, removed: Sequence[Sequence[tuple[int, int]]], *, keep: bool = True) -> Tensor:
        """Returns the target's log-probabilities with runs of tokens removed, [case, target].

        Cases that change at about the same place go together, and read only what stands behind the first change.
        """
        cache = DynamicCache()
        self.values(self.embedded[None], cache)
        starts = [min(begin for begin, _ in runs) if keep else 0 for runs in removed]
        order = sorted(range(len(removed)), key=lambda i: starts[i])
        found = torch.empty(len(removed), len(self.target))
        done = 0
        while done < len(order):
            start = starts[order[done]]
            batch = order[done : done + max(1, TOKENS_AT_ONCE // (len(self.embedded) - start))]
            inputs = self.embedded.expand(len(batch), -1, -1).clone()
            for row, i in enumerate(batch):
                for begin, end in removed[i]:
                    inputs[row, begin:end] = self.off[begin:end]
            found[batch] = self.values(inputs[:, start:], _beginning(cache, start, len(batch)))[0]
            done += len(batch)
        return found

    def ablation(self, groups: Sequence[tuple[int, int]], *, keep: bool = True) -> Tensor:
        """Returns what each group's removal takes from each target token, [target, group]."""
        with torch.no_grad():
            whole = self.values(self.embedded[None])[0]
        return (whole - self.without([[group] for group in groups], keep=keep)).T

    def shapley(self, orders: Sequence[Sequence[int]], groups: Sequence[tuple[int, int]]) -> Tensor:
        """Returns each group's mean effect over the orders in which groups come in, [target, group]."""
        here = {frozenset(order[:count]) for order in orders for count in range(len(groups) + 1)}
        everything = frozenset(range(len(groups)))
        subsets = [subset for subset in here if subset != everything]
        values = self.without([[groups[i] for i in everything - subset] for subset in subsets])
        with torch.no_grad():
            of = {everything: self.values(self.embedded[None])[0][0], **dict(zip(subsets, values, strict=True))}
        total = torch.zeros(len(self.target), len(groups))
        for order in orders:
            for count, group in enumerate(order):
                total[:, group] += of[frozenset(order[: count + 1])] - of[frozenset(order[:count])]
        return total / len(orders)


def _beginning(cache: DynamicCache, start: int, batch: int) -> DynamicCache | None:
    if not start:
        return None
    layers = [(layer.keys[..., :start, :], layer.values[..., :start, :]) for layer in cache.layers]
    return DynamicCache([tuple(each.expand(batch, -1, -1, -1) for each in pair) for pair in layers])


def orders_of(samples: int, groups: int, seed: int = 0) -> list[list[int]]:
    """Returns the orders that Captum's Shapley value sampling draws after this seed."""
    torch.manual_seed(seed)
    return [torch.randperm(groups).tolist() for _ in range(samples)]


@dataclass(frozen=True)
class Size:
    """How much of everything: tokens of prompt and target, groups for Shapley values, steps, samples."""

    prompt: int
    target: int
    groups: int = 16
    steps: int = 20
    matrix_steps: int = 4
    samples: int = 4
    by_token: bool = True


def compare(lm: spanwise.LanguageModel, precision: str, size: Size, methods: Sequence[str], turns: int) -> list[Row]:
    """Returns a row a method: ours over the loop."""
    prompt, target = prompt_of(size.prompt), target_of(size.target)
    loop = Loop(lm.model, torch.tensor(lm.tokenizer(prompt)["input_ids"]), target)
    groups = groups_of(size.prompt, size.groups)
    tokens = groups_of(size.prompt, size.prompt) if size.by_token else groups
    words = words_of(prompt, groups)

    def ours(method: str, rows: str, features: Any = "token", **options: Any) -> Callable[[], spanwise.Attribution]:
        return lambda: spanwise.attribute(
            lm,
            prompt,
            target,
            method=method,
            rows=rows,
            features=features,
            baseline="pad",
            method_options=options,
            progress=False,
        )

    spanwise.attribute(lm, prompt, target, method="saliency", rows="span", progress=False)  # first use is not measured
    units = "token" if size.by_token else words
    works: dict[str, tuple[Callable[[], Tensor], Callable[[], spanwise.Attribution]]] = {
        f"integrated_gradients span, {size.steps} steps": (
            lambda: loop.integrated_gradients(size.steps, matrix=False),
            ours("integrated_gradients", "span", n_steps=size.steps),
        ),
        f"integrated_gradients matrix, {size.matrix_steps} steps": (
            lambda: loop.integrated_gradients(size.matrix_steps, matrix=True),
            ours("integrated_gradients", "token", n_steps=size.matrix_steps),
        ),
        f"feature_ablation, {len(tokens)} features": (
            lambda: loop.ablation(tokens),
            ours("feature_ablation", "token", units),
        ),
        f"shapley_value_sampling, {size.samples} x {size.groups} features": (
            lambda: loop.shapley(orders_of(size.samples, size.groups), groups),
            ours("shapley_value_sampling", "token", words, n_samples=size.samples),
        ),
    }
    found = []
    for name, (floor, mine) in works.items():
        if not any(name.startswith(method) for method in methods):
            continue
        least, taken = by_turns([floor, mine], turns, warm=turns > 1 and size.prompt < 64)
        made = taken.result.provenance
        found.append(
            Row(
                "Ours over a hand-written loop",
                {
                    "precision": precision,
                    "prompt + target": f"{size.prompt} + {size.target}",
                    "work": name,
                    "loop s": least.seconds,
                    "ours s": taken.seconds,
                    "ratio": taken.seconds / least.seconds,
                    "asked": 1.10 if (size.prompt, size.target) == (256, 16) else None,
                    "forwards": made.forwards,
                    "backwards": made.backwards,
                    "loop GiB": least.gib,
                    "ours GiB": taken.gib,
                    "difference": difference(_as_groups(taken.result, least.result), least.result),
                },
            )
        )
    return found


def _as_groups(result: spanwise.Attribution, expected: Tensor) -> Tensor:
    """Returns our scores as the loop has them: a feature's score stands evenly on its tokens."""
    scores = attributed(result)
    return scores.unflatten(1, (expected.shape[1], -1)).sum(-1)
