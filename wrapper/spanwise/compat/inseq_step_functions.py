"""Step functions of Inseq's that fail or leave the model changed, in a form that does not, for the length of a call."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from inseq.attr import step_functions
from jaxtyping import Float
from torch import Tensor

PERPLEXITY = (
    "perplexity is exp(cross-entropy in nats) here; Inseq takes 2 to the power of nats, and fails at single sequences."
)


def crossentropy_fn(args: step_functions.StepFunctionArgs) -> Float[Tensor, " batch"]:
    """Returns the cross-entropy (nats) of the target tokens; Inseq's own fails where the batch is one sequence."""
    logits = args.attribution_model.output2logits(args.forward_output)
    ids = args.target_ids.reshape(-1).to(logits.device)
    return torch.nn.functional.cross_entropy(logits, ids, reduction="none")


def perplexity_fn(args: step_functions.StepFunctionArgs) -> Float[Tensor, " batch"]:
    """Returns exp(cross-entropy)."""
    return crossentropy_fn(args).exp()


@contextmanager
def mended() -> Iterator[None]:
    """Puts the mended functions in the place of Inseq's own; a user's of the same name are left alone."""
    table = step_functions.STEP_SCORES_MAP
    ours: dict[Callable[..., Any], Callable[..., Any]] = {
        step_functions.crossentropy_fn: crossentropy_fn,
        step_functions.perplexity_fn: perplexity_fn,
        step_functions.mc_dropout_prob_avg_fn: _dropout_undone(step_functions.mc_dropout_prob_avg_fn),
    }
    with patch.dict(table, {name: ours[function] for name, function in table.items() if function in ours}):
        yield


def _dropout_undone(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Inseq leaves the model in training mode, and so gives all later steps dropout."""

    @functools.wraps(function)
    def mended_function(args: step_functions.StepFunctionArgs, *more: Any, **options: Any) -> Tensor:
        try:
            return function(args, *more, **options)
        finally:
            args.attribution_model.eval()

    return mended_function
