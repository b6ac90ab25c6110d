"""Scores added up: over the kinds of tokens of one result (`mass`), over categories of many (`aggregate`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.attribution import Attribution, Token
from spanwise.errors import InputError, OptionError, at_least, one_of, require
from spanwise.grouping import level_of

if TYPE_CHECKING:
    import pandas

Kind: TypeAlias = Literal["content", "template", "special", "prefix"]
Category: TypeAlias = str | int
Labels: TypeAlias = Sequence[Category | None]
By: TypeAlias = str | Callable[[Token], str | None] | Sequence[Sequence[str | None]]

KINDS: tuple[Kind, ...] = ("content", "template", "special", "prefix")
CATEGORIES = ("role", "message", "position", "relative_position", "token", "kind")
_ALWAYS = ("orientation", "objective", "reduction", "normalization", "coverage")


@dataclass(frozen=True)
class Mass:
    """How much of a row's scores lies on one kind of source token.

    Attributes:
        group: "content" (what somebody wrote), "template" (of a chat), "special" (BOS and the like) or "prefix" (the
            target tokens already written, special ones included).
        tokens: How many positions. A column whose positions are unknown counts as one.
        frozen: These were not attributed to.
        share: The sum of their absolute scores, divided by that of all columns; NaN where frozen.
    """

    group: Kind
    tokens: int
    frozen: bool
    share: float


def mass(result: Attribution, *, row: int | None = None) -> tuple[Mass, ...]:
    """Returns how the absolute scores are shared out among content, template, special tokens and generated prefix.

    A kind that is frozen in part (a selected source, say) is two entries. Columns that are not frozen and have no
    score, such as prefix tokens that the row's target did not see, are left out. Shares add up to 1 over what is not
    frozen, or are all 0 where every score is 0.

    Args:
        result: Of tokens, or of columns put together.
        row: Of that row of `scores`; None: as in `Attribution.top`.

    Raises:
        OptionError: There is no such row.

    Example:
        >>> import spanwise
        >>> lm = spanwise.load_model("tiny")
        >>> result = spanwise.attribute(lm, "The keys to the cabinet", " are on", method="saliency", span=" on")
        >>> for part in mass(result):
        ...     print(part.group, part.tokens, part.frozen, part.share)
        content 5 False 1.0
        prefix 1 True nan
    """
    weights = row_scores(result, row).abs().double()
    total = float(weights.nansum())
    found = []
    for kind, frozen in product(KINDS, (False, True)):
        of_kind = [i for i, token in enumerate(result.source) if (kind_of(token), token.frozen) == (kind, frozen)]
        if columns := [i for i in of_kind if frozen or not weights[i].isnan()]:
            count = sum(max(len(result.source[i].positions), 1) for i in columns)
            share = float("nan") if frozen else _part(float(weights[columns].sum()), total)
            found.append(Mass(kind, count, frozen, share))
    return tuple(found)


def kind_of(token: Token) -> Kind:
    """Returns what wrote a source token."""
    if token.role == "prefix":
        return "prefix"
    return "special" if token.special else "template" if token.template else "content"


def row_scores(result: Attribution, row: int | None = None) -> Float[Tensor, " source"]:
    """Returns one score a source column, NaN where not defined: of the row, or as `Attribution.top` has it for None.

    Raises:
        OptionError: There is no such row.
    """
    if row is not None and at_least("row", row, 0) >= len(result.scores):
        raise OptionError(f"row {row} was asked, but scores has the rows 0 to {len(result.scores) - 1}.")
    if row is not None or result.rows == "span":
        return result.scores[row or 0]
    if result.spans and not result.span_scores[0].isnan().all():
        return result.span_scores[0]
    first, last = (result.spans[0].first_token, result.spans[0].last_token) if result.spans else (0, len(result.target))
    part = result.scores[first:last]
    return torch.where(part.isnan().all(0), torch.nan, part.nansum(0))


def aggregate(
    results: Sequence[Attribution],
    *,
    by: By,
    row: int | None = None,
    absolute: bool = False,
    normalized: bool = True,
) -> "pandas.DataFrame":
    """Returns what many results say of each category of source columns, one line a category.

    Columns without a score (frozen ones) count nowhere. What is said over results gives each result the same weight.

        category    Numbers in order; names by their share, largest first.
        count       Source columns, over all results.
        results     Results that have such a column.
        mean        Mean score of such a column: the mean over these results of the mean within each.
        std         Sample standard deviation of the latter over these results; NaN for one result.
        stderr      std / sqrt(results).
        share       Sum of the absolute scores over that of all columns, mean over all results; 0 for a result that has
                    no such column. Adds up to 1 where every column has a category and every result a score but 0.
        strongest   Part of all results whose column of the largest absolute score is one of these; equals share that.

    Args:
        results: Of one or several prompts; what they measure must be the same.
        by: "role"; "message" (its index); "position" (in tokens before the first target token of the row: 1 is the
            last token of the prompt where that is the target's first; prefix tokens within a span have 0 and below);
            "relative_position" (tenth of the prompt, 0 to 9); "token" (its text without outer white space); "kind"
            (content, template, special, prefix); a function from `Token` to a category; or for each result a
            list of categories, one a source column (parts of speech, say). None as a category leaves the column out.
        row: Of that row of each result; None: as in `Attribution.top`.
        absolute: Take absolute scores for `mean`.
        normalized: Divide scores by the sum of a result's absolute scores, so that each result weighs the same;
            False: scores in their own unit.

    Raises:
        InputError: No results, results that do not compare, or labels that do not fit.
        OptionError: An unknown category, or there is no such row.
        DependencyError: pandas is missing.

    Example:
        >>> import spanwise
        >>> lm = spanwise.load_model("tiny")
        >>> prompts = ["The keys to the cabinet", "The dog near the cars"]
        >>> results = [spanwise.attribute(lm, prompt, " are", method="saliency", span=" are") for prompt in prompts]
        >>> table = aggregate(results, by="token")
        >>> table.loc[table["category"] == "the", ["count", "results"]].values.tolist()
        [[2, 2]]
        >>> round(float(table["share"].sum()), 6)
        1.0
    """
    require("pandas", "dataframe", "aggregate()")
    _check(results, row=row, absolute=absolute, normalized=normalized)
    cells: list[dict[str, Any]] = []
    for result, labels in zip(results, _labels(results, by, row), strict=True):
        cells += _cells(row_scores(result, row), labels, absolute, normalized)
    if not cells:
        raise InputError(f"no source column with a score has a category: {_said(by)} gave None for each.")
    return _table(cells, len(results))


def _cells(scores: Float[Tensor, " source"], labels: Labels, absolute: bool, normalized: bool) -> list[dict[str, Any]]:
    """Returns what one result says of each of its categories."""
    values: list[float] = scores.double().tolist()
    defined = [value for value in values if value == value]
    total, largest = sum(map(abs, defined)), max(map(abs, defined), default=0.0)
    ties = sum(abs(value) == largest for value in defined)
    members: dict[Category, list[float]] = {}
    for value, label in zip(values, labels, strict=True):
        if label is not None and value == value:
            members.setdefault(label, []).append(value)
    return [
        {
            "category": label,
            "count": len(own),
            "mean": _part(sum(map(abs, own) if absolute else own) / len(own), total if normalized else 1.0),
            "share": _part(sum(map(abs, own)), total),
            "strongest": sum(abs(value) == largest for value in own) / ties if largest else 0.0,
        }
        for label, own in members.items()
    ]


def _table(cells: Sequence[dict[str, Any]], result_count: int) -> "pandas.DataFrame":
    import pandas

    groups = pandas.DataFrame(cells).groupby("category")  # sorted by category
    table = pandas.DataFrame(
        {
            "count": groups["count"].sum(),
            "results": groups.size(),
            "mean": groups["mean"].mean(),
            "std": groups["mean"].std(),
            "stderr": groups["mean"].sem(),
            "share": groups["share"].sum() / result_count,
            "strongest": groups["strongest"].sum() / result_count,
        }
    ).reset_index()
    if isinstance(cells[0]["category"], str):
        table = table.sort_values("share", ascending=False, kind="stable", ignore_index=True)
    return table


def _part(value: float, total: float) -> float:
    return value / total if total else 0.0


def _labels(results: Sequence[Attribution], by: By, row: int | None) -> list[Labels]:
    """Returns each result's categories, one a source column."""
    if isinstance(by, str):
        one_of("category", by, CATEGORIES)
        if by == "message" and all(token.message is None for result in results for token in result.source):
            raise InputError("by='message' was asked, but no source token belongs to a message of a chat.")
        return [_named(result, by, row) for result in results]
    if callable(by):
        found: list[Labels] = [[by(token) for token in result.source] for result in results]
    elif not isinstance(by, Sequence):
        raise OptionError(f"by= is one of {', '.join(CATEGORIES)}, a function of a token or lists, not {by!r}.")
    else:
        found = [list(labels) for labels in by]
        if len(found) != len(results):
            raise InputError(f"by= has labels for {len(found)} results, but there are {len(results)} results.")
    for number, (result, labels) in enumerate(zip(results, found, strict=True)):
        if len(labels) != len(result.source):
            raise InputError(
                f"by= has {len(labels)} labels for result {number}, which has {len(result.source)} source columns: "
                "one is needed for each, frozen ones included; None leaves a column out."
            )
        wrong = [label for label in labels if not (label is None or isinstance(label, str))]
        if wrong:
            raise InputError(f"a category is a text or None, but {_said(by)} gave {wrong[0]!r} in result {number}.")
    return found


def _named(result: Attribution, by: str, row: int | None) -> Labels:
    source = result.source
    if by in ("role", "message"):
        return [getattr(token, by) for token in source]
    if by == "kind":
        return [kind_of(token) for token in source]
    if by == "token":
        return [token.text.strip() or name for token, name in zip(source, result.source_tokens, strict=True)]
    places = _places(source)
    prompt = sum(max(len(token.positions), 1) for token in source if token.role != "prefix")
    if by == "position":
        return [prompt + _first_target(result, row) - last for _, last in places]
    tenths = [int(5 * (first + last + 1) / prompt) for first, last in places]  # of the middle of the column
    return [None if token.role == "prefix" else tenth for token, tenth in zip(source, tenths, strict=True)]


def _places(source: Sequence[Token]) -> list[tuple[int, int]]:
    """Returns each column's first and last position, counted on where they are unknown."""
    places, at = [], 0
    for token in source:
        places.append((min(token.positions), max(token.positions)) if token.positions else (at, at))
        at += max(len(token.positions), 1)
    return places


def _first_target(result: Attribution, row: int | None) -> int:
    if row is not None and result.rows == "token":
        return row
    return result.spans[row or 0].first_token if result.spans else 0


def _check(results: Any, *, row: int | None, absolute: bool, normalized: bool) -> None:
    if not isinstance(results, Sequence) or not all(isinstance(result, Attribution) for result in results):
        raise InputError(f"aggregate() takes a list of results, not {results!r}.")
    if not results:
        raise InputError("aggregate() was given no results; at least one is needed.")
    compared = {name: [getattr(result.provenance, name) for result in results] for name in _ALWAYS}
    if not normalized:
        compared["unit"] = [result.provenance.unit for result in results]
    if not absolute:
        compared["signed"] = [result.provenance.signed for result in results]
    if row is not None:
        compared["rows"] = [result.rows for result in results]
    compared["the source column"] = [level_of(result) for result in results]
    differences = [_difference(name, values) for name, values in compared.items() if len(set(values)) > 1]
    if differences:
        raise InputError(f"the results do not compare: {'; '.join(differences)}. Aggregate those that agree.")


def _difference(name: str, values: Sequence[Any]) -> str:
    numbers: dict[Any, list[int]] = {}
    for number, value in enumerate(values):
        numbers.setdefault(value, []).append(number)
    parts = []
    for value, own in numbers.items():
        shown = ", ".join(map(str, own[:5])) + (f" and {len(own) - 5} more" if len(own) > 5 else "")
        parts.append(f"{value!r} in result{'s'[: len(own) > 1]} {shown}")
    return f"{name} is {', '.join(parts)}"


def _said(by: By) -> str:
    return f"by={by!r}" if isinstance(by, str) else "the function by=" if callable(by) else "the list by="
