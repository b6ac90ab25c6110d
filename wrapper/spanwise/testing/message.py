"""What a failed test says: what was asked and found, and the strongest columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from jaxtyping import Float
from torch import Tensor

from spanwise.attribution import Attribution
from spanwise.testing.parts import Part, shortened, shown

Direction: TypeAlias = Literal["for", "against", "both"]

_SHOWN = 8  # columns, beside those asked for
_BAR = 24  # characters


@dataclass(frozen=True)
class Check:
    """One thing that was asked: in words, what was found, and whether it holds."""

    asked: str
    found: str
    holds: bool


def message(
    result: Attribution,
    label: str,
    scores: Float[Tensor, " source"],
    weights: Sequence[float],
    wanted: Sequence[Part],
    unwanted: Sequence[Part],
    checks: Sequence[Check],
    direction: Direction,
) -> str:
    """Returns what was asked and found, and the strongest columns with those asked for marked."""
    made = result.provenance
    width = max(len(check.asked) for check in checks)
    lines = [
        f"{shortened(label)}: what was asked of its attribution does not hold.",
        "",
        f"      {'asked':<{width}}  found",
    ]
    lines += [f"{'ok' if each.holds else 'NO':>4}  {each.asked:<{width}}  {each.found}" for each in checks]
    marks = {i: ">" for part in wanted for i in part.columns} | {i: "!" for part in unwanted for i in part.columns}
    lines += ["", f"   {'share':>7}  {'score':>9}"]
    lines += _table(result, scores, weights, marks)
    counted = {"for": "above 0", "against": "below 0", "both": "of either sign"}[direction]
    total = sum(weights)
    lines += [
        "",
        "> must have it, ! must not; " * bool(marks)
        + (f"share of the {total:.4g} {made.unit} {counted}" if total else f"no score is {counted}"),
        f"{made.method} ({made.engine}) of {made.model} {made.quantization or made.dtype}, objective {made.objective}",
    ]
    return "\n".join(lines)


def _table(
    result: Attribution, scores: Float[Tensor, " source"], weights: Sequence[float], marks: dict[int, str]
) -> list[str]:
    """Returns one line a column: the strongest, the best of those asked for, and how many are left."""
    order = sorted((i for i in range(len(weights)) if not scores[i].isnan()), key=lambda i: (-weights[i], i))
    listed = order[:_SHOWN] + [i for i in order[_SHOWN:] if i in marks][:_SHOWN]
    total, most = sum(weights) or 1.0, max(weights, default=0.0) or 1.0
    lines = []
    for i in listed:
        token = result.source[i]
        bar = "#" * round(_BAR * weights[i] / most)
        numbers = f"{weights[i] / total:>7.1%}  {float(scores[i]):>+9.4f}"
        lines.append(f" {marks.get(i, ' ')} {numbers}  {bar:<{_BAR}}  {'' if token.name else f'[{i}] '}{shown(token)}")
    if rest := [i for i in order if i not in listed]:
        lines.append(f"   {sum(weights[i] for i in rest) / total:>7.1%}  {'':>9}  {'':<{_BAR}}  {len(rest)} more")
    return lines
