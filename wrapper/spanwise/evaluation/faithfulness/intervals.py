"""From figures of a method and of its baselines to intervals and a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from jaxtyping import Float
from numpy import ndarray

LEVEL = 0.95
RESAMPLES = 2000
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
        random_middle: Where the middle 95 % of the random rankings lie; None for several results.
        frequency: Of the token-frequency ranking; of several results their mean.
        frequency_interval: Bootstrap interval of that mean over results; None for one result.
        over_random: Bootstrap interval of the paired difference to the random mean; None for one result.
        over_frequency: The same, to the token-frequency ranking.
        against_random: "better", "worse" or "no different": for one result outside the middle 95 % of the random
            rankings, for several by the interval of the paired difference. None where there is no ranking.
        against_frequency: The same; for one result, a comparison of two numbers.
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
    against_random: str | None
    against_frequency: str | None


def compare_one(own: float, random: Sequence[float], frequency: float, *, higher: bool, ranked: bool) -> Compared:
    """Returns the comparison for one result.

    Args:
        own: The method's figure.
        random: Those of random rankings, each followed by that of its reverse.
        frequency: That of the token-frequency ranking.
        higher: Higher is better.
        ranked: The method gives a ranking at all.
    """
    every = numpy.asarray(random, dtype=float)
    low, high = (float(each) for each in numpy.quantile(every, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
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
        against_random=verdict((own - high, own - low), higher) if ranked else None,
        against_frequency=verdict((own - frequency, own - frequency), higher) if ranked else None,
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
    over_random, over_frequency = bootstrap(ours - chance), bootstrap(ours - rare)
    return Compared(
        value=float(ours.mean()),
        interval=bootstrap(ours),
        random=float(chance.mean()),
        random_interval=bootstrap(chance),
        random_middle=None,
        frequency=float(rare.mean()),
        frequency_interval=bootstrap(rare),
        over_random=over_random,
        over_frequency=over_frequency,
        against_random=verdict(over_random, higher) if ranked else None,
        against_frequency=verdict(over_frequency, higher) if ranked else None,
    )


def bootstrap(values: Float[ndarray, " sample"]) -> Interval:
    """Returns the 95 % percentile bootstrap interval of the mean; a single point where all values are equal."""
    from scipy import stats

    if len(values) < 2 or numpy.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    found = stats.bootstrap(
        (values,),
        numpy.mean,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=numpy.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def verdict(difference: Interval, higher: bool) -> str:
    """Returns "better", "worse" or "no different" by an interval of method minus baseline."""
    low, high = difference if higher else (-difference[1], -difference[0])
    return "better" if low > 0 else "worse" if high < 0 else "no different"
