"""Captum's gradient methods over the scorer.

Captum's classes call `gradient_func(forward_fn, inputs, target_ind, additional_forward_args)` and do their arithmetic
on what it returns. Ours returns the gradients of all rows from one shared forward; the row axis broadcasts through.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from captum.attr import GradientShap, InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from jaxtyping import Float
from torch import Tensor

from spanwise.engines.groups import Groups
from spanwise.engines.protocol import Found, Runner
from spanwise.engines.standard_errors import Spread
from spanwise.errors import OptionError
from spanwise.methods import GAUSS_LEGENDRE_LIMIT, SMOOTHGRAD_NOISE, steps_tried
from spanwise.scoring.checks import change_of, gap_of
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


def integrated_gradients(scorer: Scorer, options: Mapping[str, Any]) -> Found:
    """Integrated gradients in the scorer's gates: baseline all 0, input all 1, the straight path between embeddings."""
    n_steps = options["n_steps"]
    name = "max_steps" if n_steps == "auto" else "n_steps"
    if options["method"] == "gausslegendre" and options[name] > GAUSS_LEGENDRE_LIMIT:
        raise OptionError(
            f"{name}={options[name]} was asked with Gauss-Legendre quadrature, whose points cost {name}^3; at "
            f"most {GAUSS_LEGENDRE_LIMIT} are allowed. Use method_options={{'method': 'riemann_middle', ...}}."
        )
    method = IntegratedGradients(_unused_forward)
    method.gradient_func = _gradients(scorer.gate_gradients)
    on = torch.ones(1, scorer.feature_count)

    def along(points: int) -> Float[Tensor, "row feature"]:
        return method.attribute(
            on,
            baselines=torch.zeros_like(on),
            n_steps=points,
            method=options["method"],
            internal_batch_size=options["internal_batch_size"],
        )[0]

    return enough_steps(scorer, along, options) if n_steps == "auto" else Found(along(n_steps))


def enough_steps(
    scorer: Scorer, along: Callable[[int], Float[Tensor, "row feature"]], options: Mapping[str, Any]
) -> Found:
    """Returns the scores of the first number of points whose completeness gap is under the tolerance.

    Gauss-Legendre points of one order are none of the next one's, so each order is computed from the beginning: all
    of them together cost less than twice the last one.

    Args:
        scorer: Says how much the objective changes.
        along: From a number of points to scores.
        options: With "tolerance" and "max_steps".

    Returns:
        The scores, their gap, and the points behind them. Where the limit comes first, those with the smallest gap,
        and a note.
    """
    change = change_of(scorer)
    best: Found | None = None
    for points in steps_tried(options["max_steps"]):
        scores = along(points).float().cpu()
        gap = gap_of(scores, change)
        if best is None or best.gap is None or gap < best.gap:
            best = Found(scores, gap=gap, used={"n_steps": points})
        if not gap > options["tolerance"]:  # NaN ends it too: what is not finite is refused later
            return Found(scores, gap=gap, used={"n_steps": points})
    assert best is not None and best.gap is not None
    note = (
        f"n_steps='auto' did not reach its tolerance: the smallest completeness gap is {best.gap:.3g}, asked was "
        f"{options['tolerance']:g}, and max_steps={options['max_steps']} is the limit. The scores are those of "
        f"{best.used['n_steps']} points."
    )
    return replace(best, note=note)


def gradient_shap(scorer: Scorer, options: Mapping[str, Any]) -> Found:
    """Gradient SHAP: random points between the baseline and the input, with noise on it where `stdevs` says so."""
    method = GradientShap(_unused_forward)
    method.gradient_func = _gradients(lambda inputs: scorer.embedding_gradients(inputs[:, 0]))
    spread = Spread()
    for samples in _in_parts(scorer, options["n_samples"]):
        # One sample of each copy is what Captum draws for so many samples of one, and comes back unsummed.
        products = method.attribute(
            scorer.embeddings.expand(samples, 1, -1, -1),  # [sample, 1, source, hidden]
            baselines=scorer.baseline_embeddings[None, None],
            n_samples=1,
            stdevs=float(options["stdevs"]),
        )
        spread.add(_of_features(scorer, products.detach().sum(-1)))
    return Found(torch.as_tensor(spread.mean), spread.standard_error)


def smoothgrad(scorer: Scorer, options: Mapping[str, Any]) -> Found:
    """Length (or signed sum) of the mean gradient over noisy copies of the embeddings."""
    inner = Saliency(_unused_forward)
    inner.gradient_func = _gradients(lambda inputs: scorer.embedding_gradients(inputs[:, 0]))
    extent = scorer.embeddings.max() - scorer.embeddings.min()
    stdevs = SMOOTHGRAD_NOISE * float(extent) if options["stdevs"] is None else float(options["stdevs"])
    groups = Groups(options["n_samples"], _samples_at_once(scorer))
    for samples in _in_parts(scorer, options["n_samples"]):
        # NoiseTunnel turns gradients on for the inputs it is given; a copy keeps ours as they are.
        copies = _leaf(scorer.embeddings.expand(samples, 1, -1, -1))
        gradients = NoiseTunnel(inner).attribute(copies, nt_type="smoothgrad", nt_samples=1, stdevs=stdevs, abs=False)
        groups.add(gradients.detach())  # [sample, row, source, hidden]
    scores = _per_feature(scorer, groups.mean, options["reduction"])
    spread = Spread()
    for some, weights in groups.parts(groups.mean, options["reduction"]):
        spread.add(_of_features(scorer, some), weights)
    return Found(scores, spread.standard_error)


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


def _of_features(scorer: Scorer, values: Float[Tensor, "sample row source"]) -> Float[Tensor, "sample row feature"]:
    """Adds up each feature's positions, for every sample."""
    return scorer.add_positions(values.flatten(0, 1)).unflatten(0, values.shape[:2])


def _in_parts(scorer: Scorer, samples: int) -> Iterator[int]:
    """Yields how many of the samples go at once, anew each time: a batch may have been halved."""
    while samples:
        some = min(samples, scorer.batch_size, _samples_at_once(scorer))
        yield some
        samples -= some


def _samples_at_once(scorer: Scorer) -> int:
    """Returns how many samples keep [samples, row, source, hidden] under 256 MiB; at least one."""
    return max(1, 2**26 // (scorer.row_count * scorer.embeddings.numel()))
