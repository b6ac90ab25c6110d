"""The tables of a summary as text for the terminal, the reports and the page, from what `Summary.as_dict` returns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spanwise.views.labels import label, visible

Plain = Mapping[str, Any]

TITLES = {
    "kind": "by kind of source token",
    "role": "by role",
    "relative_position": "by place in the prompt",
    "position": "by distance to the first token asked about",
    "token": "top sources",
}
FIRST = "the first token asked about"
TOP = 12
"""Lines of a table in the terminal and in reports; all are in `as_dict`."""
READ = (
    "Every result has the same weight, and of a result with several spans the first counts. columns: source columns, "
    "over all results. mean score: of such a source column, as a part of the result's absolute scores; ±: its standard "
    "error over results, where there is one run. share: of absolute scores. strongest: results whose largest absolute "
    "score is there. distance: tokens before the first token asked about. In brackets: 95 % bootstrap intervals."
)
READ_COLUMN = (
    "share of the strongest: the largest absolute score of a result over the sum of them, mean over results. mean "
    "|score|: the mean absolute score of a result's source columns, mean over results."
)
_HEADS = {"kind": "kind", "role": "role", "relative_position": "place", "position": "distance", "token": "source"}


@dataclass(frozen=True)
class Section:
    """A table under its title; its first column says what a line is about, the others hold numbers.

    Attributes:
        title: Above it.
        heads: One a column.
        lines: The cells.
        note: What the table leaves out, or "".
        column: Whether it is about a column of the input.
    """

    title: str
    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    note: str
    column: bool


def sections(found: Plain, most: int | None = TOP, *, more: str = "in summary.json") -> list[Section]:
    """Returns the tables: the input's columns that were asked for, then those that say more than one line.

    Args:
        found: What `Summary.as_dict` returns.
        most: Lines of a table; None: all.
        more: Where the other lines are.
    """
    tables = [by for by in found["run"]["tables"] if tells(found, by)]
    return [_of_column(found, name) for name in found["run"]["columns"]] + [
        Section(TITLES[by], _headings(found, by), _lines(found, by, most), _left_out(found, by, most, more), False)
        for by in tables
    ]


def tells(found: Plain, by: str) -> bool:
    """Returns whether a table says something: of kinds and roles, whether there is more than one."""
    if by not in ("kind", "role"):
        return bool(found["run"]["tables"].get(by))
    return len({line["category"] for _, run in runs(found) for line in run["tables"].get(by, ())}) > 1


def default_title(found: Plain) -> str:
    """Returns the method and the model of the run, or of both."""
    titles = [f"{run['method']} of {run['model']} ({run['precision']})" for _, run in runs(found)]
    return " beside ".join(dict.fromkeys(titles))


def runs(found: Plain) -> Iterator[tuple[str, Plain]]:
    """Yields the run, and the other where there is one, each with the name it has in tables."""
    yield "run", found["run"]
    if found["other"] is not None:
        yield "other", found["other"]


def names(found: Plain) -> list[str]:
    """Returns the folders of the runs, as headings."""
    return [visible(str(run["folder"])) for _, run in runs(found)]


def extent(run: Plain) -> str:
    """Returns how many rows of the input have a result, how many failed, and whether the run is finished."""
    rows = "" if run["rows"] is None else f" of {counted(run['rows'], 'row')}"
    failures = f", {counted(run['failures'], 'failure')}" if run["failures"] else ""
    return f"{counted(run['results'], 'result')}{rows}{failures}" + ("" if run["done"] else "; the run is not finished")


def unfinished(found: Plain) -> list[str]:
    """Returns a sentence for each run that is not finished."""
    return [f"{visible(str(run['folder']))}: {extent(run)}." for _, run in runs(found) if not run["done"]]


def facts(found: Plain) -> list[list[str]]:
    """Returns a line a fact, a column a run."""
    told = {
        "method": lambda run: f"{run['method']} ({run['engine']})",
        "model": lambda run: f"{visible(run['model'])} ({run['precision']})",
        "scores": lambda run: f"{run['objective']}, {run['unit']}, " + ("signed" if run["signed"] else "no sign"),
        "rows": lambda run: "not known yet" if run["rows"] is None else f"{run['rows']:,}",
        "results": lambda run: f"{run['results']:,}" + ("" if run["done"] else " (the run is not finished)"),
        "failures": _failures,
        "source columns scored": lambda run: f"{run['scored']:,}",
        "share of the strongest": lambda run: estimated(run["strongest_share"]),
        "completeness gap": lambda run: estimated(run["completeness_gap"]),
    }
    return [[name, *(tell(run) for _, run in runs(found))] for name, tell in told.items()]


def ordered(run: Plain, by: str) -> list[Plain]:
    """Returns the lines of a table; tokens by how often they are the strongest."""
    table = list(run["tables"].get(by, ()))
    return sorted(table, key=lambda line: (-line["strongest"], -line["share"])) if by == "token" else table


def category(by: str, name: str | int) -> str:
    """Returns what a category is called."""
    if by == "relative_position":
        return f"{10 * int(name)}-{10 * int(name) + 10} %"
    if by == "position":
        place = int(name)
        return f"{place} before" if place > 0 else f"{-place} after" if place < 0 else FIRST
    return label(str(name), 40)


def value_text(value: Any) -> str:
    """Returns what a value of an input's column is called."""
    return "no value" if value is None else label(str(value), 40)


def drift_facts(drift: Plain) -> list[list[str]]:
    """Returns a line a fact about two runs."""
    unmatched = [
        f"{drift[name]:,} {what}"
        for name, what in (
            ("only_first", "only in the first"),
            ("only_second", "only in the second"),
            ("different", "ask for something else"),
        )
        if drift[name]
    ]
    lowest = ", ".join(f"{row} ({min(value, 0.999):.3f})" for row, value in drift["lowest"])
    return [
        ["rows compared", f"{drift['matched']:,}" + (f"; {', '.join(unmatched)}" if unmatched else "")],
        ["Spearman correlation", estimated(drift["spearman"])],
        [f"top {drift['top_k']} in both", estimated(drift["overlap"])],
        ["change of log-probability, nats", estimated(drift["log_prob_change"])],
        ["rows that agree least", lowest or "none: all that were compared agree fully"],
    ]


def estimated(value: Plain | None) -> str:
    """Returns a mean with its 95 % interval."""
    if value is None:
        return "none"
    interval = "" if value["low"] is None else f" [{_figure(value['low'])}, {_figure(value['high'])}]"
    return f"{_figure(value['mean'])}{interval}"


def counted(count: int, what: str) -> str:
    """Returns a number of things: "1 row", "2 rows"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _headings(found: Plain, by: str) -> list[str]:
    """Returns the headings of a category's table; with two runs the other's are the last three."""
    if found["other"] is None:
        return [_HEADS[by], "columns", "results", "mean score", "share", "strongest"]
    return [
        _HEADS[by],
        "results",
        "mean score",
        "share",
        "strongest",
        "other: mean score",
        "other: share",
        "other: strongest",
    ]


def _lines(found: Plain, by: str, most: int | None) -> list[list[str]]:
    """Returns the lines of a category's table, those of the first run beside the other's; `most` None: all."""
    shown = ordered(found["run"], by)[:most]
    if found["other"] is None:
        return [
            [category(by, line["category"]), f"{line['count']:,}", f"{line['results']:,}", *_figures(line, error=True)]
            for line in shown
        ]
    beside = {line["category"]: _figures(line) for line in found["other"]["tables"].get(by, ())}
    return [
        [
            category(by, line["category"]),
            f"{line['results']:,}",
            *_figures(line),
            *beside.get(line["category"], ["none"] * 3),
        ]
        for line in shown
    ]


def _left_out(found: Plain, by: str, most: int | None, more: str) -> str:
    """Returns what a table of `most` lines does not show, or ""."""
    count = 0 if most is None else len(found["run"]["tables"][by]) - most
    return f"and {count:,} more, {more}" if count > 0 else ""


def _of_column(found: Plain, name: str) -> Section:
    table, unit = found["run"]["columns"][name], visible(found["run"]["unit"])
    own = ["share of the strongest", f"mean |score|, {unit}"]
    heads = [label(name, 40), "results", "failures", *own]
    lines = [
        [value_text(line["value"]), f"{line['results']:,}", f"{line['failures']:,}", *_estimates(line)]
        for line in table["lines"]
    ]
    if found["other"] is not None:
        heads += [f"other: {own[0]}", f"other: mean |score|, {visible(found['other']['unit'])}"]
        others = {line["value"]: _estimates(line) for line in found["other"]["columns"][name]["lines"]}
        for line, plain in zip(lines, table["lines"], strict=True):
            line += others.get(plain["value"], ["none"] * 2)
    return Section(f"by {label(name, 40)}", heads, lines, _others(table), True)


def _others(table: Plain) -> str:
    """Returns what the table of a column does not show, or ""."""
    told = []
    if table["other_values"]:
        with_them = counted(table["other_results"], "result")
        if table["other_failures"]:
            with_them += f" and {counted(table['other_failures'], 'failure')}"
        told.append(f"and {counted(table['other_values'], 'other value')} with {with_them}")
    if table["unknown_failures"]:
        told.append(f"{counted(table['unknown_failures'], 'failure')} without a known value")
    return "; ".join(told)


def _estimates(line: Plain) -> list[str]:
    return [estimated(line["strongest_share"]), estimated(line["mean_score"])]


def _failures(run: Plain) -> str:
    reasons = ", ".join(f"{count} {name}" for name, count in run["reasons"])
    return f"{run['failures']:,}" + (f" ({reasons})" if reasons else "")


def _figures(line: Plain, *, error: bool = False) -> list[str]:
    told = f" ± {line['stderr']:.3f}" if error and line["stderr"] is not None else ""
    return [f"{line['mean']:.3f}{told}", f"{line['share']:.1%}", f"{line['strongest']:.1%}"]


def _figure(value: float) -> str:
    return f"{value:.2g}" if 0 < abs(value) < 0.005 else f"{value:.3f}"
