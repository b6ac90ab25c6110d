"""The heat map: rows of the target or spans over columns of the source."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from spanwise.attribution import Attribution
from spanwise.views import colors, into, panels, series, windows
from spanwise.views.fonts import drawable
from spanwise.views.footer import draw_footer, footer_height
from spanwise.views.labels import label
from spanwise.views.page import (
    COLUMNS,
    FROZEN_TEXT,
    HEAD,
    MARGIN,
    Shape,
    fit,
    make_page,
    room,
    style,
    text_width,
)
from spanwise.views.sizes import WIDE, Paper

ROW_HEIGHTS = (0.15, 0.24)  # inches: the closest rows, and the widest of many
LONG_TARGET_PANELS = 2  # a target too long for the page leaves room for this many panels


@dataclass(frozen=True)
class Plan:
    """What is drawn where.

    Attributes:
        rows: The rows drawn, windows in order.
        columns: The columns of each panel.
        row_labels: One for each drawn row.
        column_labels: One for each column of the result that could be drawn.
        shape: Sizes in inches.
        notes: What the reader must know, one line each.
    """

    rows: list[range]
    columns: list[range]
    row_labels: list[str]
    column_labels: list[str]
    shape: Shape
    notes: list[str]


def draw(attribution: Attribution, title: str | None, paper: Paper = WIDE, within: range | None = None) -> Figure:
    """Returns the heat map of a result."""
    title = panels.default_title(attribution) if title is None else title
    with style(panels.script(attribution, title)):
        plan = make_plan(attribution, title, paper, within)
        page = make_page(plan.shape, title, plan.notes, footer_height(paper))
        norm, colormap = scale(attribution)
        widest = max(len(part) for part in plan.columns)
        rows = [i for part in plan.rows for i in part]
        for axes, window in zip(page.axes, plan.columns, strict=True):
            _panel(axes, attribution, (rows, window), (plan.row_labels, plan.column_labels), widest, paper)
            place = panels.place(window, len(plan.column_labels), attribution)
            panels.head(axes, fit(place, paper.small, plan.shape.page_width - plan.shape.left - MARGIN), paper.small)
        undefined = bool(attribution.scores[:, : len(plan.column_labels)].isnan().any())
        draw_footer(page, panels.unit_label(attribution), norm, colormap, undefined="hatched" if undefined else "")
    return page.figure


def draw_into(
    axes: Axes, attribution: Attribution, title: str | None, within: range | None = None, *, color_bar: bool = False
) -> None:
    """Draws the heat map into axes of the user's: one panel, cut to the rows and columns that fit it."""
    norm, colormap = scale(attribution)

    def draft(paper: Paper) -> None:
        drawn = series.drawn_columns(attribution)
        scores = attribution.scores[:, :drawn]
        weights, row_weights = series.weights(scores), series.weights(scores.T)
        shown = windows.squeeze(weights, max(int(paper.width / paper.column), 3), within)
        kept = windows.squeeze(row_weights, max(int(paper.height / (paper.text * 1.25 / 72)), 3))
        names, row_names = panels.source_labels(attribution, drawn, paper), _row_labels(attribution, kept, paper)
        places = [i for part in kept for i in part], [i for part in shown for i in part]
        _panel(axes, attribution, places, (row_names, names), len(places[1]), paper)
        marked = _span_note(attribution)
        notes = [
            ""
            if color_bar
            else f"colors: {norm.vmin or 0.0:.3g} to {norm.vmax:.3g} ({panels.unit_label(attribution)})",
            f"hatched: {FROZEN_TEXT}" if bool(scores[:, places[1]].isnan().any()) else "",
            "thick line: the span asked for" if marked else "",
            windows.left_out_briefly("source tokens", shown, weights),
            windows.left_out_briefly("target rows", kept, row_weights),
            *_value_note(attribution),
            *panels.box_note([names[i] for i in places[1]], row_names),
        ]
        into.finish(axes, title, notes, paper)

    with into.letters(panels.script(attribution, title)):
        if color_bar:
            into.color_bar(axes, norm, colormap, panels.unit_label(attribution))
        into.fitted(axes, draft)


def scale(attribution: Attribution) -> tuple[Normalize, Colormap]:
    """Returns how scores become colors: zero in the middle, the strongest score at an end."""
    signed, limit = attribution.provenance.signed, series.limit(attribution.scores) or 1.0
    return Normalize(-limit if signed else 0.0, limit), colormaps[
        colors.DIVERGING_MAP if signed else colors.SEQUENTIAL_MAP
    ]


def make_plan(attribution: Attribution, title: str, paper: Paper = WIDE, within: range | None = None) -> Plan:
    """Returns which rows and columns fit the largest page, and their sizes."""
    drawn = series.drawn_columns(attribution)
    scores = attribution.scores[:, :drawn]
    names = panels.source_labels(attribution, drawn, paper)
    row_weights, weights = series.weights(scores.T), series.weights(scores)
    beside = _left(_row_labels(attribution, [range(len(row_weights))], paper), paper)
    across = paper.columns(beside + 0.3, COLUMNS, MARGIN)
    wanted = math.ceil(len(range(drawn) if within is None else within) / across)
    below, space = panels.label_height(names, paper), room(footer_height(paper), paper)
    lowest = ROW_HEIGHTS[0] * paper.text / WIDE.text
    capacity = int((space / min(wanted, LONG_TARGET_PANELS) - HEAD - below) / lowest)
    rows = windows.squeeze(row_weights, max(capacity, 1))
    count = sum(len(window) for window in rows)
    highest = ROW_HEIGHTS[1] + 0.16 / count  # a single row is no thin line
    height = min(max((space / wanted - HEAD - below) / count, lowest), highest)
    shown = windows.choose(weights, across, int(space / (HEAD + below + count * height) + 1e-9), within)
    row_labels = _row_labels(attribution, rows, paper)
    left, widest = _left(row_labels, paper), max(len(window) for window in shown)
    width = widest * panels.column_width(widest, left, paper)
    shape = Shape(width, count * height, left, [below] * len(shown), paper)
    notes = [
        *_notes(attribution, (rows, row_weights), (shown, weights), drawn),
        *panels.box_note(names, row_labels, [drawable(title)]),
    ]
    return Plan(rows, shown, row_labels, names, shape, notes)


def _left(row_labels: Sequence[str], paper: Paper) -> float:
    return text_width(row_labels, paper.text) + panels.AXIS_NAME + 0.15


def _row_labels(attribution: Attribution, rows: Sequence[range], paper: Paper) -> list[str]:
    """Returns the labels of the rows drawn, numbered where some are left out."""
    texts, kept = attribution.row_labels, [i for window in rows for i in window]
    found = [fit(drawable(label(texts[i], 24)), paper.text, paper.row_label) for i in kept]
    return [f"{i}  {text}" for i, text in zip(kept, found, strict=True)] if len(kept) < len(texts) else found


def _notes(
    attribution: Attribution,
    rows: tuple[list[range], list[float]],
    columns: tuple[list[range], list[float]],
    drawn: int,
) -> list[str]:
    notes = [
        *_span_note(attribution),
        windows.left_out("source tokens", *columns),
        windows.left_out("target rows", *rows),
        *panels.prefix_note(attribution, drawn),
        *_value_note(attribution),
    ]
    return [note for note in notes if note]


def _span_note(attribution: Attribution) -> list[str]:
    marked = attribution.rows == "token" and attribution.spans
    return ["Thick line beside the rows: the span asked for."] if marked else []


def _value_note(attribution: Attribution) -> list[str]:
    if bool(attribution.scores.isnan().all()):
        return ["No score is defined."]
    return [] if series.limit(attribution.scores) else ["Every defined score is 0."]


def _panel(
    axes: Axes,
    attribution: Attribution,
    places: tuple[Sequence[int], Sequence[int]],
    labels: tuple[Sequence[str], Sequence[str]],
    capacity: int,
    paper: Paper,
) -> None:
    """Draws rows x columns (`places`) with their labels."""
    (rows, columns), (norm, colormap) = places, scale(attribution)
    values = attribution.scores[list(rows)][:, list(columns)].numpy()
    panels.hatch(axes, -0.5, len(columns) - 0.5)
    edges = np.arange(len(columns) + 1) - 0.5, np.arange(len(rows) + 1) - 0.5
    axes.pcolormesh(
        *edges, np.ma.masked_invalid(values), norm=norm, cmap=colormap, edgecolors="white", linewidth=0.4, zorder=1
    )
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), labels[0], fontsize=paper.text, parse_math=False)
    panels.mark_columns(axes, columns, labels[1], attribution, capacity, paper.text)
    axes.tick_params(axis="y", length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    name = "target" if attribution.rows == "token" else "span"
    axes.set_ylabel(name, fontsize=paper.small, color="#444444", labelpad=2)
    _row_marks(axes, attribution, rows)


def _row_marks(axes: Axes, attribution: Attribution, rows: Sequence[int]) -> None:
    """Draws the breaks between row windows, and a line beside the rows of each span."""
    breaks = [at for at in range(1, len(rows)) if rows[at] != rows[at - 1] + 1]
    for at in breaks:
        axes.axhline(at - 0.5, color="black", linewidth=1.2, linestyle=(0, (4, 2)), zorder=5)
    if attribution.rows == "span":
        return
    for position, row in enumerate(rows):
        if any(span.first_token <= row < span.last_token for span in attribution.spans):
            axes.plot(
                [0, 0],
                [position - 0.5, position + 0.5],
                color="black",
                linewidth=3,
                solid_capstyle="butt",
                transform=axes.get_yaxis_transform(),
                clip_on=False,
                zorder=6,
            )
