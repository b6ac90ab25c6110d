"""Would two methods agree so far by chance? Permutation p-values of rank correlations and of top-k overlap."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from spanwise.errors import require

MEASURES = ("spearman", "kendall", "overlap")
KENDALL_LIMIT = 250_000_000
"""Rows x columns^2 x orders of one pair: more would take Kendall's p-value more than seconds."""
_AT_ONCE = 4_000_000  # numbers in memory for one part of the orders
_ROUNDING = 1e-9  # sums in another order differ by less, two values of a measure by more

Statistic: TypeAlias = Callable[[Int[Tensor, "order column"]], Float[Tensor, " order"]]


@dataclass(frozen=True)
class Orders:
    """Orders of the columns in which one of two methods is put.

    Attributes:
        columns: For each order the column that comes to each place.
        exact: These are all orders there are; else random ones.
    """

    columns: Int[Tensor, "order column"]
    exact: bool


def smallest_p(permutations: int, *, exact: bool) -> float:
    """Returns the smallest two-sided p-value there can be: of all orders the reverse is as far from 0 as the same."""
    return min(1.0, 2 / permutations) if exact else 1 / (permutations + 1)


def draw_orders(defined: Tensor, count: int, seed: int) -> Orders:
    """Returns orders of the columns: all of them where these are at most `count`, else `count` random ones.

    Columns that have a score in the same rows change places; a column that shares its rows with no other one stays.
    All rows are put in the same order, so that what they have in common (rows are seldom independent of each other) is
    no evidence.

    Args:
        defined: Bool[row column], where there is a score.
        count: Of orders.
        seed: Of random ones.
    """
    members: dict[tuple[bool, ...], list[int]] = {}
    for column, rows in enumerate(defined.T.tolist()):
        if any(rows):
            members.setdefault(tuple(rows), []).append(column)
    groups = list(members.values())
    there_are = math.prod(math.factorial(len(group)) for group in groups) if sum(map(len, groups)) < 20 else math.inf
    if there_are <= count:
        columns = torch.arange(defined.shape[1]).repeat(int(there_are), 1)
        every = itertools.product(*(itertools.permutations(group) for group in groups))
        for order, parts in enumerate(every):
            columns[order, [i for group in groups for i in group]] = torch.tensor([i for part in parts for i in part])
        return Orders(columns, exact=True)
    columns = torch.arange(defined.shape[1]).repeat(count, 1)
    generator = torch.Generator().manual_seed(seed)
    for group in groups:
        shuffled = torch.rand(count, len(group), generator=generator, dtype=torch.float64).argsort(1)
        columns[:, group] = torch.tensor(group)[shuffled]
    return Orders(columns, exact=False)


def p_value(statistic: Statistic, orders: Orders, *, two_sided: bool) -> float:
    """Returns how often an order takes the statistic as far as the order that was found, or further.

    Random orders: (b + 1) / (m + 1), b of m orders as far (Phipson & Smyth 2010, doi:10.2202/1544-6115.1585, eq. 2);
    all orders: their share, the found one among them.

    Args:
        statistic: From orders of the first method's columns to how far both agree then.
        orders: To compare with.
        two_sided: As far from 0 on either side; else as large.
    """
    own = torch.arange(orders.columns.shape[1])[None]
    found, others = statistic(own), statistic(orders.columns)
    if two_sided:
        found, others = found.abs(), others.abs()
    far = int((others >= found - _ROUNDING).sum())
    return far / len(others) if orders.exact else (far + 1) / (len(others) + 1)


def spearman(one: Float[Tensor, "row column"], other: Float[Tensor, "row column"]) -> Statistic | None:
    """Returns Spearman's correlation, the mean over rows that have an order; None where no row has one."""
    ranked = [_standardized(_ranks(each)) for each in (one, other)]
    return _products(*_with_order(*ranked))


def overlap(one: Float[Tensor, "row column"], other: Float[Tensor, "row column"], k: int) -> Statistic | None:
    """Returns the share of the `k` largest absolute scores that both have, the mean over rows."""
    tops = [_largest(each.abs(), k) for each in (one, other)]
    return _products(tops[0] / k, tops[1])


def kendall(one: Float[Tensor, "row column"], other: Float[Tensor, "row column"]) -> Statistic | None:
    """Returns Kendall's tau-b, the mean over rows that have an order; None where no row has one.

    As the correlation of the signs of all differences (Kendall 1945, doi:10.1093/biomet/33.3.239).
    """
    signs = [_unit((each[:, :, None] - each[:, None, :]).sign().nan_to_num(0.0)) for each in (one, other)]
    here, there = _with_order(*signs)
    if not len(here):
        return None

    def statistic(columns: Int[Tensor, "order column"]) -> Float[Tensor, " order"]:
        found = []
        for part in _parts(columns, here.shape[1] ** 2):
            moved = sum(
                row[part[:, :, None], part[:, None, :]].flatten(1) @ fixed.flatten()
                for row, fixed in zip(here, there, strict=True)
            )
            found.append(torch.as_tensor(moved) / len(here))
        return torch.cat(found)

    return statistic


def kendall_fits(defined: Tensor, orders: Orders) -> bool:
    """Returns whether Kendall's p-value takes seconds at most."""
    rows, columns = defined.shape
    return rows * columns**2 * len(orders.columns) <= KENDALL_LIMIT


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Returns the p-values corrected for their number (Holm 1979, jstor.org/stable/4615733); None stays None.

    At most a share alpha of all sets of chance agreements then has any below alpha, whatever their dependence.
    """
    known = sorted((value, place) for place, value in enumerate(p_values) if value is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for number, (value, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - number) * value))
        corrected[place] = highest
    return corrected


def _products(one: Float[Tensor, "row column"], other: Float[Tensor, "row column"]) -> Statistic | None:
    """Returns the mean over rows of the products of both."""
    if not len(one):
        return None

    def statistic(columns: Int[Tensor, "order column"]) -> Float[Tensor, " order"]:
        parts = _parts(columns, one.numel())
        return torch.cat([torch.einsum("roc,rc->o", one[:, part], other) for part in parts]) / len(one)

    return statistic


def _parts(columns: Int[Tensor, "order column"], numbers: int) -> Iterator[Int[Tensor, "part column"]]:
    return iter(columns.split(max(1, _AT_ONCE // numbers)))


def _ranks(scores: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
    """Returns the place of each score in its row, equal scores sharing the mean of theirs; NaN where there is none."""
    require("scipy", "flow", "a rank correlation")
    from scipy import stats

    return torch.from_numpy(stats.rankdata(scores.double().numpy(), axis=1, nan_policy="omit"))


def _standardized(ranks: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
    return _unit((ranks - ranks.nanmean(1, keepdim=True)).nan_to_num(0.0))


def _unit(values: Float[Tensor, "row ..."]) -> Float[Tensor, "row ..."]:
    """Returns each row at length 1; a row of zeros stays."""
    lengths = values.double().flatten(1).norm(dim=1)
    return values.double() / lengths.where(lengths > 0, 1.0).reshape(-1, *[1] * (values.dim() - 1))


def _with_order(one: Float[Tensor, "row ..."], other: Float[Tensor, "row ..."]) -> tuple[Tensor, Tensor]:
    """Returns the rows in which both have an order."""
    kept = one.flatten(1).any(1) & other.flatten(1).any(1)
    return one[kept], other[kept]


def _largest(weights: Float[Tensor, "row column"], k: int) -> Float[Tensor, "row column"]:
    """Returns 1 at the `k` largest of each row, of equal ones at the first."""
    places = torch.argsort(-weights.nan_to_num(-1.0), dim=1, stable=True)[:, :k]
    return torch.zeros(weights.shape, dtype=torch.float64).scatter(1, places, 1.0)
