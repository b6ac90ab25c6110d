"""An evaluation: its table in the terminal, and one figure of the deletion and insertion curves.

Read from the plain values that `Evaluation.as_dict` returns.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spanwise.errors import require
from spanwise.views.figures import check_format, write_figure
from spanwise.views.labels import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Plain = Mapping[str, Any]
"""Of an evaluation, or of a part of it."""

VERDICTS = {"better": "better", "worse": "worse", "no different": "same", "-": "-"}
STYLES = {"better": "green", "worse": "red"}
COLORS = {"": "#0072B2", "frequency_": "#D55E00", "random_": "#767676"}  # Okabe and Ito's, and gray
MARKS = {"": "o", "frequency_": "s", "random_": None}
POINTS = 11  # of a curve averaged over results
WIDTH, AXIS_NAME, GAP, BELOW, FOOTER = 7.4, 0.45, 0.3, 0.55, 0.45  # inches
PANEL, LOWEST_PANEL = 1.9, 0.8  # inches: the height of a panel, and where there are many


def show(found: Plain, *, console: Console | None = None) -> None:
    """Prints for each way to remove a sentence and a table, one line a figure.

    Args:
        found: From `Evaluation.as_dict`.
        console: Where to; default: standard output.
    """
    console = Console() if console is None else console
    console.print(Text(visible(heading(found)), style="bold"))
    for removed, sentence in zip(found["removed"], found["sentences"], strict=True):
        console.print()
        console.print(Text(visible(sentence)))
        console.print(_table(found, removed))
    console.print()
    for line in _below(found):
        console.print(Text(visible(line), style="dim"))


def heading(found: Plain) -> str:
    """Returns what was evaluated, on one line."""
    count = found["results"]
    features = "-".join(str(each) for each in sorted({min(found["features"]), max(found["features"])}))
    of = f"{count} results of " if count > 1 else ""
    return f"{of}{found['method']}, {found['model']}: {found['objective']} ({found['unit']}), {features} features"


def _table(found: Plain, removed: str) -> Table:
    several = found["results"] > 1
    table = Table(box=None, pad_edge=False)
    spread = ["95 %", "random"] if several else ["random", "middle 95 %"]
    for name in ("figure", "value", *spread, "token\nfreq.", "against\nrandom", "against\nfreq."):
        left = name == "figure" or "against" in name
        table.add_column(name, justify="left" if left else "right", vertical="bottom", no_wrap=True)
    missing: dict[str, list[str]] = {}
    for line in found["lines"]:
        if line["removed"] != removed:
            continue
        metric = found["metrics"][line["metric"]]
        name = metric["title"] + (" ↑" if metric["better"] == "higher" else " ↓")
        if line["results"] < found["results"]:
            name += f" ({line['results']} of {found['results']})"
        if line["value"] is None:
            missing.setdefault(line["reason"], []).append(metric["title"])
            continue
        random = _short(line["random"])
        between = [_range(line["interval"]), random] if several else [random, _range(line["random_middle"])]
        cells = [name, _short(line["value"]), *between, _short(line["frequency"])]
        won = [line[key] or "-" for key in ("against_random", "against_frequency")]
        table.add_row(*map(Text, cells), *(Text(VERDICTS[each], style=STYLES.get(each, "")) for each in won))
    told = [f"not had: {', '.join(titles)} ({visible(reason)})" for reason, titles in missing.items()]
    if told:
        table.caption, table.caption_justify = Text("\n".join(told), style="dim"), "left"
    return table


def _range(ends: Sequence[float]) -> str:
    return f"{_short(ends[0])} to {_short(ends[1])}"


def _short(number: float) -> str:
    number = 0.0 if abs(number) < 0.005 else number  # no "-0.00"
    return f"{number:.2f}" if abs(number) < 10 else f"{number:.3g}"


def _below(found: Plain) -> list[str]:
    """Returns what stands under the tables: the search, the baselines, the notes, and the cost."""
    first = found["curves"][0]
    searched = {curve["search"] for curve in found["curves"]}
    width = next((curve["beam_width"] for curve in found["curves"] if curve["beam_width"]), None)
    parts = {
        "exact": "exact",
        "beam": f"the best of a beam search (width {width}) from both ends, and of every order scored",
    }
    bounds = " or ".join(parts[name] for name in ("exact", "beam") if name in searched)
    told = [
        "↑ higher is better, ↓ lower is better; same: no different from the baseline",
        _level(found),
        f"bounds of the AOPC: {bounds}; curves of at most {len(first['share']) - 1} blocks; k = "
        f"{_span(found['k'])}; {found['n_random']} random rankings; token frequencies from {found['frequency_source']}",
    ]
    told += [f"note: {note}" for note in found["notes"]]
    return [*told, f"{found['calls']} calls, {found['sequences']} sequences, {found['seconds']:.2g} seconds"]


def _level(found: Plain) -> str:
    """Returns what "better" and "worse" mean, or why there is no verdict."""
    if told := next((line["undecided"] for line in found["lines"] if line["undecided"]), ""):
        return f"no verdict: {told}"
    if found["results"] > 1:
        return "better, worse: p <= .05 one-sided, sign-flip test of the paired differences; 95 %: bootstrap interval"
    return (
        f"better, worse than random: p <= .05 one-sided, the rank among {found['n_random']} random rankings (better "
        f"than all: p = {1 / (found['n_random'] + 1):.2g}); than frequency: of two numbers. The middle 95 % of the "
        "random rankings only describes them"
    )


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def plot(path: str | os.PathLike[str], found: Plain, *, title: str | None = None) -> None:
    """Writes the figure to a file.

    Args:
        path: Where to; the suffix decides the format: .png, .svg or .pdf.
        found: From `Evaluation.as_dict`.
        title: Above the figure; default: method, model and objective.

    Raises:
        FileError: The format is not supported or the folder cannot be written.
        DependencyError: matplotlib is not installed.
    """
    check_format(path)
    write_figure(figure(found, title=title), path)


def figure(found: Plain, *, title: str | None = None) -> "Figure":
    """Returns the figure: for each way to remove the deletion curve on the left, the insertion curve on the right.

    Args:
        found: From `Evaluation.as_dict`.
        title: Above the figure; default: method, model and objective.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    require("matplotlib", "plots", "plot()")
    from spanwise.views.page import HEAD, MARGIN, SMALL, Shape, make_page, room, style, text_width

    count = len(found["removed"])
    height = min(PANEL, max(room(FOOTER) / count - HEAD - BELOW, LOWEST_PANEL))
    most = int(room(FOOTER) / (height + HEAD + BELOW))
    kept = found["removed"][:most]
    notes = [f"left out: removed={visible(', '.join(found['removed'][most:]))}"] if len(kept) < count else []
    notes += [note for removed in kept for note in _headline(found, removed)]
    with style():
        ticks = text_width([f"{point:.2f}" for point in _points(found)], SMALL) + 0.1
        shape = Shape(WIDTH, height, AXIS_NAME + ticks, [BELOW] * len(kept))
        page = make_page(shape, heading(found) if title is None else title, notes, FOOTER)
        half = (shape.plot_width - GAP - ticks) / 2 / shape.page_width
        for removed, axes in zip(kept, page.axes, strict=True):
            box = axes.get_position()
            axes.set_position((box.x0, box.y0, half, box.height))
            right = page.figure.add_axes((box.x1 - half, box.y0, half, box.height), sharey=axes)
            for panel, kind in ((axes, "deletion"), (right, "insertion")):
                _draw(panel, found, removed, kind)
            axes.set_ylabel(f"{found['objective']} ({found['unit']})", fontsize=7, parse_math=False)
        _legend(page, found, MARGIN + 0.1)
    return page.figure


def _points(found: Plain) -> list[float]:
    """Returns every value that a curve has."""
    kinds = [f"{who}{kind}" for who in COLORS for kind in ("deletion", "insertion")]
    return [point for curve in found["curves"] for kind in kinds for point in curve[kind]]


def _headline(found: Plain, removed: str) -> list[str]:
    """Returns one short line on the first figure there is under a way to remove."""
    for line in found["lines"]:
        if line["removed"] == removed and line["value"] is not None:
            against = line["against_random"] or ("no verdict" if line["undecided"] else "no ranking, so nothing")
            return [
                f"{visible(removed)}: {found['metrics'][line['metric']]['title']} {_short(line['value'])}, random "
                f"{_short(line['random'])} ({against}), token frequency {_short(line['frequency'])}"
            ]
    return []


def _draw(axes: "Axes", found: Plain, removed: str, kind: str) -> None:
    """Draws the curves of one way to remove, their mean where there are several results."""
    from spanwise.views.fonts import drawable

    curves = [curve for curve in found["curves"] if curve["removed"] == removed]
    share, middle = _averaged(curves, f"random_{kind}")
    if len(curves) == 1:
        low, high = (curves[0][f"random_{kind}_{end}"] for end in ("low", "high"))
        axes.fill_between(share, low, high, color=COLORS["random_"], alpha=0.2, linewidth=0)
    axes.plot(share, middle, color=COLORS["random_"], linewidth=1.2, linestyle="--")
    for who in ("frequency_", ""):
        share, values = _averaged(curves, f"{who}{kind}")
        axes.plot(share, values, color=COLORS[who], marker=MARKS[who], markersize=3, linewidth=1.4)
    words = {"deletion": "removed, the most important first", "insertion": "put back in, the most important first"}
    axes.set_title(drawable(f"{kind}: {visible(removed)}"), loc="left", fontsize=8, parse_math=False)
    axes.set_xlabel(f"share of the features {words[kind]}", fontsize=7)
    axes.tick_params(labelsize=7)
    axes.set_xlim(0, 1)
    axes.grid(alpha=0.3, linewidth=0.5)


def _averaged(curves: Sequence[Plain], name: str) -> tuple[Sequence[float], Sequence[float]]:
    """Returns the shares and the values of a curve; of several results the mean, on points of equal distance."""
    import numpy

    places = "put_in" if "insertion" in name else "share"
    if len(curves) == 1:
        return curves[0][places], curves[0][name]
    grid = numpy.linspace(0, 1, POINTS)
    values = [numpy.interp(grid, curve[places], curve[name]) for curve in curves]
    return grid.tolist(), numpy.mean(values, axis=0).tolist()


def _legend(page: Any, found: Plain, x: float) -> None:
    from spanwise.views.page import swatch

    spread = " (mean, middle 95 %)" if found["results"] == 1 else " (mean)"
    for name, color in ((visible(found["method"]), COLORS[""]), ("token frequency", COLORS["frequency_"])):
        x = swatch(page, x, name, color)
    swatch(page, x, f"random rankings{spread}", COLORS["random_"])
