"""Captum's perturbation methods over the scorer.

Captum sees a model whose input is one row of switches, all on, with the baseline all off; its forward function is the
scorer's, which puts the embeddings of switched-off features to their baseline.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from captum._utils.models.linear_model import SkLearnLasso
from captum.attr import FeatureAblation, KernelShap, Lime, ShapleyValues, ShapleyValueSampling
from jaxtyping import Float
from torch import Tensor

from spanwise.engines.protocol import Runner
from spanwise.errors import MethodError
from spanwise.methods import SHAPLEY_VALUES_LIMIT
from spanwise.scoring.scorer import Scorer


def feature_ablation(scorer: Scorer, options: Mapping[str, Any]) -> Float[Tensor, "row feature"]:
    """Drop of each row when one feature is off."""
    method = FeatureAblation(scorer.scores)
    # All at once, so that the scorer can put those together that begin alike; it cuts them into batches itself.
    return method.attribute(_switches(scorer), perturbations_per_eval=scorer.feature_count)


def shapley_value_sampling(scorer: Scorer, options: Mapping[str, Any]) -> Float[Tensor, "row feature"]:
    """Mean marginal effect of each feature over random orders."""
    method = ShapleyValueSampling(_remembered(scorer))
    return method.attribute(
        _switches(scorer), n_samples=options["n_samples"], perturbations_per_eval=scorer.batch_size
    )[0]


def shapley_values(scorer: Scorer, options: Mapping[str, Any]) -> Float[Tensor, "row feature"]:
    """Exact Shapley values. Captum visits every order; each distinct subset is sent to the model once."""
    if scorer.feature_count > SHAPLEY_VALUES_LIMIT:
        raise MethodError(
            f"shapley_values was asked for {scorer.feature_count} features; it allows at most {SHAPLEY_VALUES_LIMIT}, "
            "since it visits every order of them. Use shapley_value_sampling."
        )
    method = ShapleyValues(_remembered(scorer))
    return method.attribute(_switches(scorer), perturbations_per_eval=2**scorer.feature_count)[0]


def kernel_shap(scorer: Scorer, options: Mapping[str, Any]) -> Float[Tensor, "row feature"]:
    """Shapley values by a weighted regression over random subsets."""
    if scorer.feature_count < 2:
        raise MethodError("kernel_shap needs at least 2 features; feature_ablation gives the exact effect of one.")
    return _row_by_row(scorer, KernelShap, options["n_samples"])


def lime(scorer: Scorer, options: Mapping[str, Any]) -> Float[Tensor, "row feature"]:
    """Coefficients of a Lasso around the input."""

    def make(forward: Callable[[Tensor], Tensor]) -> Lime:
        return Lime(forward, interpretable_model=SkLearnLasso(alpha=options["alpha"]))

    return _row_by_row(scorer, make, options["n_samples"])


RUNNERS: dict[str, Runner] = {
    "feature_ablation": feature_ablation,
    "shapley_value_sampling": shapley_value_sampling,
    "shapley_values": shapley_values,
    "kernel_shap": kernel_shap,
    "lime": lime,
}


def _switches(scorer: Scorer) -> Float[Tensor, "1 feature"]:
    return torch.ones(1, scorer.feature_count)


def _row_by_row(
    scorer: Scorer, make: Callable[[Callable[[Tensor], Tensor]], Any], n_samples: int
) -> Float[Tensor, "row feature"]:
    """Runs a regression for each row on the same random subsets, so that the model sees each subset once."""
    scores = _remembered(scorer)
    state = torch.get_rng_state()
    rows = []
    for row in range(scorer.row_count):
        torch.set_rng_state(state)
        method = make(lambda switches, row=row: scores(switches)[:, row])  # type: ignore[misc]
        rows.append(
            method.attribute(_switches(scorer), n_samples=n_samples, perturbations_per_eval=scorer.batch_size)[0]
        )
    return torch.stack(rows)


def _remembered(scorer: Scorer) -> Callable[[Tensor], Tensor]:
    """Returns the scorer's scores with a memory, so that a subset of features is sent to the model once."""
    known: dict[bytes, Tensor] = {}

    def scores(switches: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch row"]:
        keys = [row.numpy().tobytes() for row in switches.to(torch.uint8)]
        new = {key: i for i, key in enumerate(keys) if key not in known}
        if new:
            known.update(zip(new, scorer.scores(switches[list(new.values())]), strict=True))
        return torch.stack([known[key] for key in keys])

    return scores
