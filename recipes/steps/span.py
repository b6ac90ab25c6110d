"""Of `quantized_span.py`: a part as the sum of its tokens, and a part exchanged for others of its kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import torch
from common import target_log_probs

import spanwise

Parts: TypeAlias = Mapping[str, Sequence[str]]
"""Parts of the prompt, and what each is exchanged for."""


def added(result: spanwise.Attribution, by_token: spanwise.Attribution, parts: Iterable[str]) -> torch.Tensor:
    """Return the scores of a part's single tokens for a phrase's tokens, added up: `[phrase, part]`."""
    scores, ends = by_token.scores.nan_to_num(0.0), [(by_token.prompt.index(p), len(p)) for p in parts]
    rows = torch.stack([scores[span.first_token : span.last_token].sum(0) for span in result.spans])
    inside = [
        [token.role == "prompt" and start < token.end and token.start < start + size for token in by_token.source]
        for start, size in ends
    ]
    return rows @ torch.tensor(inside, dtype=torch.float32).T


def exchanged(lm: spanwise.LanguageModel, result: spanwise.Attribution, parts: Parts, count: int) -> torch.Tensor:
    """Return by how much (nats) each phrase falls when each part is exchanged, mean over others: `[phrase, part]`."""
    before, falls = target_log_probs(lm, result.prompt, result), []
    for part, others in parts.items():
        after = [target_log_probs(lm, result.prompt.replace(part, other), result) for other in others[:count]]
        fall = before - torch.stack(after).mean(0)
        falls.append([float(fall[span.first_token : span.last_token].sum()) for span in result.spans])
    return torch.tensor(falls).T
