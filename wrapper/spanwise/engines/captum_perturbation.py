"""Captum's perturbation methods over the scorer.

Captum sees a model whose input is one row of switches, all on, with the baseline all off; its forward function is the
scorer's, which puts the embeddings of switched-off features to their baseline.
"""

from collections.abc import Mapping
from typing import Any

from captum.attr import FeatureAblation, ShapleyValues
from jaxtyping import Float
from torch import Tensor

from spanwise.engines.captum_sampling import all_on, kernel_shap, lime, remembered, shapley_value_sampling
from spanwise.engines.protocol import Runner
from spanwise.errors import MethodError
from spanwise.methods import SHAPLEY_VALUES_LIMIT
from spanwise.scoring.scorer import Scorer


def feature_ablation(scorer: Scorer, options: Mapping[str, Any]) -> Float[Tensor, "row feature"]:
    """Drop of each row when one feature is off."""
    method = FeatureAblation(scorer.scores)
    # All at once, so that the scorer can put those together that begin alike; it cuts them into batches itself.
    return method.attribute(all_on(scorer), perturbations_per_eval=scorer.feature_count)


def shapley_values(scorer: Scorer, options: Mapping[str, Any]) -> Float[Tensor, "row feature"]:
    """Exact Shapley values. Captum visits every order; each distinct subset is sent to the model once."""
    if scorer.feature_count > SHAPLEY_VALUES_LIMIT:
        raise MethodError(
            f"shapley_values was asked for {scorer.feature_count} features; it allows at most {SHAPLEY_VALUES_LIMIT}, "
            "since it visits every order of them. Use shapley_value_sampling."
        )
    method = ShapleyValues(remembered(scorer))
    return method.attribute(all_on(scorer), perturbations_per_eval=2**scorer.feature_count)[0]


RUNNERS: dict[str, Runner] = {
    "feature_ablation": feature_ablation,
    "shapley_value_sampling": shapley_value_sampling,
    "shapley_values": shapley_values,
    "kernel_shap": kernel_shap,
    "lime": lime,
}
