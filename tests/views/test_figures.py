"""Figures: what is drawn, what is left out and said to be, and that files come out the same each time.

Most tests read the figure's own objects; colors are read from the rendered pixels.
"""

import dataclasses
import itertools
import math
import re
import subprocess
import sys
import warnings

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from random_result import random_result

from spanwise.attribution import Attribution
from spanwise.errors import DependencyError, FileError, OptionError
from spanwise.views import colors, fonts
from spanwise.views.figures import bars, heatmap, plot, strip
from spanwise.views.strip import scale

DRAW = {"heatmap": heatmap, "bars": bars}
EVERY = DRAW | {"strip": strip}
SIGNATURES = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def meshes(figure: Figure) -> list[QuadMesh]:
    """The heat map's panels, without the color bar's own mesh."""
    return [mesh for axes in figure.axes[:-1] for mesh in axes.collections if isinstance(mesh, QuadMesh)]


def with_scores(result: Attribution, scores: torch.Tensor) -> Attribution:
    return dataclasses.replace(result, scores=scores)


@pytest.mark.parametrize("kind", EVERY)
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


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize(("width", "inches"), [("column", 3.5), ("page", 7.2), (2, 2.0), (5.5, 5.5)])
def test_figures_have_the_width_asked_for_and_letters_of_6_points(kind, width, inches):
    for source, target in ((11, 4), (150, 6)):
        figure = EVERY[kind](random_result(source, target, spans=2), width=width)
        wide, high = figure.get_size_inches()
        assert wide == pytest.approx(inches) and high <= 10.5
        assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 6
        figure.canvas.draw()
        for axes in figure.axes:
            box = axes.get_tightbbox()
            assert box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y0 >= 0
        for text in figure.texts:
            assert text.get_window_extent().x1 <= figure.bbox.x1 + 1


@pytest.mark.parametrize("width", [1.9, 12.1, 0, -3.5, "colum", True, math.nan, "3.5"])
def test_other_widths_are_refused(tmp_path, width):
    with pytest.raises(
        OptionError, match=r'inches from 2 to 12, "column" \(3\.5 inches\), "page" \(7\.2 inches\), or None'
    ):
        plot(random_result(), tmp_path / "a.png", width=width)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("columns", [(0, 12), (-1, 3), (4, 4), (5, 2), (0.0, 3), (1,), "ab", True])
def test_columns_that_are_not_there_are_refused(columns):
    with pytest.raises(OptionError, match="columns must"):
        heatmap(random_result(), columns=columns)


@pytest.mark.parametrize("kind", DRAW)
def test_the_columns_asked_for_are_drawn(kind):
    said = texts(EVERY[kind](random_result(60, 3, spans=1), columns=(9, 14)))
    assert "source tokens [9, 14) of 60" in said and "source tokens [0, 9), [14, 60) of 60 left out" in said


def test_one_of_path_and_axes_is_needed(tmp_path):
    axes = Figure().subplots()
    for given in ({}, {"path": tmp_path / "a.png", "ax": axes}):
        with pytest.raises(
            OptionError, match=r"needs one of path= \(a file\) and ax= \(axes of a figure\), not (neither|both)"
        ):
            plot(random_result(), **given)
    with pytest.raises(OptionError, match="axes keep the size they have"):
        plot(random_result(), ax=axes, width="column")
    with pytest.raises(OptionError, match="colorbar= is for heat maps and strips"):
        plot(random_result(), ax=axes, kind="bars", colorbar=True)
    with pytest.raises(OptionError, match="not polar ones"):
        plot(random_result(), ax=Figure().add_subplot(projection="polar"))


@pytest.mark.usefixtures("unchecked_types")
def test_what_is_not_axes_is_refused():
    with pytest.raises(OptionError, match="ax must be axes of a matplotlib figure, not Figure"):
        plot(random_result(), ax=Figure())


@pytest.mark.parametrize("layout", [None, "constrained", "tight"])
@pytest.mark.parametrize("kind", EVERY)
def test_axes_of_the_users_are_drawn_into_and_nothing_else_changes(kind, layout):
    figure = Figure((8, 4), layout=layout)
    ours, other = figure.subplots(1, 2)
    other.plot([1, 2, 3])
    before, size = dict(matplotlib.rcParams), tuple(figure.get_size_inches())
    untouched = [(type(artist), artist.get_visible()) for artist in other.get_children()]
    kept = other.get_xlim(), other.get_ylim(), other.get_xlabel(), other.get_title()
    made = plot(random_result(200, 9, spans=1), ax=ours, kind=kind)
    assert made is ours
    assert dict(matplotlib.rcParams) == before and tuple(figure.get_size_inches()) == size
    assert [(type(artist), artist.get_visible()) for artist in other.get_children()] == untouched
    assert (other.get_xlim(), other.get_ylim(), other.get_xlabel(), other.get_title()) == kept
    said = " ".join(text.get_text() for text in ours.findobj(Text)).replace("\n", " ")
    assert "of 200 source tokens left out (" in said and len(figure.axes) == 2
    assert ours.get_title() == ours.get_title(loc="left") == ""
    figure.canvas.draw()


def test_axes_show_no_more_labels_than_fit_them():
    figure = Figure((4, 3))
    axes = figure.subplots()
    plot(random_result(200, 60), ax=axes)
    shown = [text for text in axes.get_xticklabels() if text.get_text()]
    wide = axes.bbox.width / len(shown)
    assert 3 <= len(shown) <= 40 and wide >= shown[0].get_fontsize() * figure.dpi / 72
    rows = axes.get_yticklabels()
    assert axes.bbox.height / len(rows) >= rows[0].get_fontsize() * figure.dpi / 72
    assert "target rows left out" in axes.get_xlabel().replace("\n", " ")


@pytest.mark.parametrize("kind", ["heatmap", "strip"])
def test_a_color_bar_with_the_unit_is_taken_from_the_axes(kind):
    figure = Figure((6, 3))
    axes = figure.subplots()
    before = axes.get_position().width
    plot(random_result(spans=1), ax=axes, kind=kind, colorbar=True, title="mine")
    assert [each.get_ylabel() for each in figure.axes[1:]] == ["log_prob, nats"]
    assert axes.get_position().width < before and axes.get_title(loc="left") == "mine"
    without = plot(random_result(spans=1), ax=Figure((6, 3)).subplots(), kind=kind)
    assert re.search(r"colors: -\S+ to \S+ \(log_prob,\snats\)", without.get_xlabel())


def test_several_spans_get_panels_inside_the_axes():
    axes = Figure((5, 5)).subplots()
    plot(random_result(spans=2), ax=axes, kind="bars")
    assert len(axes.child_axes) == 2
    assert [panel.get_title(loc="left") for panel in axes.child_axes] == ['span [0] "·painting,"', 'span [1] "·travel"']


# Machado, Oliveira and Fernandes 2009, table 1, severity 1.0: linear RGB as a dichromat sees it.
BLIND = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def _lab(color, matrix) -> np.ndarray:
    """CIE L*a*b* (D65) of a color as it is seen through a matrix of `BLIND`."""
    rgb = np.asarray(to_rgb(color))
    linear = np.clip(matrix @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4), 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    x, y, z = np.cbrt(np.maximum(xyz / [0.9505, 1.0, 1.089], 1e-4))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", BLIND)
@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_signs_differ_for_color_blind_readers(eyes, strength):
    """A difference of 10 in CIE L*a*b* is seen at a glance; red and green of one lightness stay below."""
    matrix = np.array(BLIND[eyes])
    strip_map = scale(random_result(spans=1))[1]
    for colormap in (colormaps[colors.DIVERGING_MAP], strip_map):
        high, low = colormap(0.5 + strength / 2), colormap(0.5 - strength / 2)
        assert np.linalg.norm(_lab(high, matrix) - _lab(low, matrix)) > 10
    bars_differ = [colors.hexadecimal(each) for each in (colors.POSITIVE, colors.NEGATIVE)]
    assert np.linalg.norm(np.subtract(*(_lab(each, matrix) for each in bars_differ))) > 10
    if eyes == "deuteranopia":  # the measure tells good pairs from bad ones
        assert np.linalg.norm(_lab("#d7301f", matrix) - _lab("#6b6b00", matrix)) < 25


def test_emoji_without_a_font_are_named_and_joiners_kept_where_they_shape(monkeypatch):
    monkeypatch.setattr(fonts, "_drawn", lambda: range(0x1F000))
    assert fonts.drawable("go 🚀\ufe0f!") == "go ⟨rocket⟩!"
    assert fonts.drawable("👩‍👩‍👧") == "⟨woman⟩⟨woman⟩⟨girl⟩" and fonts.drawable("👍🏽") == "⟨thumbs up sign⟩"
    assert fonts.drawable("می\u200cخواهم") == ("می\u200cخواهم" if fonts.shapes() else "میخواهم")
    token = dataclasses.replace(random_result().source[0], text="🚀")
    result = random_result()
    figure = heatmap(dataclasses.replace(result, source=(token, *result.source[1:])))
    assert "⟨rocket⟩" in texts(figure) and "⟨name⟩: an emoji that no installed font draws" in texts(figure)


def test_an_older_matplotlib_says_that_it_does_not_join_letters(monkeypatch):
    result = random_result()
    arabic = (dataclasses.replace(result.source[0], text="مرحبا"), *result.source[1:])
    note = "Letters are not joined or ordered as they should be: that needs matplotlib 3.11."
    monkeypatch.setattr(fonts, "_drawn", lambda: range(0x110000))
    monkeypatch.setattr("spanwise.views.panels.shapes", lambda: False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no font of this machine may have the letters
        assert note in texts(heatmap(dataclasses.replace(result, source=arabic)))
        assert note not in texts(heatmap(result))


def test_only_the_fonts_that_a_text_needs_are_used(monkeypatch):
    drawn = {"DejaVu Sans": "ab", "Noto Sans CJK SC": "あ直", "Noto Sans CJK JP": "あ直", "Noto Sans Thai": "ก"}
    monkeypatch.setattr(fonts, "installed", lambda: tuple(drawn))
    monkeypatch.setattr(fonts, "_charmap", lambda family: frozenset(map(ord, drawn[family])))
    assert fonts.families("ab") == ["DejaVu Sans"]
    assert fonts.families("a直") == ["DejaVu Sans", "Noto Sans CJK SC"]
    assert fonts.families("a直あ") == ["DejaVu Sans", "Noto Sans CJK JP"]
    assert fonts.families("") == list(drawn)
