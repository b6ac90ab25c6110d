"""One score for each source token: what a panel of bars, or a block in the terminal, is about."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.attribution import Attribution


@dataclass(frozen=True, eq=False)
class Series:
    """Scores over the source, and the part of the target they are for.

    Attributes:
        name: "span" or "target token", or "target" for all of it.
        start: First character in the target text.
        end: One past the last character.
        text: These characters.
        scores: One a source token; NaN where not defined.
        reduction: How rows were put together: "", "sum over rows" or "sum of absolute values over rows".
        errors: The scores' standard errors, where the result has them for these scores themselves.
    """

    name: str
    start: int
    end: int
    text: str
    scores: Float[Tensor, " source"]
    reduction: str = ""
    errors: Float[Tensor, " source"] | None = None


def by_span(attribution: Attribution) -> list[Series]:
    """Returns one series a span, or one for the whole target where no span was asked for.

    A span whose own scores do not follow from the token rows gets its rows put together, and says so.
    """
    if not attribution.spans:
        return [_together(attribution, "target", 0, len(attribution.target))]
    found = []
    for index, span in enumerate(attribution.spans):
        scores = attribution.span_scores[index]
        if bool(scores.isnan().all()) and attribution.rows == "token":
            found.append(_together(attribution, "span", span.first_token, span.last_token))
        else:
            known = attribution.standard_error if attribution.rows == "span" else None
            errors = None if known is None else known[index]
            found.append(Series("span", span.start, span.end, span.text, scores, errors=errors))
    return found


def by_row(attribution: Attribution) -> list[Series]:
    """Returns one series a target token."""
    return [
        Series("target token", token.start, token.end, name, scores)
        for token, name, scores in zip(attribution.target, attribution.target_tokens, attribution.scores, strict=True)
    ]


def _together(attribution: Attribution, name: str, first: int, last: int) -> Series:
    rows = attribution.scores[first:last]
    signed = attribution.provenance.signed
    total = (rows if signed else rows.abs()).nansum(dim=0)
    total = total.masked_fill(rows.isnan().all(dim=0), float("nan"))
    start, end = attribution.target[first].start, attribution.target[last - 1].end
    reduction = "sum over rows" if signed else "sum of absolute values over rows"
    return Series(name, start, end, attribution.target_text[start:end], total, reduction)


def drawn_columns(attribution: Attribution) -> int:
    """Returns how many source columns are drawn: trailing ones of a generated prefix that hold no score are not."""
    count = len(attribution.source)
    empty = attribution.scores.isnan().all(dim=0) & attribution.span_scores.isnan().all(dim=0)
    while count > 1 and attribution.source[count - 1].role == "prefix" and bool(empty[count - 1]):
        count -= 1
    return count


def weights(scores: Tensor) -> list[float]:
    """Returns the sum of absolute scores of each column."""
    return [float(weight) for weight in scores.abs().nan_to_num(0.0).reshape(-1, scores.shape[-1]).sum(dim=0)]


def limit(*scores: Tensor) -> float:
    """Returns the largest absolute score, 0.0 where none is defined."""
    return max((float(torch.nan_to_num(values, nan=0.0).abs().max()) for values in scores if values.numel()), default=0)
