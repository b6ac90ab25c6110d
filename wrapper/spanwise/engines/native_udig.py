"""Uniform discretized integrated gradients (UDIG): a path from the baseline to the input that keeps close to words.

Sinha Roy & Kundu 2024, arXiv:2412.03886, after discretized integrated gradients (DIG), Sanyal & Ren 2021,
arXiv:2108.13654. For an input embedding x, a baseline x' and n steps:

1. Uniform points on the line: p_k = x' + k/n (x - x'), k = 1 .. n-1.
2. From the input down, k = n-1 .. 1, with c the path's point before (first x): of the words nearest to p_k, not yet
   used and neither x nor x', one becomes the anchor a_k: the one that step 3 moves least ("greedy"), or the one of
   which it leaves most dimensions alone ("maxcount").
3. Monotonize (DIG, section 3.2): a dimension of a_k that lies between x' and c stays; any other becomes c - (c - x')/n.
   The result is the path's point x_k, and the next c.
4. Riemann sum (DIG, section 3.1): the sum over k of gradient(x_k) (x_{k+1} - x_k), from x_0 = x' to x_n = x. As an
   option, ours, with the gradient in the middle of each step: the error is of second order instead of first.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from spanwise.engines.protocol import Runner
from spanwise.errors import OptionError
from spanwise.model.language_model import LanguageModel
from spanwise.scoring.scorer import Scorer

_VALUES = 2**24
"""Numbers in one block of the search: 64 MiB in float32."""


def uniform_discretized_integrated_gradients(
    scorer: Scorer, options: Mapping[str, Any]
) -> Float[Tensor, "row feature"]:
    """Gradients along a monotone path through the vocabulary, times the way; halved `factor` times between points."""
    vocabulary = vocabulary_embeddings(scorer.lm)
    if options["neighbors"] > len(vocabulary):
        raise OptionError(f"neighbors={options['neighbors']} was asked of a vocabulary of {len(vocabulary)} tokens.")
    kept = (scorer.features[: scorer.length] >= 0).to(scorer.embeddings.device)
    path, _ = anchored_path(
        scorer.embeddings[kept],
        scorer.baseline_embeddings[kept],
        vocabulary,
        options["n_steps"],
        neighbors=options["neighbors"],
        strategy=options["strategy"],
    )
    at = {"riemann_left": 0.0, "riemann_middle": 0.5}[options["method"]]
    return scorer.add_positions(_along(scorer, path, kept, 2 ** options["factor"], at))


RUNNERS: dict[str, Runner] = {"uniform_discretized_integrated_gradients": uniform_discretized_integrated_gradients}


def anchored_path(
    inputs: Float[Tensor, "source hidden"],
    baseline: Float[Tensor, "source hidden"],
    vocabulary: Float[Tensor, "vocab hidden"],
    n_steps: int,
    *,
    neighbors: int = 50,
    strategy: str = "greedy",
) -> tuple[Float[Tensor, "points source hidden"], Int[Tensor, "anchors source"]]:
    """Returns UDIG's path of `n_steps` + 1 points for each position, and the words at which it is anchored.

    In every dimension the path goes from the baseline to the input without turning back; both ends are exact.

    Args:
        inputs: Embeddings of the input.
        baseline: Where the paths begin.
        vocabulary: The embeddings that may be anchors, of any type; compared in float32.
        n_steps: Steps from the baseline to the input.
        neighbors: Words around each uniform point from which its anchor is taken.
        strategy: "greedy": the anchor that monotonizing moves least; "maxcount": the one with most monotone dimensions.

    Returns:
        The points, from the baseline to the input, and the `n_steps` - 1 anchors between them as rows of `vocabulary`.
    """
    size = max(1, _VALUES // (min(neighbors, len(vocabulary)) * inputs.shape[1]))
    parts = [
        _path(some, start, vocabulary, n_steps, neighbors, strategy)
        for some, start in zip(inputs.split(size), baseline.split(size), strict=True)
    ]
    return torch.cat([path for path, _ in parts], dim=1), torch.cat([anchors for _, anchors in parts], dim=1)


def monotonize(
    words: Float[Tensor, "source word hidden"],
    point: Float[Tensor, "source hidden"],
    baseline: Float[Tensor, "source hidden"],
    n_steps: int,
) -> tuple[Float[Tensor, "source word hidden"], Bool[Tensor, "source word hidden"]]:
    """Returns the words with each dimension between the baseline and `point`, and which dimensions were already.

    A dimension that is not goes one of `n_steps` steps from `point` to the baseline.
    """
    low, high = torch.minimum(point, baseline)[:, None], torch.maximum(point, baseline)[:, None]
    step = torch.lerp(point, baseline, 1 / n_steps)[:, None]
    within = (words >= low) & (words <= high)
    return torch.where(within, words, step), within


def nearest(
    points: Float[Tensor, "point hidden"], vocabulary: Float[Tensor, "vocab hidden"], count: int
) -> Int[Tensor, "point word"]:
    """Returns the `count` nearest rows of `vocabulary` to each point by Euclidean distance, in blocks of 64 MiB."""
    rows = min(len(vocabulary), max(1, _VALUES // vocabulary.shape[1]))
    found = []
    for some in points.split(max(1, _VALUES // rows)):
        distances, words = [], []
        for start in range(0, len(vocabulary), rows):
            block = vocabulary[start : start + rows].float()
            squares = block.square().sum(1) - 2 * some @ block.T  # less |point|^2, the same for every word
            best = squares.topk(min(count, len(block)), dim=1, largest=False)
            distances.append(best.values)
            words.append(best.indices + start)
        order = torch.cat(distances, 1).topk(min(count, len(vocabulary)), dim=1, largest=False).indices
        found.append(torch.cat(words, 1).gather(1, order))
    return torch.cat(found)


def vocabulary_embeddings(lm: LanguageModel) -> Float[Tensor, "vocab hidden"]:
    """Returns the embedding of every token of the tokenizer as the layer gives it: scaled, if it does, in its type."""
    ids = torch.arange(len(lm.tokenizer), device=lm.device)
    with torch.no_grad():
        return torch.cat([lm.embedding(part[None])[0] for part in ids.split(8192)])


def _path(
    inputs: Float[Tensor, "source hidden"],
    baseline: Float[Tensor, "source hidden"],
    vocabulary: Float[Tensor, "vocab hidden"],
    n_steps: int,
    neighbors: int,
    strategy: str,
) -> tuple[Float[Tensor, "points source hidden"], Int[Tensor, "anchors source"]]:
    if n_steps == 1:
        nothing = torch.empty(0, len(inputs), dtype=torch.int64, device=inputs.device)
        return torch.stack([baseline, inputs]), nothing
    points = [inputs]
    anchors: list[Tensor] = []
    for words in _around_the_line(inputs, baseline, vocabulary, n_steps, neighbors):  # [source, word]
        embedded = vocabulary[words].float()  # [source, word, hidden]
        moved, within = monotonize(embedded, points[-1], baseline, n_steps)
        cost = -within.sum(-1).float() if strategy == "maxcount" else (embedded - moved).square().sum(-1)
        ends = (embedded == inputs[:, None]).all(-1) | (embedded == baseline[:, None]).all(-1)
        chosen = _cheapest(cost, words, ends, anchors)[:, None]  # [source, 1]
        anchors.append(words.gather(1, chosen)[:, 0])
        points.append(moved.take_along_dim(chosen[:, :, None], 1)[:, 0])
    return torch.stack([*points, baseline]).flip(0), torch.stack(anchors).flip(0)


def _around_the_line(
    inputs: Float[Tensor, "source hidden"],
    baseline: Float[Tensor, "source hidden"],
    vocabulary: Float[Tensor, "vocab hidden"],
    n_steps: int,
    neighbors: int,
) -> Int[Tensor, "step source word"]:
    """Returns the words nearest to each uniform point of the line, from the input's end on."""
    shares = torch.arange(n_steps - 1, 0, -1, device=inputs.device) / n_steps
    points = torch.lerp(baseline, inputs, shares[:, None, None])  # [step, source, hidden]
    words = nearest(points.flatten(0, 1), vocabulary, neighbors)
    return words.unflatten(0, points.shape[:2])


def _cheapest(
    cost: Float[Tensor, "source word"],
    words: Int[Tensor, "source word"],
    ends: Bool[Tensor, "source word"],
    anchors: list[Tensor],
) -> Int[Tensor, " source"]:
    """Returns the cheapest word for each position: a new one; where all were used, one of those; the ends come last."""
    level = 2 * ends.int()
    for used in anchors:
        level = level.maximum((words == used[:, None]).int())
    return cost.masked_fill(level != level.amin(1, keepdim=True), torch.inf).argmin(1)


def _along(
    scorer: Scorer, path: Float[Tensor, "points kept hidden"], kept: Bool[Tensor, " source"], parts: int, at: float
) -> Float[Tensor, "row source"]:
    """Returns the Riemann sum along the path, each of its segments cut into `parts` steps, gradients `at` each step."""
    steps = (len(path) - 1) * parts
    # [batch, row, source, hidden] of gradients stays within 256 MiB, or is one point.
    size = max(1, min(scorer.batch_size, 2**26 // (scorer.row_count * scorer.embeddings.numel())))
    totals = torch.zeros(scorer.row_count, len(kept), device=path.device)
    for done in torch.arange(steps, device=path.device).split(size):
        begin, end = path[done // parts], path[done // parts + 1]  # [batch, kept, hidden]
        points = scorer.embeddings.repeat(len(done), 1, 1)
        points[:, kept] = torch.lerp(begin, end, ((done % parts + at) / parts)[:, None, None])
        gradients = scorer.embedding_gradients(points)[:, :, kept]
        totals[:, kept] += torch.einsum("bkh,brkh->rk", (end - begin) / parts, gradients.to(end))
    return totals
