"""Of `validation_protocol.py`: what is measured beside faithfulness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from common import is_cause, with_interval

import spanwise
from spanwise.evaluation.agreement import rank_correlation
from spanwise.evaluation.planted.ground_truth import Example


def chance(result: spanwise.Attribution, example: Example) -> float:
    """Return how often a random token would be a planted cause."""
    scored = zip(result.source, result.scores[0].tolist(), strict=True)
    return float(np.mean([is_cause(token, example) for token, score in scored if score == score]))


def agreement(results: Mapping[str, Sequence[spanwise.Attribution]]) -> dict[str, dict[str, float]]:
    """Return the rank correlation of absolute scores for each two methods, mean over prompts."""
    found = {}
    for one, other in combinations(results, 2):
        pairs = zip(results[one], results[other], strict=True)
        values = [float(rank_correlation(a.scores.abs(), b.scores.abs(), "spearman")[0]) for a, b in pairs]
        found[f"{one} ~ {other}"] = with_interval(values)
    return found
