"""Captum's perturbation methods that sample, with standard errors, and sampling until those are small enough.

Captum draws the subsets and makes scores of them. What it asks the model for is put together first, so that many
subsets go at once; it then runs again on the same random stream, over what is known.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from captum._utils.models.linear_model import SkLearnLasso, SkLearnLinearRegression
from captum.attr import KernelShap, Lime, ShapleyValueSampling
from jaxtyping import Float
from torch import Tensor

from spanwise.engines.protocol import Found
from spanwise.engines.standard_errors import Spread, kernel_shap_errors, lasso_errors, share
from spanwise.errors import MethodError
from spanwise.scoring.scorer import Scorer

Scores = Callable[[Tensor], Tensor]

_FEWEST_ORDERS, _MORE_ORDERS = 16, 8
"""Random orders before the standard error is first believed, and between two looks at it."""

_KNOWN = 2**16
"""Subsets whose values are kept from one part of the samples to the next."""

_VALUES = 2**24
"""Numbers in a tensor that grows with the samples at once: 64 MiB in float32."""


def shapley_value_sampling(scorer: Scorer, options: Mapping[str, Any]) -> Found:
    """Mean marginal effect of each feature over random orders.

    Each order is a sample of the scores, so that their spread gives the standard error: Castro et al. 2009, eq. 4.
    """
    auto = options["n_samples"] == "auto"
    most = options["max_samples"] if auto else options["n_samples"]
    scores, spread = remembered(scorer), Spread()
    at_once = max(1, _VALUES // scorer.feature_count**2)
    while spread.parts < most:
        wanted = most if not auto else _MORE_ORDERS if spread.parts else _FEWEST_ORDERS
        for marginal in _orders(scorer, scores, min(wanted, at_once, most - spread.parts)):
            spread.add(marginal[None])
        if auto and spread.parts >= _FEWEST_ORDERS and _reached(spread, options):
            break
    return _told(torch.as_tensor(spread.mean), spread.standard_error, spread.parts, options)


def kernel_shap(scorer: Scorer, options: Mapping[str, Any]) -> Found:
    """Shapley values by a weighted regression over random subsets."""
    if scorer.feature_count < 2:
        raise MethodError("kernel_shap needs at least 2 features; feature_ablation gives the exact effect of one.")
    scores, state = remembered(scorer), torch.get_rng_state()
    for n_samples in _more_subsets(scorer.feature_count, options):
        torch.set_rng_state(state)  # the subsets of a short run are the first ones of a longer one
        found, subsets, values = _regressed(scorer, scores, n_samples)
        error = kernel_shap_errors(subsets[2:], values[2:], values[:2].flip(0))
        if options["n_samples"] == "auto" and share(error, found) <= options["tolerance"]:
            break
    return _told(found, error, n_samples, options)


def lime(scorer: Scorer, options: Mapping[str, Any]) -> Found:
    """Coefficients of a Lasso around the input."""
    scores, state = remembered(scorer), torch.get_rng_state()
    rows, errors = [], []
    for row in range(scorer.row_count):
        torch.set_rng_state(state)
        model = _Seen(SkLearnLasso(alpha=options["alpha"]))
        method = Lime(lambda switches, row=row: scores(switches)[:, row], interpretable_model=model)
        rows.append(_fit(method, scorer, options["n_samples"]))
        errors.append(lasso_errors(*model.seen, options["alpha"]))
    return Found(torch.stack(rows), torch.stack(errors))


def all_on(scorer: Scorer) -> Float[Tensor, "1 feature"]:
    """Returns the input as Captum sees it: a row of switches, all on."""
    return torch.ones(1, scorer.feature_count)


def remembered(scorer: Scorer) -> Scores:
    """Returns the scorer's scores with a memory, so that a subset of features is sent to the model once.

    Once 65,536 subsets are known it forgets them: among so many of them few come twice.
    """
    known: dict[bytes, Tensor] = {}

    def scores(switches: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch row"]:
        keys = [row.numpy().tobytes() for row in switches.to(torch.uint8)]
        new = {key: i for i, key in enumerate(keys) if key not in known}
        if new:
            if len(known) > _KNOWN:
                known.clear()
                new = {key: i for i, key in enumerate(keys)}
            known.update(zip(new, scorer.scores(switches[list(new.values())]), strict=True))
        return torch.stack([known[key] for key in keys])

    return scores


class _Seen:
    """A surrogate of Captum's that keeps what it was fitted to."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.seen: tuple[Tensor, Tensor, Tensor]  # subsets, values, weights

    def fit(self, data: Any) -> Any:
        self.seen = data.dataset.tensors
        return self._model.fit(data)

    def representation(self) -> Tensor:
        coefficients: Tensor = self._model.representation()
        return coefficients


def _orders(scorer: Scorer, scores: Scores, count: int) -> Iterator[Float[Tensor, "row feature"]]:
    """Yields the marginal effects along each of `count` random orders, whose subsets go to the model together."""
    asked: list[Tensor] = []

    def listen(switches: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch row"]:
        asked.append(switches.clone())
        return torch.zeros(len(switches), scorer.row_count)

    state = torch.get_rng_state()
    _captum_orders(scorer, listen, count)
    scores(torch.cat(asked))
    torch.set_rng_state(state)
    for _ in range(count):
        yield _captum_orders(scorer, scores, 1)


def _captum_orders(scorer: Scorer, forward: Scores, count: int) -> Float[Tensor, "row feature"]:
    # Captum spreads [switches, row, feature] for those it sends at once.
    at_once = max(1, min(scorer.feature_count, _VALUES // (scorer.row_count * scorer.feature_count)))
    method = ShapleyValueSampling(forward)
    return method.attribute(all_on(scorer), n_samples=count, perturbations_per_eval=at_once)[0]


def _more_subsets(features: int, options: Mapping[str, Any]) -> Iterator[int]:
    """Yields numbers of subsets to look at the standard error at: the one asked for, or each half as large again."""
    if options["n_samples"] != "auto":
        yield options["n_samples"]
        return
    most, count = options["max_samples"], max(64, 2 * features)
    while count < most:
        yield count
        count += count // 2
    yield most


def _regressed(
    scorer: Scorer, scores: Scores, n_samples: int
) -> tuple[Float[Tensor, "row feature"], Float[Tensor, "sample feature"], Float[Tensor, "sample row"]]:
    """Returns KernelSHAP's scores, each row's over the same subsets, and those with the values there."""
    state = torch.get_rng_state()
    rows, values = [], []
    for row in range(scorer.row_count):
        torch.set_rng_state(state)
        method = KernelShap(lambda switches, row=row: scores(switches)[:, row])
        method.interpretable_model = model = _Seen(SkLearnLinearRegression())
        rows.append(_fit(method, scorer, n_samples))
        values.append(model.seen[1])
    return torch.stack(rows), model.seen[0], torch.stack(values, dim=1)


def _fit(method: Lime, scorer: Scorer, n_samples: int) -> Float[Tensor, " feature"]:
    # All subsets at once: the scorer cuts them into batches itself.
    return method.attribute(all_on(scorer), n_samples=n_samples, perturbations_per_eval=n_samples)[0]


def _reached(spread: Spread, options: Mapping[str, Any]) -> bool:
    return share(spread.standard_error, torch.as_tensor(spread.mean)) <= options["tolerance"]


def _told(
    scores: Float[Tensor, "row feature"], error: Float[Tensor, "row feature"], count: int, options: Mapping[str, Any]
) -> Found:
    """Returns the result; where "auto" was asked, with the samples used, and a note where they were too few."""
    if options["n_samples"] != "auto":
        return Found(scores, error)
    found = share(error, scores)
    note = ""
    if not found <= options["tolerance"]:
        note = (
            f"n_samples='auto' did not reach its tolerance: the largest standard error is {found:.1%} of the largest "
            f"|score|, asked was {options['tolerance']:.1%}, and max_samples={options['max_samples']} is the limit."
        )
    return Found(scores, error, used={"n_samples": count}, note=note)
