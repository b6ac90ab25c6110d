"""The figure and the table of a drift: what is drawn is what was found."""

import dataclasses
import io

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from random_result import random_result
from rich.console import Console

from spanwise.attribution import Attribution
from spanwise.errors import DependencyError, FileError
from spanwise.views.drift import figure, plot, show

LINES = [
    {"precision": "float32", "spearman": 1.0, "kendall": 1.0, "overlap": 1.0, "log_prob_change": 0.0},
    {"precision": "bf16", "spearman": 0.99, "kendall": 0.95, "overlap": 0.8, "log_prob_change": 0.012},
    {"precision": "nf4", "spearman": -0.3, "kendall": None, "overlap": 0.4, "log_prob_change": -1.25},
]
LINES = [{**line, "completeness_gap": None, "log_prob": -3.0, "seconds": 1.0} for line in LINES]


def results(**asked: object) -> list[Attribution]:
    first = random_result(**asked)
    changed = [dataclasses.replace(first, scores=first.scores * f, span_scores=first.span_scores * f) for f in (2, -1)]
    return [first, *changed]


def texts(drawn: Figure) -> str:
    return "\n".join(text.get_text() for text in drawn.findobj(Text))


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_each_format_is_written_and_byte_identical(tmp_path, form):
    for name in ("one", "two"):
        plot(tmp_path / f"{name}.{form}", results(spans=2), LINES, 5)
    one, two = ((tmp_path / f"{name}.{form}").read_bytes() for name in ("one", "two"))
    assert one == two and len(one) > 5000


def test_scores_are_bars_and_marks():
    found = results(spans=1)
    drawn = figure(found, LINES, 5)
    panel = drawn.axes[0]
    kept = [i for i in range(11) if not found[0].span_scores[0, i].isnan()]
    bars = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in panel.patches[: len(kept)]}
    assert bars == pytest.approx({i: float(found[0].span_scores[0, i]) for i in kept})
    marks = [line for line in panel.lines if line.get_marker() in ("o", "s")]
    for line, result in zip(marks, found[1:], strict=True):
        assert line.get_ydata() == pytest.approx(result.span_scores[0, kept].tolist())
    assert len({line.get_color() for line in marks}) == 2
    low, high = panel.get_ylim()
    every = torch.stack([each.span_scores[0, kept] for each in found])
    assert low < float(every.min()) and high > float(every.max())


def test_agreement_and_changes_are_drawn():
    drawn = figure(results(spans=1), LINES, 4)
    agreement, changes = drawn.axes[-2:]
    placed = {(float(line.get_xdata()[0]), int(line.get_ydata()[0])) for line in agreement.lines}
    assert placed == {(0.99, 0), (0.95, 0), (0.8, 0), (-0.3, 1), (0.4, 1)}
    assert agreement.get_xlim()[0] < -0.3 and agreement.get_xlim()[1] == 1.0
    assert [bar.get_width() for bar in changes.patches] == [0.012, -1.25]
    assert changes.get_xlim()[0] < -1.25 and changes.get_xlim()[1] > 0.012
    said = texts(drawn)
    for expected in ("agreement with float32", "top 4", "float32 (reference)", "+0.012", "-1.2", "nats", "nf4"):
        assert expected in said


@pytest.mark.parametrize(("source", "spans"), [(1, 0), (11, 0), (11, 3), (130, 1), (60, 9)])
def test_pages_stay_in_bounds(source, spans):
    """Nothing is wider or higher than the page, and what is left out is said."""
    drawn = figure(results(source=source, target=19, spans=spans), LINES, 5)
    width, height = drawn.get_size_inches()
    assert width <= 12.0 and height <= 16.0
    for axes in drawn.axes:
        box = axes.get_position()
        assert box.x0 > 0 and box.x1 < 1 and box.y0 > 0 and box.y1 < 1
    if spans == 9:
        assert "left out" in texts(drawn)


def test_no_change_at_all():
    first = results()[0]
    zero = [{**line, "log_prob_change": 0.0} for line in LINES[:2]]
    assert "+0" in texts(figure([first, first], zero, 5))


def test_refusals(tmp_path, monkeypatch):
    with pytest.raises(FileError, match=r"figures are written as \.png, \.svg, \.pdf, not 'a\.bmp'"):
        plot(tmp_path / "a.bmp", results(), LINES, 5)
    with pytest.raises(FileError, match="there is no folder"):
        plot(tmp_path / "no" / "a.png", results(), LINES, 5)
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    with pytest.raises(DependencyError, match=r"spanwise\[plots\]"):
        plot(tmp_path / "a.png", results(), LINES, 5)
    assert list(tmp_path.iterdir()) == []


def test_the_table():
    console = Console(width=120, file=io.StringIO())
    show(results(spans=1), LINES, 5, console=console)
    lines = console.file.getvalue().splitlines()
    assert "compared with float32; log p in nats" in lines[0]
    assert lines[1].split()[:5] == ["precision", "Spearman", "Kendall", "top", "5"]
    assert lines[4].split()[:7] == ["nf4", "-0.300", "none", "40%", "none", "-3", "-1.2"]
