"""The table and the figure of an evaluation: what is drawn is what was found."""

import io

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from rich.console import Console

from spanwise.errors import DependencyError, FileError
from spanwise.views.evaluation import figure, plot, show

METRICS = {
    name: {"title": title, "better": better}
    for name, title, better in (
        ("naopc", "NAOPC", "higher"),
        ("sufficiency", "sufficiency", "lower"),
        ("soft_nc", "Soft-NC", "higher"),
    )
}


def line(removed: str, metric: str, value: float | None, **more: object) -> dict[str, object]:
    none = {"interval": None, "random": None, "random_interval": None, "random_middle": None, "frequency": None}
    none |= {"against_random": None, "against_frequency": None, "reason": "", "results": 1, "undecided": ""}
    return {"removed": removed, "metric": metric, "value": value, **none, **more}


def curve(removed: str, result: int = 0, shift: float = 0.0) -> dict[str, object]:
    values = {"deletion": [0.0, -3.0, -4.0], "insertion": [-4.0, -1.0, 0.0]}
    found: dict[str, object] = {
        "removed": removed,
        "result": result,
        "share": [0.0, 0.4, 1.0],
        "put_in": [0.0, 0.6, 1.0],
    }
    for kind, points in values.items():
        found[kind] = [point + shift for point in points]
        found[f"frequency_{kind}"] = [point - 0.5 for point in points]
        found[f"random_{kind}"] = [point / 2 for point in points]
        found |= {f"random_{kind}_low": [point - 1 for point in points], f"random_{kind}_high": [0.0, 0.0, 0.0]}
    return found | {"search": "beam", "beam_width": 1, "lowest_aopc": 0.5, "highest_aopc": 3.0}


def evaluation(removed: tuple[str, ...] = ("unk", "mask"), results: int = 1) -> dict[str, object]:
    lines = []
    for name in removed:
        known = {"random": 0.41, "random_middle": [0.2, 0.61], "random_interval": [0.35, 0.45], "frequency": 0.55}
        known |= {"interval": [0.6, 0.9] if results > 1 else None, "results": results}
        lines.append(line(name, "naopc", 0.83, against_random="better", against_frequency="worse", **known))
        lines.append(line(name, "sufficiency", 12.5, against_random="no different", **known))
        lines.append(line(name, "soft_nc", None, reason="[red]nothing[/red] to lose"))
    return {
        "lines": lines,
        "curves": [curve(name, i, float(i)) for name in removed for i in range(results)],
        "removed": list(removed),
        "sentences": [f"With removed={name!r}, saliency beat random rankings." for name in removed],
        "metrics": METRICS,
        "method": "saliency",
        "model": "tiny\x1b[31m",
        "objective": "log_prob",
        "unit": "nats",
        "results": results,
        "features": [7] * results,
        "k": [5] * results,
        "n_random": 20,
        "frequency_source": "the order of token ids",
        "notes": ["[bold]a note"],
        "calls": 61,
        "sequences": 800,
        "seconds": 1.25,
    }


def printed(found: dict[str, object], width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    show(found, console=console)
    return console.file.getvalue()


def texts(drawn: Figure) -> str:
    return "\n".join(text.get_text() for text in drawn.findobj(Text))


def test_the_table() -> None:
    found = printed(evaluation())
    lines = [" ".join(each.split()) for each in found.splitlines()]
    assert lines[0] == "saliency, tiny\\x1b[31m: log_prob (nats), 7 features"
    assert lines.count("NAOPC ↑ 0.83 0.41 0.20 to 0.61 0.55 better worse") == 2
    assert lines.count("sufficiency ↓ 12.5 0.41 0.20 to 0.61 0.55 same -") == 2
    assert "not had: Soft-NC ([red]nothing[/red] to lose)" in lines  # never read as markup
    assert "note: [bold]a note" in lines and "61 calls, 800 sequences, 1.2 seconds" in lines
    assert "beam search (width 1)" in found and "token frequencies from the order of token ids" in " ".join(lines)
    assert "better than all: p = 0.048" in " ".join(lines) and "only describes them" in " ".join(lines)
    several = [" ".join(each.split()) for each in printed(evaluation(results=3)).splitlines()]
    assert "sign-flip test" in " ".join(several)
    assert several[0].startswith("3 results of saliency")
    assert several.count("NAOPC ↑ 0.83 0.60 to 0.90 0.41 0.55 better worse") == 2


def test_what_is_of_fewer_results_says_so_and_so_does_no_verdict() -> None:
    found = evaluation(results=3)
    found["lines"][0] |= {"results": 2, "against_random": None, "undecided": "too few results for a verdict (3 of 6)"}
    lines = [" ".join(each.split()) for each in printed(found, width=100).splitlines()]
    assert "NAOPC ↑ (2 of 3) 0.83 0.60 to 0.90 0.41 0.55 - worse" in lines
    assert "no verdict: too few results for a verdict (3 of 6)" in lines


def test_curves_are_drawn() -> None:
    drawn = figure(evaluation())
    assert len(drawn.axes) == 4
    left, right = drawn.axes[0], next(axes for axes in drawn.axes if axes.get_title("left") == "insertion: unk")
    assert list(left.lines[2].get_ydata()) == [0.0, -3.0, -4.0]
    assert list(left.lines[0].get_ydata()) == [0.0, -1.5, -2.0] and list(left.lines[0].get_xdata()) == [0.0, 0.4, 1.0]
    assert list(right.lines[1].get_ydata()) == [-4.5, -1.5, -0.5]
    assert list(right.lines[1].get_xdata()) == [0.0, 0.6, 1.0]
    assert len(left.collections) == 1  # the band of the random rankings
    said = texts(drawn)
    for expected in ("deletion: mask", "log_prob (nats)", "token frequency", "NAOPC 0.83, random 0.41 (better)"):
        assert expected in said


def test_several_results_are_averaged() -> None:
    drawn = figure(evaluation(results=3))
    left, right = drawn.axes[0], next(axes for axes in drawn.axes if axes.get_title("left") == "insertion: unk")
    assert not left.collections
    own = dict(zip(left.lines[2].get_xdata(), left.lines[2].get_ydata(), strict=True))
    assert own[0.0] == pytest.approx(1.0) and own[1.0] == pytest.approx(-3.0) and own[0.4] == pytest.approx(-2.0)
    own = {round(x, 3): y for x, y in zip(right.lines[2].get_xdata(), right.lines[2].get_ydata(), strict=True)}
    assert own[0.6] == pytest.approx(0.0)  # mean of -1, 0 and 1


@pytest.mark.parametrize("count", [1, 2, 7, 20])
def test_pages_stay_in_bounds(count: int) -> None:
    drawn = figure(evaluation(tuple(f"token:{i}" for i in range(count))), title="a title " * 40)
    width, height = drawn.get_size_inches()
    assert width <= 12.0 and height <= 16.0
    drawn.canvas.draw()
    renderer = drawn.canvas.get_renderer()
    for text in drawn.findobj(Text):
        if text.get_text() and text.get_visible():
            box = text.get_window_extent(renderer)
            assert box.x1 <= width * drawn.dpi + 1 and box.x0 >= -1, text.get_text()
    if count == 20:
        assert "left out: removed=" in texts(drawn)


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_each_format_is_written_and_byte_identical(tmp_path, form) -> None:
    for name in ("one", "two"):
        plot(tmp_path / f"{name}.{form}", evaluation())
    one, two = ((tmp_path / f"{name}.{form}").read_bytes() for name in ("one", "two"))
    assert one == two and len(one) > 5000


def test_refusals(tmp_path, monkeypatch) -> None:
    with pytest.raises(FileError, match=r"figures are written as \.png, \.svg, \.pdf, not 'a\.bmp'"):
        plot(tmp_path / "a.bmp", evaluation())
    with pytest.raises(FileError, match="there is no folder"):
        plot(tmp_path / "no" / "a.png", evaluation())
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    with pytest.raises(DependencyError, match=r"spanwise\[plots\]"):
        plot(tmp_path / "a.png", evaluation())
    assert list(tmp_path.iterdir()) == []
