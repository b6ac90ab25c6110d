"""Captum's gradient methods over the scorer.

Captum's classes call `gradient_func(forward_fn, inputs, target_ind, additional_forward_args)` and do their arithmetic
on what it returns. Ours returns the gradients of all rows from one shared forward; the row axis broadcasts through.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from captum.attr import GradientShap, InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from jaxtyping import Float
from torch import Tensor

from spanwise.engines.protocol import Runner
from spanwise.errors import OptionError
from spanwise.methods import GAUSS_LEGENDRE_LIMIT, SMOOTHGRAD_NOISE
from spanwise.scoring.scorer import Scorer


def saliency(scorer: Scorer, options: Mapping[str, Any]) -> Float[Tensor, "row feature"]:
    """Length (or signed sum) of the gradient at each embedding."""
    method = Saliency(_unused_forward)
    method.gradient_func = _gradients(scorer.embedding_gradients)
    gradients = method.attribute(_leaf(scorer.embeddings[None]), abs=False)[0]  # [row, source, hidden]
    return _per_feature(scorer, gradients, options["reduction"])


def input_x_gradient(scorer: Scorer, options: Mapping[str, Any]) -> Float[Tensor, "row feature"]:
    """Gradient times embedding."""
    method = InputXGradient(_unused_forward)
    method.gradient_func = _gradients(lambda inputs: scorer.embedding_gradients(inputs[:, 0]))
    products = method.attribute(_leaf(scorer.embeddings[None, None]))[0]  # inputs [1, 1, source, hidden]
    return _per_feature(scorer, products, options["reduction"])


def integrated_gradients(scorer: Scorer, options: Mapping[str, Any]) -> Float[Tensor, "row feature"]:
    """Integrated gradients in the scorer's gates: baseline all 0, input all 1, the straight path between embeddings."""
    if options["method"] == "gausslegendre" and options["n_steps"] > GAUSS_LEGENDRE_LIMIT:
        raise OptionError(
            f"n_steps={options['n_steps']} was asked with Gauss-Legendre quadrature, whose points cost n_steps^3; at "
            f"most {GAUSS_LEGENDRE_LIMIT} are allowed. Use method_options={{'method': 'riemann_middle', ...}}."
        )
    method = IntegratedGradients(_unused_forward)
    method.gradient_func = _gradients(scorer.gate_gradients)
    on = torch.ones(1, scorer.feature_count)
    return method.attribute(
        on,
        baselines=torch.zeros_like(on),
        n_steps=options["n_steps"],
        method=options["method"],
        internal_batch_size=options["internal_batch_size"],
    )[0]


def gradient_shap(scorer: Scorer, options: Mapping[str, Any]) -> Float[Tensor, "row feature"]:
    """Gradient SHAP: random points between the baseline and the input, with noise on it where `stdevs` says so."""
    method = GradientShap(_unused_forward)
    method.gradient_func = _gradients(lambda inputs: scorer.embedding_gradients(inputs[:, 0]))
    total = torch.zeros(scorer.row_count, scorer.feature_count)
    left = options["n_samples"]
    while left:
        samples = min(left, _samples_at_once(scorer))
        products = method.attribute(
            scorer.embeddings[None, None],  # [1, 1, source, hidden]
            baselines=scorer.baseline_embeddings[None, None],
            n_samples=samples,
            stdevs=float(options["stdevs"]),
        )[0]
        total += samples * _per_feature(scorer, products, "sum").cpu()
        left -= samples
    return total / options["n_samples"]


def smoothgrad(scorer: Scorer, options: Mapping[str, Any]) -> Float[Tensor, "row feature"]:
    """Length (or signed sum) of the mean gradient over noisy copies of the embeddings."""
    inner = Saliency(_unused_forward)
    inner.gradient_func = _gradients(lambda inputs: scorer.embedding_gradients(inputs[:, 0]))
    spread = scorer.embeddings.max() - scorer.embeddings.min()
    stdevs = SMOOTHGRAD_NOISE * float(spread) if options["stdevs"] is None else float(options["stdevs"])
    total: Tensor | float = 0.0
    left = options["n_samples"]
    while left:
        samples = min(left, _samples_at_once(scorer))
        # NoiseTunnel turns gradients on for the inputs it is given; a detached copy keeps ours as they are.
        gradients = NoiseTunnel(inner).attribute(
            _leaf(scorer.embeddings[None, None]), nt_type="smoothgrad", nt_samples=samples, stdevs=stdevs, abs=False
        )[0]
        total = total + samples * gradients.detach()  # [row, source, hidden]
        left -= samples
    return _per_feature(scorer, total / options["n_samples"], options["reduction"])


RUNNERS: dict[str, Runner] = {
    "saliency": saliency,
    "input_x_gradient": input_x_gradient,
    "integrated_gradients": integrated_gradients,
    "gradient_shap": gradient_shap,
    "smoothgrad": smoothgrad,
}


def _unused_forward(*args: Any) -> Tensor:
    raise AssertionError("Captum called the forward function, but the gradient function does the work")


def _gradients(of: Callable[[Tensor], Tensor]) -> Callable[..., tuple[Tensor]]:
    """Returns a function with the signature that Captum's gradient methods expect."""

    def gradient_func(
        forward_fn: object, inputs: tuple[Tensor], target_ind: object = None, additional_forward_args: object = None
    ) -> tuple[Tensor]:
        return (of(inputs[0].detach()),)

    return gradient_func


def _leaf(inputs: Tensor) -> Tensor:
    """Returns a copy that already requires gradients; without it Captum warns that it sets this itself."""
    return inputs.clone().requires_grad_()


def _per_feature(
    scorer: Scorer, values: Float[Tensor, "row source hidden"], reduction: str
) -> Float[Tensor, "row feature"]:
    """Reduces the hidden axis, then adds up each feature's positions."""
    per_position = values.detach().norm(dim=-1) if reduction == "l2_norm" else values.detach().sum(-1)
    return scorer.add_positions(per_position)


def _samples_at_once(scorer: Scorer) -> int:
    """Returns how many samples keep [samples, row, source, hidden] under 256 MiB, and at most a batch."""
    values = scorer.row_count * scorer.embeddings.numel()
    return max(1, min(scorer.batch_size, 2**26 // values))
