"""The figure and the tables of a comparison: what is drawn is what was found."""

import dataclasses
import io
import warnings

import pytest
import torch
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text
from random_result import random_result
from rich.console import Console

from spanwise.attribution import Attribution
from spanwise.errors import DependencyError, FileError
from spanwise.evaluation.comparison.comparison import Comparison
from spanwise.views.comparison import figure, plot, show

pytest.importorskip("scipy", reason="needs the flow extra")

NAMES = ("integrated_gradients", "saliency", "日本語 $x_1$", "shapley_value_sampling@captum", "e", "f", "g", "h")


def compared(methods: int = 3, *, unsigned: bool = True, same: bool = False, **asked: object) -> Comparison:
    """Methods with random scores; the second keeps no sign, and with `same` the last is the first again."""
    first = random_result(**{"spans": 1, "rows": "span", **asked})
    results: dict[str, Attribution] = {}
    for number in range(methods):
        drawn = torch.randn(first.scores.shape, generator=torch.Generator().manual_seed(number))
        if same and number == methods - 1:
            drawn = results[NAMES[0]].scores
        signed = not (unsigned and number == 1)
        scores = (drawn if signed else drawn.abs()).masked_fill(first.scores.isnan(), torch.nan)
        made = dataclasses.replace(first.provenance, signed=signed)
        results[NAMES[number]] = dataclasses.replace(first, scores=scores, span_scores=scores, provenance=made)
    return Comparison.of(results, n_permutations=200, refused={"lime": "not here."})


def drawn(found: Comparison) -> Figure:
    return figure(found.results, found.as_dict(results=False))


def texts(page: Figure) -> str:
    return "\n".join(text.get_text() for text in page.findobj(Text))


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_each_format_is_written_and_byte_identical(tmp_path, form):
    found = compared()
    for name in ("one", "two"):
        found.plot(tmp_path / f"{name}.{form}")
    one, two = ((tmp_path / f"{name}.{form}").read_bytes() for name in ("one", "two"))
    assert one == two and len(one) > 5000


def test_scores_are_parts_of_the_largest():
    found = compared()
    page = drawn(found)
    signed, unsigned = (mesh for mesh in page.axes[0].collections if isinstance(mesh, QuadMesh))
    count = 11
    for row, result in enumerate(found.results.values()):
        expected = result.scores[0, :count] / result.scores[0].nan_to_num().abs().max()
        mesh, other = (unsigned, signed) if row == 1 else (signed, unsigned)
        values = mesh.get_array().reshape(3, -1)[row]
        assert values.filled(float("nan"))[:count] == pytest.approx(expected.tolist(), nan_ok=True)
        assert other.get_array().reshape(3, -1)[row].mask.all()
    assert (signed.norm.vmin, signed.norm.vmax) == (-1, 1) and (unsigned.norm.vmin, unsigned.norm.vmax) == (0, 1)
    said = texts(page)
    assert "2  saliency (no sign)" in said and "score / the method's largest absolute score" in said
    assert "Did not run here: lime." in said and "3 methods on a/model, objective log_prob" in said


def test_ticks_are_no_dashes_and_captions_stand_apart():
    page = drawn(compared())
    assert all(tick.tick1line.get_markersize() == 0 for tick in page.axes[0].yaxis.get_major_ticks())
    captions = [text for text in page.texts if text.get_text().startswith("left")]
    one, two = (text.get_window_extent().transformed(page.dpi_scale_trans.inverted()) for text in captions)
    assert two.x0 - one.x1 > 0.5


def test_the_matrix_is_what_was_found():
    found = compared(4, same=True)
    page = drawn(found)
    matrix = next(axes for axes in page.axes if axes.get_title(loc="left") == "agreement (Spearman)")
    values = torch.tensor(matrix.collections[0].get_array().reshape(4, 4))
    torch.testing.assert_close(values.float(), found.matrix())
    cells = {tuple(map(int, text.get_position())): text for text in matrix.texts}
    assert set(cells) == {(i, j) for i in range(4) for j in range(4) if i != j}
    for (column, row), cell in cells.items():
        pair = found.pair(found.names[row], found.names[column])
        assert cell.get_text() == f"{pair.spearman:.2f}".replace("0.", ".", 1) + "†" * pair.absolute
        assert cell.get_fontweight() == ("bold" if pair.spearman_holm < 0.05 else "normal")
    assert cells[0, 3].get_text() == "1.00" and cells[0, 3].get_fontweight() == "bold"
    assert "bold where p < 0.05, corrected for 6 pairs (Holm). †: of absolute scores" in texts(page)
    assert "†" not in texts(drawn(compared(2, unsigned=False)))


@pytest.mark.parametrize("methods", [2, 8])
@pytest.mark.parametrize("asked", [{"source": 1}, {"source": 10}, {"source": 60}, {"source": 60, "spans": 9}], ids=str)
def test_pages_stay_in_bounds(methods, asked):
    """Nothing is wider or higher than the page, no panels overlap, and what is left out is said."""
    with warnings.catch_warnings(record=True):  # a single score has no order
        warnings.simplefilter("always")
        page = drawn(compared(methods, target=19, **asked))
    width, height = page.get_size_inches()
    assert width <= 12.0 and height <= 16.0
    for text in page.texts:
        box = text.get_window_extent().transformed(page.dpi_scale_trans.inverted())
        assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height
    boxes = [axes.get_tightbbox().transformed(page.dpi_scale_trans.inverted()) for axes in page.axes]
    for box in boxes:
        assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height
    for number, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[number + 1 :])
    if asked.get("spans") == 9 and methods == 8:
        assert "left out" in texts(page)


def test_refusals(tmp_path, monkeypatch):
    found = compared()
    with pytest.raises(FileError, match=r"figures are written as \.png, \.svg, \.pdf, not 'a\.bmp'"):
        found.plot(tmp_path / "a.bmp")
    with pytest.raises(FileError, match="there is no folder"):
        found.plot(tmp_path / "no" / "a.png")
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    with pytest.raises(DependencyError, match=r"spanwise\[plots\]"):
        plot(tmp_path / "a.png", found.results, found.as_dict(results=False))
    assert list(tmp_path.iterdir()) == []


def test_the_tables():
    found = compared(2)
    renamed = {name.replace("saliency", "[bold]sal\x1b"): each for name, each in found.results.items()}
    found = Comparison.of(renamed, n_permutations=200)
    console = Console(width=120, file=io.StringIO())
    show(found.results, found.as_dict(results=False), console=console)
    printed = console.file.getvalue()
    pair = found.pairs[0]
    line = next(line for line in printed.splitlines() if " ~ " in line)
    assert line.split()[:3] == ["integrated_gradients", "~", "[bold]sal\\x1b"]
    values = [f"{pair.spearman:.2f}†", f"{pair.spearman_holm:.3f}", f"{pair.kendall:.2f}†", f"{pair.kendall_holm:.3f}"]
    assert line.split()[3:] == [*values, f"{pair.overlap:.0%}", f"{pair.overlap_holm:.3f}"]
    assert "\x1b" not in printed and "against 200 random orders, corrected for 1 pair (Holm)" in printed
