"""Agreement of two rankings and what chance makes of it, against SciPy and against all orders there are."""

import itertools
import math

import numpy
import pytest
import torch

from spanwise.errors import InputError, OptionError
from spanwise.evaluation.agreement import rank_correlation, top_k_overlap
from spanwise.evaluation.comparison.chance import (
    draw_orders,
    holm,
    kendall,
    kendall_fits,
    overlap,
    p_value,
    smallest_p,
    spearman,
)

stats = pytest.importorskip("scipy.stats", reason="needs the flow extra")

TIED = [[1.0, 2.0, 2.0, 5.0, -1.0, 0.0], [3.0, 3.0, 1.0, 4.0, -2.0, 0.5]]


def scores(rows: int, columns: int, seed: int, *, ties: bool = False) -> torch.Tensor:
    drawn = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    return (2 * drawn).round() if ties else drawn


def everywhere(values: torch.Tensor) -> torch.Tensor:
    return ~values.isnan()


def top(values: numpy.ndarray, k: int) -> set[int]:
    return set(sorted(range(len(values)), key=lambda i: -abs(values[i]))[:k])


def member(values: numpy.ndarray) -> numpy.ndarray:
    """Of the two strongest: what an order moves, so that equal scores stay what they are."""
    return numpy.array([i in top(values, 2) for i in range(len(values))], dtype=float)


@pytest.mark.parametrize("seed", range(5))
def test_measures_are_scipys_with_ties(seed: int) -> None:
    one, other = scores(3, 17, seed, ties=True), scores(3, 17, seed + 100, ties=True)
    one[:, 4] = other[:, 4] = torch.nan
    own = torch.arange(17)[None]
    kept = [i for i in range(17) if i != 4]
    pairs = [(one[row, kept].numpy(), other[row, kept].numpy()) for row in range(3)]
    for name, measure, mine in (("spearman", stats.spearmanr, spearman), ("kendall", stats.kendalltau, kendall)):
        expected = [measure(*pair)[0] for pair in pairs]
        # ours comes back as float32
        assert rank_correlation(one, other, name).tolist() == pytest.approx(expected, abs=1e-6)
        statistic = mine(one, other)
        assert statistic is not None
        assert float(statistic(own)) == pytest.approx(numpy.mean(expected), abs=1e-12)
    expected = [len(top(a, 4) & top(b, 4)) / 4 for a, b in pairs]
    assert top_k_overlap(one, other, 4).tolist() == pytest.approx(expected)
    statistic = overlap(one, other, 4)
    assert statistic is not None and float(statistic(own)) == pytest.approx(numpy.mean(expected))


@pytest.mark.parametrize("measure", ["spearman", "kendall", "overlap"])
def test_exact_p_values_are_scipys(measure: str) -> None:
    """Six scores have 720 orders; SciPy goes through all of them too."""
    one, other = (torch.tensor([row]) for row in TIED)
    orders = draw_orders(everywhere(one), 1000, seed=0)
    assert orders.exact and len(orders.columns) == math.factorial(6)
    assert len({tuple(order) for order in orders.columns.tolist()}) == 720
    mine = {"spearman": spearman, "kendall": kendall, "overlap": lambda a, b: overlap(a, b, 2)}[measure](one, other)
    assert mine is not None
    y = other[0].numpy()
    theirs = {
        "spearman": lambda x: abs(stats.spearmanr(x, y).statistic),
        "kendall": lambda x: abs(stats.kendalltau(x, y).statistic),
        "overlap": lambda x: x @ member(y) / 2,
    }[measure]
    x = one[0].numpy()
    expected = stats.permutation_test(
        (member(x) if measure == "overlap" else x,),
        theirs,
        permutation_type="pairings",
        alternative="greater",
        n_resamples=numpy.inf,
    )
    assert p_value(mine, orders, two_sided=measure != "overlap") == pytest.approx(expected.pvalue)


def test_random_orders_come_near_the_exact_p_value() -> None:
    one, other = scores(1, 7, 3), scores(1, 7, 4)
    statistic = spearman(one, other)
    assert statistic is not None
    exact = p_value(statistic, draw_orders(everywhere(one), 5040, seed=0), two_sided=True)
    drawn = draw_orders(everywhere(one), 4000, seed=0)
    assert not drawn.exact
    # four standard errors of 4,000 draws
    allowed = 4 * math.sqrt(exact * (1 - exact) / 4000)
    assert p_value(statistic, drawn, two_sided=True) == pytest.approx(exact, abs=allowed)
    assert torch.equal(drawn.columns, draw_orders(everywhere(one), 4000, seed=0).columns)
    assert not torch.equal(drawn.columns, draw_orders(everywhere(one), 4000, seed=1).columns)


def test_the_found_order_counts_as_one() -> None:
    """(b + 1) / (m + 1): never 0 (Phipson & Smyth 2010)."""
    one = scores(1, 20, 0)
    statistic = spearman(one, one)
    assert statistic is not None
    assert p_value(statistic, draw_orders(everywhere(one), 99, seed=0), two_sided=True) == 1 / 100
    assert p_value(lambda orders: torch.zeros(len(orders)), draw_orders(everywhere(one), 99, 0), two_sided=True) == 1.0
    assert smallest_p(99, exact=False) == 1 / 100 and smallest_p(720, exact=True) == 2 / 720


def test_p_values_of_independent_scores_are_uniform() -> None:
    found = []
    for seed in range(200):
        one, other = scores(2, 12, seed), scores(2, 12, seed + 1000)
        statistic = spearman(one, other)
        assert statistic is not None
        found.append(p_value(statistic, draw_orders(everywhere(one), 199, seed=0), two_sided=True))
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert sum(p < 0.05 for p in found) <= 20  # 10 are expected


def test_rows_that_say_the_same_are_no_more_evidence() -> None:
    one, other = scores(1, 10, 5), scores(1, 10, 6)
    orders = draw_orders(everywhere(one.repeat(5, 1)), 300, seed=0)
    for measure in (spearman, kendall, lambda a, b: overlap(a, b, 3)):
        once, often = measure(one, other), measure(one.repeat(5, 1), other.repeat(5, 1))
        assert once is not None and often is not None
        assert p_value(once, orders, two_sided=True) == p_value(often, orders, two_sided=True)


def test_columns_move_only_among_their_like() -> None:
    """Prefix tokens are seen by later rows only: each has its own rows, and stays where it is."""
    defined = torch.ones(3, 7, dtype=torch.bool)
    defined[0, 5:] = False
    defined[1, 6:] = False
    defined[:, 2] = False  # frozen
    for count in (10, 1000):
        columns = draw_orders(defined, count, seed=0).columns
        assert (columns[:, [2, 5, 6]] == torch.tensor([2, 5, 6])).all()
        assert {tuple(sorted(order)) for order in columns[:, [0, 1, 3, 4]].tolist()} == {(0, 1, 3, 4)}
    assert len(draw_orders(defined, 1000, seed=0).columns) == math.factorial(4)
    values = torch.randn(3, 7).masked_fill(~defined, torch.nan)
    statistic = kendall(values, values)
    assert statistic is not None
    every = itertools.permutations([0, 1, 3, 4])
    expected = [
        numpy.mean(
            [
                stats.kendalltau(row[order].numpy()[mask], row.numpy()[mask]).statistic
                for row, mask in zip(values, defined.numpy(), strict=True)
            ]
        )
        for order in ([a, b, 2, c, d, 5, 6] for a, b, c, d in every)
    ]
    found = statistic(draw_orders(defined, 1000, seed=0).columns)
    assert sorted(found.tolist()) == pytest.approx(sorted(expected))


def test_rows_without_an_order_count_nowhere() -> None:
    one, other = scores(2, 6, 0), scores(2, 6, 1)
    both = [spearman(one, other), kendall(one, other)]
    flat = torch.cat([one, torch.ones(1, 6)]), torch.cat([other, scores(1, 6, 2)])
    own = torch.arange(6)[None]
    for plain, more in zip(both, [spearman(*flat), kendall(*flat)], strict=True):
        assert plain is not None and more is not None and float(plain(own)) == pytest.approx(float(more(own)))
    assert spearman(torch.ones(2, 6), other) is None and kendall(torch.ones(2, 6), other) is None


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []


def test_kendall_is_left_out_where_it_would_take_long() -> None:
    orders = draw_orders(torch.ones(1, 40, dtype=torch.bool), 1000, seed=0)
    assert kendall_fits(torch.ones(1, 40, dtype=torch.bool), orders)
    assert not kendall_fits(torch.ones(1, 501, dtype=torch.bool), orders)


@pytest.mark.usefixtures("unchecked_types")
def test_refusals() -> None:
    with pytest.raises(InputError, match="shapes"):
        rank_correlation(torch.ones(1, 2), torch.ones(1, 3))
    with pytest.raises(InputError, match="not defined in the same places"):
        rank_correlation(torch.tensor([[1.0, torch.nan]]), torch.ones(1, 2))
    with pytest.raises(OptionError, match="only 2 source tokens have scores"):
        top_k_overlap(torch.ones(1, 2), torch.ones(1, 2), 3)
