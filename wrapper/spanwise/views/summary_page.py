"""The figure of a summary: its panels two in a row, each drawn where it says something."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from spanwise.views.fonts import drawable
from spanwise.views.labels import label
from spanwise.views.page import HEADLINE, SMALL, style
from spanwise.views.summary_tables import FIRST, ordered, runs, tells, unfinished, value_text

Plain = Mapping[str, Any]

SHADES = ("#0072B2", "#D55E00")  # Okabe and Ito's blue and vermilion, which color-blind readers tell apart
SOURCES, DISTANCES, VALUES = 10, 30, 12  # bars of the top sources, distances and values drawn
WIDTH, HEIGHT = 10.0, 3.1  # inches: of the figure, of a row of panels


Panel = Callable[[Axes, Plain], None]


def draw(found: Plain, title: str) -> Figure:
    """Returns the figure of a summary."""
    panels = _panels(found)
    rows = (len(panels) + 1) // 2
    drawn = [title, *(str(line["category"]) for line in _sources(found)), *map(str, _values(found))]
    with style(" ".join(drawn)):
        figure = Figure(figsize=(WIDTH, HEIGHT * rows), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        head = "\n".join([label(title, 110), *(label(each, 130) for each in unfinished(found))])
        figure.suptitle(drawable(head), fontsize=HEADLINE, x=0.01, ha="left", parse_math=False)
        grid = figure.add_gridspec(rows, 2)
        for number, panel in enumerate(panels):
            alone = number == len(panels) - 1 and number % 2 == 0
            axes = figure.add_subplot(grid[number // 2, :] if alone else grid[number // 2, number % 2])
            panel(axes, found)
            axes.tick_params(labelsize=SMALL)
            axes.spines[["top", "right"]].set_visible(False)
        if found["other"] is not None:
            _legend(figure.axes[0], found)
    return figure


def _panels(found: Plain) -> list[Panel]:
    """Returns the panels that say something: kinds and roles where there are several, values that were asked for."""
    panels: list[Panel] = [_places, _distance, _top]
    if _grouped(found):
        panels.append(_groups)
    if _values(found):
        panels.append(_by_value)
    if found["drift"] is not None:
        panels += [_agreement, _estimates]
    return panels


def _places(axes: Axes, found: Plain) -> None:
    _bars(axes, found, "relative_position", "share of absolute scores by place in the prompt", "tenth of the prompt")


def _bars(axes: Axes, found: Plain, by: str, title: str, name: str) -> None:
    several = list(runs(found))
    width = 0.8 / len(several)
    for number, (_, run) in enumerate(several):
        table = run["tables"].get(by, ())
        places = [line["category"] + (number - (len(several) - 1) / 2) * width for line in table]
        axes.bar(places, [line["share"] for line in table], width, color=SHADES[number], zorder=2)
    axes.set_xlim(-0.5, 9.5)
    axes.set_xticks(range(10), [str(10 * tenth) for tenth in range(10)])
    _head(axes, title, f"{name} (begins at, %)", "share")


def _distance(axes: Axes, found: Plain) -> None:
    for number, (_, run) in enumerate(runs(found)):
        table = [line for line in run["tables"].get("position", ()) if 1 <= line["category"] <= DISTANCES]
        x = [line["category"] for line in table]
        mean = np.array([line["mean"] for line in table])
        error = 1.96 * np.array([line["stderr"] if line["stderr"] is not None else np.nan for line in table])
        axes.plot(x, mean, "o-", markersize=3, linewidth=1.2, color=SHADES[number], zorder=3)
        axes.fill_between(x, mean - error, mean + error, color=SHADES[number], alpha=0.2, linewidth=0, zorder=2)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.invert_xaxis()
    head = "mean score by distance (band: 1.96 standard errors)"
    _head(axes, head, f"tokens before {FIRST}", "part of all |scores|")


def _top(axes: Axes, found: Plain) -> None:
    shown = _sources(found)
    if not shown:
        told = f"features are {found['run']['features']}s: their texts are not counted"
        axes.text(0.02, 0.9, told, fontsize=SMALL, transform=axes.transAxes)
    names = [drawable(label(str(line["category"]), 24)) for line in shown]
    _sideways(axes, found, "token", [line["category"] for line in shown], names)
    _head(axes, "top sources: results whose strongest score they hold", "part of results", "")


def _grouped(found: Plain) -> str:
    """Returns "role" where roles say more than kinds do, or "kind", or "" where there is only one of each."""
    tables = found["run"]["tables"]
    by = "role" if len(tables.get("role", ())) > len(tables.get("kind", ())) else "kind"
    return by if tells(found, by) else ""


def _groups(axes: Axes, found: Plain) -> None:
    by = _grouped(found)
    shown = [line["category"] for line in found["run"]["tables"].get(by, ())][:SOURCES]
    _sideways(axes, found, by, shown, [drawable(label(str(each), 24)) for each in shown], "share")
    _head(axes, f"share of absolute scores by {by} of source token", "share", "")
    axes.set_xlim(0, 1)


def _values(found: Plain) -> list[Any]:
    """Returns the values that the figure draws: of the first column asked for, those with results."""
    for table in found["run"]["columns"].values():
        return [line["value"] for line in table["lines"] if line["results"]][:VALUES]
    return []


def _by_value(axes: Axes, found: Plain) -> None:
    shown, name = _values(found), next(iter(found["run"]["columns"]))
    several = list(runs(found))
    for number, (_, run) in enumerate(several):
        of = {line["value"]: line["strongest_share"] for line in run["columns"][name]["lines"]}
        for i, value in enumerate(shown):
            if (estimate := of.get(value)) is None:
                continue
            place = i + (number - (len(several) - 1) / 2) * 0.3
            if estimate["low"] is not None:
                axes.plot([estimate["low"], estimate["high"]], [place, place], color=SHADES[number], linewidth=1.5)
            axes.plot([estimate["mean"]], [place], "o", color=SHADES[number], markersize=4, zorder=3)
    names = [drawable(label(value_text(value), 24)) for value in shown]
    axes.set_yticks(range(len(shown)), names, parse_math=False)
    axes.set_ylim(max(len(shown), 3) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.tick_params(axis="y", length=0)
    head = f"share of the strongest by {label(name, 16)} (line: 95 % interval)"
    _head(axes, drawable(head), "largest absolute score over the sum of them, mean over results", "")


def _sideways(axes: Axes, found: Plain, by: str, shown: list[Any], names: list[str], value: str = "strongest") -> None:
    several = list(runs(found))
    width = 0.8 / len(several)
    for number, (_, run) in enumerate(several):
        of = {line["category"]: line[value] for line in run["tables"].get(by, ())}
        places = [i + (number - (len(several) - 1) / 2) * width for i in range(len(shown))]
        axes.barh(places, [of.get(each, 0.0) for each in shown], width, color=SHADES[number], zorder=2)
    axes.set_yticks(range(len(shown)), names, parse_math=False)
    axes.set_ylim(max(len(shown), 3) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def _agreement(axes: Axes, found: Plain) -> None:
    drift = found["drift"]
    counts = drift["histogram"]
    edges = np.linspace(-1, 1, len(counts) + 1)
    used = [i for i, count in enumerate(counts) if count]
    axes.bar(edges[:-1], counts, edges[1] - edges[0], align="edge", color="#777777", edgecolor="white", zorder=2)
    axes.set_xlim(min(edges[min(used, default=0)], 0.0), 1.0)
    _head(axes, f"agreement of the two runs over {drift['matched']:,} rows", "Spearman correlation of a row", "rows")


def _estimates(axes: Axes, found: Plain) -> None:
    drift = found["drift"]
    told = [("Spearman", drift["spearman"]), (f"top {drift['top_k']}", drift["overlap"])]
    told.append(("change of log p (nats)", drift["log_prob_change"]))
    shown = [(name, value) for name, value in told if value is not None]
    for row, (_, value) in enumerate(shown):
        if value["low"] is not None:
            axes.plot([value["low"], value["high"]], [row, row], color="#777777", linewidth=2, solid_capstyle="butt")
        axes.plot([value["mean"]], [row], "o", color="black", markersize=4, zorder=3)
        axes.annotate(
            f"{value['mean']:.3f}", (value["mean"], row), xytext=(0, 6), textcoords="offset points", fontsize=SMALL,
            ha="center",
        )  # fmt: skip
    axes.set_yticks(range(len(shown)), [name for name, _ in shown])
    axes.set_ylim(max(len(shown), 1) - 0.5, -0.5)
    axes.axvline(0, color="black", linewidth=0.6)
    _head(axes, "mean over rows, with its 95 % bootstrap interval", "", "")


def _legend(axes: Axes, found: Plain) -> None:
    handles = [
        axes.bar([0], [0], color=SHADES[number], label=drawable(label(str(run["folder"]), 40)))
        for number, (_, run) in enumerate(runs(found))
    ]
    legend = axes.legend(handles=handles, fontsize=SMALL, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _head(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=SMALL + 1, loc="left", parse_math=False)
    axes.set_xlabel(x, fontsize=SMALL, color="#444444")
    axes.set_ylabel(y, fontsize=SMALL, color="#444444")
    axes.grid(axis="both", linewidth=0.4, color="#e4e4e4", zorder=-1)
    axes.set_axisbelow(True)


def _sources(found: Plain) -> list[Plain]:
    return ordered(found["run"], "token")[:SOURCES]
