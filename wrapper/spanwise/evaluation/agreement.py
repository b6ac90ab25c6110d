"""How far two sets of scores agree on the same source tokens: rank correlation and top-k overlap, row by row."""

import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.errors import InputError, OptionError, at_least, one_of, require

RANK_CORRELATIONS = ("spearman", "kendall")


def rank_correlation(
    one: Float[Tensor, "row source"], other: Float[Tensor, "row source"], kind: str = "spearman"
) -> Float[Tensor, " row"]:
    """Returns for each row the rank correlation of the signed scores, -1 to 1; equal scores share a rank.

    NaN where a row has fewer than two scores, or the same score everywhere, and so no order.

    Args:
        one: Scores; NaN where not defined.
        other: Scores of the same places.
        kind: "spearman" (Spearman 1904), or "kendall" (tau-b, Kendall 1945).

    Raises:
        InputError: The shapes differ, or what is defined.
        OptionError: Another kind.
        DependencyError: SciPy is not installed.

    Example:
        >>> import torch
        >>> rank_correlation(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0, 20.0, 30.0]]))
        tensor([1.])
    """
    one_of("rank correlation", kind, RANK_CORRELATIONS)
    require("scipy", "flow", "a rank correlation")
    from scipy import stats

    measure = stats.spearmanr if kind == "spearman" else stats.kendalltau
    found = []
    for ours, theirs in _defined(one, other):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SciPy warns of a constant row, where its NaN says the same
            value = float(measure(ours.numpy(), theirs.numpy())[0]) if len(ours) > 1 else float("nan")
        # The same order is 1, which SciPy reaches up to a rounding.
        found.append(1.0 if value == value and torch.equal(_ranks(ours), _ranks(theirs)) else value)
    return torch.tensor(found, dtype=torch.float64).float()


def top_k_overlap(
    one: Float[Tensor, "row source"], other: Float[Tensor, "row source"], k: int
) -> Float[Tensor, " row"]:
    """Returns for each row the share of the `k` places with the largest absolute scores that both have, 0 to 1.

    Of equal scores the first places count.

    Raises:
        InputError: The shapes differ, or what is defined.
        OptionError: A row has fewer than `k` scores, or `k` is below 1.

    Example:
        >>> import torch
        >>> top_k_overlap(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[3.0, -1.0, -2.0]]), k=2)
        tensor([0.5000])
    """
    at_least("k", k, 1)
    found = []
    for ours, theirs in _defined(one, other):
        if len(ours) < k:
            raise OptionError(f"the overlap of the top {k} was asked, but only {len(ours)} source tokens have scores.")
        tops = [set(torch.argsort(-each.abs(), stable=True)[:k].tolist()) for each in (ours, theirs)]
        found.append(len(tops[0] & tops[1]) / k)
    return torch.tensor(found)


def _defined(one: Tensor, other: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Returns the scores that are defined, row by row."""
    if one.shape != other.shape:
        raise InputError(f"scores of shapes {list(one.shape)} and {list(other.shape)} cannot be compared.")
    if not torch.equal(one.isnan(), other.isnan()):
        raise InputError("the scores cannot be compared: they are not defined in the same places.")
    return [(ours[~ours.isnan()], theirs[~theirs.isnan()]) for ours, theirs in zip(one, other, strict=True)]


def _ranks(values: Tensor) -> Tensor:
    return values.unique(return_inverse=True)[1]
