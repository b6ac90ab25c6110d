"""From figures of a method and of its baselines to intervals and a verdict."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy
from jaxtyping import Float
from numpy import ndarray

LEVEL = 0.95
"""Of the bootstrap intervals, and the share of the random rankings in the middle; both describe, and decide nothing."""
ALPHA = 0.05
"""A verdict needs a one-sided p-value of at most this."""
FEWEST_RESULTS = 6
"""For a verdict over results."""
FEWEST_RANDOM = math.ceil(1 / ALPHA - 1 - 1e-9)
"""Random rankings for a verdict on one result: better than all 19 is p = 1/20."""
RESAMPLES = 2000
_DRAWN = 2_000_000  # numbers drawn at once, so that memory does not grow with the values
_EQUAL = 1e-9  # of two figures, relative: what adding up in another order leaves
Interval = tuple[float, float]


@dataclass(frozen=True)
class Compared:
    """One figure of a method beside its baselines.

    Attributes:
        value: The method's; of several results their mean.
        interval: Bootstrap interval of that mean over results; None for one result.
        random: Mean over random rankings (and results).
        random_interval: Bootstrap interval of that mean: over pairs of random rankings for one result, else over
            results.
        random_middle: Where the middle 95 % of the random rankings lie, a description; None for several results.
        frequency: Of the token-frequency ranking; of several results their mean.
        frequency_interval: Bootstrap interval of that mean over results; None for one result.
        over_random: Bootstrap interval of the paired difference to the random mean; None for one result.
        over_frequency: The same, to the token-frequency ranking.
        beaten: How many random rankings the method is better than; None for several results.
        p_random: One-sided p-value of being better than random rankings: of the method's rank among them for one
            result, of a sign-flip test of the paired differences for several.
        p_random_worse: The same of being worse.
        p_frequency: One-sided p-value of being better than token frequency; None for one result.
        p_frequency_worse: The same of being worse.
        against_random: "better", "worse" (p at most .05) or "no different". None where there is no verdict.
        against_frequency: The same; for one result, a comparison of two numbers.
        undecided: Why there is no verdict; else "".
    """

    value: float
    interval: Interval | None
    random: float
    random_interval: Interval
    random_middle: Interval | None
    frequency: float
    frequency_interval: Interval | None
    over_random: Interval | None
    over_frequency: Interval | None
    beaten: int | None
    p_random: float | None
    p_random_worse: float | None
    p_frequency: float | None
    p_frequency_worse: float | None
    against_random: str | None
    against_frequency: str | None
    undecided: str = ""


def compare_one(
    own: float,
    random: Sequence[float],
    frequency: float,
    *,
    higher: bool,
    ranked: bool,
    features: int | None = None,
) -> Compared:
    """Returns the comparison for one result.

    Args:
        own: The method's figure.
        random: Those of random rankings, each followed by that of its reverse.
        frequency: That of the token-frequency ranking.
        higher: Higher is better.
        ranked: The method gives a ranking at all.
        features: How many are ranked: few have too few orders for a verdict. None: enough.
    """
    every = numpy.asarray(random, dtype=float)
    low, high = (float(each) for each in numpy.quantile(every, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    sign, size, near = 1 if higher else -1, len(every), _EQUAL * max(abs(own), float(numpy.abs(every).max()))
    beaten, beats = int((sign * (own - every) > near).sum()), int((sign * (every - own) > near).sum())
    p = {"better": (size - beaten + 1) / (size + 1), "worse": (size - beats + 1) / (size + 1)}
    few = f"{size} random rankings are too few, p <= {ALPHA:g} needs {FEWEST_RANDOM} or more"
    orders = math.factorial(min(features or FEWEST_RANDOM, FEWEST_RANDOM))
    if orders <= FEWEST_RANDOM:
        few = f"{features} features have {orders} orders, p <= {ALPHA:g} needs {FEWEST_RANDOM + 1} or more"
    enough = size >= FEWEST_RANDOM and orders > FEWEST_RANDOM
    return Compared(
        value=own,
        interval=None,
        random=float(every.mean()),
        random_interval=bootstrap(every.reshape(-1, 2).mean(1)),  # a ranking and its reverse are drawn together
        random_middle=(low, high),
        frequency=frequency,
        frequency_interval=None,
        over_random=None,
        over_frequency=None,
        beaten=beaten,
        p_random=p["better"],
        p_random_worse=p["worse"],
        p_frequency=None,
        p_frequency_worse=None,
        against_random=verdict(p) if ranked and enough else None,
        against_frequency=_larger(sign * own, sign * frequency) if ranked else None,
        undecided=few if ranked and not enough else "",
    )


def compare_several(
    own: Sequence[float], random: Sequence[float], frequency: Sequence[float], *, higher: bool, ranked: bool
) -> Compared:
    """Returns the comparison for several results.

    Args:
        own: The method's figure of each result.
        random: For each result the mean over its random rankings.
        frequency: For each result that of the token-frequency ranking.
        higher: Higher is better.
        ranked: The method gives a ranking for at least one of them.
    """
    ours, chance, rare = (numpy.asarray(each, dtype=float) for each in (own, random, frequency))
    sign, enough = 1 if higher else -1, len(ours) >= FEWEST_RESULTS
    p_random, p_frequency = (_flipped(sign * (ours - other)) if enough else None for other in (chance, rare))
    return Compared(
        value=float(ours.mean()),
        interval=bootstrap(ours),
        random=float(chance.mean()),
        random_interval=bootstrap(chance),
        random_middle=None,
        frequency=float(rare.mean()),
        frequency_interval=bootstrap(rare),
        over_random=bootstrap(ours - chance),
        over_frequency=bootstrap(ours - rare),
        beaten=None,
        p_random=p_random["better"] if p_random else None,
        p_random_worse=p_random["worse"] if p_random else None,
        p_frequency=p_frequency["better"] if p_frequency else None,
        p_frequency_worse=p_frequency["worse"] if p_frequency else None,
        against_random=verdict(p_random) if ranked and p_random else None,
        against_frequency=verdict(p_frequency) if ranked and p_frequency else None,
        undecided="" if enough or not ranked else f"too few results for a verdict ({len(ours)} of {FEWEST_RESULTS})",
    )


def bootstrap(values: Float[ndarray, " sample"], seed: int = 0) -> Interval:
    """Returns the 95 % percentile bootstrap interval of the mean; a single point where all values are equal."""
    from scipy import stats

    if len(values) < 2 or numpy.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    found = stats.bootstrap(
        (values,),
        numpy.mean,
        n_resamples=RESAMPLES,
        batch=max(_DRAWN // len(values), 1),
        confidence_level=LEVEL,
        method="percentile",
        rng=numpy.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def verdict(p: Mapping[str, float]) -> str:
    """Returns "better", "worse" or "no different" by the one-sided p-values of the first two."""
    return next((name for name, value in p.items() if value <= ALPHA + 1e-12), "no different")


def _flipped(gains: Float[ndarray, " result"]) -> dict[str, float]:
    """Returns the one-sided p-values of a sign-flip test that the mean gain is above, or below, 0.

    Exact (all signs) up to 13 results; above, 9,999 random ones. In contrast to a bootstrap interval it keeps its level
    with few results, where differences are as likely to one side as to the other if there is no effect.
    """
    from scipy import stats

    return {
        name: float(
            stats.permutation_test(
                (sign * gains,),
                numpy.mean,
                permutation_type="samples",
                alternative="greater",
                n_resamples=9999,
                rng=numpy.random.default_rng(0),
            ).pvalue
        )
        for name, sign in (("better", 1), ("worse", -1))
    }


def _larger(own: float, other: float) -> str:
    if abs(own - other) <= _EQUAL * max(abs(own), abs(other)):
        return "no different"
    return "better" if own > other else "worse"
