"""The figure of a drift: the reference's scores as bars, the other precisions' as marks on them, and how they agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from spanwise.attribution import Attribution
from spanwise.views import panels, series, windows
from spanwise.views.fonts import drawable
from spanwise.views.labels import label
from spanwise.views.page import (
    COLUMNS,
    HEAD,
    MARGIN,
    SMALL,
    WIDTH,
    Page,
    Shape,
    fit,
    frozen_swatch,
    make_page,
    room,
    style,
    swatch,
    text_width,
    write,
)

FOOTER = 0.4  # inches: the legend
PLOT_HEIGHT, RIGHT_WIDTH, RIGHT_LEFT = 1.5, 2.3, 0.95  # inches: a panel of tokens; a panel on the right, and before it
ROW, AXIS = 0.28, 0.75  # inches: a precision on the right; heading and axis of a panel there
REFERENCE = "#c4c4c4"
# Okabe and Ito's colors, which color-blind readers tell apart, each with a shape of its own.
MARKS = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P"))
AGREEMENT = (("spearman", "Spearman", "o"), ("kendall", "Kendall", "|"), ("overlap", "top {}", "x"))

Line = Mapping[str, Any]


@dataclass(frozen=True)
class WideShape(Shape):
    """A page with a column of panels on the right."""

    @property
    def page_width(self) -> float:
        """Width of the whole page."""
        return min(self.left + self.plot_width + RIGHT_LEFT + RIGHT_WIDTH + MARGIN, WIDTH)


@dataclass(frozen=True)
class Plan:
    """What is drawn where.

    Attributes:
        panels: For each panel the item of every result's series, its heading and its columns.
        names: Labels of the columns.
        limits: The lowest and the highest value on the vertical axis, the same in every panel.
        shape: Sizes in inches.
        notes: What the reader must know, one line each.
    """

    panels: list[tuple[list[series.Series], str, range]]
    names: list[str]
    limits: tuple[float, float]
    shape: WideShape
    notes: list[str]


def draw(results: Sequence[Attribution], lines: Sequence[Line], top_k: int, title: str | None) -> Figure:
    """Returns the figure; the first result is the reference."""
    title = panels.default_title(results[0]) if title is None else title
    with style():
        plan = make_plan(results, lines, title)
        page = make_page(plan.shape, title, plan.notes, FOOTER)
        capacity = max(len(window) for _, _, window in plan.panels)
        for axes, (items, heading, window) in zip(page.axes, plan.panels, strict=True):
            _panel(axes, plan, items, window, results[0].provenance.unit)
            panels.mark_columns(axes, window, plan.names, results[0], capacity)
            panels.head(axes, heading)
        _right(page, plan, lines, top_k)
        _footer(page, plan, lines, results[0])
    return page.figure


def make_plan(results: Sequence[Attribution], lines: Sequence[Line], title: str) -> Plan:
    """Returns which spans and columns fit the largest page, and their sizes."""
    first = results[0]
    every = [series.by_span(result) for result in results]
    drawn = series.drawn_columns(first)
    names = panels.source_labels(first, drawn)
    below, space = panels.label_height(names), room(FOOTER)
    most = max(int(space / (HEAD + PLOT_HEIGHT + below)), 1)
    span_weights = series.weights(torch.stack([item.scores for item in every[0]]).T)
    kept = [index for window in windows.choose(span_weights, 1, most) for index in window]
    weights = series.weights(torch.stack([every[0][index].scores[:drawn] for index in kept]))
    shown = windows.choose(weights, COLUMNS, max(most // len(kept), 1))
    values = torch.stack([item.scores for items in every for item in items]).nan_to_num(0.0)
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    border = 0.06 * (high - low) or 1.0
    limits = (low - border if low < 0 else 0.0, high + border)
    left = text_width([f"{edge:.2f}" for edge in limits], SMALL) + panels.AXIS_NAME + 0.3
    widest = max(len(window) for window in shown)
    column = min(max(4.5 / widest, 0.24), 0.5)
    width = min(widest * column, WIDTH - left - RIGHT_LEFT - RIGHT_WIDTH - MARGIN)
    places = [
        ([items[index] for items in every], _heading(every[0], index, window, first, width), window)
        for window in shown
        for index in kept
    ]
    least = 2 * (AXIS + ROW * (len(lines) - 1))
    height = max(PLOT_HEIGHT, least / len(places) - HEAD - below)
    notes = [
        windows.left_out("source tokens", shown, weights),
        windows.left_out("spans", [range(i, i + 1) for i in kept], span_weights),
        *panels.prefix_note(first, drawn),
        *panels.box_note(names, [drawable(title)]),
    ]
    shape = WideShape(width, height, left, [below] * len(places))
    return Plan(places, names, limits, shape, [note for note in notes if note])


def _heading(items: list[series.Series], index: int, window: range, first: Attribution, width: float) -> str:
    item = items[index]
    reduction = f" ({item.reduction})" if item.reduction else ""
    place = ", " + panels.place(window, series.drawn_columns(first), first)
    return fit(f'{item.name}{reduction} "{drawable(label(item.text, 40))}"{place}', SMALL, width)


def _panel(axes: Axes, plan: Plan, items: list[series.Series], window: range, unit: str) -> None:
    reference, *others = [item.scores[window.start : window.stop].tolist() for item in items]
    places = [i for i, score in enumerate(reference) if score == score]
    axes.bar(places, [reference[i] for i in places], width=0.8, color=REFERENCE, zorder=2)
    for number, scores in enumerate(others):
        color, shape = MARKS[number % len(MARKS)]
        shift = 0.6 * ((number + 0.5) / len(others) - 0.5)
        heights = [scores[i] for i in places]
        axes.plot([i + shift for i in places], heights, shape, color=color, markersize=3.5, mew=0, ls="", zorder=4)
    for missing in windows.gaps([range(i, i + 1) for i in places], len(reference)):
        panels.hatch(axes, missing.start - 0.5, missing.stop - 0.5)
    axes.axhline(0, color="black", linewidth=0.6, zorder=3)
    axes.set_ylim(*plan.limits)
    _plain(axes, "y")
    axes.set_ylabel(unit, fontsize=SMALL, color="#444444", parse_math=False, labelpad=2)


def _plain(axes: Axes, grid: str) -> None:
    axes.tick_params(labelsize=SMALL)
    axes.grid(axis="x" if grid == "x" else "y", linewidth=0.4, color="#dddddd", zorder=-1)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "bottom" if grid == "y" else "left"]].set_visible(False)


def _right(page: Page, plan: Plan, lines: Sequence[Line], top_k: int) -> None:
    """Draws the two panels on the right, the second below the first."""
    others, rows = lines[1:], ROW * (len(lines) - 1)
    figure = page.figure
    width, height = figure.get_size_inches()
    x = plan.shape.left + plan.shape.plot_width + RIGHT_LEFT
    top = page.axes[0].get_position().y1 * height
    made = []
    for number in range(2):
        base = top - rows - number * (rows + AXIS)
        axes = figure.add_axes((x / width, base / height, RIGHT_WIDTH / width, rows / height))
        axes.set_ylim(len(others) - 0.5, -0.5)
        axes.set_yticks(range(len(others)), [line["precision"] for line in others], parse_math=False)
        _plain(axes, "x")
        axes.tick_params(axis="y", length=0)
        made.append(axes)
    _agreement(made[0], lines, top_k)
    _changes(made[1], lines)


def _agreement(axes: Axes, lines: Sequence[Line], top_k: int) -> None:
    low = 0.0
    for row, line in enumerate(lines[1:]):
        for name, _, shape in AGREEMENT:
            if line[name] is not None:
                low = min(low, line[name])
                color = MARKS[row % len(MARKS)][0]
                axes.plot(
                    [line[name]], [row], shape, color=color, markersize=8, mew=1.4, mfc="none", clip_on=False, zorder=4
                )
    axes.set_xlim(1.05 * low, 1.0)
    panels.head(axes, f"agreement with {lines[0]['precision']}")
    handles = [
        Line2D(
            [], [], marker=shape, color="#444444", ls="", markersize=5, mew=1.2, mfc="none", label=name.format(top_k)
        )
        for _, name, shape in AGREEMENT
    ]
    axes.legend(
        handles=handles,
        fontsize=SMALL,
        ncols=3,
        frameon=False,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16 / (ROW * (len(lines) - 1))),
        handletextpad=0.1,
        columnspacing=0.9,
    )


def _changes(axes: Axes, lines: Sequence[Line]) -> None:
    changes = [line["log_prob_change"] for line in lines[1:]]
    shades = [MARKS[row % len(MARKS)][0] for row in range(len(changes))]
    axes.barh(range(len(changes)), changes, height=0.55, color=shades, zorder=3)
    axes.axvline(0, color="black", linewidth=0.6, zorder=4)
    low, high = min(0.0, *changes), max(0.0, *changes)
    label_room = 0.45 * (high - low or 1.0)
    axes.set_xlim(
        low - label_room * (0.1 if min(changes) >= 0 else 1), high + label_room * (0.1 if max(changes) < 0 else 1)
    )
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:.2g}"))
    for row, change in enumerate(changes):
        axes.annotate(
            f"{change:+.2g}",
            (change, row),
            xytext=(3 if change >= 0 else -3, 0),
            textcoords="offset points",
            va="center",
            ha="left" if change >= 0 else "right",
            fontsize=SMALL,
        )
    axes.set_xlabel("nats", fontsize=SMALL, color="#444444")
    panels.head(axes, "change of the target's log-probability")


def _footer(page: Page, plan: Plan, lines: Sequence[Line], first: Attribution) -> None:
    x = swatch(page, page.left, f"{lines[0]['precision']} (reference)", REFERENCE)
    for row, line in enumerate(lines[1:]):
        color, shape = MARKS[row % len(MARKS)]
        mark = Line2D(
            [x + 0.08], [page.footer - 0.185], marker=shape, color=color, markersize=4.5, mew=0, ls="",
            transform=page.figure.dpi_scale_trans,
        )  # fmt: skip
        page.figure.add_artist(mark)
        write(page.figure, x + 0.2, page.footer - 0.185, line["precision"], size=SMALL, va="center")
        x += 0.2 + text_width([line["precision"]], SMALL) + 0.25
    if any(bool(items[0].scores[window.start : window.stop].isnan().any()) for items, _, window in plan.panels):
        x = frozen_swatch(page, x)
    write(page.figure, x, page.footer - 0.185, f"scores: {panels.unit_label(first)}", size=SMALL, va="center")
