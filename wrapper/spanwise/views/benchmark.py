"""The ground-truth benchmark as tables: for the terminal, and as a Markdown page. Reads the report's plain values."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spanwise.errors import FileError
from spanwise.storage import check_folder, writing

Found = Mapping[str, Any]
"""As `GroundTruthReport.as_dict` gives it."""
Line = Mapping[str, Any]

HEADINGS = {
    "pointing": "pointing",
    "recall": "recall at k",
    "recall_at_5": "recall at 5",
    "mass": "mass",
    "reciprocal_rank": "reciprocal rank",
}
OVERALL = "all"
BETTER = "+"
MAIN = ("pointing", "reciprocal_rank", "mass")
"""What the short table of a README shows."""


def show(found: Found, *, console: Console | None = None) -> None:
    """Prints for each precision the metrics over all prompts and the pointing accuracy by family, then the reading.

    Args:
        found: The report's values.
        console: Where to; default: standard output.
    """
    console = Console() if console is None else console
    for precision in _values(found, "precision"):
        console.print(Text(caption(found, precision), style="bold"))
        console.print(_table(_narrow(found, precision)))
        console.print(Text(f"Pointing by family; {BETTER}: better than random there", style="dim"))
        console.print(_table(_narrow_by_family(found, precision)))
        console.print()
    for sentence in found["reading"]:
        console.print(Text(f"* {sentence}"))
    console.print(Text(f"\n{spent(found)}", style="dim"))


def _table(rows: Iterator[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, heading in enumerate(next(rows)):
        table.add_column(heading, justify="right" if number > 1 else "left", overflow="fold", no_wrap=number > 0)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _narrow(found: Found, precision: str) -> Iterator[Sequence[str]]:
    """Yields what fits a terminal: the interval of the pointing accuracy only."""
    yield ("method", "engine", "pointing", "at k", "at 5", "mass", "rank")
    for line in _ordered(found, precision):
        means = (f"{line[metric]['mean']:.2f}" for metric in HEADINGS if metric != "pointing")
        yield (line["method"], line["engine"], _cell(line["pointing"]), *means)


def _narrow_by_family(found: Found, precision: str) -> Iterator[Sequence[str]]:
    families = [name for name in _values(found, "prompts_of") if name != OVERALL]
    pointing = _pointing(found, precision)
    yield ("method", "engine", *families)
    for line in _ordered(found, precision):
        cells = []
        for family in families:
            own = pointing.get((line["method"], line["engine"], family))
            chance = pointing.get(("random", "", family))
            cells.append(f"{own['mean']:.2f}{_mark(own, chance)}" if own and chance else "none left")
        yield (line["method"], line["engine"], *cells)


def _pointing(found: Found, precision: str) -> dict[tuple[str, str, str], Any]:
    lines = [line for line in found["lines"] if line["precision"] == precision]
    return {(line["method"], line["engine"], line["prompts_of"]): line["pointing"] for line in lines}


def _mark(own: Mapping[str, Any], chance: Mapping[str, Any]) -> str:
    return BETTER if own["low"] is not None and own["low"] > chance["high"] else " "


def write(path: str | os.PathLike[str], found: Found, *, command: str = "") -> None:
    """Writes the Markdown page.

    Args:
        path: Where to.
        found: The report's values.
        command: That makes the page; named on it.

    Raises:
        FileError: The suffix is not ".md", or the folder does not exist or cannot be written.
    """
    check_path(path)
    with writing(path) as temporary:
        temporary.write_text(page(found, command), encoding="utf-8")


def check_path(path: str | os.PathLike[str]) -> None:
    """Checks before any work that the page could be written at `path`.

    Raises:
        FileError: The suffix is not ".md", or the folder does not exist or cannot be written.
    """
    if Path(path).suffix != ".md":
        raise FileError(f"the page is written as '.md', not {Path(path).name!r}.")
    check_folder(path)


def page(found: Found, command: str = "") -> str:
    """Returns the whole page in Markdown."""
    made = f"Made by `{command}`; nothing on this page is written by hand." if command else ""
    parts = ["# Ground truth: which methods find the cause?", _about(found), "## What the figures say"]
    parts.append("\n".join(f"* {sentence}" for sentence in found["reading"]))
    parts.append(_limits(found))
    for precision in _values(found, "precision"):
        parts += [f"## All prompts, {precision}", caption(found, precision), _markdown(_overall(found, precision))]
    for precision in _values(found, "precision"):
        parts.append(f"## By family, {precision}")
        for metric, heading in HEADINGS.items():
            title = f"{heading[0].upper()}{heading[1:]}: {found['metrics'][metric]}."
            parts += [title, _markdown(_by_family(found, precision, metric))]
    parts += [spent(found), made]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(found: Found) -> str:
    metrics = "\n".join(f"* {HEADINGS[name]}: {text};" for name, text in found["metrics"].items())
    return (
        f"Held-out prompts of the model {_safe(found['model'])}, whose causes are planted (`spanwise.ground_truth()`): "
        "`log_prob` of the part of the target that the causes decide, every method at its default options and "
        "baseline.\n\n"
        f"{metrics}\n\n"
        f"each a mean over prompts with its {found['confidence']:.0%} bootstrap interval in brackets, expected values "
        "where scores are equal. `random` is a ranking by chance (its exact expectation), `frequency` takes the rarest "
        "token of the training corpus first. A prompt was dropped where the model's own greedy answer was not the "
        "planted one, or where the swap of a planted cause did not change it into the answer that the rule then gives."
    )


def _limits(found: Found) -> str:
    return (
        "How far this goes: one model of a million parameters, which was trained to read `<unk>`, the default baseline "
        "of most methods, as a word that is absent; baselines change rankings elsewhere. Causes are whole words, so a "
        "method is right at any token of them. Better means that the intervals do not overlap; methods were not "
        "corrected for being many, and prompts of a family share their words."
    )


def caption(found: Found, precision: str) -> str:
    """Returns how many prompts were used at a precision, how many dropped, and why."""
    checked = [each for each in found["checked"] if each["precision"] == precision]
    asked, kept, wrong, idle, swaps, changes = (
        sum(each[name] for each in checked)
        for name in ("asked", "kept", "wrong", "without_effect", "other_swaps", "other_changes")
    )
    return (
        f"{precision}: {kept} of {asked} prompts; dropped: {wrong} answered otherwise, {idle} where the swap of a "
        f"cause changed nothing or not as planted. Swaps of other words changed the answer in {changes} of {swaps} "
        "cases."
    )


def spent(found: Found) -> str:
    """Returns the wall time, in all and by engine."""
    engines = ", ".join(f"{name} {took:.0f} s" for name, took in found["seconds"].items() if name != "total")
    return f"Took {found['seconds']['total']:.0f} seconds ({engines})."


def short(found: Found, precision: str) -> str:
    """Returns the main metrics of one precision as a Markdown table for a README."""
    rows = _overall(found, precision)
    keep = [0, 1, *(2 + list(HEADINGS).index(name) for name in MAIN)]
    return _markdown([row[i] for i in keep] for row in rows)


def _overall(found: Found, precision: str) -> Iterator[Sequence[str]]:
    yield ("method", "engine", *HEADINGS.values())
    for line in _ordered(found, precision):
        yield (line["method"], line["engine"], *(_cell(line[metric]) for metric in HEADINGS))


def _by_family(found: Found, precision: str, metric: str) -> Iterator[Sequence[str]]:
    families = [name for name in _values(found, "prompts_of") if name != OVERALL]
    cells = {
        (line["method"], line["engine"], line["prompts_of"]): _cell(line[metric])
        for line in found["lines"]
        if line["precision"] == precision
    }
    yield ("method", "engine", *families)
    for line in _ordered(found, precision):
        key = (line["method"], line["engine"])
        yield (*key, *(cells.get((*key, family), "none left") for family in families))


def _ordered(found: Found, precision: str) -> list[Line]:
    """Returns the lines over all prompts, the best at pointing first."""
    lines = [each for each in found["lines"] if each["precision"] == precision and each["prompts_of"] == OVERALL]
    return sorted(lines, key=lambda line: -line["pointing"]["mean"])


def _cell(figure: Mapping[str, float | None]) -> str:
    if figure["low"] is None:
        return f"{figure['mean']:.2f}"
    return f"{figure['mean']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"


def _markdown(rows: Iterator[Sequence[str]]) -> str:
    heading, *body = rows
    lines = [heading, ["---"] * len(heading), *([f"`{row[0]}`", *row[1:]] for row in body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _values(found: Found, field: str) -> list[str]:
    return list(dict.fromkeys(line[field] for line in found["lines"]))


def _safe(text: str) -> str:
    """Returns a user's text as Markdown code that nothing in it can end."""
    return f"`{' '.join(text.replace('`', chr(39)).replace('|', '/').split())}`"
