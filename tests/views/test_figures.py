"""Figures: what is drawn, what is left out and said to be, and that files come out the same each time.

Most tests read the figure's own objects; colors are read from the rendered pixels.
"""

import dataclasses
import itertools
import math
import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text
from random_result import random_result

from spanwise.attribution import Attribution
from spanwise.errors import DependencyError, FileError, OptionError
from spanwise.views import fonts
from spanwise.views.figures import bars, heatmap, plot

DRAW = {"heatmap": heatmap, "bars": bars}
SIGNATURES = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def meshes(figure: Figure) -> list[QuadMesh]:
    """The heat map's panels, without the color bar's own mesh."""
    return [mesh for axes in figure.axes[:-1] for mesh in axes.collections if isinstance(mesh, QuadMesh)]


def with_scores(result: Attribution, scores: torch.Tensor) -> Attribution:
    return dataclasses.replace(result, scores=scores)


@pytest.mark.parametrize("kind", DRAW)
@pytest.mark.parametrize("form", SIGNATURES)
def test_each_format_is_written_and_byte_identical(tmp_path, kind, form):
    result = random_result(spans=1)
    for name in ("one", "two"):
        plot(result, tmp_path / f"{name}.{form}", kind=kind)
    one, two = ((tmp_path / f"{name}.{form}").read_bytes() for name in ("one", "two"))
    assert one.startswith(SIGNATURES[form]) and len(one) > 5000
    assert one == two
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"one.{form}", f"two.{form}"]


def test_svg_text_is_text_and_dollars_are_no_mathematics(tmp_path):
    plot(random_result(), tmp_path / "a.svg", title="$\\frac{$ _a_")
    written = (tmp_path / "a.svg").read_text()
    for text in (">·$x_1$<", ">·$a_b$<", ">·[bold]<", ">⏎<", ">⇥<", ">$\\frac{$ _a_<"):
        assert text in written


def test_users_settings_and_backend_are_neither_used_nor_changed(tmp_path):
    plot(random_result(), tmp_path / "a.png")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "text.usetex": True}):
        before = dict(matplotlib.rcParams)
        plot(random_result(), tmp_path / "b.png")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_pyplot_is_not_imported():
    code = (
        "import sys; sys.path.insert(0, 'tests/views'); from random_result import random_result;"
        "from spanwise.views.figures import heatmap; heatmap(random_result());"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    root = __file__.rsplit("/tests/", 1)[0]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


@pytest.mark.parametrize("name", ["figure.jpg", "figure", "figure.svgz"])
def test_other_formats_are_refused_before_anything_is_drawn(tmp_path, name, monkeypatch):
    monkeypatch.setattr("spanwise.views.figures.heatmap", lambda *_, **__: pytest.fail("drawn"))
    with pytest.raises(FileError, match=rf"figures are written as \.png, \.svg, \.pdf, not '{name}'"):
        plot(random_result(), tmp_path / name)


def test_unknown_kind_missing_folder_and_missing_matplotlib(tmp_path, monkeypatch):
    with pytest.raises(OptionError, match=r"unknown kind of figure 'bar'\. Did you mean 'bars'\?"):
        plot(random_result(), tmp_path / "a.png", kind="bar")
    with pytest.raises(FileError, match="cannot write"):
        plot(random_result(), tmp_path / "missing" / "a.png")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"spanwise\[plots\]"):
        plot(random_result(), tmp_path / "a.png")


def test_zero_is_the_middle_color_and_the_strongest_score_an_end():
    result = random_result()
    (mesh,) = meshes(heatmap(result))
    strongest = float(result.scores.abs().nan_to_num(0).max())
    assert mesh.norm(0.0) == 0.5
    assert mesh.norm.vmax == pytest.approx(strongest) and mesh.norm.vmin == -mesh.norm.vmax
    red, green, blue, _ = mesh.cmap(mesh.norm(0.0))
    assert min(red, green, blue) > 0.95
    assert mesh.cmap(mesh.norm(strongest))[0] > mesh.cmap(mesh.norm(strongest))[2]
    assert mesh.cmap(mesh.norm(-strongest))[0] < mesh.cmap(mesh.norm(-strongest))[2]


def test_scores_without_sign_begin_at_zero():
    (mesh,) = meshes(heatmap(random_result(signed=False)))
    assert mesh.norm.vmin == 0.0 and mesh.norm(0.0) == 0.0


def test_cells_hold_the_scores_in_order():
    result = random_result(source=60, target=5)
    figure = heatmap(result)
    drawn = np.ma.concatenate([mesh.get_array().reshape(5, -1) for mesh in meshes(figure)], axis=1)
    assert drawn.shape == (5, 60)
    np.testing.assert_array_equal(drawn.filled(np.nan), result.scores[:, :60].numpy())
    assert len({(mesh.norm.vmin, mesh.norm.vmax) for mesh in meshes(figure)}) == 1
    assert figure.axes[0].get_ylim() == (4.5, -0.5)  # the first target token on top


def _pixels(figure: Figure, row: int, column: int) -> np.ndarray:
    """The inside of one cell of the first panel, as RGB."""
    figure.canvas.draw()
    image = np.asarray(figure.canvas.buffer_rgba())[:, :, :3].astype(int)
    points = figure.axes[0].transData.transform([(column - 0.3, row - 0.3), (column + 0.3, row + 0.3)])
    (left, one), (right, other) = points.astype(int)
    top, bottom = sorted((image.shape[0] - one, image.shape[0] - other))
    return image[top:bottom, left:right].reshape(-1, 3)


def test_not_defined_looks_different_from_zero_and_is_explained():
    scores = torch.zeros(9, 19)
    scores[:, 5] = math.nan
    figure = heatmap(with_scores(random_result(prefix=True), scores))
    zero, missing = _pixels(figure, 2, 2), _pixels(figure, 2, 5)
    assert len(np.unique(zero, axis=0)) == 1 and zero.min() > 240
    assert len(np.unique(missing, axis=0)) > 3 and missing.max() < 225  # hatched, and darker
    assert "frozen / not defined" in texts(figure)
    assert "Every defined score is 0." in texts(figure)
    everywhere = heatmap(with_scores(random_result(prefix=True), torch.ones(9, 19)))
    assert "frozen" not in texts(everywhere)


@pytest.mark.parametrize("kind", DRAW)
@pytest.mark.parametrize(("source", "target"), [(1, 1), (10, 26), (60, 26), (400, 1), (400, 26), (10, 200), (400, 200)])
def test_no_figure_is_larger_than_the_page_and_no_label_leaves_it(kind, source, target):
    figure = DRAW[kind](random_result(source, target, spans=min(target, 3)))
    width, height = figure.get_size_inches()
    assert width <= 12 and height <= 16
    figure.canvas.draw()
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1


@pytest.mark.parametrize("kind", DRAW)
def test_panels_and_their_labels_do_not_overlap(kind):
    figure = DRAW[kind](random_result(120, 9, spans=2))
    figure.canvas.draw()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    assert len(boxes) > 3
    for upper, lower in itertools.pairwise(boxes):
        assert upper.y0 >= lower.y1 - 1


def test_what_does_not_fit_is_left_out_where_the_score_is_small_and_named():
    result = random_result(400, 26)
    scores = result.scores * 1e-6
    scores[:, 200:240] = 1.0
    figure = heatmap(with_scores(result, scores))
    assert "source tokens [200, 240) of 400" in texts(figure)
    assert "of 400 left out: under 1 % of the absolute score." in texts(figure)
    scores[:, :400] = 0.0
    scores[:, 0:40], scores[:, 120:160], scores[:, 240:280] = 1.0, -1.0, 0.5  # there is room for two of them
    note = "source tokens [40, 120), [160, 400) of 400 left out: 20 % of the absolute score."
    assert note in texts(heatmap(with_scores(result, scores)))


def test_rows_of_a_long_target_are_left_out_by_score_and_numbered():
    result = random_result(10, 200)
    scores = result.scores * 1e-6
    scores[150] = 1.0
    figure = heatmap(with_scores(result, scores))
    assert "target rows [" in texts(figure) and "of 200 left out: under 1 %" in texts(figure)
    assert f"150  {'·tra' if 150 % 9 == 2 else '·to'}" in texts(figure)


@pytest.mark.parametrize("kind", DRAW)
def test_a_fixed_prefix_is_not_drawn_and_an_attributed_one_is(kind):
    fixed, scored = DRAW[kind](random_result()), DRAW[kind](random_result(prefix=True))
    assert "8 generated source tokens without any score are not drawn." in texts(fixed)
    assert "source tokens [0, 11) of 11" in texts(fixed)
    assert "source tokens [0, 19) of 19; generated: [11, 19)" in texts(scored)
    border = [line for line in scored.axes[0].lines if list(line.get_xdata()) == [10.5, 10.5]]
    assert len(border) == 1
    assert not [line for line in fixed.axes[0].lines if list(line.get_xdata()) == [10.5, 10.5]]


def test_bars_are_the_span_scores_and_frozen_tokens_have_none():
    result = random_result(spans=2)
    figure = bars(result)
    for index, axes in enumerate(figure.axes):
        found = {round(bar.get_x() + 0.4): bar.get_height() for bar in axes.containers[0]}
        assert sorted(found) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
        assert found[3] == pytest.approx(float(result.span_scores[index, 3]))
        colors = {bar.get_height() > 0: bar.get_facecolor() for bar in axes.containers[0]}
        assert colors[True][0] > colors[True][2] and colors[False][0] < colors[False][2]
    assert 'span [1] "·tra' in texts(figure)
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


@pytest.mark.parametrize(
    ("signed", "reduction"), [(True, "sum over rows"), (False, "sum of absolute values over rows")]
)
def test_bars_without_spans_put_the_rows_together_and_say_how(signed, reduction):
    result = random_result(signed=signed)
    figure = bars(result)
    assert f"target ({reduction})" in texts(figure)
    assert 5 not in [round(bar.get_x() + 0.4) for bar in figure.axes[0].containers[0]]  # frozen in every row
    first = figure.axes[0].containers[0][0].get_height()
    assert first == pytest.approx(float(result.scores[:, 0].sum()), rel=1e-5)


def test_bars_of_a_span_whose_scores_are_not_defined_put_its_rows_together():
    result = random_result(spans=1)
    undefined = dataclasses.replace(result, span_scores=torch.full_like(result.span_scores, math.nan))
    figure = bars(undefined)
    assert "span (sum over rows)" in texts(figure)
    assert figure.axes[0].containers[0][0].get_height() == pytest.approx(float(result.scores[:2, 0].sum()), rel=1e-5)


@pytest.mark.parametrize("kind", DRAW)
@pytest.mark.parametrize("value", [math.nan, 0.0])
def test_results_without_any_score(kind, value):
    result = random_result(spans=2, rows="span")
    scores = torch.full_like(result.scores, value)
    figure = DRAW[kind](dataclasses.replace(result, scores=scores, span_scores=scores))
    figure.canvas.draw()
    assert ("No score is defined." if math.isnan(value) else "Every defined score is 0.") in texts(figure)


def test_characters_that_no_font_has_become_boxes_with_a_note(monkeypatch):
    monkeypatch.setattr(fonts, "_drawn", lambda: frozenset(range(0x2600)) - {ord("k")})
    figure = heatmap(random_result())
    assert "·□eys" in texts(figure) and "□□□" in texts(figure)
    assert "□: no installed font draws this character" in texts(figure)


def test_labels_of_wide_letters_are_cut_to_their_room():
    result = random_result()
    wide = dataclasses.replace(result.source[0], text="W" * 14)
    figure = heatmap(dataclasses.replace(result, source=(wide, *result.source[1:])))
    assert re.search(r"\nW{5,10}…\n", texts(figure))


def test_rows_of_the_span_are_marked_in_the_matrix():
    figure = heatmap(random_result(spans=1))
    marked = [line.get_ydata()[0] for line in figure.axes[0].lines if list(line.get_xdata()) == [0, 0]]
    assert marked == [-0.5, 0.5]
    assert "Thick line beside the rows" in texts(figure)


def test_default_title_names_method_model_and_objective():
    assert "integrated_gradients (captum) of a/model, objective log_prob" in texts(heatmap(random_result()))
    assert "log_prob, nats" in texts(heatmap(random_result()))


@pytest.mark.parametrize("kind", DRAW)
def test_a_long_title_is_wrapped_and_cut_within_the_page(kind):
    figure = DRAW[kind](random_result(), title="A rather long title " * 40)
    figure.canvas.draw()
    (title,) = (text for text in figure.texts if text.get_text().startswith("A rather"))
    assert title.get_text().count("\n") == 2 and title.get_text().endswith(" …")
    assert title.get_window_extent().x1 < figure.bbox.x1
