"""The strip: the source as running text, each token on the color of its score, a block a span or target token."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation, Transform

from spanwise.attribution import Attribution
from spanwise.views import colors, into, panels, series, windows
from spanwise.views.blocks import Block, blocks, source
from spanwise.views.fonts import drawable
from spanwise.views.footer import draw_footer, footer_height
from spanwise.views.page import MARGIN, Shape, make_page, room, style, text_width
from spanwise.views.running import Piece
from spanwise.views.sizes import Paper
from spanwise.views.strip_lines import Box, Line, Measure, set_lines

LEAST_LINES, TARGET_LINES = 6, 3  # lines of the source that a block has room for, and the most of the target
SPACING, BOX_ABOVE, BOX_BELOW = 1.65, 1.05, 0.35  # letter sizes: line to line, box above and below the letters' foot
GAP = 0.16  # inches, between blocks
# The part of the color maps on which black letters are easy to read.
PARTS = {True: (0.17, 0.83), False: (0.0, 0.62)}
UNDERLINED = 0.1  # a negative score of this part of the strongest is underlined: print without color keeps the sign
UNDEFINED = "#767676"


@dataclass(frozen=True)
class Set:
    """A block set in lines.

    Attributes:
        block: What it shows.
        target: Lines of the target.
        lines: Lines of the source that are drawn; None where some are left out.
    """

    block: Block
    target: list[Line]
    lines: list[Line | None]


@dataclass(frozen=True)
class Plan:
    """What is drawn, its height in inches, and what the reader must know."""

    sets: list[Set]
    height: float
    notes: list[str]


def draw(attribution: Attribution, title: str | None, paper: Paper, within: range | None = None) -> Figure:
    """Returns the strip of a result."""
    title = panels.default_title(attribution) if title is None else title
    with style(panels.script(attribution, title)):
        foot = footer_height(paper)
        plan = make_plan(attribution, paper.width - 2 * MARGIN, room(foot, paper), paper, within)
        shape = Shape(paper.width - 2 * MARGIN, plan.height, MARGIN, [0.1], paper, head=0.05)
        page = make_page(shape, title, [*plan.notes, *panels.box_note([drawable(title)])], foot)
        _paint(page.axes[0], attribution, plan, paper)
        undefined = "gray: frozen / not defined" if _undefined(plan) else ""
        draw_footer(page, panels.unit_label(attribution), *scale(attribution), undefined=undefined)
    return page.figure


def draw_into(
    axes: Axes, attribution: Attribution, title: str | None, within: range | None = None, *, color_bar: bool = False
) -> None:
    """Draws the strip into axes of the user's: the blocks and lines that fit them."""
    norm, colormap = scale(attribution)
    unit = panels.unit_label(attribution)

    def draft(paper: Paper) -> None:
        plan = make_plan(attribution, paper.width, paper.height, paper, within, brief=True)
        _paint(axes, attribution, plan, paper)
        notes = [
            "" if color_bar else f"colors: {norm.vmin or 0.0:.3g} to {norm.vmax:.3g} ({unit})",
            "gray: frozen / not defined" if _undefined(plan) else "",
            *plan.notes,
        ]
        into.finish(axes, title, notes, paper)

    with into.letters(panels.script(attribution, title)):
        if color_bar:
            into.color_bar(axes, norm, colormap, unit)
        into.fitted(axes, draft)


def scale(attribution: Attribution) -> tuple[Normalize, Colormap]:
    """Returns how scores become colors: zero in the middle and white, no color too dark for black letters."""
    items = series.by_span(attribution) if attribution.spans else series.by_row(attribution)
    signed, limit = attribution.provenance.signed, series.limit(*(item.scores for item in items)) or 1.0
    whole = colormaps[colors.DIVERGING_MAP if signed else colors.SEQUENTIAL_MAP]
    name = "spanwise strip"
    return Normalize(-limit if signed else 0.0, limit), ListedColormap(whole(np.linspace(*PARTS[signed], 256)), name)


def make_plan(
    attribution: Attribution,
    width: float,
    height: float,
    paper: Paper,
    within: range | None = None,
    *,
    brief: bool = False,
) -> Plan:
    """Returns the blocks and lines that fit `width` x `height` inches; `brief` notes say less of what is left out."""

    @cache
    def measure(text: str) -> float:
        return text_width([text], paper.text, paper.dpi)

    every, high = blocks(attribution, int(1.5 * width * 72 / paper.text)), SPACING * paper.text / 72
    drawn, targets = series.drawn_columns(attribution), [_target(block, width, measure) for block in every]
    head = max(map(len, targets)) * high + _caption(paper) + 0.06 + GAP
    found = set_lines(source(attribution, every[0].item, within), width, measure)
    least = min(len(found), LEAST_LINES)
    block_weights = [sum(series.weights(block.item.scores)) for block in every]
    kept = [i for w in windows.choose(block_weights, 1, int(height / (head + least * high))) for i in w]
    weights = series.weights(torch.stack([every[i].item.scores[:drawn] for i in kept]))
    shown = _line_windows(found, weights, int((height / len(kept) - head) / high))
    sets = []
    for i in kept:  # the same text, so that the lines end at the same places
        lines = set_lines(source(attribution, every[i].item, within), width, measure)
        sets.append(Set(every[i], targets[i], _parts(lines, shown)))
    left_out = windows.left_out_briefly if brief else windows.left_out
    notes = [
        left_out("source tokens", _shown_tokens(found, shown, drawn, within), weights),
        left_out(f"{every[0].item.name}s", [range(i, i + 1) for i in kept], block_weights),
        *([] if brief else panels.prefix_note(attribution, drawn)),
        *_notes(attribution, sets),
    ]
    return Plan(sets, sum(_height(each, paper) for each in sets) - GAP, [note for note in notes if note])


def _line_windows(lines: Sequence[Line], weights: Sequence[float], most: int) -> list[range]:
    """Returns which lines are drawn: all, or those whose tokens have the most score, with room for "…" between."""
    of_line = [
        sum({box.fragment.index: weights[box.fragment.index] for box in _tokens(line)}.values()) for line in lines
    ]
    return windows.squeeze(of_line, len(lines) if len(lines) <= most else max(most - 4, 1))


def _tokens(line: Line) -> list[Box]:
    return [box for box in line.boxes if box.fragment.index >= 0]


def _parts(lines: Sequence[Line], shown: Sequence[range]) -> list[Line | None]:
    """Returns the lines drawn, None where lines are left out."""
    found: list[Line | None] = []
    at = 0
    for window in shown:
        found += [None] * (window.start > at) + list(lines[window.start : window.stop])
        at = window.stop
    return found + [None] * (at < len(lines))


def _shown_tokens(lines: Sequence[Line], shown: Sequence[range], drawn: int, within: range | None) -> list[range]:
    every = {box.fragment.index for line in lines for box in _tokens(line)}
    inside = {box.fragment.index for window in shown for i in window for box in _tokens(lines[i])}
    hidden = every - inside | {i for i in range(drawn) if within is not None and i not in within}
    return windows.gaps([range(i, i + 1) for i in sorted(hidden)], drawn)


def _target(block: Block, width: float, measure: Measure) -> list[Line]:
    """Returns the lines of the target, at most `TARGET_LINES`; the part that the scores are for has the index 0."""
    parts = [Piece(block.before, math.nan, -1), Piece(block.asked, math.nan, 0), Piece(block.after, math.nan, -1)]
    lines = set_lines([part for part in parts if part.text], width, measure)
    marked = [i for i, line in enumerate(lines) if _tokens(line)]
    first = max(min(marked[0], len(lines) - TARGET_LINES), 0) if marked else 0
    return lines[first : first + TARGET_LINES]


def _notes(attribution: Attribution, sets: Sequence[Set]) -> list[str]:
    texts = [run.text for each in sets for line in (*each.target, *each.lines) if line for run in line.runs]
    items = [each.block.item.scores for each in sets]
    notes = panels.box_note(texts)
    if any("‖" in text for text in texts) and any(token.role == "prefix" for token in attribution.source):
        notes.append("‖: what follows was generated.")
    if all(bool(scores.isnan().all()) for scores in items):
        return [*notes, "No score is defined."]
    limit = series.limit(*items)
    if any(bool((scores < -UNDERLINED * limit).any()) for scores in items):
        notes.append(f"Underlined: negative, {UNDERLINED:.0%} of the strongest score or more.")
    return notes if limit else [*notes, "Every defined score is 0."]


def _undefined(plan: Plan) -> bool:
    lines = [line for each in plan.sets for line in each.lines if line is not None]
    return any(math.isnan(box.fragment.score) for line in lines for box in _tokens(line))


def _caption(paper: Paper) -> float:
    return paper.small * 1.6 / 72


def _height(each: Set, paper: Paper) -> float:
    high = SPACING * paper.text / 72
    return _caption(paper) + (len(each.target) + len(each.lines)) * high + 0.06 + GAP


def _paint(axes: Axes, attribution: Attribution, plan: Plan, paper: Paper) -> None:
    """Draws the blocks from the upper left corner of the axes, in inches."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    corner = ScaledTranslation(0, 1, axes.transAxes)  # type: ignore[arg-type] # its stubs want what transAxes is
    pen = Pen(axes, axes.figure.dpi_scale_trans + corner, paper.text, scale(attribution))
    y = 0.0
    for each in plan.sets:
        pen.write(0.0, y - _caption(paper) * 0.7, each.block.name, size=paper.small, color=into.GRAY)
        y -= _caption(paper)
        for line in each.target:
            y = pen.line(line, y, framed=True)
        y -= 0.06
        for part in each.lines:
            y = pen.line(part, y, framed=False)
        y -= GAP
    pen.finish()


class Pen:
    """Draws lines of text and collects the boxes behind them."""

    def __init__(self, axes: Axes, transform: Transform, size: float, scale: tuple[Normalize, Colormap]) -> None:
        self.axes, self.transform, self.size, (self.norm, self.colormap) = axes, transform, size, scale
        self.boxes: list[list[tuple[float, float]]] = []
        self.shades: list[tuple[float, float, float, float]] = []
        self.underlines: list[list[tuple[float, float]]] = []
        self.frames: list[list[tuple[float, float]]] = []

    def line(self, line: Line | None, y: float, *, framed: bool) -> float:
        """Draws a line whose upper edge is at `y`, and returns the upper edge of the next."""
        letter = self.size / 72
        foot = y - (BOX_ABOVE + (SPACING - BOX_ABOVE - BOX_BELOW) / 2) * letter
        if line is None:
            self.write(0.0, foot, "…", size=self.size, color=into.GRAY)
            return y - SPACING * letter
        edges = foot - BOX_BELOW * letter, foot + BOX_ABOVE * letter
        if framed:
            marked = _tokens(line)
            if marked:
                ends = min(box.start for box in marked), max(box.end for box in marked)
                self.frames.append(_corners(ends[0] - 0.015, ends[1] + 0.015, *edges))
        else:
            for box in _tokens(line):
                self._box(box, edges)
        for run in line.runs:
            shade = "black" if run.defined or framed else UNDEFINED
            self.write(run.start, foot, run.text, size=self.size, color=shade)
        return y - SPACING * letter

    def _box(self, box: Box, edges: tuple[float, float]) -> None:
        score = box.fragment.score
        if math.isnan(score):
            return
        self.boxes.append(_corners(box.start, box.end, *edges))
        self.shades.append(self.colormap(float(self.norm(score))))
        if score < -UNDERLINED * (self.norm.vmax or 1.0):
            at = edges[0] + 0.008
            self.underlines.append([(box.start + 0.005, at), (box.end - 0.005, at)])

    def write(self, x: float, y: float, text: str, *, size: float, color: str) -> None:
        """Writes text whose letters stand at `x`, `y`."""
        self.axes.text(
            x, y, text, fontsize=size, color=color, va="baseline", transform=self.transform, parse_math=False, zorder=3
        )

    def finish(self) -> None:
        """Draws the boxes."""
        dark = colors.hexadecimal(colors.NEGATIVE)
        for made in (
            PolyCollection(self.boxes, facecolors=self.shades, linewidths=0, zorder=1),
            LineCollection(self.underlines, colors=dark, linewidths=1.0, zorder=2),
            PolyCollection(self.frames, facecolors="none", edgecolors="black", linewidths=0.8, zorder=2),
        ):
            made.set_transform(self.transform)
            made.set_clip_on(False)
            self.axes.add_collection(made, autolim=False)


def _corners(left: float, right: float, low: float, high: float) -> list[tuple[float, float]]:
    return [(left, low), (right, low), (right, high), (left, high)]
