"""UDIG: its path by its properties and against a slow copy of the definition, its sum against plain autograd.

Monotone and exact mean just that here: no tolerance. Sums are compared within 1e-5 of the largest score, float32 added
in another order.
"""

import copy
import itertools

import pytest
import torch
from conftest import PROMPT, TARGET

import spanwise
from spanwise.engines.native_udig import RUNNERS, anchored_path, monotonize, nearest, vocabulary_embeddings
from spanwise.errors import OptionError
from spanwise.scoring.baselines import baseline_embeddings
from spanwise.scoring.batching import Batches
from spanwise.scoring.objectives import find_objective
from spanwise.scoring.scorer import Scorer

runner = RUNNERS["uniform_discretized_integrated_gradients"]
DEFAULTS = {"n_steps": 8, "neighbors": 20, "strategy": "greedy", "factor": 0, "method": "riemann_left"}


def embeddings(
    hidden: int = 12, words: int = 200, positions: int = 6
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A vocabulary, inputs that are words of it, and baselines: a word, zero, and the mean."""
    vocabulary = torch.randn(words, hidden, generator=torch.Generator().manual_seed(0))
    inputs = vocabulary[torch.arange(positions) * 7 + 3]
    baseline = torch.stack([vocabulary[0], torch.zeros(hidden), vocabulary.mean(0)] * 2)[:positions]
    return inputs, baseline, vocabulary


def slow_path(x: torch.Tensor, start: torch.Tensor, vocabulary: torch.Tensor, n: int, size: int, strategy: str):
    """The definition for one position, one dimension at a time."""
    point, points, anchors = x, [x], []
    for k in range(n - 1, 0, -1):
        uniform = start + k / n * (x - start)
        distance = [float((word - uniform).norm()) for word in vocabulary]
        around = sorted(range(len(vocabulary)), key=distance.__getitem__)[:size]
        best = None
        for word in around:
            ends = torch.equal(vocabulary[word], x) or torch.equal(vocabulary[word], start)
            if word in anchors or ends:
                continue
            moved = vocabulary[word].clone()
            kept = 0
            for d in range(len(moved)):
                if min(start[d], point[d]) <= moved[d] <= max(start[d], point[d]):
                    kept += 1
                else:
                    moved[d] = point[d] - (point[d] - start[d]) / n
            cost = -kept if strategy == "maxcount" else float((vocabulary[word] - moved).square().sum())
            if best is None or cost < best[0]:
                best = (cost, word, moved)
        anchors.append(best[1])
        point = best[2]
        points.append(point)
    return torch.stack([*points, start]).flip(0), anchors[::-1]


def make_scorer(
    lm: spanwise.LanguageModel, baseline: str = "mean", rows: torch.Tensor | None = None, batch_size: int = 4
) -> Scorer:
    prompt_ids, target_ids = lm.tokenizer.encode(PROMPT), lm.tokenizer.encode(TARGET)
    length = len(prompt_ids) + len(target_ids) - 1
    features = torch.full((length,), -1)
    features[1 : len(prompt_ids)] = torch.arange(len(prompt_ids) - 1)  # the first token is frozen
    table = torch.eye(len(target_ids), dtype=torch.bool) if rows is None else rows
    start, _ = baseline_embeddings(lm, baseline, length)
    return Scorer(lm, prompt_ids, target_ids, find_objective("log_prob"), table, features, start, Batches(batch_size))


def run(scorer: Scorer, **options: object) -> torch.Tensor:
    with scorer.lm.session():
        return runner(scorer, {**DEFAULTS, **options})


def gap(scorer: Scorer, scores: torch.Tensor) -> float:
    """Part of the change from baseline to input that the scores miss, summed over rows."""
    change = scorer.scores(torch.ones(1, scorer.feature_count)) - scorer.scores(torch.zeros(1, scorer.feature_count))
    return float((scores.sum(1) - change[0]).abs().sum() / change.abs().sum())


@pytest.mark.parametrize("strategy", ["greedy", "maxcount"])
@pytest.mark.parametrize("n_steps", [1, 2, 5, 30])
def test_properties_of_the_path(strategy: str, n_steps: int) -> None:
    inputs, baseline, vocabulary = embeddings()
    path, anchors = anchored_path(inputs, baseline, vocabulary, n_steps, neighbors=20, strategy=strategy)
    assert path.shape == (n_steps + 1, 6, 12) and anchors.shape == (n_steps - 1, 6)
    assert torch.equal(path[0], baseline) and torch.equal(path[-1], inputs)
    forwards = torch.sign(inputs - baseline) * path.diff(dim=0)
    assert (forwards >= 0).all()
    assert ((path == baseline) | (inputs != baseline)).all()
    for k in range(1, n_steps):
        words = vocabulary[anchors[k - 1]]  # [source, hidden]
        again, within = monotonize(words[:, None], path[k + 1], baseline, n_steps)
        assert torch.equal(path[k], again[:, 0])  # each point is its anchor, made monotone
        assert torch.equal(path[k][within[:, 0]], words[within[:, 0]])
        assert (
            (nearest(torch.lerp(baseline, inputs, k / n_steps), vocabulary, 20) == anchors[k - 1][:, None]).any(1).all()
        )
    assert all(len(column.unique()) == n_steps - 1 for column in anchors.T[:, : min(n_steps, 15)]) or n_steps > 15
    assert (vocabulary[anchors] != inputs).any(-1).all() and (vocabulary[anchors] != baseline).any(-1).all()


@pytest.mark.parametrize("strategy", ["greedy", "maxcount"])
def test_the_path_equals_a_slow_copy_of_the_definition(strategy: str) -> None:
    inputs, baseline, vocabulary = embeddings()
    path, anchors = anchored_path(inputs, baseline, vocabulary, 6, neighbors=15, strategy=strategy)
    for position in range(len(inputs)):
        expected, words = slow_path(inputs[position], baseline[position], vocabulary, 6, 15, strategy)
        assert anchors[:, position].tolist() == words
        torch.testing.assert_close(path[:, position], expected)


def test_strategies_differ() -> None:
    inputs, baseline, vocabulary = embeddings()
    _, greedy = anchored_path(inputs, baseline, vocabulary, 10, strategy="greedy")
    _, maxcount = anchored_path(inputs, baseline, vocabulary, 10, strategy="maxcount")
    assert not torch.equal(greedy, maxcount)


def test_more_steps_than_words_around() -> None:
    """Words are used again when all were used; the ends of the path only when there is nothing else."""
    inputs, baseline, vocabulary = embeddings()
    path, anchors = anchored_path(inputs, baseline, vocabulary, 9, neighbors=3)
    assert ((torch.sign(inputs - baseline) * path.diff(dim=0)) >= 0).all()
    few = torch.stack([inputs[0], baseline[0]])
    path, anchors = anchored_path(inputs[:1], baseline[:1], few, 4, neighbors=2)
    assert torch.equal(path[-1], inputs[:1]) and anchors.shape == (3, 1)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, baseline, vocabulary = embeddings()
    whole = anchored_path(inputs, baseline, vocabulary, 7, neighbors=15)
    monkeypatch.setattr("spanwise.engines.native_udig._VALUES", 12 * 17)
    parts = anchored_path(inputs, baseline, vocabulary, 7, neighbors=15)
    assert torch.equal(whole[1], parts[1])
    assert torch.equal(whole[0], parts[0])


def test_nearest_equals_all_distances() -> None:
    inputs, baseline, vocabulary = embeddings()
    points = torch.lerp(baseline, inputs, 0.4)
    expected = torch.cdist(points, vocabulary).argsort(1)[:, :9]
    assert torch.equal(nearest(points, vocabulary, 9), expected)
    assert nearest(points, vocabulary, 10_000).shape == (6, 200)


@pytest.mark.parametrize("method", ["riemann_left", "riemann_middle"])
@pytest.mark.parametrize("factor", [0, 2])
def test_the_sum_equals_plain_autograd(any_lm: spanwise.LanguageModel, factor: int, method: str) -> None:
    """Midpoints are put in one round after the other, as the paper's authors do, and every gradient is asked alone."""
    scorer = make_scorer(any_lm, rows=torch.ones(1, len(any_lm.tokenizer.encode(TARGET)), dtype=torch.bool))
    found = run(scorer, factor=factor, n_steps=5, method=method)
    kept = scorer.features >= 0
    path, _ = anchored_path(
        scorer.embeddings[kept], scorer.baseline_embeddings[kept], vocabulary_embeddings(any_lm), 5, neighbors=20
    )
    for _ in range(factor):
        middle = (path[:-1] + path[1:]) / 2
        path = torch.cat([torch.stack([path[:-1], middle], 1).flatten(0, 1), path[-1:]])
    expected = torch.zeros(scorer.feature_count)
    for point, following in itertools.pairwise(path):
        full = scorer.embeddings.clone()
        full[kept] = point if method == "riemann_left" else (point + following) / 2
        expected += ((following - point) * scorer.embedding_gradients(full[None])[0, 0, kept]).sum(-1)
    assert float((found[0] - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    assert scorer.counts.forwards == 2 * 5 * 2**factor  # ours and the slow copy's


def test_batches_change_nothing(lm: spanwise.LanguageModel) -> None:
    one, other = run(make_scorer(lm, batch_size=1)), run(make_scorer(lm, batch_size=7))
    assert float((one - other).abs().max()) <= 1e-5 * float(one.abs().max())


def test_token_rows_add_up_to_the_span(lm: spanwise.LanguageModel) -> None:
    matrix = run(make_scorer(lm))
    rows = torch.zeros(1, len(matrix), dtype=torch.bool)
    rows[0, 2:6] = True
    span = run(make_scorer(lm, rows=rows))
    assert float((matrix[2:6].sum(0) - span[0]).abs().max()) <= 1e-5 * float(span.abs().max())


@pytest.mark.parametrize("baseline", ["mean", "token:<unk>"])
def test_complete_in_the_limit(any_lm: spanwise.LanguageModel, baseline: str) -> None:
    """Finer steps along the same path close the gap: the Riemann sum's error is of first order, 16 times smaller.

    Not from "pad": its embedding is 0 in models with a padding index, where the gradient under RMSNorm is enormous.
    """
    rows = torch.ones(1, len(any_lm.tokenizer.encode(TARGET)), dtype=torch.bool)
    gaps = []
    for factor in (3, 7):
        scorer = make_scorer(any_lm, baseline, rows, batch_size=32)
        gaps.append(gap(scorer, run(scorer, factor=factor)))
    assert gaps[1] < max(gaps[0] / 6, 0.02)
    assert gaps[1] < 0.1


def test_vocabulary_is_what_the_embedding_layer_gives(any_lm: spanwise.LanguageModel) -> None:
    """Gemma scales its embeddings: the inputs must be among the words."""
    vocabulary = vocabulary_embeddings(any_lm)
    ids = any_lm.tokenizer.encode(PROMPT)
    assert torch.equal(vocabulary[ids], make_scorer(any_lm).embeddings[: len(ids)])


def test_bfloat16(lm: spanwise.LanguageModel) -> None:
    half = spanwise.LanguageModel(copy.deepcopy(lm.model).bfloat16(), lm.tokenizer)
    scores = run(make_scorer(half))
    assert scores.dtype == torch.float32 and scores.isfinite().all()


def test_more_neighbors_than_words(lm: spanwise.LanguageModel) -> None:
    with pytest.raises(OptionError, match="neighbors=999 was asked of a vocabulary of 384 tokens"):
        run(make_scorer(lm), neighbors=999)
