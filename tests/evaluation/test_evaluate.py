"""`evaluate`: figures against hand-computed values, bounds against every order, and what it costs and refuses.

An additive model has value(kept) = sum of the effects of what is kept; each figure is then plain arithmetic.
"""

import dataclasses
import hashlib
import itertools
import json
import math
from pathlib import Path

import numpy
import pytest
import torch
from conftest import make_model, make_tokenizer
from scipy import stats

import spanwise
from spanwise.errors import InputError, MethodError, NonFiniteError, OptionError
from spanwise.evaluation.faithfulness import evaluation as evaluation_room
from spanwise.evaluation.faithfulness import intervals, swaps
from spanwise.evaluation.faithfulness import orders as evaluate_orders
from spanwise.evaluation.faithfulness.case import make_case
from spanwise.evaluation.faithfulness.evaluate import evaluate
from spanwise.evaluation.faithfulness.evaluation import Evaluation
from spanwise.evaluation.faithfulness.intervals import bootstrap, compare_one, compare_several
from spanwise.evaluation.faithfulness.metrics import METRICS, Measure, asked, figures, log_odds, reasons
from spanwise.evaluation.faithfulness.orders import (
    Bounds,
    along,
    aopc,
    block_boundaries,
    find_bounds,
    leading,
    random_orders,
    rank,
    search_work,
    taken,
)
from spanwise.evaluation.faithfulness.removal import choose_removals
from spanwise.evaluation.faithfulness.soft import keep_chances, make_draws, soft_subsets
from spanwise.evaluation.replay import one_row, question_of

PROMPT, TARGET = "The keys to the cabinet near the window", " are on the table."


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def additive(effects: list[float], rest: float = 0.0):
    """An additive log-probability: `rest` where nothing is kept."""
    return lambda kept: (kept.double() @ torch.tensor(effects, dtype=torch.float64)) + rest


def measured(scores: list[float], value, how: Measure, bounds: Bounds | None = None) -> dict[str, float | None]:
    ranking = rank(torch.tensor(scores, dtype=torch.float64))
    values = {name: value(kept) for name, kept in asked(ranking, how).items()}
    if bounds is None:
        bounds = find_bounds(value, len(scores), how.boundaries, [])
    return figures(values, how, bounds)


def measure(count: int, k: int, **more: object) -> Measure:
    given = {"boundaries": block_boundaries(count, 10), "draws": make_draws(count, generator()), "tokens": 1}
    return Measure(**{**given, "k": k, "objective": "log_prob", "probability": "log_prob", **more})


# --- pure figures


def test_every_figure_by_hand() -> None:
    """Effects 2, 1 and -.5 nats, and log p = -3 with nothing: the scores rank them as they are."""
    value = additive([1.0, -0.5, 2.0], rest=-3.0)  # log p = -.5 with all, features in the order 2, 0, 1
    found = measured([1.0, -0.5, 2.0], value, measure(3, k=2))
    deletion, lerf = [-0.5, -2.5, -3.5, -3.0], [-0.5, 0.0, -1.0, -3.0]
    assert found["deletion"] == pytest.approx(sum(deletion) / 4)
    assert found["insertion"] == pytest.approx(sum(lerf) / 4)
    assert found["aopc"] == pytest.approx((0 + 2 + 3 + 2.5) / 4)
    assert found["aopc_lerf"] == pytest.approx((0 - 0.5 + 0.5 + 2.5) / 4)
    assert found["naopc"] == pytest.approx(1.0) and found["naopc_lerf"] == pytest.approx(0.0)
    p = math.exp
    # 1, 5, 10 and 20 % of three features are one of them, 50 % are two
    assert found["comprehensiveness"] == pytest.approx(p(-0.5) - (4 * p(-2.5) + p(-3.5)) / 5)
    assert found["sufficiency"] == pytest.approx(p(-0.5) - (4 * p(-1.0) + p(0.0)) / 5)
    odds = [math.log(p(x) / (1 - p(x))) for x in (-0.5, -2.5)]
    assert found["log_odds"] == pytest.approx(odds[0] - odds[1])
    assert found["top_k"] == pytest.approx(3.0)


def test_soft_figures_by_hand() -> None:
    how = measure(3, k=1)
    value = additive([1.0, 0.5, 2.0], rest=-4.0)
    scores = torch.tensor([1.0, 0.5, 2.0])
    found = measured(scores.tolist(), value, how)
    p, empty = math.exp(-0.5), math.exp(-4.0)
    removed = value(soft_subsets(scores, how.draws, keep_important=False)).exp()
    kept = value(soft_subsets(scores, how.draws, keep_important=True)).exp()
    assert found["soft_nc"] == pytest.approx(float(numpy.mean([max(0, p - float(x)) for x in removed])) / (p - empty))
    soft_s = [max(0.0, (1 - max(0, p - float(x))) - (1 - (p - empty))) for x in kept]
    assert found["soft_ns"] == pytest.approx(float(numpy.mean(soft_s)) / (p - empty))


def test_a_token_of_several_and_the_objective_prob() -> None:
    """p is the geometric mean of the tokens' probabilities for log_prob, their mean for prob."""
    sums = additive([2.0, 4.0], rest=-6.0)
    found = measured([1.0, 2.0], sums, measure(2, k=1, tokens=3))
    assert found["top_k"] == pytest.approx(4 / 3)
    chance = additive([0.6, 0.9], rest=0.3)
    found = measured([1.0, 2.0], chance, measure(2, k=1, tokens=3, probability="prob"))
    assert found["top_k"] == pytest.approx(math.log(0.6) - math.log(0.3))
    assert found["comprehensiveness"] == pytest.approx(0.6 - 0.3)
    how = measure(2, k=1, objective="logit", probability="")
    assert "top_k" not in measured([1.0, 2.0], chance, how)
    values = {name: chance(kept) for name, kept in asked(rank(torch.tensor([1.0, 2.0])), how).items()}
    told = reasons(values, how, Bounds(0.0, 1.0, "exact"))
    assert set(told) == {name for name, metric in METRICS.items() if metric.probability}
    assert "the objective logit gives no probability" in told["soft_nc"]


def test_no_probability_to_lose() -> None:
    how = measure(2, k=1)
    harmful = additive([-1.0, -2.0], rest=-1.0)
    values = {name: harmful(kept) for name, kept in asked(rank(torch.tensor([1.0, 2.0])), how).items()}
    told = reasons(values, how, Bounds(1.0, 1.0, "exact"))
    assert set(told) == {"soft_nc", "soft_ns", "naopc", "naopc_lerf"}
    found = figures(values, how, Bounds(1.0, 1.0, "exact"))
    assert all(found[name] is None for name in told)


def test_log_odds_is_finite() -> None:
    found = log_odds(torch.tensor([0.0, -1e-12, -0.5, -200.0]))
    assert found.isfinite().all()
    assert found[2] == pytest.approx(math.log(math.exp(-0.5) / (1 - math.exp(-0.5))))
    assert found[3] == pytest.approx(-200.0)


def test_bounds_and_curves_against_all_720_orders() -> None:
    """Six features that work together: every order's AOPC is between the bounds, and two of them are the bounds."""
    table = torch.randn(64, generator=generator(), dtype=torch.float64)
    powers = 2 ** torch.arange(6)

    def value(kept):
        return table[(kept.long() * powers).sum(1)]

    for steps in (10, 3, 4):
        boundaries = block_boundaries(6, steps)
        every = []
        for order in itertools.permutations(range(6)):
            points = [float(table[sum(2**i for i in order[gone:])]) for gone in boundaries]
            every.append(sum(points[0] - point for point in points) / len(points))
            if len(every) % 100 == 1:
                assert aopc(value(~leading(torch.tensor(order), boundaries))) == pytest.approx(every[-1])
        found = find_bounds(value, 6, boundaries, [])
        assert (found.search, found.width) == ("exact", None)
        assert (found.lower, found.upper) == pytest.approx((min(every), max(every)))
        seen = [torch.tensor(list(itertools.permutations(range(6)))[i]) for i in (5, 77)]
        by_beam = find_bounds(value, 6, boundaries, seen, exact=0)
        assert by_beam.search == "beam" and by_beam.width == evaluate_orders.BEAM
        assert min(every) - 1e-9 <= by_beam.lower <= min(every[5], every[77])
        assert max(every[5], every[77]) <= by_beam.upper <= max(every) + 1e-9


def test_every_order_that_was_seen_counts() -> None:
    """Five features do nothing unless all are removed first, in one order: the search goes by single steps."""
    hidden = torch.zeros(20, dtype=torch.bool)
    hidden[[1, 6, 11, 13, 18]] = True

    def value(kept):
        return -9.0 * (~kept == hidden).all(1).double() + kept.double().sum(1) / 100

    boundaries = [0, 5, 10, 15, 20]
    order = rank(hidden.double()).order
    best = aopc(value(~leading(order, boundaries)))
    assert find_bounds(value, 20, boundaries, []).upper < best - 1
    found = find_bounds(value, 20, boundaries, [order])
    assert found.upper == pytest.approx(best) and found.reached_by(best) and not found.reached_by(best - 1)


def test_exchanges_bring_the_search_closer_to_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean distance of the search from the exact upper bound, features acting in random pairs: less than half."""
    boundaries, far = block_boundaries(9, 4), {}
    for sequences in (0, swaps.SWAPS):
        monkeypatch.setattr(swaps, "SWAPS", sequences)
        missed = []
        for seed in range(12):
            table = torch.randn(9, 9, generator=generator(seed), dtype=torch.float64)

            def value(kept, table=table):
                return torch.einsum("si,ij,sj->s", kept.double(), table, kept.double())

            exact, found = (find_bounds(value, 9, boundaries, [], exact=most) for most in (9, 0))
            assert exact.lower - 1e-9 <= found.lower <= found.upper <= exact.upper + 1e-9
            missed.append((found.lower - exact.lower + exact.upper - found.upper) / (exact.upper - exact.lower))
        far[sequences] = float(numpy.mean(missed))
    assert far[swaps.SWAPS] < far[0] / 2


def test_places_and_bounds_up_to_rounding() -> None:
    bounds = Bounds(0.0, 1.0, "exact")
    assert (bounds.place(-1.3e-15), bounds.place(1 + 1e-12), bounds.place(0.5)) == (0.0, 1.0, 0.5)
    assert bounds.place(1.1) == pytest.approx(1.1)
    # of 100 nats, float32 does not know 1e-6; of a probability of 1e-6 it knows 1e-7
    noise = find_bounds(additive([1e-6, -1e-6, 2e-6], rest=-100.0), 3, [0, 1, 2, 3], [])
    assert noise.place(noise.lower) is None
    small = find_bounds(additive([1e-7, 2e-7, 4e-7], rest=1e-6), 3, [0, 1, 2, 3], [])
    assert small.place(small.upper) == 1.0


def test_the_beam_is_exact_for_an_additive_model() -> None:
    effects = torch.randn(25, generator=generator(3), dtype=torch.float64).tolist()
    value, boundaries = additive(effects), block_boundaries(25, 10)
    found = find_bounds(value, 25, boundaries, [])
    best = aopc(value(~leading(rank(torch.tensor(effects)).order, boundaries)))
    worst = aopc(value(~leading(rank(-torch.tensor(effects)).order, boundaries)))
    assert (found.lower, found.upper) == pytest.approx((worst, best))


def test_the_beam_from_nothing_finds_what_features_hold_together() -> None:
    """Any one of five features is enough, so that no single removal shows them; put in alone, each does."""
    needed = torch.zeros(30, dtype=torch.bool)
    needed[[3, 8, 14, 21, 29]] = True

    def value(kept):
        return (kept & needed).any(1).double()

    boundaries = block_boundaries(30, 10)
    found = find_bounds(value, 30, boundaries, [])
    order = rank(needed.double()).order
    assert found.upper == pytest.approx(aopc(value(~leading(order, boundaries))))


def test_exact_effects_are_best_and_random_ones_lie_in_the_middle() -> None:
    for count in (6, 16):
        effects = torch.randn(count, generator=generator(count), dtype=torch.float64)
        value, boundaries = additive(effects.tolist(), -9.0), block_boundaries(count, 10)
        bounds = find_bounds(value, count, boundaries, [])

        def placed(order, value=value, bounds=bounds, boundaries=boundaries) -> float:
            return bounds.place(aopc(value(~leading(order, boundaries))))

        assert placed(rank(effects).order) == pytest.approx(1.0)
        assert placed(rank(-effects).order) == pytest.approx(0.0)
        orders = random_orders(2000, count, generator(1))
        mean = sum(placed(order) for order in orders) / len(orders)
        # an order and its reverse lie opposite each other; standard error below .01 without that
        assert mean == pytest.approx(0.5, abs=0.02)


def test_blocks_and_rankings() -> None:
    assert block_boundaries(4, 10) == [0, 1, 2, 3, 4]
    assert block_boundaries(60, 10) == list(range(0, 61, 6))
    gone = block_boundaries(23, 10)
    assert gone[0] == 0 and gone[-1] == 23 and {b - a for a, b in itertools.pairwise(gone)} == {2, 3}
    assert [taken(part, 60) for part in (0.01, 0.05, 0.1, 0.2, 0.5)] == [1, 3, 6, 12, 30]
    assert taken(0.1, 30) == 3 and taken(0.1, 31) == 4 and taken(0.01, 3) == 1
    ranking = rank(torch.tensor([1.0, 3.0, 1.0, -5.0]))
    assert ranking.order.tolist() == [1, 0, 2, 3]
    dealt = along(torch.tensor([3, 0, 1, 2]), torch.tensor([1.0, 3.0, 1.0, -5.0]))
    assert dealt.scores.tolist() == [1.0, 1.0, -5.0, 3.0]
    orders = random_orders(4, 7, generator())
    assert torch.equal(orders[0].flip(0), orders[1]) and sorted(orders[2].tolist()) == list(range(7))
    assert search_work(8, block_boundaries(8, 10)) == 256


def test_soft_removal_keeps_the_same_number_for_every_method() -> None:
    chance = generator()
    for scores in (torch.randn(11, generator=chance), torch.rand(11, generator=chance) ** 8, torch.ones(11)):
        chances = keep_chances(scores)
        assert float(chances.mean()) == pytest.approx(0.5, abs=1e-9)
        assert (chances > 0).all() and (chances < 1).all()
        assert torch.equal(chances.argsort(stable=True), scores.double().argsort(stable=True))
        torch.testing.assert_close(keep_chances(7 * scores + 3), chances, atol=1e-4, rtol=0)  # float32 scores
        draws = make_draws(11, chance, samples=4000)
        kept = soft_subsets(scores, draws, keep_important=True)
        assert set(kept.sum(1).tolist()) <= {5, 6}
        # standard error of a share of 4,000 draws is at most .008
        torch.testing.assert_close(kept.double().mean(0), chances, atol=0.04, rtol=0)
        gone = soft_subsets(scores, draws, keep_important=False)
        torch.testing.assert_close(gone.double().mean(0), 1 - chances, atol=0.04, rtol=0)


def test_one_result_is_judged_by_its_rank() -> None:
    random = [i / 20 for i in range(20)]
    found = compare_one(0.96, random, 0.99, higher=True, ranked=True)
    assert (found.beaten, found.p_random) == (20, pytest.approx(1 / 21))
    assert (found.against_random, found.against_frequency, found.undecided) == ("better", "worse", "")
    assert found.random_middle == pytest.approx(tuple(numpy.quantile(random, [0.025, 0.975])))
    inside = compare_one(0.94, random, 0.94 + 1e-15, higher=True, ranked=True)  # above the middle 95 %, below one
    assert inside.value > inside.random_middle[1] and inside.p_random == pytest.approx(2 / 21)
    assert (inside.against_random, inside.against_frequency) == ("no different", "no different")
    assert compare_one(0.95, random, 0.0, higher=True, ranked=True).against_random == "no different"  # a tie is no win
    assert compare_one(-0.1, random, 0.0, higher=True, ranked=True).against_random == "worse"
    assert compare_one(-0.1, random, 0.0, higher=False, ranked=True).against_random == "better"
    assert compare_one(9.0, random, 0.9, higher=True, ranked=False).against_random is None
    few = compare_one(9.0, random[:18], 0.9, higher=True, ranked=True)
    assert few.against_random is None and few.against_frequency == "better"
    assert few.undecided == "18 random rankings are too few, p <= 0.05 needs 19 or more"


def test_the_p_that_is_printed_is_the_one_of_the_page() -> None:
    """Better than 6 of 20: 14 are as good or better, so p = 15 / 21 of being better; of being worse 7 / 21."""
    found = compare_one(5.5, list(range(20)), 5.5, higher=True, ranked=True)
    assert found.beaten == 6 and found.against_random == "no different"
    assert found.p_random == pytest.approx(15 / 21) and found.p_random_worse == pytest.approx(7 / 21)
    assert "(beat 6 of 20, p = 0.71 of being better; " in evaluation_room._against_random(found, 20)
    tied = compare_one(5.0, list(range(20)), 5.5, higher=True, ranked=True)  # a tie counts against both sides
    assert tied.p_random == pytest.approx(16 / 21) and tied.p_random_worse == pytest.approx(7 / 21)
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert "p = (b + 1) / (m + 1)" in page and '"p = 0.71 of being better" where 6 of 20 were beaten' in page
    several = compare_several(
        [0.5] * 6, [0.6] * 6, [0.4] * 6, higher=True, ranked=True
    )  # 1 of 2^6 signs, and all of them
    assert (several.p_random, several.p_random_worse) == (1.0, pytest.approx(1 / 64))
    assert "p = 0.016 of being worse" in evaluation_room._against_random(several, 20)
    assert "p = 0.016 of being better" in evaluation_room._against_frequency(several)


def test_several_results_are_judged_from_six_on() -> None:
    own, rest = [0.5, 0.6, 0.7, 0.9, 0.8, 0.4], [0.45, 0.5, 0.65, 0.85, 0.7, 0.35]
    found = compare_several(own, rest, own, higher=True, ranked=True)
    assert found.p_random == pytest.approx(1 / 64) and found.p_frequency == 1.0
    assert (found.against_random, found.against_frequency) == ("better", "no different")
    assert compare_several(own, rest, rest, higher=False, ranked=True).against_frequency == "worse"
    low, high = found.over_random
    assert 0.05 - 1e-9 <= low < 0.4 / 6 < high <= 0.1
    for count in (2, 3, 4, 5):
        few = compare_several(own[:count], rest[:count], own[:count], higher=True, ranked=True)
        assert few.against_random is None and few.against_frequency is None and few.p_random is None
        assert few.undecided == f"too few results for a verdict ({count} of 6)"


def test_verdicts_are_false_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """No effect at all: "better" in at most 5 % (standard error of 400 runs .011), and so "worse"."""
    monkeypatch.setattr(intervals, "RESAMPLES", 2)  # intervals decide nothing
    chance = numpy.random.default_rng(0)
    for judge in (
        lambda: compare_one(chance.normal(), chance.normal(size=20).tolist(), 0.0, higher=True, ranked=True),
        lambda: compare_several(chance.normal(size=6).tolist(), [0.0] * 6, [0.0] * 6, higher=True, ranked=True),
    ):
        found = [judge().against_random for _ in range(400)]
        assert 0.01 < found.count("better") / 400 < 0.083 and 0.01 < found.count("worse") / 400 < 0.083


def test_bootstrap() -> None:
    assert bootstrap(numpy.ones(5)) == (1.0, 1.0)
    values = numpy.random.default_rng(1).normal(size=50)
    low, high = bootstrap(values)
    half = 1.96 * values.std(ddof=1) / 50**0.5
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.06)


# --- with a model


def attributed(lm: spanwise.LanguageModel, **asked: object) -> spanwise.Attribution:
    return spanwise.attribute(lm, PROMPT, TARGET, **{"method": "saliency", "rows": "span", **asked})


def state_of(lm: spanwise.LanguageModel) -> str:
    hashed = hashlib.sha256()
    for name, tensor in lm.model.state_dict().items():
        hashed.update(name.encode() + tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()


def checked(found: Evaluation) -> Evaluation:
    """What must hold for any evaluation."""
    assert len(found.lines) == len(found.removed) * len(METRICS)
    assert found.sequences >= found.calls > 0
    for line in found.lines:
        assert (line.found is None) == bool(line.reason) or line.results == found.results - 1
        if line.found is not None:
            numbers = [line.found.value, line.found.random, line.found.frequency]
            assert all(math.isfinite(number) for number in numbers)
            if line.metric.startswith("naopc"):
                assert all(-1e-9 <= number <= 1 + 1e-9 for number in numbers)
    json.dumps(found.as_dict(), allow_nan=False)
    return found


def test_figures_with_a_model_are_those_of_its_scorer(lm: spanwise.LanguageModel) -> None:
    """Ablation of one feature at a time is exactly what feature_ablation gives, so its correlation is 1."""
    result = attributed(lm, method="feature_ablation", baseline="unk")
    before = state_of(lm)
    found = checked(evaluate(lm, result, removed="unk", seed=3))
    assert state_of(lm) == before
    assert found.line("ablation_correlation").found.value == pytest.approx(1.0)
    assert any("baseline='unk'" in note for note in found.notes)
    curve = found.curves[0]
    assert curve.deletion[0] == pytest.approx(float(result.target_scores.sum()), abs=1e-4)
    order = result.scores[0].nan_to_num(-1e9).argsort(descending=True).tolist()
    # by hand: the first block's ids replaced by <unk>
    ids = [*result.provenance.prompt_ids, *result.provenance.target_ids]
    gone = round(curve.share[1] * found.features[0])
    for i in order[:gone]:
        ids[i] = make_tokenizer().unk_token_id
    with torch.no_grad():
        logits = lm.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    count = len(result.target)
    expected = logits[-count - 1 : -1].gather(1, torch.tensor(ids[-count:])[:, None]).sum()
    assert curve.deletion[1] == pytest.approx(float(expected), abs=1e-4)
    assert curve.insertion[0] == pytest.approx(curve.deletion[-1])
    assert curve.put_in == pytest.approx([1 - share for share in reversed(curve.share)])
    shares = [found.line("aopc", "unk").found.value, curve.deletion[0] - found.line("deletion").found.value]
    assert shares[0] == pytest.approx(shares[1])


def spearman(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(stats.spearmanr(one[~one.isnan()], other[~other.isnan()]).statistic)


def test_correlation_is_scipys(lm: spanwise.LanguageModel) -> None:
    ablation = attributed(lm, method="feature_ablation", baseline="pad")
    signed = attributed(lm, method="input_x_gradient")
    found = evaluate(lm, signed, removed="pad").line("ablation_correlation").found
    assert found.value == pytest.approx(spearman(signed.scores[0], ablation.scores[0]), abs=1e-5)
    unsigned = attributed(lm, method="saliency")
    found = evaluate(lm, unsigned, removed="pad").line("ablation_correlation").found
    assert found.value == pytest.approx(spearman(unsigned.scores[0], ablation.scores[0].abs()), abs=1e-5)


@pytest.mark.parametrize("removed", ["unk", "pad", "delete", "mask", "mean", "zero", "token:</s>"])
def test_every_removal(removed: str) -> None:
    lm = spanwise.LanguageModel(make_model("qwen2"), make_tokenizer(bos=True), name="qwen2")
    found = checked(evaluate(lm, attributed(lm), removed=removed, n_random=4, steps=3))
    assert found.removed == (removed,) and not any("cannot be had" in note for note in found.notes)


def test_two_removals_by_default() -> None:
    with_bos = spanwise.LanguageModel(make_model("qwen2"), make_tokenizer(bos=True), name="qwen2")
    assert evaluate(with_bos, attributed(with_bos), n_random=4, steps=3).removed == ("unk", "delete")
    without = spanwise.LanguageModel(make_model("qwen2"), make_tokenizer(), name="qwen2")
    found = evaluate(without, attributed(without), n_random=4, steps=3)
    assert found.removed == ("unk", "mask")
    assert "'mask' stands in for 'delete' as the second way to remove: " in found.notes[0]
    both = evaluate(with_bos, attributed(with_bos, prefix="attributed"), n_random=4, steps=3)
    assert both.removed == ("unk", "mask") and "prefix='fixed'" in both.notes[0]
    eager = spanwise.LanguageModel(make_model("qwen2", seed=7), make_tokenizer(), name="qwen2")
    eager.model.config._attn_implementation = "eager"
    found = evaluate(eager, attributed(eager), n_random=4, steps=3)
    assert found.removed == ("unk", "mean") and "'mean' stands in for 'mask'" in found.notes[1]
    with pytest.raises(
        MethodError, match=r"removed=delete was asked, and cannot be had here: .* leaves nothing of the prompt"
    ):
        evaluate(without, attributed(without), removed="delete")


def test_features_rows_and_objectives(lm: spanwise.LanguageModel) -> None:
    for features, count in (("word", 8), ("sentence", 1)):
        result = attributed(lm, method="feature_ablation", features=features)
        found = checked(evaluate(lm, result, removed="unk", n_random=4, steps=3))
        assert found.features == (count,)
    # of one feature every order is the same
    assert found.line("naopc").found is None and "one feature has no order" in found.sentences[0]
    assert any("one feature has no order" in note for note in found.notes) and "equal" not in found.sentences[0]
    matrix = attributed(lm, rows="token")
    whole, row = (
        evaluate(lm, matrix, removed="unk", n_random=4, steps=3),
        evaluate(lm, matrix, row=2, removed="unk", n_random=4, steps=3),
    )
    assert row.curves[0].deletion[0] == pytest.approx(float(matrix.target_scores[2]), abs=1e-4)
    assert whole.curves[0].deletion[0] == pytest.approx(float(matrix.target_scores.sum()), abs=1e-4)
    logit = checked(evaluate(lm, attributed(lm, objective="logit"), removed="unk", n_random=4, steps=3))
    assert logit.line("soft_ns").found is None and logit.line("naopc").found is not None
    assert "gives no probability" in logit.line("soft_ns").reason
    assert (
        checked(evaluate(lm, attributed(lm, objective="prob"), removed="unk", n_random=4, steps=3)).line("top_k").found
    )


def test_a_contrast_is_passed_again(lm: spanwise.LanguageModel) -> None:
    wanted = spanwise.contrast(" is")
    result = spanwise.attribute(lm, PROMPT, TARGET, span=" are", objective=wanted, method="saliency")
    with pytest.raises(OptionError, match="a result keeps the name only: pass the same one again as objective="):
        evaluate(lm, result)
    found = checked(evaluate(lm, result, objective=wanted, removed=["unk", "mask"], n_random=4, steps=3))
    contrast = float(next(note for note in result.provenance.notes if "contrast" in note).split(" is ")[1].split()[0])
    assert found.curves[0].deletion[0] == pytest.approx(contrast, rel=1e-3)
    assert found.line("sufficiency").found is None


def test_an_objective_of_a_built_in_name_has_no_probability(lm: spanwise.LanguageModel) -> None:
    mine = spanwise.scoring.objectives.Objective("log_prob", "nats", spanwise.scoring.objectives.logit)
    result = attributed(lm, objective=mine)
    found = evaluate(lm, result, objective=mine, removed="unk", n_random=4, steps=3)
    assert found.line("sufficiency").found is None and found.line("naopc").found is not None
    assert evaluate(lm, attributed(lm), removed="unk", n_random=4, steps=3).line("sufficiency").found is not None


def test_a_search_that_finds_nothing_better_says_so(
    lm: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = attributed(lm)
    monkeypatch.setattr(evaluate_orders, "_beam", lambda *asked: [])
    monkeypatch.setattr(evaluate_orders, "improved", lambda value, orders, boundaries: list(orders))
    case = make_case(lm, result, None, None, None, 10, 4, None, 0)
    with lm.session():
        value = choose_removals([case.question], ("unk",), "auto")[0]["unk"][0]
        orders = torch.stack([torch.randperm(19, generator=generator(seed)) for seed in range(40)])
        sums = [float(value(~leading(order, case.how.boundaries)).sum()) for order in orders]
    best = orders[sums.index(min(sums))]
    scores = result.scores.clone()
    scores[0, ~scores[0].isnan()] = along(best, torch.arange(19.0)).scores
    best_seen = dataclasses.replace(result, scores=scores, span_scores=scores)
    notes = evaluate(lm, best_seen, removed="unk", n_random=4).notes
    assert any("no order beyond the method's own" in note for note in notes)
    monkeypatch.undo()
    notes = evaluate(lm, best_seen, removed="unk", n_random=4).notes
    assert not any("no order beyond the method's own" in note for note in notes)


def test_encoder_decoder() -> None:
    pair = spanwise.LanguageModel(make_model("t5"), make_tokenizer(), name="t5")
    found = checked(evaluate(pair, attributed(pair), n_random=4, steps=3))
    assert found.removed[0] == "unk" and len(found.removed) == 2
    assert found.features[0] <= len(make_tokenizer()(PROMPT)["input_ids"]) + 1


def test_nf4() -> None:
    pytest.importorskip("bitsandbytes", reason="needs the quantization extra")
    lm = spanwise.load_model("tiny", quantization="nf4")
    result = spanwise.attribute(lm, "The keys to the cabinet", " are", method="saliency")
    before = state_of(lm)
    checked(evaluate(lm, result, n_random=4, steps=3))
    assert state_of(lm) == before


def test_several_results_are_averaged(lm: spanwise.LanguageModel) -> None:
    prompts = ("The keys to the cabinet", "12 + 3 is 15. France, Paris", "Michael works")
    results = [spanwise.attribute(lm, each, TARGET, method="input_x_gradient", rows="span") for each in prompts]
    found = checked(evaluate(lm, results, removed="unk", n_random=6))
    alone = [evaluate(lm, result, removed="unk", n_random=6) for result in results]
    had = [metric for metric in METRICS if all(each.line(metric).found for each in alone)]
    assert len(had) >= 10
    for metric in had:
        line = found.line(metric)
        values = [each.line(metric).found.value for each in alone]
        assert line.found.value == pytest.approx(numpy.mean(values)) and line.results == 3
        random = [each.line(metric).found.random for each in alone]
        assert line.found.random == pytest.approx(numpy.mean(random))
        assert line.found.interval[0] <= line.found.value <= line.found.interval[1]
        difference = bootstrap(numpy.array(values) - numpy.array(random))
        assert line.found.over_random == pytest.approx(difference)
    assert found.calls == sum(each.calls for each in alone)
    # three results and six random rankings: no verdict, and it says so
    assert "too few results for a verdict (3 of 6)" in found.sentences[0] and not found.line("naopc").beats_frequency
    assert "has no verdict against random rankings" in alone[0].sentences[0]
    assert "6 random rankings are too few" in alone[0].sentences[0]
    with pytest.raises(InputError, match="results 0 and 2 are the same"):
        evaluate(lm, [results[0], results[1], dataclasses.replace(results[0])], removed="unk", n_random=6)


def test_the_right_scores_beat_the_baselines_and_wrong_ones_do_not() -> None:
    lm = spanwise.load_model("tiny")
    right = [
        spanwise.attribute(lm, each.prompt, each.target, method="feature_ablation", rows="span")
        for each in spanwise.ground_truth()[:6]
    ]
    found = evaluate(lm, right, removed="unk", n_random=4, steps=2)
    assert found.line("naopc").beats_random and "beat random rankings" in found.sentences[0]
    assert "p = 0.016 of being better" in found.sentences[0]
    wrong = dataclasses.replace(right[0], scores=-right[0].scores, span_scores=-right[0].span_scores)
    one, opposite = (evaluate(lm, each, removed="unk", steps=4) for each in (right[0], wrong))
    assert (
        one.line("naopc").beats_random and "beat all 20 random rankings (p = 0.048 of being better" in one.sentences[0]
    )
    assert opposite.line("naopc").found.against_random == "worse"
    assert "was worse than random rankings (beat 0 of 20, p = 0.048 of being worse" in opposite.sentences[0]


def test_token_frequencies(lm: spanwise.LanguageModel) -> None:
    """Scores that are the rarity of tokens themselves rank as that baseline does."""
    result = attributed(lm)
    ids = torch.tensor(result.provenance.prompt_ids)
    scores = result.scores.clone()
    scores[0, : len(ids)] = ids.float()
    by_id = dataclasses.replace(result, scores=scores, span_scores=scores)
    found = evaluate(lm, by_id, removed="unk", n_random=4, steps=3)
    assert sum(line.found is not None for line in found.lines) >= 10
    for line in found.lines:
        if line.found is not None:
            assert line.found.value == pytest.approx(line.found.frequency) and not line.beats_frequency
    counts = {int(i): int(i) for i in ids}  # now the high ids are frequent
    by_count = evaluate(lm, by_id, removed="unk", n_random=4, frequencies=counts).line("naopc").found
    assert by_count.frequency != pytest.approx(by_count.value)
    opposite = dataclasses.replace(by_id, scores=-scores, span_scores=-scores)
    found = evaluate(lm, opposite, removed="unk", n_random=4, frequencies=counts)
    assert found.frequency_source == "frequencies="
    assert found.line("naopc").found.frequency == pytest.approx(found.line("naopc").found.value)


def test_a_feature_is_as_rare_as_its_rarest_token(lm: spanwise.LanguageModel) -> None:
    result = attributed(lm, method="feature_ablation", features="word")
    ids = result.provenance.prompt_ids
    words = [[ids[i] for i in token.positions] for token in result.source if not token.frozen]
    assert max(map(len, words)) > 1
    order = sorted(range(len(words)), key=lambda i: -max(words[i]))
    found = make_case(lm, result, None, None, None, 10, 4, None, 0).rankings[1].order.tolist()
    assert found == order
    counts = {i: 1000 - i for each in words for i in each}
    assert make_case(lm, result, None, None, None, 10, 4, counts, 0).rankings[1].order.tolist() == order


def test_a_constant_attribution_is_flagged(lm: spanwise.LanguageModel) -> None:
    result = attributed(lm)
    for number in (0.0, 2.5):
        flat = torch.where(result.scores.isnan(), torch.nan, number)
        equal = dataclasses.replace(result, scores=flat, span_scores=flat)
        found = checked(evaluate(lm, equal, removed="unk", n_random=4, steps=3))
        assert found.constant == (0,) and any("all equal" in note for note in found.notes)
        assert "ranks nothing" in found.sentences[0] and "arbitrary" in found.sentences[0]
        assert all(line.found is None or line.found.against_random is None for line in found.lines)
    mixed = [result, dataclasses.replace(result, scores=-result.scores, span_scores=-result.span_scores), equal]
    found = evaluate(lm, mixed, removed="unk", n_random=4, steps=3)
    assert found.constant == (2,) and found.line("naopc").results == 2


@pytest.mark.parametrize("bos", [False, True])
def test_cost_of_sixty_tokens(bos: bool) -> None:
    """At most 150 calls with default settings, and what is said is what was done; with BOS "delete" can be had."""
    lm = spanwise.LanguageModel(make_model("qwen2"), make_tokenizer(bos=bos), name="qwen2")
    whole = " ".join([PROMPT] * 9)
    prompt = whole[: lm.tokenizer(whole, return_offsets_mapping=True)["offset_mapping"][59][1]]
    result = spanwise.attribute(lm, prompt, " are on the table. Paris", method="saliency", rows="span")
    # Whether kept keys serve is tried once a model, by a forward that nobody counts.
    spanwise.attribute(lm, "The keys to", " the", method="feature_ablation")
    assert len(result.provenance.prompt_ids) == 60 and len(result.target) >= 8
    calls, sequences = [], []
    inner = lm.model.forward

    def counted(*args: object, **options: object):
        ids = options.get("input_ids")
        calls.append(1)
        sequences.append(len(ids if ids is not None else options["inputs_embeds"]))
        return inner(*args, **options)

    lm.model.forward = counted
    try:
        found = evaluate(lm, result)
    finally:
        del lm.model.forward  # the class's own again
    assert found.removed == ("unk", "delete" if bos else "mask")
    assert (found.calls, found.sequences) == (len(calls), sum(sequences))
    assert found.calls <= 150


def test_the_same_seed_gives_the_same_and_each_subset_is_scored_once(lm: spanwise.LanguageModel) -> None:
    result = attributed(lm)
    one, same, other = (evaluate(lm, result, removed="unk", n_random=4, seed=seed) for seed in (1, 1, 2))
    assert one.lines == same.lines and one.lines != other.lines
    question = question_of(lm, result, table=one_row(result))
    with lm.session():
        value = choose_removals(
            [dataclasses.replace(question, info=spanwise.methods.METHODS["feature_ablation"])], ("unk",), "auto"
        )[0]["unk"][0]
        kept = torch.rand(9, question.axes.feature_count, generator=generator()) > 0.5
        before = value.scorer.counts.forwards
        first = value(torch.cat([kept, kept]))
        assert value.scorer.counts.forwards == before + 9
        assert torch.equal(value(kept.flip(0)), first[:9].flip(0)) and value.scorer.counts.forwards == before + 9


def test_exports(lm: spanwise.LanguageModel) -> None:
    pandas = pytest.importorskip("pandas", reason="needs the dataframe extra")
    found = evaluate(lm, attributed(lm), removed=["unk", "mask"], n_random=4, steps=3)
    table = found.to_dataframe()
    assert isinstance(table, pandas.DataFrame) and len(table) == len(found.lines)
    assert table["value"][0] == found.lines[0].found.value
    read = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert read["metrics"]["sufficiency"]["better"] == "lower" and len(read["curves"]) == 2
    assert read["lines"][0]["random_middle"] == list(found.lines[0].found.random_middle)
    assert "random rankings" in repr(found)
    with pytest.raises(OptionError, match="unknown figure 'aopcs'"):
        found.line("aopcs")


REFUSED = [
    ({"k": 99}, OptionError, "k=99 was asked, but the result has only 19 features with a score"),
    ({"k": 0}, OptionError, "k must be an integer of at least 1"),
    ({"removed": "remove"}, OptionError, "unknown way to remove features 'remove'"),
    ({"removed": []}, OptionError, "removed is one or several of unk, pad"),
    ({"removed": ["unk", "unk"]}, OptionError, "removed names a way twice"),
    ({"removed": "token:nosuchtoken"}, OptionError, "nosuchtoken"),
    ({"steps": 1}, OptionError, "steps must be an integer of at least 2"),
    ({"n_random": 5}, OptionError, "n_random must be even"),
    ({"n_random": 2}, OptionError, "n_random must be an integer of at least 4"),
    ({"row": 7}, OptionError, "row 7 was asked"),
    ({"frequencies": [5]}, OptionError, "frequencies maps token ids"),
    ({"frequencies": {7: 1, "the": 5}}, OptionError, "not 'the' to 5"),
    ({"frequencies": {7: 1, 8: math.nan}}, OptionError, "not 8 to nan"),
    ({"frequencies": {7: -1}}, OptionError, "not 7 to -1"),
    ({"frequencies": {7.0: 1}}, OptionError, "not 7.0 to 1"),
    ({"seed": "x"}, OptionError, "seed must be an integer of at least 0, not 'x'"),
    ({"seed": -1}, OptionError, "seed must be an integer of at least 0, not -1"),
    ({"progress": "no"}, OptionError, "progress is None, True or False, not 'no'"),
    ({"batch_size": "big"}, OptionError, "batch_size must be 'auto' or an integer"),
]


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(("asked", "error", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_refusals(lm: spanwise.LanguageModel, asked: dict[str, object], error: type, message: str) -> None:
    with pytest.raises(error) as caught:
        evaluate(lm, attributed(lm), **asked)
    assert message in str(caught.value)


@pytest.mark.usefixtures("unchecked_types")
def test_results_that_do_not_fit(lm: spanwise.LanguageModel) -> None:
    result = attributed(lm)
    other = spanwise.LanguageModel(make_model("llama"), make_tokenizer(), name="llama")
    with pytest.raises(InputError, match=r"'qwen2'.*'llama'"):
        evaluate(other, result)
    tokens = spanwise.LanguageModel(make_model("qwen2"), make_tokenizer(vocab_size=300), name="qwen2")
    with pytest.raises(InputError, match="of another tokenizer"):
        evaluate(tokens, result)
    changed = spanwise.LanguageModel(make_model("qwen2", seed=5), make_tokenizer(), name="qwen2")
    with pytest.raises(InputError, match="not as it was when the result was made"):
        evaluate(changed, result)
    empty = torch.full_like(result.scores, torch.nan)
    with pytest.raises(InputError, match="no source token with a score"):
        evaluate(lm, dataclasses.replace(result, scores=empty, span_scores=empty))
    none = dataclasses.replace(result, scores=empty[:, :0], span_scores=empty[:, :0], source=())
    with pytest.raises(InputError, match="no source token with a score"):
        evaluate(lm, none)
    holed = result.scores.clone()
    holed[0, 3] = torch.nan
    with pytest.raises(InputError, match="1 of 19 features have no score"):
        evaluate(lm, dataclasses.replace(result, scores=holed, span_scores=holed))
    with pytest.raises(InputError, match="method differs: 'saliency' in result 0, 'input_x_gradient' in result 1"):
        evaluate(lm, [result, attributed(lm, method="input_x_gradient")])
    for name, other in (
        ("engine", "another"),
        ("features", "word"),
        ("baseline", "zero"),
        ("options", {"norm": 1}),
        ("signed", not result.provenance.signed),
    ):
        made = dataclasses.replace(result.provenance, **{name: other})
        with pytest.raises(InputError, match=f"their {name} differs"):
            evaluate(lm, [result, dataclasses.replace(result, provenance=made)])
    for nothing in ([], "saliency", None, [3]):
        with pytest.raises(InputError, match=r"evaluate\(\) takes"):
            evaluate(lm, nothing)
    with pytest.raises(InputError, match="a LanguageModel is needed"):
        evaluate(lm.model, result)


def test_values_that_are_no_numbers(lm: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from spanwise.scoring.scorer import Scorer

    result = attributed(lm)
    monkeypatch.setattr(Scorer, "scores", lambda self, gates: torch.full((len(gates), 1), torch.nan))
    with pytest.raises(NonFiniteError, match="19 of 19 features are removed"):
        evaluate(lm, result, removed="unk")


def test_scipy_is_asked_for(lm: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    result, spec = attributed(lm), importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "scipy" else spec(name, *rest))
    with pytest.raises(spanwise.errors.DependencyError, match=r"spanwise\[flow\]"):
        evaluate(lm, result)


@pytest.mark.usefixtures("unchecked_types")
def test_the_command(tmp_path: Path) -> None:
    import typer
    from typer.testing import CliRunner

    from spanwise.cli.evaluate import evaluate as command

    app = typer.Typer()
    app.command()(command)
    lm = spanwise.load_model("tiny")
    saved, plot = tmp_path / "result.safetensors", tmp_path / "curves.png"
    spanwise.attribute(lm, "The keys to the cabinet", " are on", span="are", method="saliency").save(saved)
    more = ["--removed", "unk", "--n-random", "4"]
    done = CliRunner().invoke(app, [str(saved), *more, "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["removed"] == ["unk"]
    done = CliRunner().invoke(app, [str(saved), *more, "--plot", str(plot)])
    assert done.exit_code == 0 and "NAOPC" in done.stdout and plot.stat().st_size > 5000
    assert f"wrote {plot}" in done.stdout.replace("\n", "")
    asked = ["--prompt", "The keys to the cabinet", "--target", " are on", "--span", "are", "--method", "saliency"]
    done = CliRunner().invoke(app, [*asked, *more, "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["method"] == "saliency"
    for given, said in (([], "neither was given"), ([str(saved), *asked], "both were given")):
        done = CliRunner().invoke(app, given)
        assert isinstance(done.exception, OptionError) and said in str(done.exception)
    given = [str(saved), "--span", "are", "--method", "saliency", "--target", "x", "--occurrence", "0"]
    done = CliRunner().invoke(app, [*given, "--target-file", "x.txt"])
    said = "--target, --target-file, --span, --occurrence, --method was given beside a saved result"
    assert isinstance(done.exception, OptionError) and said in str(done.exception)
    assert "spanwise evaluate" in CliRunner().invoke(app, ["--help"]).stdout


@pytest.mark.usefixtures("unchecked_types")
def test_the_command_loads_a_model_as_attribute_does(monkeypatch: pytest.MonkeyPatch) -> None:
    import typer
    from typer.testing import CliRunner

    from spanwise.cli.evaluate import evaluate as command

    app, asked = typer.Typer(), {}
    app.command()(command)

    def load(name_or_path: str, **options: object) -> None:
        asked.update(options)
        raise OptionError("enough")

    monkeypatch.setattr(spanwise, "load_model", load)
    options = "--quantization nf4 --compute-dtype float16 --storage-dtype uint8 --double-quant --skip-module lm_head"
    places = "--dtype float16 --device-map cpu --max-memory cpu=3GiB --offload-folder there"
    CliRunner().invoke(app, ["--prompt", "a", *options.split(), *places.split()])
    assert asked == {
        "quantization": "nf4",
        "compute_dtype": "float16",
        "storage_dtype": "uint8",
        "double_quant": True,
        "skip_modules": ["lm_head"],
        "dtype": "float16",
        "device_map": "cpu",
        "max_memory": {"cpu": "3GiB"},
        "offload_folder": Path("there"),
    }
