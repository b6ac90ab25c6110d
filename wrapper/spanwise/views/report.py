"""The report: one HTML file that holds its data, its style and its script, and asks the network for nothing.

The page is put together from the files in `report_page/`. Its content security policy allows the one style and the
one script whose hashes it states, so that nothing in a prompt can run; the script writes all text with `textContent`.
"""

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spanwise.attribution import Attribution
from spanwise.errors import FileError
from spanwise.storage import check_folder, writing
from spanwise.views.labels import visible
from spanwise.views.report_data import check_together, labels, page_data
from spanwise.views.theme import theme

PARTS = Path(__file__).with_name("report_page")
SCRIPTS = (
    "data.js",
    "scores.js",
    "colors.js",
    "text.js",
    "matrix.js",
    "tables.js",
    "checks.js",
    "copy.js",
    "controls.js",
    "tips.js",
    "pointer.js",
    "page.js",
)
"""In the order in which they run: they share one scope, and each uses only what stands before it or is called later."""


def report(
    results: Sequence[Attribution],
    path: str | os.PathLike[str],
    *,
    linear: Mapping[str, bool] | None = None,
    checks: Mapping[str, Any] | None = None,
    title: str | None = None,
) -> None:
    """Writes the report of one question to an HTML file.

    Args:
        results: One a method (or engine, or precision), of the same prompt, target and spans.
        path: Where to: .html or .htm.
        linear: For each method's name whether its rows add up to what it would give a span; the page says what is not
            known.
        checks: What was found out about the scores, by name ("evaluation", "sanity", ...): plain values, or anything
            with `as_dict()`; shown as tables.
        title: Above the page; default: method and model.

    Raises:
        InputError: The results do not answer one question.
        FileError: Another suffix, or the folder cannot be written.
    """
    check_path(path)
    text = page(results, linear=linear, checks=checks, title=title)
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def check_path(path: str | os.PathLike[str]) -> None:
    """Checks before any work that a report could be written to `path`.

    Raises:
        FileError: The suffix is neither .html nor .htm, or the folder does not exist or cannot be written.
    """
    if isinstance(path, str | os.PathLike) and Path(path).suffix.lower() not in (".html", ".htm"):
        raise FileError(f"a report is an '.html' file, not {Path(path).name!r}.")
    check_folder(path)


def page(
    results: Sequence[Attribution],
    *,
    linear: Mapping[str, bool] | None = None,
    checks: Mapping[str, Any] | None = None,
    title: str | None = None,
) -> str:
    """Returns the report as one HTML document; see `report` for the arguments.

    Raises:
        InputError: The results do not answer one question.
    """
    check_together(results)
    title = _title(results) if title is None else title
    style, script = theme() + _part("report.css"), "".join(map(_part, SCRIPTS))
    filled = {
        "policy": policy(style, script),
        "title": html.escape(visible(title)),
        "style": style,
        "data": as_json(page_data(results, linear or {}, checks or {}, title)),
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], _part("page.html"))


def as_json(value: Any) -> str:
    """Returns JSON that may stand inside a `<script>` element: it holds no `<`, `>`, `&`, line or paragraph separator.

    Halves of surrogate pairs, which UTF-8 cannot hold, are escaped too.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _title(results: Sequence[Attribution]) -> str:
    made = results[0].provenance
    precision = made.quantization or made.dtype
    methods = " and ".join(labels(results)) if len(results) <= 2 else f"{len(results)} methods"
    return f"{methods} of {made.model} ({precision})"


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")


def policy(style: str, script: str) -> str:
    """Returns the content security policy: this style and this script, pictures made in the page, nothing else."""
    rules = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "img-src": "data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"
