"""Bars: one panel a span, a bar for each source token."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from spanwise.attribution import Attribution
from spanwise.views import colors, into, panels, series, windows
from spanwise.views.fonts import drawable
from spanwise.views.labels import label
from spanwise.views.legend import Entry, draw_legend, legend_height
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

GAP = 0.1  # inches, between spans over the same tokens
PLOT_HEIGHTS = (0.7, 1.6)  # inches: the lowest bars, and the highest
LEAST_PANEL = 0.55  # inches: the lowest bars in axes of the user's


@dataclass(frozen=True)
class Plan:
    """What is drawn where.

    Attributes:
        panels: For each panel what its bars are about, its heading and its columns.
        column_labels: One for each column that could be drawn.
        limits: The lowest and the highest value on the vertical axis, the same in every panel.
        ticks: Values named on that axis.
        shape: Sizes in inches.
        legend: What the colors mean.
        notes: What the reader must know, one line each.
    """

    panels: list[tuple[series.Series, str, range]]
    column_labels: list[str]
    limits: tuple[float, float]
    ticks: list[float]
    shape: Shape
    legend: list[Entry]
    notes: list[str]


def draw(attribution: Attribution, title: str | None, paper: Paper = WIDE, within: range | None = None) -> Figure:
    """Returns the bars of a result."""
    title = panels.default_title(attribution) if title is None else title
    with style(panels.script(attribution, title)):
        plan = make_plan(attribution, title, paper, within)
        page = make_page(plan.shape, title, plan.notes, legend_height(plan.legend, plan.shape.page_width, paper))
        capacity = max(len(window) for _, _, window in plan.panels)
        for axes, (item, heading, window), below in zip(page.axes, plan.panels, plan.shape.below, strict=True):
            _panel(axes, attribution, item, window, plan.limits, plan.ticks, paper)
            names = plan.column_labels if below > GAP else []
            panels.mark_columns(axes, window, names, attribution, capacity, paper.text)
            free = plan.shape.page_width - plan.shape.left - MARGIN
            place = fit(", " + panels.place(window, len(plan.column_labels), attribution), paper.small, 0.8 * free)
            panels.head(axes, fit(heading, paper.small, free - text_width([place], paper.small)) + place, paper.small)
        draw_legend(page, plan.legend)
    return page.figure


def make_plan(attribution: Attribution, title: str, paper: Paper = WIDE, within: range | None = None) -> Plan:
    """Returns which spans and columns fit the largest page, and their sizes.

    The spans of one window of the source stand above each other, and the last of them carries the token labels.
    """
    everything, drawn = series.by_span(attribution), series.drawn_columns(attribution)
    names = panels.source_labels(attribution, drawn, paper)
    limits = _limits(everything, attribution.provenance.signed)
    ticks = _ticks(limits)
    left = text_width(_tick_labels(ticks), paper.small) + panels.AXIS_NAME + 0.15
    legend = _legend(attribution, everything, drawn)
    footer = legend_height(legend, paper.width, paper)
    below, space, least = panels.label_height(names, paper), room(footer, paper), HEAD + PLOT_HEIGHTS[0] + GAP
    span_weights = series.weights(torch.stack([item.scores for item in everything]).T)
    kept = windows.choose(span_weights, 1, int((space - below) / least))
    chosen = [everything[index] for window in kept for index in window]
    weights = series.weights(torch.stack([item.scores[:drawn] for item in chosen]))
    across = paper.columns(left, COLUMNS, MARGIN)
    shown = windows.choose(weights, across, int(space / (len(chosen) * least + below)), within)
    headings = [_heading(everything, index) for window in kept for index in window]
    places = [(item, text, window) for window in shown for item, text in zip(chosen, headings, strict=True)]
    widest = max(len(window) for window in shown)
    height = min((space / len(shown) - below) / len(chosen) - HEAD - GAP, PLOT_HEIGHTS[1])
    room_below = ([GAP] * (len(chosen) - 1) + [below]) * len(shown)
    shape = Shape(widest * panels.column_width(widest, left, paper), height, left, room_below, paper)
    notes = [
        windows.left_out("source tokens", shown, weights),
        windows.left_out("spans", kept, span_weights),
        *panels.prefix_note(attribution, drawn),
        *_value_note(everything),
        *panels.box_note(names, headings, [drawable(title)]),
    ]
    return Plan(places, names, limits, ticks, shape, legend, [note for note in notes if note])


def draw_into(axes: Axes, attribution: Attribution, title: str | None, within: range | None = None) -> None:
    """Draws the bars into axes of the user's; several spans get a panel each inside them."""

    def draft(paper: Paper) -> None:
        everything, drawn = series.by_span(attribution), series.drawn_columns(attribution)
        span_weights = series.weights(torch.stack([item.scores for item in everything]).T)
        kept = windows.choose(span_weights, 1, int(paper.height / (LEAST_PANEL + HEAD)))
        chosen = [index for window in kept for index in window]
        weights = series.weights(torch.stack([everything[index].scores[:drawn] for index in chosen]))
        shown = windows.squeeze(weights, max(int(paper.width / paper.column), 3), within)
        columns, names = [i for window in shown for i in window], panels.source_labels(attribution, drawn, paper)
        limits = _limits(everything, attribution.provenance.signed)
        inside = _split(axes, len(chosen), HEAD / paper.height)
        for panel, index in zip(inside, chosen, strict=True):
            _panel(panel, attribution, everything[index], columns, limits, _ticks(limits), paper)
            last = panel is inside[-1]
            panels.mark_columns(panel, columns, names if last else [], attribution, len(columns), paper.text)
            if len(chosen) > 1:
                panels.head(panel, fit(_heading(everything, index), paper.small, paper.width), paper.small)
        undefined = any(bool(everything[index].scores[columns].isnan().any()) for index in chosen)
        notes = [
            _heading(everything, chosen[0]) if len(chosen) == 1 else "",
            f"hatched: {FROZEN_TEXT}" if undefined else "",
            windows.left_out_briefly("source tokens", shown, weights),
            windows.left_out_briefly("spans", kept, span_weights),
            *_value_note(everything),
            *panels.box_note([names[i] for i in columns]),
        ]
        for panel in inside:
            into.finish(panel, None, notes if panel is inside[-1] else [], paper)
        if title is not None:
            axes.set_title(title, loc="left", parse_math=False)

    with into.letters(panels.script(attribution, title)):
        into.fitted(axes, draft)


def _split(axes: Axes, count: int, head: float) -> list[Axes]:
    """Returns the axes themselves, or `count` panels inside them, each below `head` of the height."""
    if count == 1:
        return [axes]
    axes.set_axis_off()
    each = 1 / count
    return [axes.inset_axes((0, 1 - each * (number + 1), 1, max(each - head, 0.3 * each))) for number in range(count)]


def _heading(everything: list[series.Series], index: int) -> str:
    item = everything[index]
    number = f" [{index}]" if len(everything) > 1 else ""
    reduction = f" ({item.reduction})" if item.reduction else ""
    return f'{item.name}{number}{reduction} "{drawable(label(item.text, 40))}"'


def _limits(everything: list[series.Series], signed: bool) -> tuple[float, float]:
    values = torch.cat([item.scores for item in everything]).nan_to_num(0.0)
    errors = torch.cat([_errors(item) for item in everything])
    low, high = min(float((values - errors).min()), 0.0), max(float((values + errors).max()), 0.0)
    low = low if signed else 0.0
    if low == high:
        return (-1.0, 1.0) if signed else (0.0, 1.0)
    border = 0.06 * (high - low)
    return (low - border if low < 0 else 0.0), (high + border if high > 0 else 0.0)


def _errors(item: series.Series) -> Tensor:
    """Returns the half lengths of the error bars: 0 where there is none."""
    return torch.zeros_like(item.scores) if item.errors is None else item.errors.nan_to_num(0.0)


def _ticks(limits: tuple[float, float]) -> list[float]:
    values = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(*limits)
    return [float(value) for value in values if limits[0] <= value <= limits[1]]


def _tick_labels(ticks: Sequence[float]) -> list[str]:
    return [f"{tick:.4g}".replace("-", "\u2212") for tick in ticks]


def _value_note(everything: list[series.Series]) -> list[str]:
    if all(bool(item.scores.isnan().all()) for item in everything):
        return ["No score is defined."]
    if any(item.errors is not None and bool(item.errors.isfinite().any()) for item in everything):
        return ["Lines: one standard error up and down, over seeds."]
    return [] if series.limit(*(item.scores for item in everything)) else ["Every defined score is 0."]


def _panel(
    axes: Axes,
    attribution: Attribution,
    item: series.Series,
    columns: Sequence[int],
    limits: tuple[float, float],
    ticks: Sequence[float],
    paper: Paper,
) -> None:
    signed = attribution.provenance.signed
    scores = item.scores[list(columns)].tolist()
    places = [i for i, score in enumerate(scores) if score == score]
    heights = [scores[i] for i in places]
    shades = [colors.hexadecimal(colors.strong(height, signed=signed)) for height in heights]
    axes.bar(places, heights, width=0.8, color=shades, zorder=3)
    if item.errors is not None:
        lines = _errors(item)[list(columns)][places].tolist()
        axes.errorbar(places, heights, lines, fmt="none", ecolor="black", elinewidth=0.6, zorder=5)
    axes.axhline(0, color="black", linewidth=0.6, zorder=4)
    for missing in windows.gaps([range(i, i + 1) for i in places], len(scores)):
        panels.hatch(axes, missing.start - 0.5, missing.stop - 0.5)
    axes.set_ylim(*limits)
    axes.set_yticks(ticks, _tick_labels(ticks), fontsize=paper.small)
    axes.grid(axis="y", linewidth=0.4, color="#dddddd", zorder=-1)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    unit = attribution.provenance.unit
    axes.set_ylabel(unit, fontsize=paper.small, color="#444444", parse_math=False, labelpad=2)


def _legend(attribution: Attribution, everything: list[series.Series], drawn: int) -> list[Entry]:
    what = panels.unit_label(attribution)
    if attribution.provenance.signed:
        entries = [Entry(f"positive ({what})", colors.POSITIVE), Entry("negative", colors.NEGATIVE)]
    else:
        entries = [Entry(f"score without sign ({what})", colors.UNSIGNED)]
    if any(bool(item.scores[:drawn].isnan().any()) for item in everything):
        entries.append(Entry(FROZEN_TEXT, colors.FROZEN, hatched=True))
    return entries
