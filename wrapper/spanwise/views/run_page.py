"""A run as one HTML file to browse: its rows with search, each row's strip, and the aggregates.

The page holds its data as inert JSON, cut into blocks that the script reads when they are needed, and asks the network
for nothing. Like the report, it runs the one script whose hash its policy states, and writes all text with
`textContent`.
"""

import html
import math
import os
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from spanwise.attribution import Attribution
from spanwise.storage import writing
from spanwise.views import series
from spanwise.views.labels import visible
from spanwise.views.report import PARTS as REPORT_PARTS
from spanwise.views.report import as_json, check_path, policy
from spanwise.views.running import pieces
from spanwise.views.summary_tables import READ, READ_COLUMN, Section, default_title, extent, facts, sections
from spanwise.views.theme import theme

PARTS = Path(__file__).with_name("run_page_files")
SCRIPTS = ("page.js", "strip.js", "rows.js", "start.js")
"""After the report's colors, in the order in which they run."""
BLOCK = 250
"""Rows in a block."""
FAILURES = 200
"""Failures that the page lists."""
_TABLE = 200
"""Lines of a category that the page lists."""

Row = tuple[int, Attribution, Mapping[str, Any]]


def write_run(
    path: str | os.PathLike[str],
    rows: Iterable[Row],
    summary: Mapping[str, Any],
    *,
    failures: Iterable[Mapping[str, Any]] = (),
    extra: Iterable[str] = (),
    most: int = 10_000,
    title: str | None = None,
) -> int:
    """Writes the page of a run, one block of rows in memory at a time, and returns how many rows it holds.

    Args:
        path: Where to: .html or .htm.
        rows: The row's number, its result and its other columns, in order.
        summary: What `Summary.as_dict` returns.
        failures: Rows without a result: row, error, reason, content.
        extra: The names of the rows' other columns, which the page offers to search in; the first two are in its list.
        most: Rows on the page; it says how many there are.
        title: Above the page; default: method and model.

    Raises:
        FileError: Another suffix, or the folder cannot be written.
    """
    check_path(path)
    title = default_title(summary) if title is None else title
    style = theme() + _part("run.css")
    script = (REPORT_PARTS / "colors.js").read_text(encoding="utf-8") + "".join(map(_part, SCRIPTS))
    head, foot = re.split(r"\{\{rows\}\}", _part("page.html"))
    filled = {
        "policy": policy(style, script),
        "title": html.escape(visible(title)),
        "style": style,
        "data": as_json(_data(summary, failures, extra, title)),
        "script": script,
    }
    with writing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(_filled(head, filled))
        count = _write_rows(file, islice(rows, most))
        file.write(_filled(foot, filled))
    return count


def row_data(number: int, result: Attribution, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the page is given of a row.

    row       its number in the input
    pieces    the source as running text
    prefix    the piece with which the generated prefix begins; -1: none is drawn
    target    the target's text
    spans     for each span or the whole target: text before it, itself, after it, and a score for each piece: false
              where no token covers the piece, null where the token has no score
    extra     the input's other columns, as text
    gap       the completeness gap; null for a method without that promise
    """
    count = series.drawn_columns(result)
    items = series.by_span(result)
    found = [pieces(result, item, count) for item in items]
    generated = [
        i for i, piece in enumerate(found[0]) if piece.index >= 0 and result.source[piece.index].role == "prefix"
    ]
    text = result.target_text
    return {
        "row": number,
        "pieces": [piece.text for piece in found[0]],
        "prefix": generated[0] if generated else -1,
        "target": text,
        "spans": [
            {
                "text": [text[: item.start], text[item.start : item.end] or item.text, text[item.end :]],
                "scores": [False if piece.index < 0 else _short(piece.score) for piece in own],
            }
            for item, own in zip(items, found, strict=True)
        ],
        "extra": {str(name): "" if value is None else str(value) for name, value in extra.items()},
        "gap": result.completeness_gap,
    }


def _write_rows(file: TextIO, rows: Iterable[Row]) -> int:
    """Writes the rows as blocks of JSON, and returns how many there were."""
    waiting, count = iter(rows), 0
    while some := [row_data(*row) for row in islice(waiting, BLOCK)]:
        file.write(f'<script type="application/json" class="rows" data-count="{len(some)}">{as_json(some)}</script>\n')
        count += len(some)
    return count


def _data(
    summary: Mapping[str, Any], failures: Iterable[Mapping[str, Any]], extra: Iterable[str], title: str
) -> dict[str, Any]:
    from spanwise._version import __version__

    run, alone = summary["run"], {**summary, "other": None}
    tables = sections(alone, None)
    return {
        "title": title,
        "made_by": f"spanwise {__version__}",
        "facts": [line for line in facts(alone) if line[1] != "none"],
        "extent": extent(run),
        "done": run["done"],
        "rows": run["rows"],
        "results": run["results"],
        "signed": run["signed"],
        "unit": f"{run['objective']}, {run['unit']}",
        "failed": run["failures"],
        "failures": [
            {"row": each["row"], "error": each["error"], "reason": each["reason"], "content": each["content"]}
            for each in islice(failures, FAILURES)
        ],
        "columns": list(extra),
        "read": READ,
        "read_column": READ_COLUMN,
        "tables": [_table(each) for each in tables if not each.column],
        "by_column": [_table(each) for each in tables if each.column],
    }


def _table(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        "heads": section.heads,
        "total": len(section.lines),
        "lines": section.lines[:_TABLE],
        "note": section.note,
    }


def _short(score: float) -> float | None:
    """Returns a score to 5 digits, which colors and figures need; None for NaN."""
    return None if math.isnan(score) else float(f"{score:.5g}")


def _filled(part: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], part)


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")
