"""Inseq's own `load_model(...).attribute(...)`, run on its own: what ours is compared with."""

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import inseq
from jaxtyping import Float
from torch import Tensor

from spanwise.engines.inseq_model import quiet
from spanwise.errors import InputError
from spanwise.model.kept import kept
from spanwise.model.language_model import LanguageModel


def input_x_gradient(lm: LanguageModel, prompt: str, target: str, ids: Sequence[int]) -> Float[Tensor, "target source"]:
    """Returns Inseq's gradients times embeddings of the log-probability (nats), not normalized.

    Its defaults are the probability, and lengths over the hidden axis that add up to 1; here the log-probability is
    asked for and the hidden axis added up, so that the scores are those of `spanwise.attribute` with
    `prefix="attributed"`. What a target token could not see is NaN.

    Args:
        lm: The model, inside its session.
        prompt: The prompt; Inseq tokenizes it together with the target.
        target: The target.
        ids: What both have to come to.

    Raises:
        InputError: Inseq tokenizes them otherwise.
    """
    with kept(lm.model), quiet(), warnings.catch_warnings():
        # Captum says that Inseq's inputs do not require gradients, where parameters are frozen.
        warnings.filterwarnings("ignore", "Input Tensor 0 did not already require gradients", UserWarning)
        config: Any = lm.model.config
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):  # without them Inseq does not load
            if getattr(config, name, None) is None:
                setattr(config, name, getattr(lm.tokenizer, name, None) or 0)
        tokenizer = copy.deepcopy(lm.tokenizer)  # Inseq sets its pad and unk token
        own = inseq.load_model(lm.model, "input_x_gradient", tokenizer=tokenizer, device=lm.device.type)
        output = own.attribute(prompt, prompt + target, show_progress=False, attributed_fn=_log_prob)[0]
    found = [token.id for token in output.target]
    if found != list(ids):
        raise InputError(f"Inseq tokenizes prompt and target to the ids {found}, where {list(ids)} were expected.")
    scores: Tensor = output.target_attributions.detach().float().cpu().sum(-1).T  # [target, prompt + target]
    return scores[:, :-1]  # the last target token is nobody's source


def _log_prob(args: Any) -> Float[Tensor, " batch"]:
    logits = args.attribution_model.output2logits(args.forward_output).float()
    return logits.log_softmax(-1).gather(-1, args.target_ids.reshape(-1, 1)).squeeze(-1)
