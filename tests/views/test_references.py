"""Every kind of figure against a stored picture.

Tolerance: a root mean square difference of 2 of 255 levels, which an edge drawn a hundredth of a pixel elsewhere stays
under and a moved label or another color does not. The font is DejaVu Sans, which comes with matplotlib, so that
machines agree; matplotlib's minor releases do not draw letters alike, so that with others than the one named below this
is skipped.

To renew the pictures after a change that was meant, and look at every one: python tests/views/test_references.py
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import matplotlib
import pytest
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images
from random_result import random_result

from spanwise.attribution import Attribution, Token
from spanwise.views import drift, figures, fonts
from spanwise.views.page import style

FOLDER = Path(__file__).parent / "references"
DRAWN_WITH = "3.11"
TOLERANCE, DPI = 2.0, 72
LINES = [
    {"precision": "float32", "spearman": 1.0, "kendall": 1.0, "overlap": 1.0, "log_prob_change": 0.0},
    {"precision": "bf16", "spearman": 0.99, "kendall": 0.95, "overlap": 0.8, "log_prob_change": 0.012},
    {"precision": "nf4", "spearman": -0.3, "kendall": None, "overlap": 0.4, "log_prob_change": -1.25},
]
LINES = [{**line, "completeness_gap": None, "log_prob": -3.0, "seconds": 1.0} for line in LINES]


def result(**asked: object) -> Attribution:
    """A random result without letters that DejaVu Sans lacks."""
    made = random_result(**asked)
    plain = {"日本語": "word", " 日本": " also"}

    def changed(token: Token) -> Token:
        return dataclasses.replace(token, text=plain.get(token.text, token.text))

    prompt, target = made.prompt.replace("日本語", "abc"), made.target_text.replace("日本", "ab")
    source, written = tuple(map(changed, made.source)), tuple(map(changed, made.target))
    return dataclasses.replace(made, source=source, target=written, prompt=prompt, target_text=target)


def in_axes() -> Figure:
    """Three results in a figure of a user's."""
    figure = Figure((7, 5), layout="constrained")
    grid = figure.subplots(2, 2)
    figures.plot(result(), ax=grid[0, 0], colorbar=True, title="heat map")
    figures.plot(result(source=60, spans=2), ax=grid[0, 1], kind="bars", title="bars")
    figures.plot(result(spans=1), ax=grid[1, 0], kind="strip", title="strip")
    grid[1, 1].plot([0, 1], [0, 1])
    return figure


def drifted() -> Figure:
    """The figure of a drift."""
    first = result(spans=1)
    others = [dataclasses.replace(first, span_scores=first.span_scores * factor) for factor in (1.4, -1)]
    return drift.figure([first, *others], LINES, 5)


DRAW: dict[str, Callable[[], Figure]] = {
    "heatmap": lambda: figures.heatmap(result(source=44, spans=1, prefix=True)),
    "heatmap-row": lambda: figures.heatmap(result(spans=1, rows="span")),
    "heatmap-column": lambda: figures.heatmap(result(source=100, signed=False), width="column", title=""),
    "bars": lambda: figures.bars(result(source=30, spans=2)),
    "strip": lambda: figures.strip(result(source=50, spans=1, prefix=True)),
    "strip-column": lambda: figures.strip(result(target=3), width="column"),
    "axes": in_axes,
    "drift": drifted,
}


@contextmanager
def one_font() -> Iterator[None]:
    """Draws with the font that is everywhere the same."""
    ours = mock.patch.object(fonts, "installed", lambda: ("DejaVu Sans",))
    with ours, mock.patch.object(fonts, "_drawn", lambda: fonts._charmap("DejaVu Sans")), style():
        yield


def save(name: str, path: Path) -> None:
    """Draws one of them."""
    with one_font():
        DRAW[name]().savefig(path, dpi=DPI, metadata={"Software": None})


@pytest.mark.skipif(
    not matplotlib.__version__.startswith(f"{DRAWN_WITH}."),
    reason=f"the stored pictures are of matplotlib {DRAWN_WITH}; other releases draw letters otherwise",
)
@pytest.mark.parametrize("name", DRAW)
def test_figure_is_as_stored(name: str, tmp_path: Path) -> None:
    save(name, tmp_path / f"{name}.png")
    difference = compare_images(str(FOLDER / f"{name}.png"), str(tmp_path / f"{name}.png"), TOLERANCE)
    assert difference is None, difference


def test_the_comparison_sees_a_change(tmp_path: Path) -> None:
    """One label that differs is more than the tolerance."""
    for name, title in (("one", "a title"), ("two", "another")):
        with one_font():
            figures.heatmap(result(), title=title).savefig(tmp_path / f"{name}.png", dpi=DPI)
    assert compare_images(str(tmp_path / "one.png"), str(tmp_path / "two.png"), TOLERANCE) is not None


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in DRAW if len(sys.argv) == 1 else sys.argv[1:]:
        save(each, FOLDER / f"{each}.png")
        print(FOLDER / f"{each}.png", (FOLDER / f"{each}.png").stat().st_size)
