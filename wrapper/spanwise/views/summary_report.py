"""The report of a summary: Markdown with its figure beside it, and one HTML file without scripts that holds it."""

import base64
import html as markup
import re
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from spanwise.storage import check_folder, writing
from spanwise.views.labels import visible
from spanwise.views.summary import figure, plot
from spanwise.views.summary_tables import (
    READ,
    READ_COLUMN,
    Section,
    default_title,
    drift_facts,
    facts,
    names,
    sections,
    unfinished,
)
from spanwise.views.theme import theme

Plain = Mapping[str, Any]
Table = Callable[[Sequence[str], Sequence[Sequence[str]]], str]

_STYLE = """
body{max-width:1000px;margin:24px auto;padding:0 20px;color:var(--ink);background:var(--card);
 font:15px/1.5 system-ui,-apple-system,"Segoe UI","Noto Sans",sans-serif}
h1{font-size:22px;overflow-wrap:anywhere}h2{font-size:16px;margin:28px 0 6px;overflow-wrap:anywhere}
img{max-width:100%;background:#fff;border-radius:6px}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:3px 16px 3px 0;border-bottom:1px solid var(--line)}
th,p{color:var(--quiet)}p{font-size:13px}.open{color:var(--warn);font-weight:600;overflow-wrap:anywhere}
"""


def write_markdown(path: Path, found: Plain) -> None:
    """Writes the report as Markdown, and beside it the figure under the same name (.png).

    Raises:
        FileError: The folder cannot be written.
        DependencyError: matplotlib is not installed.
    """
    picture = path.with_suffix(".png")
    plot(picture, found)
    parts = [f"# {_plain(default_title(found))}", *(f"**{_plain(each)}**" for each in unfinished(found))]
    parts.append(_table(["", *names(found)], facts(found)))
    parts.append(f"![the tables below as a figure](<{picture.name}>)")
    parts += [_read(found), *(f"## {head}\n\n{body}" for head, body in _sections(found, _table, _plain))]
    with writing(path) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def write_html(path: Path, found: Plain) -> None:
    """Writes the report as one HTML file.

    Raises:
        FileError: The folder cannot be written.
        DependencyError: matplotlib is not installed.
    """
    check_folder(path)
    with writing(path) as temporary:
        temporary.write_text(html(found), encoding="utf-8")


def html(found: Plain) -> str:
    """Returns the report as one HTML document, which runs no script and asks the network for nothing."""
    title = _escaped(default_title(found))
    picture = base64.b64encode(_picture(found)).decode("ascii")
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    told = [f"<h2>{head}</h2>{body}" for head, body in _sections(found, _html_table, _escaped)]
    warned = "".join(f'<p class="open">{_escaped(each)}</p>' for each in unfinished(found))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="color-scheme" content="light dark">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{title}</title><style>{theme(scripted=False)}{_STYLE}</style></head><body><h1>{title}</h1>{warned}"
        f"{_html_table(['', *names(found)], facts(found))}"
        f'<p><img alt="The tables below as a figure" src="data:image/png;base64,{picture}"></p>'
        f"<p>{_escaped(_read(found))}</p>{''.join(told)}</body></html>\n"
    )


def _sections(found: Plain, table: Table, text: Callable[[str], str]) -> list[tuple[str, str]]:
    told = []
    if found["drift"]:
        heading = f"{found['other']['folder']} compared with {found['run']['folder']}"
        told.append((text(heading), table(["", "mean over rows"], drift_facts(found["drift"]))))
    for section in sections(found):
        note = text(section.note)
        below = f"<p>{note}</p>" if table is _html_table else f"\n\n{note}"
        told.append((text(_title(section)), table(section.heads, section.lines) + (below if note else "")))
    return told


def _title(section: Section) -> str:
    """Returns the title with a capital; the name of a column, which stands in it, is left as it is."""
    return section.title[0].upper() + section.title[1:]


def _read(found: Plain) -> str:
    return f"{READ} {READ_COLUMN}" if found["run"]["columns"] else READ


def _picture(found: Plain) -> bytes:
    from spanwise.views.page import style

    held = BytesIO()
    with style():
        figure(found).savefig(held, format="png", dpi=110, metadata={"Software": None})
    return held.getvalue()


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    told = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(_plain, row) if row is not told[1] else row)} |" for row in told)


def _html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_breaking(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(f'<td><bdi>{_breaking(each)}</bdi></td>' for each in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _plain(text: str) -> str:
    """Returns text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]|<>&~$])", r"\\\1", visible(text))


def _escaped(text: str) -> str:
    return markup.escape(visible(text))


def _breaking(text: str) -> str:
    """Returns text as markup; in the next line a path may go on after its slash, but no word, error or interval."""
    return re.sub(r"(±|\[\S+,) ", r"\1&nbsp;", _escaped(text)).replace("/", "/<wbr>")
