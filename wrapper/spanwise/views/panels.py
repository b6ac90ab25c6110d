"""What every panel over source tokens shares: token labels, the border to the generated prefix, undefined places."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from spanwise.attribution import Attribution
from spanwise.views.colors import FROZEN, HATCH, hexadecimal
from spanwise.views.fonts import BOX, drawable
from spanwise.views.labels import label, visible
from spanwise.views.page import MARGIN, NARROWEST, SMALL, TEXT, fit, text_width

AXIS_NAME = 0.25  # inches, for the name of the vertical axis
LABEL_WIDTH, ROW_LABEL_WIDTH = 0.9, 1.5  # inches: the longest labels below and beside a panel


def source_labels(attribution: Attribution, count: int) -> list[str]:
    """Returns the labels of the first `count` columns."""
    return [fit(drawable(label(text)), TEXT, LABEL_WIDTH) for text in attribution.source_tokens[:count]]


def default_title(attribution: Attribution) -> str:
    """Returns method, model and objective in one line."""
    facts = attribution.provenance
    return visible(f"{facts.method} ({facts.engine}) of {facts.model}, objective {facts.objective}")


def unit_label(attribution: Attribution) -> str:
    """Returns what a score measures, with its unit."""
    facts = attribution.provenance
    reduction = "" if facts.reduction == "sum" else f", {facts.reduction}"
    return drawable(label(f"{facts.objective}, {facts.unit}{reduction}", 44))


def column_width(columns: int, left: float) -> float:
    """Returns the width of a source token in inches: wider where the page would be nearly empty."""
    return min(max((NARROWEST - left - MARGIN) / columns, 0.24), 0.5)


def label_height(labels: Sequence[str]) -> float:
    """Returns the room below a panel for upright token labels, inches."""
    return text_width(labels, TEXT) + 0.12


def box_note(*texts: Sequence[str]) -> list[str]:
    """Returns the note that explains boxes, where there are any."""
    if not any(BOX in text for group in texts for text in group):
        return []
    return [f"{BOX}: no installed font draws this character; Noto Sans CJK and Noto Emoji (not color) draw most."]


def prefix_note(attribution: Attribution, drawn: int) -> list[str]:
    """Returns the note on a generated prefix that is held fixed, where there is one."""
    hidden = len(attribution.source) - drawn
    return [f"{hidden} generated source tokens without any score are not drawn."] if hidden else []


def mark_columns(axes: Axes, window: range, labels: Sequence[str], attribution: Attribution, capacity: int) -> None:
    """Draws the token labels, unless `labels` is empty, and the border between prompt and generated prefix.

    Columns lie at 0, 1, ... with unit width. `capacity` columns fit the panel, so that a short last panel keeps the
    width of its columns.
    """
    axes.set_xlim(-0.5, capacity - 0.5)
    texts = [labels[i] if labels else "" for i in window]
    axes.set_xticks(range(len(window)), texts, rotation=90, fontsize=TEXT, parse_math=False)
    axes.tick_params(length=2, pad=2, width=0.5)
    first = _first_generated(attribution)
    if window.start <= first < window.stop:
        at = first - window.start - 0.5
        axes.axvline(at, color="black", linewidth=1.6, zorder=5)


def _first_generated(attribution: Attribution) -> int:
    roles = [token.role for token in attribution.source]
    return roles.index("prefix") if "prefix" in roles else len(roles)


def place(window: range, count: int, attribution: Attribution) -> str:
    """Returns which source tokens a panel shows, and which of them are the generated prefix."""
    first = _first_generated(attribution)
    generated = f"; generated: [{max(first, window.start)}, {window.stop})" if first < window.stop else ""
    return f"source tokens [{window.start}, {window.stop}) of {count}{generated}"


def head(axes: Axes, text: str) -> None:
    """Writes what a panel shows at its upper left."""
    axes.set_title(text, loc="left", fontsize=SMALL, color="#444444", pad=3, parse_math=False)


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
