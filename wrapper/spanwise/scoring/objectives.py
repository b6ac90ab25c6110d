"""What is attributed: from the model's outputs to one number a target token."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from spanwise.errors import MethodError, OptionError, one_of


def _unknown() -> Any:
    raise MethodError("this objective compares with the unchanged input, which this engine does not keep.")


@dataclass(frozen=True)
class Context:
    """What an objective knows beside the model's outputs.

    Attributes:
        target_ids: Ids of the target tokens that are scored, aligned with `outputs.logits`. Where a study's prompts go
            through the model together, a row for each; objectives other than the named ones never see that.
        positions: For each of them the position at which it is predicted, counted from the end of the sequence that
            writes the target: `outputs.hidden_states[layer][:, positions]`.
        at_input: Returns the model's outputs at the unchanged input, without a graph.
        first: Index of the first of them in the whole target.
    """

    target_ids: Int[Tensor, "*batch target"]
    positions: Int[Tensor, "*batch target"]
    at_input: Callable[[], Any] = _unknown
    first: int = 0


Value: TypeAlias = Callable[[Any, Context], Float[Tensor, "batch target"]]
"""From the model's outputs (`logits` of [batch, target, vocab]) and a `Context` to one number a target token."""


@dataclass(frozen=True)
class Objective:
    """A number for each target token.

    Attributes:
        name: As `attribute(objective=...)` takes it, and as the provenance has it.
        unit: Of the number.
        value: The function.
        local: A target's number depends on the logits at its own position only, which spares a row's backward the head.
        hidden_states: It reads `outputs.hidden_states`.
    """

    name: str
    unit: str
    value: Value
    local: bool = True
    hidden_states: bool = False


def logit(outputs: Any, context: Context) -> Float[Tensor, "batch target"]:
    """Returns the logit of each target token."""
    index = context.target_ids.expand(outputs.logits.shape[0], -1).unsqueeze(-1)
    return outputs.logits.gather(-1, index).squeeze(-1).float()


def log_prob(outputs: Any, context: Context) -> Float[Tensor, "batch target"]:
    """Returns the log-probability (nats) of each target token."""
    return logit(outputs, context) - torch.logsumexp(outputs.logits.float(), dim=-1)


def prob(outputs: Any, context: Context) -> Float[Tensor, "batch target"]:
    """Returns the probability of each target token; over a span these are added, not multiplied."""
    return log_prob(outputs, context).exp()


def entropy(outputs: Any, context: Context) -> Float[Tensor, "batch target"]:
    """Returns the entropy (nats) of the distribution from which each target token is chosen."""
    log_probs = outputs.logits.float().log_softmax(-1)
    return -(log_probs.exp() * log_probs).sum(-1)


def kl(reference: Float[Tensor, "target vocab"] | None = None) -> Objective:
    """Returns an objective: the divergence KL(reference || model) at each target token, in nats.

    Args:
        reference: Log-probabilities to compare with, a row for each token of the target; None: the model's own at the
            unchanged input, so that the objective is 0 there, and perturbation methods say how far a feature's absence
            moves the distribution (gradients are 0 there: it is the minimum).

    Example:
        >>> import spanwise
        >>> spanwise.kl().unit
        'nats'
    """

    def value(outputs: Any, context: Context) -> Tensor:
        found = outputs.logits.float().log_softmax(-1)  # [batch, target, vocab]
        if reference is None:
            known = context.at_input().logits[0].float().log_softmax(-1)
        else:
            known = reference.to(found)[context.first : context.first + len(context.target_ids)]
        if known.shape != found.shape[1:]:
            raise OptionError(
                f"the reference of kl has shape {list(known.shape)}, but the target that is attributed has "
                f"{list(found.shape[1:])} (target tokens x vocabulary)."
            )
        return (known.exp() * (known - found)).sum(-1)

    return Objective("kl", "nats", value)


def probe(layer: int, weights: Float[Tensor, " hidden"], bias: float = 0.0) -> Objective:
    """Returns an objective: a linear probe's output on the hidden state that each target token is predicted from.

    Args:
        layer: Index into the model's hidden states: 0 the embeddings, i the output of block i, -1 the last.
        weights: The probe's direction.
        bias: Added to its output.

    Example:
        >>> import spanwise, torch
        >>> lm = spanwise.load_model("tiny")
        >>> concept = spanwise.probe(2, torch.ones(lm.hidden_size))
        >>> spanwise.attribute(lm, "The keys", " are", objective=concept, method="saliency").provenance.objective
        'probe(layer=2)'
    """

    def value(outputs: Any, context: Context) -> Tensor:
        states = outputs.decoder_hidden_states if hasattr(outputs, "decoder_hidden_states") else outputs.hidden_states
        if not -len(states) <= layer < len(states):
            raise OptionError(
                f"probe was asked on layer {layer}, but the model has hidden states 0 to {len(states) - 1}."
            )
        state = states[layer][:, context.positions.to(states[layer].device)].float()
        if weights.shape != state.shape[-1:]:
            raise OptionError(
                f"the probe's weights have shape {list(weights.shape)}, but the hidden states of the model are "
                f"{state.shape[-1]} wide."
            )
        return (state @ weights.to(state) + bias).to(context.target_ids.device)

    return Objective(f"probe(layer={layer})", "probe output", value, local=False, hidden_states=True)


OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        each.name: each
        for each in (
            Objective("log_prob", "nats", log_prob),
            Objective("prob", "probability", prob),
            Objective("logit", "logit", logit),
            Objective("entropy", "nats", entropy),
        )
    }
)


def find_objective(asked: "str | Objective | Value") -> Objective:
    """Returns an objective given by its name, as such, or as a function of outputs and context.

    Raises:
        OptionError: There is none of that name.
    """
    if isinstance(asked, Objective):
        return asked
    if callable(asked):
        return _from_function(asked)
    return OBJECTIVES[one_of("objective", asked, OBJECTIVES)]


def _from_function(function: Value) -> Objective:
    name = getattr(function, "__name__", type(function).__name__)
    if name in OBJECTIVES:
        raise OptionError(
            f"the function given as objective is called {name!r}, as a built-in objective is, so that no result could "
            "tell them apart: give it another name."
        )

    def value(outputs: Any, context: Context) -> Tensor:
        found = function(outputs, context)
        expected = (len(outputs.logits), len(context.target_ids))
        if not isinstance(found, Tensor) or tuple(found.shape) != expected:
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise OptionError(
                f"the objective {name} returned {shape}; a tensor {list(expected)} [batch, target] is needed."
            )
        return found

    return Objective(name, "objective", value, local=False, hidden_states=True)
