"""The log-probability of a target behind many prompts."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from spanwise.errors import InputError
from spanwise.model.forward import forward
from spanwise.model.language_model import LanguageModel
from spanwise.scoring.batching import Batches
from spanwise.scoring.objectives import Context, log_prob


def token_log_probs(
    lm: LanguageModel, prompts: Sequence[Int[Tensor, "_"]], target: Int[Tensor, " target"], batches: Batches
) -> Float[Tensor, "batch target"]:
    """Returns the log-probability (nats) of each target token behind each prompt: one forward a prompt.

    Prompts of one length go together, so that nothing is padded.

    Args:
        lm: The model, inside its session.
        prompts: Their ids.
        target: Ids of the target.
        batches: How many sequences go through the model at once.

    Raises:
        InputError: A prompt is empty.
    """
    if not all(len(ids) for ids in prompts):
        raise InputError("the replaced features leave an empty prompt: give baselines that are not empty for them.")
    target = target.to(lm.device)
    context = Context(target, torch.arange(-len(target), 0, device=lm.device))

    def values(ids: Int[Tensor, "batch source"]) -> Float[Tensor, "batch target"]:
        outputs, _ = forward(lm, ids, len(target))
        return log_prob(outputs, context)

    found = torch.empty(len(prompts), len(target), device=lm.device)
    with torch.no_grad():
        for length in sorted({len(ids) for ids in prompts}):
            same = [i for i, ids in enumerate(prompts) if len(ids) == length]
            rows = torch.stack([torch.cat([prompts[i].to(lm.device), target[:-1]]) for i in same])
            found[same] = batches.over(rows, values)
    return found
