"""Bars: one panel a span, a bar for each source token."""

from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spanwise.attribution import Attribution
from spanwise.views import colors, panels, series, windows
from spanwise.views.fonts import drawable
from spanwise.views.labels import label
from spanwise.views.page import (
    COLUMNS,
    HEAD,
    MARGIN,
    SMALL,
    Page,
    Shape,
    fit,
    frozen_swatch,
    make_page,
    room,
    style,
    swatch,
    text_width,
)

FOOTER, GAP = 0.4, 0.1  # inches: the legend, and between spans over the same tokens
PLOT_HEIGHTS = (0.7, 1.6)  # inches: the lowest bars, and the highest


@dataclass(frozen=True)
class Plan:
    """What is drawn where.

    Attributes:
        panels: For each panel what its bars are about, its heading and its columns.
        column_labels: One for each column that could be drawn.
        limits: The lowest and the highest value on the vertical axis, the same in every panel.
        shape: Sizes in inches.
        notes: What the reader must know, one line each.
    """

    panels: list[tuple[series.Series, str, range]]
    column_labels: list[str]
    limits: tuple[float, float]
    shape: Shape
    notes: list[str]


def draw(attribution: Attribution, title: str | None) -> Figure:
    """Returns the bars of a result."""
    title = panels.default_title(attribution) if title is None else title
    with style():
        plan = make_plan(attribution, title)
        page = make_page(plan.shape, title, plan.notes, FOOTER)
        capacity = max(len(window) for _, _, window in plan.panels)
        for axes, (item, heading, window), below in zip(page.axes, plan.panels, plan.shape.below, strict=True):
            _panel(axes, attribution, plan, item, window)
            names = plan.column_labels if below > GAP else []
            panels.mark_columns(axes, window, names, attribution, capacity)
            place = ", " + panels.place(window, len(plan.column_labels), attribution)
            free = plan.shape.page_width - plan.shape.left - MARGIN - text_width([place], SMALL)
            panels.head(axes, fit(heading, SMALL, free) + place)
        _footer(page, attribution, plan)
    return page.figure


def make_plan(attribution: Attribution, title: str) -> Plan:
    """Returns which spans and columns fit the largest page, and their sizes.

    The spans of one window of the source stand above each other, and the last of them carries the token labels.
    """
    everything, drawn = series.by_span(attribution), series.drawn_columns(attribution)
    names = panels.source_labels(attribution, drawn)
    below, space, least = panels.label_height(names), room(FOOTER), HEAD + PLOT_HEIGHTS[0] + GAP
    span_weights = series.weights(torch.stack([item.scores for item in everything]).T)
    kept = windows.choose(span_weights, 1, int((space - below) / least))
    chosen = [everything[index] for window in kept for index in window]
    weights = series.weights(torch.stack([item.scores[:drawn] for item in chosen]))
    shown = windows.choose(weights, COLUMNS, int(space / (len(chosen) * least + below)))
    headings = [_heading(everything, index) for window in kept for index in window]
    places = [(item, text, window) for window in shown for item, text in zip(chosen, headings, strict=True)]
    limits = _limits(everything, attribution.provenance.signed)
    left = text_width([f"{edge:.2f}" for edge in limits], SMALL) + panels.AXIS_NAME + 0.3
    widest = max(len(window) for window in shown)
    height = min((space / len(shown) - below) / len(chosen) - HEAD - GAP, PLOT_HEIGHTS[1])
    room_below = ([GAP] * (len(chosen) - 1) + [below]) * len(shown)
    shape = Shape(widest * panels.column_width(widest, left), height, left, room_below)
    notes = [
        windows.left_out("source tokens", shown, weights),
        windows.left_out("spans", kept, span_weights),
        *panels.prefix_note(attribution, drawn),
        *_value_note(everything),
        *panels.box_note(names, headings, [drawable(title)]),
    ]
    return Plan(places, names, limits, shape, [note for note in notes if note])


def _heading(everything: list[series.Series], index: int) -> str:
    item = everything[index]
    number = f" [{index}]" if len(everything) > 1 else ""
    reduction = f" ({item.reduction})" if item.reduction else ""
    return f'{item.name}{number}{reduction} "{drawable(label(item.text, 40))}"'


def _limits(everything: list[series.Series], signed: bool) -> tuple[float, float]:
    values = torch.cat([item.scores for item in everything]).nan_to_num(0.0)
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        return (-1.0, 1.0) if signed else (0.0, 1.0)
    border = 0.06 * (high - low)
    return (low - border if low < 0 else 0.0), (high + border if high > 0 else 0.0)


def _value_note(everything: list[series.Series]) -> list[str]:
    if all(bool(item.scores.isnan().all()) for item in everything):
        return ["No score is defined."]
    return [] if series.limit(*(item.scores for item in everything)) else ["Every defined score is 0."]


def _panel(axes: Axes, attribution: Attribution, plan: Plan, item: series.Series, window: range) -> None:
    signed = attribution.provenance.signed
    scores = item.scores[window.start : window.stop].tolist()
    places = [i for i, score in enumerate(scores) if score == score]
    heights = [scores[i] for i in places]
    shades = [colors.hexadecimal(colors.strong(height, signed=signed)) for height in heights]
    axes.bar(places, heights, width=0.8, color=shades, zorder=3)
    axes.axhline(0, color="black", linewidth=0.6, zorder=4)
    for missing in windows.gaps([range(i, i + 1) for i in places], len(scores)):
        panels.hatch(axes, missing.start - 0.5, missing.stop - 0.5)
    axes.set_ylim(*plan.limits)
    axes.tick_params(axis="y", labelsize=SMALL)
    axes.grid(axis="y", linewidth=0.4, color="#dddddd", zorder=-1)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_ylabel(attribution.provenance.unit, fontsize=SMALL, color="#444444", parse_math=False)
    axes.yaxis.set_label_coords(-(plan.shape.left - 0.2) / plan.shape.plot_width, 0.5)


def _footer(page: Page, attribution: Attribution, plan: Plan) -> None:
    x = page.left
    what = panels.unit_label(attribution)
    if attribution.provenance.signed:
        x = swatch(page, x, f"positive ({what})", colors.hexadecimal(colors.POSITIVE))
        x = swatch(page, x, "negative", colors.hexadecimal(colors.NEGATIVE))
    else:
        x = swatch(page, x, f"score without sign ({what})", colors.hexadecimal(colors.UNSIGNED))
    if any(bool(item.scores[window.start : window.stop].isnan().any()) for item, _, window in plan.panels):
        frozen_swatch(page, x)
