"""A result in the terminal: the source colored by score, the strongest tokens, and where the scores come from.

Prompts and targets are never read as markup, and control characters are spelled out instead of sent. Without color
the strong tokens stand in brackets with their sign.
"""

import math
from typing import Literal, TypeAlias

from rich.bar import Bar
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from spanwise.attribution import Attribution
from spanwise.views import colors, series, windows
from spanwise.views.labels import label, shorten, visible
from spanwise.views.running import Piece, pieces
from spanwise.views.series import Series

BLOCKS = 12  # rows or spans printed
TOP = 5
BAR, BARS_FROM = 16, 50  # characters of a bar, and of the narrowest terminal that gets them
WINDOW, MOST_WINDOWS = 40, 12  # source tokens in a window, and windows printed, all blocks together
CONTEXT = 100  # characters of the target on each side of the span
# Parts of the strongest score. Below FAINT a token is not colored, below FILLED its letters are, above it stands on a
# color: a pale background for a weak score would be the brightest thing on a dark terminal.
FAINT, FILLED = 0.05, 0.25
Mode: TypeAlias = Literal["none", "few", "many"]  # colors: none, the 16 that every color terminal has, any
LEAST = 0.01  # nats; when removing features moves a log-probability by less, the picture is one of nothing
ONE_BY_ONE = ("feature_ablation", "hierarchical_ablation")
STRONG = 0.5  # scores above this part are marked where there is no color


def show(attribution: Attribution, *, console: Console | None = None) -> None:
    """Prints a result: for each span, or for each target token where no span was asked for, the colored source.

    Args:
        attribution: The result.
        console: Where to; default: standard output, with colors where it is a terminal.
    """
    console = Console() if console is None else console
    everything = series.by_span(attribution) if attribution.spans else series.by_row(attribution)
    limit = series.limit(*(item.scores for item in everything))
    mode: Mode = "many"
    if console.color_system is None or console.no_color:
        mode = "none"
    elif console.color_system in ("standard", "windows"):
        mode = "few"
    weights = [sum(series.weights(item.scores)) for item in everything]
    kept = windows.choose(weights, 1, BLOCKS)
    for index in (window.start for window in kept):
        console.print(_heading(attribution, everything[index], mode))
        console.print(_source(attribution, everything[index], limit, mode, max(MOST_WINDOWS // len(kept), 2)))
        console.print(_strongest(attribution, everything[index], limit, console))
        console.print()
    note = windows.left_out(f"{everything[0].name}s" if everything else "", kept, weights)
    if note:
        console.print(Text(note + "\n", style="dim"))
    console.print(_legend(attribution, limit, mode))
    console.print(facts(attribution))
    for told in (*nothing_found(attribution), *attribution.provenance.notes):
        console.print(Text(f"note: {visible(told)}", style="dim"))


def _heading(attribution: Attribution, item: Series, mode: Mode) -> Text:
    """Returns the line above a block: the target with the span marked."""
    heading = Text()
    heading.append(f"{item.name}: ", style="dim")
    heading.append_text(_in_target(attribution, item, mode))
    if item.reduction:
        heading.append(f"  ({item.reduction})", style="dim")
    return heading


def _in_target(attribution: Attribution, item: Series, mode: Mode) -> Text:
    """Returns the target with the span bold and underlined, far ends cut; in »« where there is no color."""
    whole = attribution.target_text
    first, last = max(item.start - CONTEXT, 0), item.end + CONTEXT
    text = Text(("…" if first else "") + visible(whole[first : item.start]))
    asked = visible(whole[item.start : item.end]) or visible(item.text)
    text.append(f"»{asked}«" if mode == "none" else asked, style="bold underline")
    text.append(visible(whole[item.end : last]) + ("…" if last < len(whole) else ""))
    return text


def _source(attribution: Attribution, item: Series, limit: float, mode: Mode, most: int) -> Text:
    """Returns the source as running text, at most `most` windows of it."""
    count = series.drawn_columns(attribution)
    weights = series.weights(item.scores[:count])
    shown = windows.choose(weights, WINDOW, most)
    inside = {i for window in shown for i in window}
    text, hidden, generated = Text(), False, False
    for piece in pieces(attribution, item, count):
        if piece.index >= 0 and piece.index not in inside:
            hidden = True
            continue
        if hidden:
            text.append(" … ", style="dim")
            hidden = False
        if piece.index >= 0 and attribution.source[piece.index].role == "prefix" and not generated:
            text.append(" ‖ ", style="bold")
            generated = True
        _append(text, piece, limit, attribution.provenance.signed, mode)
    if hidden:
        text.append(" …", style="dim")
    if text.plain.endswith("\n"):
        text.right_crop(1)
    note = windows.left_out("source tokens", shown, weights)
    if note:
        text.append(f"\n{note}", style="dim")
    return text


def _append(text: Text, piece: Piece, limit: float, signed: bool, mode: Mode) -> None:
    """Adds a piece of source text in the color of its score, line breaks shown and kept."""
    shown = visible(piece.text).replace("⏎", "⏎\n")
    part = abs(piece.score) / limit if limit else 0.0
    if math.isnan(piece.score):
        text.append(shown, style="dim" if piece.index >= 0 else "")
    elif mode == "none":
        sign, inner = "-" if piece.score < 0 else "+", shown.rstrip("\n")
        text.append(f"[{sign}{inner}{sign}]{shown[len(inner) :]}" if part >= STRONG else shown)
    else:
        text.append(shown, style=_painted(piece.score, limit, signed, mode))


def _painted(score: float, limit: float, signed: bool, mode: Mode) -> Style:
    part = abs(score) / limit if limit else 0.0
    if part < FAINT:
        return Style()
    if mode == "few":  # shades would fall together: letters, bold letters, black on the color
        name = "magenta" if not signed else "red" if score > 0 else "cyan"
        if part < FILLED:
            return Style(color=name)
        return Style(color=name, bold=True) if part < STRONG else Style(color="black", bgcolor=name)
    if part < FILLED:
        return Style(color=Color.from_rgb(*colors.middle(score, signed=signed)))
    background = colors.shade(score, (part - FILLED) / (1 - FILLED), signed=signed)
    return Style(color=Color.from_rgb(*colors.ink(background)), bgcolor=Color.from_rgb(*background))


def _strongest(attribution: Attribution, item: Series, limit: float, console: Console) -> Table:
    """Returns the tokens with the largest absolute score: score, a bar where there is room, place and text."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    bars = limit > 0 and console.width >= BARS_FROM and console.encoding.startswith("utf")
    if bars:
        table.add_column(width=BAR)
    table.add_column(justify="right", style="dim")
    table.add_column(overflow="fold")
    scores = item.scores.tolist()
    order = sorted((i for i, score in enumerate(scores) if score == score), key=lambda i: -abs(scores[i]))
    for i in order[:TOP]:
        name = "generated " if attribution.source[i].role == "prefix" else ""
        cells: list[Text | Bar] = [Text(f"{scores[i]:+.4f}")]
        if bars:
            cells.append(_bar(scores[i], limit, attribution.provenance.signed))
        text = Text(label(attribution.source_tokens[i], 40), style="bold")
        table.add_row(*cells, Text(f"{name}[{i}]"), text)
    if not order:
        table.add_row(*[""] * (len(table.columns) - 1), Text("no score is defined"))
    return table


def _bar(score: float, limit: float, signed: bool) -> Bar:
    """Returns a bar from zero: in the middle where scores have a sign, else on the left."""
    zero = limit if signed else 0.0
    color = Color.from_rgb(*colors.middle(score, signed=signed))
    return Bar(limit + zero, min(zero, zero + score), max(zero, zero + score), width=BAR, color=color)


def _legend(attribution: Attribution, limit: float, mode: Mode) -> Text:
    """Returns what the colors, or the brackets, mean."""
    signed, unit = attribution.provenance.signed, attribution.provenance.unit
    text = Text()
    if not limit:
        text.append("every defined score is 0; ")
    elif mode == "none":
        signs = "[+ +] positive, [- -] negative" if signed else "[+ +]"
        text.append(f"{signs}: at least half of the strongest score, {limit:.4g} {visible(unit)}; ")
    else:
        half = 0.5 if mode == "many" else 0.4  # the color of half the strongest is that of the strongest where few are
        for step in (-1.0, -half, -0.1, 0.0, 0.1, half, 1.0)[0 if signed else 3 :]:
            text.append(f" {step * limit:.3g} ", style=_painted(step * limit, limit, signed, mode))
        text.append(f" {visible(unit)}; ")
    text.append("dim: frozen or not defined", style="" if mode == "none" else "dim")
    return text


def nothing_found(attribution: Attribution) -> list[str]:
    """Returns a note where features were removed and none of them mattered: its colors are relative, and mislead."""
    told, scores = attribution.provenance, attribution.scores
    removes = told.objective == "log_prob" and told.unit == "nats" and not told.backwards
    if not removes or scores.isnan().all() or float(scores.nan_to_num().abs().max()) >= LEAST:
        return []
    others = " or a method that removes several at once (shapley_value_sampling)"
    return [
        f"no single feature moves the objective by {LEAST:g} nats: ask for larger features (features='sentence')"
        f"{others if told.method in ONE_BY_ONE else ''}"
    ]


def facts(attribution: Attribution) -> Text:
    """Returns one line on where the scores come from."""
    told = attribution.provenance
    gap = attribution.completeness_gap
    parts = [
        f"{told.method} ({told.engine}) of {told.model}",
        f"{told.objective} ({told.unit})",
        f"baseline {shorten(told.baseline or 'none', 30)}",
        f"completeness gap {gap:.2%}" if gap is not None else "no completeness promised",
        *(f"{name} {count} ({told.options.get(name)})" for name, count in told.used.items()),
        f"{told.forwards} forwards, {told.backwards} backwards",
        f"{told.seconds:.2g} seconds" if told.seconds < 100 else f"{told.seconds:.0f} seconds",
    ]
    return Text(visible(" · ".join(parts)))
