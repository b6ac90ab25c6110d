"""Of `reasoning_trace.py`: what of the prompt reaches the answer by way of the reasoning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from grammars.calls import Puzzle
from scipy.stats import spearmanr

import spanwise

PARTS = ("prompt", "reasoning", "answer")
"""That a share of the scores is on; the answer: its words before the name."""
PLACES = ("reasoning", "prompt")
"""Where a name is exchanged."""
LEAST = 0.1
"""Nats by which the prompt must move a token of the reasoning to be held responsible for it."""


def through(
    lm: spanwise.LanguageModel, puzzle: Puzzle, result: spanwise.Attribution, method: str
) -> tuple[torch.Tensor, float]:
    """Return what reaches the answer from each prompt token by way of the reasoning, and what begins there, in nats.

    A reasoning token's score for the answer is handed on to the prompt in the proportions of that token's own scores.
    Where these add up to less than `LEAST`, the prompt did not decide that token, and its score begins with it.
    """
    target, count = puzzle.reasoning + puzzle.answer, len(result.provenance.prompt_ids)
    own = spanwise.attribute(lm, puzzle.prompt, target, method=method, rows="token").scores[:, :count]
    weights = own.abs().nan_to_num(0.0)
    moved = weights.sum(1, keepdim=True)
    proportions = torch.where(moved >= LEAST, weights / moved.clamp(min=1e-9), 0.0)  # [target, prompt]
    inside = [i for i, token in enumerate(result.target) if token.end <= len(puzzle.reasoning)]
    scores = result.scores[0, [count + i for i in inside]].nan_to_num(0.0)
    reached = scores @ proportions[inside]
    return reached, float(scores.sum() - reached.sum())


def parts(puzzle: Puzzle, result: spanwise.Attribution) -> dict[str, float]:
    """Return the shares of the absolute scores: of the prompt (direct), the reasoning, and the answer's first words."""
    share = {mass.group: mass.share for mass in result.mass()}
    inside = [i for i, t in enumerate(result.source) if t.role == "prefix" and t.end <= len(puzzle.reasoning)]
    weights = result.scores[0].abs()
    reasoning = float(weights[inside].nansum() / weights.nansum())
    return {"prompt": share["content"], "reasoning": reasoning, "answer": share["prefix"] - reasoning}


def of_kind(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the means of one kind, and the rank correlation of the reasoning's share with the reasoning's effect."""
    shares = [e["share"]["reasoning"] / (e["share"]["reasoning"] + e["share"]["prompt"]) for e in found]
    effects = [e["falls"]["reasoning"] / (abs(e["falls"]["reasoning"]) + abs(e["falls"]["prompt"])) for e in found]
    means: dict[str, Any] = {"answers_right": sum(e["right"] for e in found) / len(found)}
    for key, names in (("share", PARTS), ("follows", PLACES), ("falls", PLACES)):
        means[key] = {name: sum(e[key][name] for e in found) / len(found) for name in names}
    return means | {"rank_correlation": float(spearmanr(shares, effects).statistic)}
