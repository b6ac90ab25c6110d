"""The heat map: rows of the target or spans over columns of the source."""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from spanwise.attribution import Attribution
from spanwise.views import colors, panels, series, windows
from spanwise.views.fonts import drawable
from spanwise.views.labels import label
from spanwise.views.page import (
    COLUMNS,
    HEAD,
    SMALL,
    TEXT,
    Page,
    Shape,
    fit,
    frozen_swatch,
    make_page,
    room,
    style,
    text_width,
    write,
)

FOOTER = 0.62  # inches, for the color bar
ROW_HEIGHTS = (0.15, 0.24)  # inches: the closest rows, and the widest
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


def draw(attribution: Attribution, title: str | None) -> Figure:
    """Returns the heat map of a result."""
    title = panels.default_title(attribution) if title is None else title
    with style():
        plan = make_plan(attribution, title)
        page = make_page(plan.shape, title, plan.notes, FOOTER)
        signed, limit = attribution.provenance.signed, series.limit(attribution.scores)
        norm = Normalize(-(limit or 1.0) if signed else 0.0, limit or 1.0)
        colormap = colormaps[colors.DIVERGING_MAP if signed else colors.SEQUENTIAL_MAP]
        for axes, window in zip(page.axes, plan.columns, strict=True):
            _panel(axes, attribution, plan, window, norm, colormap)
        _footer(page, attribution, norm, colormap)
    return page.figure


def make_plan(attribution: Attribution, title: str) -> Plan:
    """Returns which rows and columns fit the largest page, and their sizes."""
    drawn = series.drawn_columns(attribution)
    scores = attribution.scores[:, :drawn]
    names = panels.source_labels(attribution, drawn)
    all_labels = [fit(drawable(label(text, 24)), TEXT, panels.ROW_LABEL_WIDTH) for text in attribution.row_labels]
    below, wanted, space = panels.label_height(names), math.ceil(drawn / COLUMNS), room(FOOTER)
    capacity = int((space / min(wanted, LONG_TARGET_PANELS) - HEAD - below) / ROW_HEIGHTS[0])
    row_weights, weights = series.weights(scores.T), series.weights(scores)
    rows = _row_windows(row_weights, capacity)
    count = sum(len(window) for window in rows)
    height = min(max((space / wanted - HEAD - below) / count, ROW_HEIGHTS[0]), ROW_HEIGHTS[1])
    shown = windows.choose(weights, COLUMNS, int(space / (HEAD + below + count * height) + 1e-9))
    cut = count < len(all_labels)
    row_labels = [f"{i}  {all_labels[i]}" if cut else all_labels[i] for window in rows for i in window]
    left = text_width(row_labels, TEXT) + panels.AXIS_NAME + 0.15
    widest = max(len(window) for window in shown)
    shape = Shape(widest * panels.column_width(widest, left), count * height, left, [below] * len(shown))
    notes = [
        *_span_note(attribution),
        windows.left_out("source tokens", shown, weights),
        windows.left_out("target rows", rows, row_weights),
        *panels.prefix_note(attribution, drawn),
        *_value_note(attribution),
        *panels.box_note(names, row_labels, [drawable(title)]),
    ]
    return Plan(rows, shown, row_labels, names, shape, [note for note in notes if note])


def _row_windows(weights: list[float], capacity: int) -> list[range]:
    if len(weights) <= capacity:
        return windows.split(len(weights), capacity)
    width = max(capacity // 3, 1)
    return windows.choose(weights, width, capacity // width)


def _span_note(attribution: Attribution) -> list[str]:
    marked = attribution.rows == "token" and attribution.spans
    return ["Thick line beside the rows: the span asked for."] if marked else []


def _value_note(attribution: Attribution) -> list[str]:
    if bool(attribution.scores.isnan().all()):
        return ["No score is defined."]
    return [] if series.limit(attribution.scores) else ["Every defined score is 0."]


def _panel(
    axes: Axes, attribution: Attribution, plan: Plan, window: range, norm: Normalize, colormap: Colormap
) -> None:
    rows = [i for part in plan.rows for i in part]
    values = attribution.scores[rows][:, window.start : window.stop].numpy()
    panels.hatch(axes, -0.5, len(window) - 0.5)
    edges = np.arange(len(window) + 1) - 0.5, np.arange(len(rows) + 1) - 0.5
    axes.pcolormesh(
        *edges, np.ma.masked_invalid(values), norm=norm, cmap=colormap, edgecolors="white", linewidth=0.4, zorder=1
    )
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), plan.row_labels, fontsize=TEXT, parse_math=False)
    panels.mark_columns(axes, window, plan.column_labels, attribution, max(len(part) for part in plan.columns))
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_ylabel("target" if attribution.rows == "token" else "span", fontsize=SMALL, color="#444444")
    axes.yaxis.set_label_coords(-(plan.shape.left - 0.2) / plan.shape.plot_width, 0.5)
    panels.head(axes, panels.place(window, len(plan.column_labels), attribution))
    _row_marks(axes, attribution, plan, rows)


def _row_marks(axes: Axes, attribution: Attribution, plan: Plan, rows: list[int]) -> None:
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


def _footer(page: Page, attribution: Attribution, norm: Normalize, colormap: Colormap) -> None:
    width, height = page.figure.get_size_inches()
    length, base = 2.6, page.footer - 0.22
    axes = page.figure.add_axes((page.left / width, base / height, length / width, 0.12 / height))
    bar = page.figure.colorbar(ScalarMappable(norm, colormap), cax=axes, orientation="horizontal")
    bar.ax.tick_params(labelsize=SMALL, length=2, pad=1, width=0.5)
    ticks = [norm.vmin or 0.0, 0.0, norm.vmax or 0.0] if norm.vmin else [0.0, norm.vmax or 0.0]
    bar.set_ticks(ticks, labels=[f"{tick:.3g}" for tick in ticks])
    write(page.figure, page.left, base - 0.21, panels.unit_label(attribution), size=SMALL, va="top")
    if bool(attribution.scores[:, : series.drawn_columns(attribution)].isnan().any()):
        frozen_swatch(page, page.left + length + 0.4)
