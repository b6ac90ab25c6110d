"""Results as the objects of other libraries."""

import dataclasses
from typing import TYPE_CHECKING, Any

from torch import Tensor

from spanwise.attribution import Attribution
from spanwise.errors import require

if TYPE_CHECKING:
    import pandas


def to_dataframe(attribution: Attribution) -> "pandas.DataFrame":
    """Returns a long table, one line a row of `scores` and source token."""
    require("pandas", "dataframe", "to_dataframe()")
    import pandas

    labels = attribution.row_labels
    return pandas.DataFrame(
        {
            "row": row,
            "row_text": labels[row],
            "source_index": column,
            "source_text": token.text,
            "source_name": token.name,
            "source_id": token.id,
            "role": token.role,
            "message": token.message,
            "special": token.special,
            "template": token.template,
            "frozen": token.frozen,
            "start": token.start,
            "end": token.end,
            "score": float(attribution.scores[row, column]),
        }
        for row in range(len(labels))
        for column, token in enumerate(attribution.source)
    )


def to_json(attribution: Attribution) -> dict[str, Any]:
    """Returns the whole result as values that JSON has; NaN becomes None."""
    return {
        "rows": attribution.rows,
        "prompt": attribution.prompt,
        "target_text": attribution.target_text,
        "source": [dataclasses.asdict(token) for token in attribution.source],
        "target": [dataclasses.asdict(token) for token in attribution.target],
        "spans": [dataclasses.asdict(span) for span in attribution.spans],
        "scores": [_numbers(row) for row in attribution.scores],
        "span_scores": [_numbers(row) for row in attribution.span_scores],
        "target_scores": _numbers(attribution.target_scores),
        "completeness_gap": attribution.completeness_gap,
        "provenance": attribution.provenance.as_dict(),
    }


def _numbers(values: Tensor) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]
