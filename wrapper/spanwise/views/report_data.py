"""What the report's page is given: the results of one question as values that JSON has, scores packed without loss.

columns        source columns, one list a fact (text, id, role, ...); trailing ones that no result scores left out
prompt         pieces of running text, [text, [columns]]; tokens that share characters share a piece
prefix         the same for the generated prefix
target         pieces, [text, [rows]]
rows, spans    what a row of scores is; the spans asked for
levels         words, sentences, ...: the group of each column, and the groups' texts
methods        one a result: float32 little-endian scores [row column] in base64, and where they come from
checks         what was handed over, unchanged
"""

import base64
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from spanwise.attribution import Attribution, Token
from spanwise.errors import DependencyError, InputError
from spanwise.views import series
from spanwise.views.running import _runs


def page_data(
    results: Sequence[Attribution], linear: Mapping[str, bool], checks: Mapping[str, Any], title: str
) -> dict[str, Any]:
    """Returns everything the page shows.

    Args:
        results: Of one prompt and target.
        linear: For each method's name whether its rows add up to what it would give a span.
        checks: By name; see `plain`.
        title: Above the page.
    """
    from spanwise._version import __version__

    first = results[0]
    count = max(series.drawn_columns(result) for result in results)
    return {
        "title": title,
        "made_by": f"spanwise {__version__}",
        "base": first.provenance.features,
        "columns": _columns(first.source[:count]),
        "left_out": len(first.source) - count,
        "prompt": _pieces(first.prompt, _numbered(first.source[:count], generated=False)),
        "prefix": _pieces(first.target_text, _numbered(first.source[:count], generated=True)),
        "target": _pieces(first.target_text, _row_tokens(first)),
        "target_tokens": first.target_tokens,
        "rows": {"kind": first.rows, "labels": first.row_labels},
        "spans": [{"text": s.text, "first": s.first_token, "last": s.last_token, "note": s.note} for s in first.spans],
        "levels": _levels(results, count),
        "methods": [
            _method(result, name, linear, count) for result, name in zip(results, labels(results), strict=True)
        ],
        "checks": plain(checks),
    }


def check_together(results: Sequence[Attribution]) -> None:
    """Checks that results answer one question, and can stand on one page.

    Raises:
        InputError: There is none, or they differ in the prompt, the target, the source columns, the spans or the rows.
    """
    if not results:
        raise InputError("a report needs at least one result, and none was given.")
    for number, result in enumerate(results[1:], start=2):
        for what, one, other in zip(_SAME, _asked(results[0]), _asked(result), strict=True):
            if one != other:
                raise InputError(
                    "the results of a report must answer one question, but result 1 "
                    f"({results[0].provenance.method}) and result {number} ({result.provenance.method}) differ in "
                    f"{what}. Allowed: several methods, engines or precisions for the same {', '.join(_SAME)}."
                )


_SAME = ("prompt", "target", "target tokens", "source columns", "rows", "spans")


def _asked(result: Attribution) -> tuple[object, ...]:
    return (
        result.prompt,
        result.target_text,
        [(token.start, token.end) for token in result.target],
        [(token.text, token.start, token.end, token.role) for token in result.source],
        result.rows,
        [(span.first_token, span.last_token) for span in result.spans],
    )


def labels(results: Sequence[Attribution]) -> list[str]:
    """Returns a short name for each result, no two the same: the method, and what else tells them apart."""
    made = [result.provenance for result in results]
    facts = [
        [p.method, p.engine, p.model, p.quantization or p.dtype, f"baseline {p.baseline}", f"seed {p.seed}"]
        for p in made
    ]
    telling = [0, *(i for i in range(1, 6) if len({each[i] for each in facts}) > 1)]
    names = [each[0] for each in facts]
    for i in telling[1:]:
        if len(set(names)) == len(names):
            break
        names = [f"{name}, {each[i]}" for name, each in zip(names, facts, strict=True)]
    again: dict[str, int] = {}
    for at, name in enumerate(names):
        again[name] = again.get(name, 0) + 1
        names[at] = name if again[name] == 1 else f"{name} ({again[name]})"
    return names


def plain(value: Any) -> Any:
    """Returns a check as JSON has it: mappings, lists, texts, numbers; None for NaN; `as_dict()` where there is one.

    Whole results inside a check are left out: the page has those that it was given.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "as_dict"):
        return plain(value.as_dict())
    if isinstance(value, Mapping):
        made = {str(key): plain(each) for key, each in value.items() if not _is_result(each)}
        return {key: each for key, each in made.items() if each != {} or value.get(key) == {}}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Iterable):
        return [plain(each) for each in value]
    return str(value)


def _is_result(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("format") == "spanwise.attribution"


def _columns(tokens: Sequence[Token]) -> dict[str, list[Any]]:
    return {
        "text": [token.name or token.text or f"[{token.id}]" for token in tokens],
        "id": [token.id for token in tokens],
        "role": [token.role for token in tokens],
        "message": [token.message for token in tokens],
        "template": [token.template or token.special for token in tokens],
    }


def _numbered(tokens: Sequence[Token], *, generated: bool) -> list[tuple[Token, list[int]]]:
    return [(token, [i]) for i, token in enumerate(tokens) if (token.role == "prefix") == generated]


def _row_tokens(result: Attribution) -> list[tuple[Token, list[int]]]:
    """Returns each target token with the rows that are about it."""
    if result.rows == "token":
        return [(token, [i]) for i, token in enumerate(result.target)]
    return [
        (token, [row for row, span in enumerate(result.spans) if span.first_token <= i < span.last_token])
        for i, token in enumerate(result.target)
    ]


def _pieces(whole: str, tokens: Sequence[tuple[Token, list[int]]]) -> list[list[Any]]:
    """Returns a text cut where tokens begin and end; a piece of several tokens stands once, with all their numbers.

        e.g. the bytes of one emoji as two tokens:   "a" [0]   "😀" [1, 2]   "b" [3]

    A text that no tokens cover is given without its outer parts where there are no tokens at all.
    """
    runs = [(*run, token, numbers) for token, numbers in tokens for run in _runs(token, whole)]
    if not runs:
        return []
    cuts = sorted({0, len(whole), *(start for start, *_ in runs), *(end for _, end, *_ in runs)})
    starting: dict[int, list[tuple[int, Token, list[int]]]] = {}
    for start, end, token, numbers in sorted(runs, key=lambda run: run[0]):
        starting.setdefault(start, []).append((end, token, numbers))
    found: list[list[Any]] = []
    running: list[tuple[int, Token, list[int]]] = []
    for start, end in itertools.pairwise([*cuts, len(whole)]):
        for last, token, numbers in starting.get(start, []):
            if last == start:  # a token without text stands as its id
                found.append([f"[{token.id}]", numbers])
            else:
                running.append((last, token, numbers))
        running = [each for each in running if each[0] > start]
        if start < end:
            found.append([whole[start:end], sorted({i for _, _, numbers in running for i in numbers})])
    return found


def _levels(results: Sequence[Attribution], count: int) -> list[dict[str, Any]]:
    """Returns the levels that the columns can be put together to, each coarser than the one before.

    Messages are a level of every chat, and stand for paragraphs where both cut it the same way.
    """
    from spanwise.grouping import LEVELS

    found: list[dict[str, Any]] = []
    units = count
    for level in LEVELS:
        slim = [_slim(result) for result in results]
        try:
            joined = [each.by(level) for each in slim]
            source = _relabeled(slim[0]).by(level).source
        except (InputError, DependencyError):  # finer than the columns, no messages, or no package that cuts the text
            continue
        group = {column: number for number, token in enumerate(source) for column in token.positions}
        of = [group[column] for column in range(count)]
        number = max(of) + 1
        if number == units and level == "message" and found and found[-1]["name"] == "paragraph":
            found.pop()
        if 2 <= number < units or level == "message":
            units = number
            found.append(
                {
                    "name": level,
                    "group": of,
                    "text": [token.name or token.text or f"[{token.id}]" for token in source[:number]],
                    "notes": [_note(each, result) for each, result in zip(joined, slim, strict=True)],
                }
            )
    return found


def _note(joined: Attribution, result: Attribution) -> str:
    """Returns what putting columns together says of itself."""
    return next((note for note in joined.provenance.notes if note not in result.provenance.notes), "")


def _slim(result: Attribution) -> Attribution:
    """Returns a result of one row: columns are put together the same way for any number of rows."""
    few = min(len(result.scores), 1)
    return replace(
        result,
        scores=result.scores[:few],
        span_scores=result.span_scores[:0],
        standard_error=None,
        target_scores=result.target_scores[:few],
        target=result.target[:few],
        spans=(),
        rows="token",
    )


def _relabeled(result: Attribution) -> Attribution:
    """Returns the result with columns that say their own number, so that a group says what it is made of."""
    return replace(result, source=tuple(replace(token, positions=(i,)) for i, token in enumerate(result.source)))


def _method(result: Attribution, name: str, linear: Mapping[str, bool], count: int) -> dict[str, Any]:
    made = result.provenance
    adds_up = linear.get(made.method)
    if adds_up is not None:
        adds_up = adds_up and made.signed and made.reduction == "sum"
    values = result.scores[:, :count].contiguous().numpy().astype("<f4")
    return {
        "name": name,
        "signed": made.signed,
        "linear": adds_up,
        "objective": made.objective,
        "unit": made.unit,
        "reduction": made.reduction,
        "gap": result.completeness_gap,
        "target_scores": plain(result.target_scores),
        "scores": base64.b64encode(values.tobytes()).decode("ascii"),
        "provenance": plain(made),
    }
