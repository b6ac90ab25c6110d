"""The figure of a comparison: methods over source tokens, and beside it how far each two methods agree."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from spanwise.attribution import Attribution
from spanwise.views import colors, panels, series, windows
from spanwise.views.fonts import drawable
from spanwise.views.labels import label, visible
from spanwise.views.page import (
    COLUMNS,
    HEAD,
    MARGIN,
    SMALL,
    TEXT,
    WIDTH,
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

FOOTER = 0.76  # inches: the color bars, two lines below each
ROW, CELL = 0.24, 0.42  # inches: a method over tokens, a pair of methods
MATRIX, LEAST_MATRIX, BEFORE_MATRIX = 3.4, 1.7, 0.45  # inches: the widest, the room for its heading, and left of it
NARROWEST = 8.0  # inches: the color bars beside each other
LEAST_CELL = 0.26  # inches: a smaller one has no room for its number
NAME_WIDTH, COLUMN = 2.0, 0.2  # inches: the longest method name; the narrowest source token
ABSOLUTE = "†"


@dataclass(frozen=True)
class WideShape(Shape):
    """A page with the matrix on the right, `matrix` inches wide."""

    matrix: float = 0.0

    @property
    def page_width(self) -> float:
        """Width of the whole page."""
        needed = self.left + self.plot_width + BEFORE_MATRIX + max(self.matrix, LEAST_MATRIX) + MARGIN
        return min(max(needed, NARROWEST), WIDTH)


@dataclass(frozen=True)
class Plan:
    """What is drawn where.

    Attributes:
        panels: For each panel the scores of every method (NaN where none), its heading and its columns.
        methods: A label for each method.
        names: Labels of the columns.
        shape: Sizes in inches.
        notes: What the reader must know, one line each.
    """

    panels: list[tuple[Float[Tensor, "method source"], str, range]]
    methods: list[str]
    names: list[str]
    shape: WideShape
    notes: list[str]


def draw(results: Mapping[str, Attribution], found: Mapping[str, Any], title: str | None) -> Figure:
    """Returns the figure."""
    first = next(iter(results.values()))
    if title is None:
        title = visible(f"{len(results)} methods on {first.provenance.model}, objective {first.provenance.objective}")
    signed = [result.provenance.signed for result in results.values()]
    with style():
        plan = make_plan(results, found, title)
        page = make_page(plan.shape, title, plan.notes, FOOTER)
        capacity = max(len(window) for _, _, window in plan.panels)
        for axes, (scores, heading, window) in zip(page.axes, plan.panels, strict=True):
            _panel(axes, plan, scores[:, window.start : window.stop], signed)
            panels.mark_columns(axes, window, plan.names, first, capacity)
            axes.tick_params(axis="y", length=0)  # beside a name a tick looks like a dash
            panels.head(axes, heading)
        _matrix(page, plan, found)
        _footer(page, plan, signed)
    return page.figure


def make_plan(results: Mapping[str, Attribution], found: Mapping[str, Any], title: str) -> Plan:
    """Returns which spans and columns fit the largest page, and their sizes."""
    first, count = next(iter(results.values())), len(results)
    every = [series.by_span(result) for result in results.values()]
    drawn = series.drawn_columns(first)
    names = panels.source_labels(first, drawn)
    methods = [_method(number, name, result) for number, (name, result) in enumerate(results.items(), 1)]
    left = text_width(methods, TEXT) + 0.15 + MARGIN
    cell = min(CELL, MATRIX / count)
    free = WIDTH - left - BEFORE_MATRIX - max(count * cell, LEAST_MATRIX) - MARGIN
    below, space = panels.label_height(names), room(FOOTER)
    most = max(int(space / (HEAD + count * ROW + below)), 1)
    items = [torch.stack([_relative(method[index].scores) for method in every]) for index in range(len(every[0]))]
    span_weights = [float(each.abs().nansum()) for each in items]
    kept = [index for window in windows.choose(span_weights, 1, most) for index in window]
    weights = series.weights(torch.cat([items[index][:, :drawn] for index in kept]))
    shown = windows.choose(weights, min(COLUMNS, int(free / COLUMN)), max(most // len(kept), 1))
    widest = max(len(window) for window in shown)
    width = min(widest * min(max(4.5 / widest, 0.24), 0.5), free)
    places = [
        (items[index], _heading(every[0], index, window, first, width), window) for window in shown for index in kept
    ]
    height = max(count * ROW, (count * cell + 0.1) / len(places) - (HEAD + below) * (1 - 1 / len(places)))
    notes = [
        windows.left_out("source tokens", shown, weights),
        windows.left_out("spans", [range(i, i + 1) for i in kept], span_weights),
        *panels.prefix_note(first, drawn),
        *_matrix_notes(found),
        *panels.box_note(names, methods, [drawable(title)]),
    ]
    shape = WideShape(width, height, left, [below] * len(places), matrix=count * cell)
    return Plan(places, methods, names, shape, [note for note in notes if note])


def _method(number: int, name: str, result: Attribution) -> str:
    sign = "" if result.provenance.signed else " (no sign)"
    return fit(drawable(visible(f"{number}  {name}")), TEXT, NAME_WIDTH - text_width([sign], TEXT)) + sign


def _relative(scores: Float[Tensor, " source"]) -> Float[Tensor, " source"]:
    """Returns the scores as parts of the largest absolute one."""
    return scores / (series.limit(scores) or 1.0)


def _heading(items: Sequence[series.Series], index: int, window: range, first: Attribution, width: float) -> str:
    item = items[index]
    reduction = f" ({item.reduction})" if item.reduction else ""
    place = ", " + panels.place(window, series.drawn_columns(first), first)
    return fit(f'{item.name}{reduction} "{drawable(label(item.text, 40))}"{place}', SMALL, width)


def _matrix_notes(found: Mapping[str, Any]) -> list[str]:
    corrected = f", corrected for {len(found['pairs'])} pairs (Holm)" if len(found["pairs"]) > 1 else ""
    notes = [f"Right: bold where p < {found['level']:g}{corrected}."]
    if any(pair["absolute"] for pair in found["pairs"]):
        notes[0] += f" {ABSOLUTE}: of absolute scores, because one of the two keeps no sign."
    refused = ", ".join(visible(name) for name in found["refused"])
    return notes + ([f"Did not run here: {refused}."] if refused else [])


def _panel(axes: Axes, plan: Plan, scores: Float[Tensor, "method column"], signed: Sequence[bool]) -> None:
    count, columns = scores.shape
    panels.hatch(axes, -0.5, columns - 0.5)
    edges = np.arange(columns + 1) - 0.5, np.arange(count + 1) - 0.5
    for kind in (True, False):
        other = np.array([each is not kind for each in signed])[:, None]
        values = np.ma.array(scores.numpy(), mask=np.isnan(scores.numpy()) | other)
        norm, colormap = _colors(kind)
        axes.pcolormesh(*edges, values, norm=norm, cmap=colormap, edgecolors="white", linewidth=0.4, zorder=1)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks(range(count), plan.methods, fontsize=TEXT, parse_math=False)
    axes.spines[:].set_visible(False)


def _colors(signed: bool) -> tuple[Normalize, Any]:
    return Normalize(-1.0 if signed else 0.0, 1.0), colormaps[colors.DIVERGING_MAP if signed else colors.SEQUENTIAL_MAP]


def _matrix(page: Page, plan: Plan, found: Mapping[str, Any]) -> None:
    """Draws how far each two methods agree, level with the first panel's upper end."""
    width, height = page.figure.get_size_inches()
    size, count = plan.shape.matrix, len(plan.methods)
    x = plan.shape.left + plan.shape.plot_width + BEFORE_MATRIX
    y = page.axes[0].get_position().y1 * height - size
    axes = page.figure.add_axes((x / width, y / height, size / width, size / height))
    values = np.eye(count)
    norm, colormap = _colors(True)
    for pair in found["pairs"]:
        places = found["methods"].index(pair["one"]), found["methods"].index(pair["other"])
        value = math.nan if pair["spearman"] is None else pair["spearman"]
        values[places] = values[places[::-1]] = value
        if size / count >= LEAST_CELL:
            for row, column in (places, places[::-1]):
                _write_cell(axes, row, column, pair, colormap(norm(value)), found["level"])
    edges = np.arange(count + 1) - 0.5
    panels.hatch(axes, -0.5, count - 0.5)
    axes.pcolormesh(
        edges, edges, np.ma.masked_invalid(values), norm=norm, cmap=colormap, edgecolors="white", linewidth=0.4
    )
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    numbers = [str(number) for number in range(1, count + 1)]
    axes.set_xticks(range(count), numbers, fontsize=SMALL)
    axes.set_yticks(range(count), numbers, fontsize=SMALL)
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)
    panels.head(axes, "agreement (Spearman)")


def _write_cell(
    axes: Axes, row: int, column: int, pair: Mapping[str, Any], color: Sequence[float], level: float
) -> None:
    value, corrected = pair["spearman"], pair["spearman_holm"]
    if value is None:
        return
    red, green, blue = (round(255 * part) for part in color[:3])
    ink = colors.hexadecimal(colors.ink((red, green, blue)))
    bold = corrected is not None and corrected < level
    text = f"{value:.2f}".replace("0.", ".", 1)
    axes.text(
        column,
        row,
        text + ABSOLUTE if pair["absolute"] else text,
        ha="center",
        va="center",
        fontsize=SMALL,
        color=ink,
        fontfamily="DejaVu Sans",  # comes with matplotlib; most of the other fonts have no bold
        fontweight="bold" if bold else "normal",
        parse_math=False,
        zorder=3,
    )


def _footer(page: Page, plan: Plan, signed: Sequence[bool]) -> None:
    width, height = page.figure.get_size_inches()
    x, base, length = MARGIN, page.footer - 0.22, 2.0
    told = {
        True: "left: score / the method's largest absolute score\nright: Spearman",
        False: "left, no sign: score / the method's largest",
    }
    for kind in (True, False):
        if kind is False and all(signed):
            continue
        norm, colormap = _colors(kind)
        axes = page.figure.add_axes((x / width, base / height, length / width, 0.12 / height))
        bar = page.figure.colorbar(ScalarMappable(norm, colormap), cax=axes, orientation="horizontal")
        bar.ax.tick_params(labelsize=SMALL, length=2, pad=1, width=0.5)
        bar.set_ticks([-1, 0, 1] if kind else [0, 1])
        write(page.figure, x, base - 0.21, told[kind], size=SMALL, va="top")
        x += max(length, text_width(told[kind].splitlines(), SMALL)) + 0.6
    if any(bool(scores[:, window.start : window.stop].isnan().any()) for scores, _, window in plan.panels):
        frozen_swatch(page, x)
