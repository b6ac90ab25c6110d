"""The figure of a summary: four panels, a fifth and sixth where two runs are compared."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from spanwise.views.fonts import drawable
from spanwise.views.labels import label
from spanwise.views.page import HEADLINE, SMALL, style
from spanwise.views.summary import ordered, runs

Plain = Mapping[str, Any]

SHADES = ("#0072B2", "#D55E00")  # Okabe and Ito's blue and vermilion, which color-blind readers tell apart
SOURCES, DISTANCES = 10, 30  # bars of the top sources, distances drawn
WIDTH, HEIGHT = 10.0, 3.1  # inches: of the figure, of a row of panels


def draw(found: Plain, title: str) -> Figure:
    """Returns the figure of a summary."""
    compared = found["drift"] is not None
    rows = 3 if compared else 2
    tokens = [str(line["category"]) for line in _sources(found)]
    with style(" ".join([title, *tokens])):
        figure = Figure(figsize=(WIDTH, HEIGHT * rows), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(drawable(label(title, 110)), fontsize=HEADLINE, x=0.01, ha="left", parse_math=False)
        axes = [figure.add_subplot(rows, 2, number + 1) for number in range(2 * rows)]
        _bars(
            axes[0],
            found,
            "relative_position",
            "share of absolute scores by place in the prompt",
            "tenth of the prompt",
        )
        _distance(axes[1], found)
        _top(axes[2], found)
        _groups(axes[3], found)
        if compared:
            _agreement(axes[4], found["drift"])
            _estimates(axes[5], found["drift"])
        for each in axes:
            each.tick_params(labelsize=SMALL)
            each.spines[["top", "right"]].set_visible(False)
        if found["other"] is not None:
            _legend(axes[0], found)
    return figure


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
    head = "mean score by distance to the target (band: 1.96 standard errors)"
    _head(axes, head, "tokens before the first target token", "part of all |scores|")


def _top(axes: Axes, found: Plain) -> None:
    shown = _sources(found)
    if not shown:
        told = f"features are {found['run']['features']}s: their texts are not counted"
        axes.text(0.02, 0.9, told, fontsize=SMALL, transform=axes.transAxes)
    names = [drawable(label(str(line["category"]), 24)) for line in shown]
    _sideways(axes, found, "token", [line["category"] for line in shown], names)
    _head(axes, "top sources: results whose strongest score they hold", "part of results", "")


def _groups(axes: Axes, found: Plain) -> None:
    """Draws kinds, and roles where they say more than the kinds do."""
    roles = found["run"]["tables"].get("role", ())
    by = "role" if len(roles) > len(found["run"]["tables"].get("kind", ())) else "kind"
    shown = [line["category"] for line in found["run"]["tables"].get(by, ())][:SOURCES]
    _sideways(axes, found, by, shown, [drawable(label(str(each), 24)) for each in shown], "share")
    _head(axes, f"share of absolute scores by {by} of source token", "share", "")
    axes.set_xlim(0, 1)


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


def _agreement(axes: Axes, drift: Plain) -> None:
    counts = drift["histogram"]
    edges = np.linspace(-1, 1, len(counts) + 1)
    used = [i for i, count in enumerate(counts) if count]
    axes.bar(edges[:-1], counts, edges[1] - edges[0], align="edge", color="#777777", edgecolor="white", zorder=2)
    axes.set_xlim(min(edges[min(used, default=0)], 0.0), 1.0)
    _head(axes, f"agreement of the two runs over {drift['matched']:,} rows", "Spearman correlation of a row", "rows")


def _estimates(axes: Axes, drift: Plain) -> None:
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
    axes.set_title(title, fontsize=SMALL + 1, loc="left")
    axes.set_xlabel(x, fontsize=SMALL, color="#444444")
    axes.set_ylabel(y, fontsize=SMALL, color="#444444")
    axes.grid(axis="both", linewidth=0.4, color="#e4e4e4", zorder=-1)
    axes.set_axisbelow(True)


def _sources(found: Plain) -> list[Plain]:
    return ordered(found["run"], "token")[:SOURCES]
