"""Captum's own classes for language models, run on their own: what ours are compared with."""

from collections.abc import Sequence

import torch
from captum.attr import (
    FeatureAblation,
    LayerIntegratedGradients,
    LLMAttribution,
    LLMGradientAttribution,
    TextTokenInput,
)
from jaxtyping import Float
from torch import Tensor

from spanwise.errors import InputError
from spanwise.model.language_model import LanguageModel


def integrated_gradients(
    lm: LanguageModel, prompt: str, prompt_ids: Sequence[int], target_ids: Sequence[int], n_steps: int
) -> Float[Tensor, "target source"]:
    """Returns Captum's scores of the log-probability (nats), from its default baseline: the token with id 0.

    Args:
        lm: The model, inside its session.
        prompt: The prompt, which Captum tokenizes itself.
        prompt_ids: What it has to come to.
        target_ids: Ids of the target.
        n_steps: Points on the path.

    Raises:
        InputError: Captum tokenizes the prompt otherwise.
    """
    own = LLMGradientAttribution(LayerIntegratedGradients(lm.model, lm.embedding), lm.tokenizer)
    inputs = _inputs(lm, prompt, prompt_ids)
    return own.attribute(inputs, torch.tensor(target_ids), n_steps=n_steps).token_attr.detach().float().cpu()


def feature_ablation(
    lm: LanguageModel,
    prompt: str,
    prompt_ids: Sequence[int],
    target_ids: Sequence[int],
    *,
    forward_in_tokens: bool = False,
) -> Float[Tensor, "target source"]:
    """Returns Captum's drops of the log-probability (nats), each token in turn replaced by the one with id 0.

    Args:
        lm: The model, inside its session.
        prompt: The prompt, which Captum tokenizes itself.
        prompt_ids: What it has to come to.
        target_ids: Ids of the target.
        forward_in_tokens: Token after token, over cached keys and values. That is Captum's default, and wrong from
            transformers 5.3 on for every target token but the first.

    Raises:
        InputError: Captum tokenizes the prompt otherwise.
    """
    own = LLMAttribution(FeatureAblation(lm.model), lm.tokenizer)
    inputs = _inputs(lm, prompt, prompt_ids)
    found = own.attribute(inputs, torch.tensor(target_ids), forward_in_tokens=forward_in_tokens)
    return found.token_attr.detach().float().cpu()


def _inputs(lm: LanguageModel, prompt: str, prompt_ids: Sequence[int]) -> TextTokenInput:
    inputs = TextTokenInput(prompt, lm.tokenizer)
    found = inputs.inp_tensor[0].tolist()
    if found != list(prompt_ids):
        raise InputError(f"Captum tokenizes the prompt to the ids {found}, where {list(prompt_ids)} were expected.")
    return inputs
