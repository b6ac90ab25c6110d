"""The table of `spanwise tokens`: one line a token, with what the model reads and what is attributed to."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spanwise.attribution import Token
from spanwise.views.labels import visible

if TYPE_CHECKING:
    import spanwise.previewing

WIDEST = 40  # characters of a feature's name


def show(preview: "spanwise.previewing.Preview", *, console: Console | None = None) -> None:
    """Prints a preview."""
    console = Console() if console is None else console
    prompt_count = len(preview.source) - max(len(preview.target) - 1, 0)
    table = Table(box=None, pad_edge=False)
    for heading in ("", "id", "token", "text", "characters", "role", "kind", "feature"):
        right = heading in ("", "id", "characters")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for position, token in enumerate(preview.source[:prompt_count]):
        feature = preview.features[position]
        name = "frozen" if token.frozen else f"{feature} {_cut(preview.feature_names[feature])}"
        table.add_row(*_cells(position, token, preview.pieces[position], _kind(token), name), style=_style(token))
    for index, token in enumerate(preview.target):
        if index == 0:
            table.add_section()
        inside = [str(i) for i, span in enumerate(preview.spans) if span.first_token <= index < span.last_token]
        name = f"span {', '.join(inside)}" if inside else ""
        position = prompt_count + index
        cells = _cells(position, token, preview.pieces[position], _kind(token), name)
        table.add_row(*cells, style="bold" if inside else None)
    console.print(table)
    frozen = sum(token.frozen for token in preview.source[:prompt_count])
    console.print(
        f"{prompt_count} prompt tokens, {frozen} of them frozen; {len(preview.target)} target tokens; "
        f"{len(preview.feature_names)} features; border: {preview.boundary}",
        markup=False,
        highlight=False,
    )
    for note in preview.notes:
        console.print(Text(f"note: {visible(note)}"))


def _cells(position: int, token: Token, piece: str, kind: str, name: str) -> list[Text]:
    characters = f"[{token.start}, {token.end})"
    role = token.role if token.message is None else f"{token.role} {token.message}"
    values = (str(position), str(token.id), piece, repr(token.text), characters, role, kind, name)
    return [Text(visible(value)) for value in values]


def _kind(token: Token) -> str:
    return "special" if token.special else "template" if token.template else "content"


def _style(token: Token) -> str | None:
    return "dim" if token.frozen else None


def _cut(name: str) -> str:
    return name if len(name) <= WIDEST else name[: WIDEST - 1] + "…"
