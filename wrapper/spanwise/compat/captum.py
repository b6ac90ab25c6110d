"""Captum's names for language models, over one shared forward.

    from spanwise.compat.captum import LLMAttribution, FeatureAblation, TextTokenInput   # was captum.attr

Classes, arguments, attributes, plots and results are Captum's; `isinstance` against its classes holds. What differs:

* Every target token comes from one forward, and perturbations and steps go in batches.
* Targets of several tokens are right by default: Captum's cached path is wrong with transformers 5.3 and later, and its
  `LayerGradientShap` with several samples picks other target tokens. A warning says so, once.
* `perturbations_per_eval`, `return_convergence_delta=True` (the result and the delta come back), bf16 results in plots,
  and generated ids that do not tokenize to themselves work; `seq_attr_dict` keeps repeated tokens apart.
* `skip_tokens` of older versions of Captum is taken by `attribute`.

A name of `captum.attr` that is not here is Captum's own.
"""

from typing import Any

import captum.attr
from captum.attr import (
    FeatureAblation,
    KernelShap,
    LayerGradientShap,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    Lime,
    ProductBaselines,
    ShapleyValues,
    ShapleyValueSampling,
    TextTemplateInput,
    TextTokenInput,
)

from spanwise.compat.captum_gradient import LLMGradientAttribution
from spanwise.compat.captum_perturbation import LLMAttribution
from spanwise.compat.captum_result import LLMAttributionResult

__all__ = [
    "FeatureAblation",
    "KernelShap",
    "LLMAttribution",
    "LLMAttributionResult",
    "LLMGradientAttribution",
    "LayerGradientShap",
    "LayerGradientXActivation",
    "LayerIntegratedGradients",
    "Lime",
    "ProductBaselines",
    "ShapleyValueSampling",
    "ShapleyValues",
    "TextTemplateInput",
    "TextTokenInput",
]


def __getattr__(name: str) -> Any:
    """Returns Captum's own class of that name."""
    try:
        return getattr(captum.attr, name)
    except AttributeError:
        raise AttributeError(f"neither spanwise.compat.captum nor captum.attr has {name!r}.") from None
