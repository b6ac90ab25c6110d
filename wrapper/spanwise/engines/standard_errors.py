"""How far a sampled score would move with another seed: standard errors, in the scores' own unit.

The samples of a mean are independent, so its standard error is their standard deviation over the root of their number.
Regressions over random subsets have a closed form (KernelSHAP) or are bootstrapped (LIME).
"""

import math
import warnings

import torch
from jaxtyping import Float
from torch import Tensor

_RESAMPLES = 50
"""Fits behind a bootstrapped standard error, which is then itself known to 1 / sqrt(2 x 49), 10 %."""


class Spread:
    """Mean and standard error of samples that come in parts, without keeping them (Chan et al. 1979, eq. 1.5).

    A part may stand for averages over several samples each; `weights` then says over how many.
    """

    def __init__(self) -> None:
        """Begins with no sample."""
        self.samples = 0.0  # or the sum of their weights
        self.parts = 0
        self.mean: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0  # weighted, of the distances from the mean

    def add(self, values: Float[Tensor, "sample *shape"], weights: Float[Tensor, " sample"] | None = None) -> None:
        """Adds samples, or averages over `weights` samples each."""
        values = values.detach().double().cpu()
        many = torch.ones(len(values), dtype=torch.float64) if weights is None else weights.double().cpu()
        shaped = many.view(-1, *[1] * (values.ndim - 1))
        count = float(many.sum())
        mean = (shaped * values).sum(0) / count
        squares = (shaped * (values - mean).square()).sum(0)
        whole = self.samples + count
        self._squares = self._squares + squares + (mean - self.mean) ** 2 * (self.samples * count / whole)
        self.mean = self.mean + (mean - self.mean) * (count / whole)
        self.samples, self.parts = whole, self.parts + len(values)

    @property
    def standard_error(self) -> Float[Tensor, "*shape"]:
        """Of the mean; NaN for fewer than two samples."""
        squares = torch.as_tensor(self._squares)
        if self.parts < 2:
            return torch.full_like(squares, torch.nan)
        return (squares / (self.parts - 1) / self.samples).sqrt()


def share(error: Float[Tensor, "row feature"], scores: Float[Tensor, "row feature"]) -> float:
    """Returns the largest standard error as a share of the largest |score|: what "auto" brings under its tolerance."""
    largest = float(error.max())
    return largest if largest == 0 else largest / max(float(scores.abs().max()), math.ulp(0.0))


def kernel_shap_errors(
    subsets: Float[Tensor, "sample feature"],
    values: Float[Tensor, "sample row"],
    ends: Float[Tensor, "2 row"],
) -> Float[Tensor, "row feature"]:
    """Returns the standard errors of KernelSHAP's regression: its sandwich with HC2 residuals.

    The regression passes exactly through both ends, so it is one without intercept in the space of coefficients that
    add up to 0. Its residuals are what the additive model misses, not noise, and differ from subset to subset: the
    sandwich needs no more. MacKinnon & White 1985, doi:10.1016/0304-4076(85)90158-7, section 2. Over repeated seeds HC2
    was right within a tenth from two subsets a feature on, HC3 a third too large there.

    Args:
        subsets: The random ones, 1 where a feature is on.
        values: The rows' values there.
        ends: The rows' values with everything off, and with everything on.

    Returns:
        NaN where the subsets are too few to determine the coefficients and leave anything over.
    """
    count, features = subsets.shape
    unknown = torch.full((values.shape[1], features), torch.nan)
    if count <= features:
        return unknown
    subsets, values, (off, on) = subsets.double().cpu(), values.double().cpu(), ends.double().cpu()
    basis = torch.linalg.qr(torch.ones(features, 1, dtype=torch.float64), mode="complete").Q[:, 1:]
    design = subsets @ basis  # [sample, feature - 1]
    if int(torch.linalg.matrix_rank(design)) < features - 1:
        return unknown
    missing = values - off - subsets.mean(1, keepdim=True) * (on - off)  # [sample, row]
    solve = torch.linalg.pinv(design)  # [feature - 1, sample]
    left = 1 - (design * solve.T).sum(1)  # 1 - leverage
    residuals = (missing - design @ (solve @ missing)) / left.clamp(min=1e-9).sqrt()[:, None]
    return ((basis @ solve).square() @ residuals.square()).sqrt().T.float()


def lasso_errors(
    subsets: Float[Tensor, "sample feature"],
    values: Float[Tensor, " sample"],
    weights: Float[Tensor, " sample"],
    alpha: float,
) -> Float[Tensor, " feature"]:
    """Returns the standard errors of a Lasso's coefficients: their spread over fits to resampled subsets.

    Efron 1979, doi:10.1214/aos/1176344552, section 7: pairs of subset and value, drawn again. The draws are the same
    in every call, and touch no random generator but their own.

    Args:
        subsets: 1 where a feature is on.
        values: The row's values there.
        weights: The kernel's, one a subset.
        alpha: Weight of the penalty.
    """
    import numpy
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Lasso

    given, wanted, kernel = (each.double().cpu().numpy() for each in (subsets, values, weights))
    if len(given) < 2:
        return torch.full((given.shape[1],), torch.nan)
    draw = numpy.random.default_rng(0)
    model = Lasso(alpha=alpha, warm_start=True)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(_RESAMPLES):
            times = draw.multinomial(len(given), numpy.full(len(given), 1 / len(given)))
            kept = times > 0
            model.fit(given[kept], wanted[kept], sample_weight=(kernel * times)[kept])
            found.append(torch.tensor(model.coef_))
    return torch.stack(found).std(0).float()
