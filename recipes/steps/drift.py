"""Of `quantization_drift.py`: how far one result is from another."""

from __future__ import annotations

import spanwise
from spanwise.evaluation.agreement import rank_correlation, top_k_overlap


def top(result: spanwise.Attribution) -> int:
    """Return the column with the largest score."""
    return int(result.scores[0].nan_to_num(float("-inf")).argmax())


def drift(result: spanwise.Attribution, reference: spanwise.Attribution) -> dict[str, float]:
    """Return how far one result is from the reference."""
    span = result.spans[0]
    changes = (result.target_scores - reference.target_scores)[span.first_token : span.last_token]
    return {
        "spearman": float(rank_correlation(result.scores, reference.scores, "spearman")[0]),
        "top_3": float(top_k_overlap(result.scores, reference.scores, 3)[0]),
        "same_top": float(top(result) == top(reference)),
        "change": float(changes.sum()),
    }
