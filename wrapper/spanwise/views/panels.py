"""What every panel over source tokens shares: token labels, the border to the generated prefix, undefined places."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from spanwise.attribution import Attribution
from spanwise.views.colors import FROZEN, HATCH, hexadecimal
from spanwise.views.fonts import BOX, drawable, is_complex, shapes
from spanwise.views.labels import label, visible
from spanwise.views.page import MARGIN, fit, text_width
from spanwise.views.sizes import WIDE, Paper

_NAMED = "⟨"  # before the name of an emoji, see `fonts.drawable`
AXIS_NAME = 0.25  # inches, for the name of the vertical axis


def source_labels(attribution: Attribution, count: int, paper: Paper = WIDE) -> list[str]:
    """Returns the labels of the first `count` columns."""
    return [fit(drawable(label(text)), paper.text, paper.column_label) for text in attribution.source_tokens[:count]]


def script(attribution: Attribution, title: str | None) -> str:
    """Returns all text that a figure may show; it decides between fonts."""
    names = "".join(attribution.source_tokens) + "".join(attribution.row_labels) + (title or "")
    return attribution.prompt + attribution.target_text + names + default_title(attribution) + unit_label(attribution)


def default_title(attribution: Attribution) -> str:
    """Returns method, model and objective in one line."""
    facts = attribution.provenance
    return visible(f"{facts.method} ({facts.engine}) of {facts.model}, objective {facts.objective}")


def unit_label(attribution: Attribution) -> str:
    """Returns what a score measures, with its unit."""
    facts = attribution.provenance
    reduction = "" if facts.reduction == "sum" else f", {facts.reduction}"
    return drawable(label(f"{facts.objective}, {facts.unit}{reduction}", 44))


def column_width(columns: int, left: float, paper: Paper = WIDE) -> float:
    """Returns the width of a source token in inches: wider where the page would be nearly empty."""
    return min(max((paper.narrowest - left - MARGIN) / columns, 0.0 if paper.fixed else paper.column), paper.widest)


def label_height(labels: Sequence[str], paper: Paper = WIDE) -> float:
    """Returns the room below a panel for upright token labels, inches."""
    return text_width(labels, paper.text) + 0.12


def box_note(*texts: Sequence[str]) -> list[str]:
    """Returns the notes on characters that are not drawn as they should be, where there are any."""
    drawn = [text for group in texts for text in group]
    notes = []
    if any(BOX in text for text in drawn):
        notes.append(f"{BOX}: no installed font draws this character; Noto Sans and Noto Sans CJK draw most.")
    if any(_NAMED in text for text in drawn):
        notes.append("⟨name⟩: an emoji that no installed font draws without color; Symbola and Noto Emoji have most.")
    if not shapes() and any(is_complex(character) for text in drawn for character in text):
        notes.append("Letters are not joined or ordered as they should be: that needs matplotlib 3.11.")
    return notes


def prefix_note(attribution: Attribution, drawn: int) -> list[str]:
    """Returns the note on a generated prefix that is held fixed, where there is one."""
    hidden = len(attribution.source) - drawn
    many = f"{hidden} generated source tokens without any score are not drawn."
    return ["1 generated source token without any score is not drawn."] if hidden == 1 else [many] if hidden else []


def mark_columns(
    axes: Axes,
    window: Sequence[int],
    labels: Sequence[str],
    attribution: Attribution,
    capacity: int,
    size: float = WIDE.text,
) -> None:
    """Draws the token labels, unless `labels` is empty, and the border between prompt and generated prefix.

    Columns lie at 0, 1, ... with unit width. `capacity` columns fit the panel, so that a short last panel keeps the
    width of its columns. A dashed line stands where columns are left out.
    """
    axes.set_xlim(-0.5, capacity - 0.5)
    texts = [labels[i] for i in window] if labels else []
    axes.set_xticks(range(len(texts)), texts, rotation=90, fontsize=size, parse_math=False)
    axes.tick_params(length=2, pad=2, width=0.5)
    axes.tick_params(axis="x", length=0)
    first = _first_generated(attribution)
    for at in range(len(window)):
        if window[at] == first:
            axes.axvline(at - 0.5, color="black", linewidth=1.6, zorder=5)
        elif at and window[at] != window[at - 1] + 1:
            axes.axvline(at - 0.5, color="black", linewidth=1.2, linestyle=(0, (4, 2)), zorder=5)


def _first_generated(attribution: Attribution) -> int:
    roles = [token.role for token in attribution.source]
    return roles.index("prefix") if "prefix" in roles else len(roles)


def place(window: Sequence[int], count: int, attribution: Attribution) -> str:
    """Returns which source tokens a panel shows, and which of them are the generated prefix."""
    first = _first_generated(attribution)
    start, stop = window[0], window[-1] + 1
    generated = f"; generated: [{max(first, start)}, {stop})" if first < stop else ""
    return f"source tokens [{start}, {stop}) of {count}{generated}"


def head(axes: Axes, text: str, size: float = WIDE.small) -> None:
    """Writes what a panel shows at its upper left."""
    axes.set_title(text, loc="left", fontsize=size, color="#444444", pad=3, parse_math=False)


def hatch(axes: Axes, first: float, last: float) -> None:
    """Marks the columns from `first` to `last` as not defined."""
    axes.axvspan(
        first,
        last,
        facecolor=hexadecimal(FROZEN),
        edgecolor=hexadecimal(HATCH),
        hatch="/////",
        linewidth=0,
        zorder=0,
    )
