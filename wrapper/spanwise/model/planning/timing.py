"""How long a plan takes, from a token rate measured on the loaded model."""

import time
from dataclasses import replace

import torch

from spanwise.model.forward import embed, forward
from spanwise.model.language_model import LanguageModel
from spanwise.model.planning.activations import Pass
from spanwise.model.planning.plan import Plan

_TOKENS = 128
"""Length of the sequence that is measured, or the plan's own where that is shorter."""


def with_time(plan: Plan, lm: LanguageModel, one_pass: Pass) -> Plan:
    """Returns the plan with the measured rate, and the seconds that its forwards and backwards take at it."""
    gradients = plan.backwards > 0
    tokens, ahead, back = _measured(lm, one_pass, gradients)
    rates = {"forward": tokens / ahead} | ({"backward": tokens / back} if gradients else {})
    seconds = one_pass.length * (
        plan.forwards / rates["forward"] + (plan.backwards / rates["backward"] if gradients else 0.0)
    )
    return replace(plan, tokens_per_second=rates, seconds=seconds)


def _measured(lm: LanguageModel, one_pass: Pass, gradients: bool) -> tuple[int, float, float]:
    """Returns the tokens of a short pass, and the seconds of its forward and of its backward (0 without)."""
    encoder = min(one_pass.encoder_length, _TOKENS // 2)
    tokens = max(encoder + 1, min(one_pass.length, _TOKENS))
    ids = torch.zeros(1, tokens, dtype=torch.long, device=lm.device)
    keep = min(one_pass.logits, tokens - encoder)
    with lm.session():
        for _ in range(2):  # the first run warms up
            embeddings = embed(lm, ids, encoder).requires_grad_(gradients)
            with torch.set_grad_enabled(gradients):
                begin = _now(lm)
                outputs, _ = forward(lm, ids, keep, embeddings=embeddings, encoder_length=encoder)
                middle = _now(lm)
                if gradients:
                    torch.autograd.grad(outputs.logits.float().logsumexp(-1).sum(), embeddings)
                end = _now(lm)
    return tokens, max(middle - begin, 1e-9), max(end - middle, 1e-9)


def _now(lm: LanguageModel) -> float:
    if lm.device.type == "cuda":
        torch.cuda.synchronize(lm.device)
    return time.perf_counter()
