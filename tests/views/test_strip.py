"""The strip: where words, boxes and lines go, in every direction of writing, as a figure and as LaTeX.

Most tests set lines with a ruler on which every character is one inch wide, so that places can be counted.
"""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from random_result import random_result

from spanwise.errors import FileError, OptionError
from spanwise.views import fonts
from spanwise.views.figures import plot, strip
from spanwise.views.labels import visible
from spanwise.views.latex import _ESCAPES, escape, latex
from spanwise.views.running import Piece
from spanwise.views.strip import PARTS, scale
from spanwise.views.strip_lines import Line, set_lines


def count(text: str) -> float:
    return float(sum(character not in "\u200d\u200f" for character in text))


def pieces(*texts: str) -> list[Piece]:
    return [Piece(text, float(i), i) for i, text in enumerate(texts)]


def texts(line: Line) -> list[str]:
    return [run.text.strip("\u200f") for run in sorted(line.runs, key=lambda run: run.start)]


def drawn(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def boxes(figure: Figure) -> list[PolyCollection]:
    return [part for part in figure.axes[0].collections if isinstance(part, PolyCollection)]


@pytest.fixture(autouse=True)
def every_font(monkeypatch):
    """Every character can be drawn, whatever fonts the machine has."""
    monkeypatch.setattr(fonts, "_drawn", lambda: range(0x110000))


def test_words_are_wrapped_and_keep_their_tokens():
    lines = set_lines(pieces("The", " keys", " to", " it", " fit"), 10, count)
    assert [texts(line) for line in lines] == [["The", "keys"], ["to", "it", "fit"]]
    assert [(box.start, box.end, box.fragment.index) for box in lines[1].boxes] == [
        (0.0, 2.0, 2),
        (pytest.approx(2.7), 5.0, 3),  # most of the space before a word stays white
        (pytest.approx(5.7), 9.0, 4),
    ]


def test_parts_of_a_word_stay_on_one_line_and_break_only_where_they_must():
    assert [texts(line) for line in set_lines(pieces("a", " coun", "ter", "part"), 11, count)] == [
        ["a"],
        ["coun", "ter", "part"],
    ]
    long = set_lines(pieces("abcdefghij", "klm"), 5, count)
    assert [texts(line) for line in long] == [["abcde"], ["fghij"], ["klm"]]
    assert [box.fragment.index for line in long for box in line.boxes] == [0, 0, 1]
    spaced = set_lines(pieces("one two three"), 8, count)
    assert [texts(line) for line in spaced] == [["one", "two"], ["three"]]


def test_breaks_of_the_text_are_shown_and_control_characters_spelled_out():
    lines = set_lines(pieces("a\nb", "\n", "\n", "c\x1b[31m\u202e"), 40, count)
    assert [texts(line) for line in lines] == [["a⏎"], ["b", "⏎"], ["⏎"], ["c\\x1b[31m\\u202e"]]


def test_han_text_breaks_anywhere_but_not_before_a_full_stop():
    lines = set_lines(pieces("日本", "語です", "。終"), 5, count)
    assert ["".join(texts(line)) for line in lines] == ["日本語で", "す。終"]


def test_right_to_left_paragraphs_run_from_the_right_and_keep_numbers_and_names():
    (line,) = set_lines(pieces("שלום", " abc", " def", " 12", " עולם"), 30, count)
    assert texts(line) == ["עולם", "abc", "def", "12", "שלום"]  # a number goes with the letters before it: def 12
    first = next(box for box in line.boxes if box.fragment.index == 0)
    assert (first.start, first.end) == (26.0, 30.0)
    (line,) = set_lines(pieces("say", " שלום", " 12", " עולם", " now"), 30, count)
    assert texts(line) == ["say", "עולם", "12", "שלום", "now"]


def test_letters_that_join_are_drawn_together_with_a_box_each():
    (line,) = set_lines(pieces("مر", "حبا", "!"), 20, count)
    assert texts(line) == ["!", "مرحبا"]
    assert [(box.start, box.end) for box in line.boxes if box.fragment.index < 2] == [(18.0, 20.0), (15.0, 18.0)]
    (line,) = set_lines(pieces("क", "ि", " है"), 20, count)
    assert texts(line) == ["कि", "है"]
    assert [(box.start, box.end) for box in line.boxes[:2]] == [(0.0, 1.0), (1.0, 2.0)]


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=12), max_size=12), st.integers(1, 30))
def test_no_text_is_lost_and_no_line_is_too_wide(parts, width):
    lines = set_lines(pieces(*parts), width, count)
    shown = "".join(sorted("".join(box.fragment.text for line in lines for box in line.boxes)))
    expected = "".join(visible(part) for part in parts)
    for invisible in ("\u200c", "\u200d", "\ufe0e", "\ufe0f"):
        expected, shown = expected.replace(invisible, ""), shown.replace(invisible, "")
    assert sorted(re.sub(r"\s", "", shown)) == sorted(re.sub(r"\s", "", expected))
    for line in lines:
        assert all(-1e-6 <= box.start <= box.end for box in line.boxes)
        wide = [box for box in line.boxes if box.end > width + 1e-6]
        assert not wide or all(count(box.fragment.text) > 1 for box in wide)


def test_each_block_shows_the_target_with_the_span_framed_and_the_whole_source():
    result = random_result(spans=2)
    figure = strip(result)
    said = drawn(figure)
    for expected in ("span [0]", "span [1]", "$x_1$", "[bold]", "counterrevolutionaries", "painting", "log_prob, nats"):
        assert expected in said
    colored, frames = boxes(figure)
    assert len(colored.get_paths()) == 2 * 10  # eleven tokens, one of them frozen
    assert len(frames.get_paths()) == 2
    gray = [text for text in figure.findobj(Text) if text.get_text() == "<s>"]
    assert len(gray) == 2 and all(text.get_color() == "#767676" for text in gray)
    assert "gray: frozen / not defined" in said


def test_boxes_have_the_color_of_their_score_and_strong_negative_ones_a_line():
    result = random_result(spans=1)
    figure = strip(result)
    norm, colormap = scale(result)
    order = [i for i in range(11) if not result.span_scores[0, i].isnan()]
    expected = [colormap(norm(float(result.span_scores[0, i]))) for i in order]
    np.testing.assert_allclose(boxes(figure)[0].get_facecolor(), expected)
    limit = float(result.span_scores.nan_to_num(0).abs().max())
    (lines,) = [part for part in figure.axes[0].collections if isinstance(part, LineCollection)]
    assert len(lines.get_segments()) == int((result.span_scores[0, :11] < -0.1 * limit).sum())
    assert "Underlined: negative, 10% of the strongest score or more." in drawn(figure)
    assert "Underlined" not in drawn(strip(random_result(spans=1, signed=False)))


@pytest.mark.parametrize("signed", [True, False])
def test_black_letters_are_readable_on_every_color(signed):
    """Contrast of at least 4.5 to 1, WCAG 2.1 success criterion 1.4.3."""
    _, colormap = scale(random_result(spans=1, signed=signed))
    assert PARTS[signed][1] < 1
    for place in np.linspace(0, 1, 41):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colormap(place))]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert (luminance + 0.05) / 0.05 >= 4.5


def test_without_spans_there_is_a_block_for_each_target_token():
    said = drawn(strip(random_result(11, 5)))
    assert [f"target token [{i}]" in said for i in range(6)] == [True] * 5 + [False]


def test_long_texts_and_many_blocks_are_cut_by_score_and_say_so():
    result = random_result(2500, 3, spans=1)
    scores = torch.full_like(result.span_scores, 1e-6)
    scores[0, 1200:1230] = 1.0
    figure = strip(dataclasses.replace(result, span_scores=scores))
    said = drawn(figure)
    assert re.search(r"source tokens \[0, \d+\), .* of 2502 left out: under 1 % of the absolute score", said)
    assert "…" in said.splitlines() and figure.get_size_inches()[1] <= 9.7
    many = drawn(strip(random_result(60, 40)))
    assert re.search(r"target tokens .* of 40 left out: \d+ % of the absolute score", many)


def test_a_part_of_the_source_can_be_asked_for():
    said = drawn(strip(random_result(60, 2, spans=1), columns=(11, 22)))
    assert said.count("counterrevolutionaries") == 1
    assert "source tokens [0, 11), [22, 60) of 60 left out" in said


def test_generated_text_begins_at_a_mark():
    said = drawn(strip(random_result(spans=1, prefix=True)))
    assert "‖" in said.splitlines() and "‖: what follows was generated." in said
    assert "‖" not in drawn(strip(random_result(spans=1)))


@pytest.mark.parametrize("value", [math.nan, 0.0])
def test_results_without_any_score(value):
    result = random_result(spans=2, rows="span")
    scores = torch.full_like(result.scores, value)
    figure = strip(dataclasses.replace(result, scores=scores, span_scores=scores))
    assert ("No score is defined." if math.isnan(value) else "Every defined score is 0.") in drawn(figure)


def test_text_of_files_is_text(tmp_path):
    plot(random_result(spans=1), tmp_path / "a.svg", kind="strip")
    written = (tmp_path / "a.svg").read_text()
    for expected in (">$x_1$<", ">counterrevolutionaries<", ">different<"):
        assert expected in written


@settings(deadline=None)
@given(st.text(max_size=30) | st.text("\\{}$&#%_^~\"'`<>|-[]!?, \n\tab日\x1b⏎…", max_size=30))
def test_nothing_in_a_text_is_a_latex_command(text):
    """Read back: each escape is its character again, and no sign that TeX acts on stands outside of an escape."""
    names = {escaped: character for character, escaped in _ESCAPES.items()}
    pattern = "|".join(re.escape(escaped) for escaped in sorted(names, key=len, reverse=True))
    written = escape(text)
    assert re.sub(pattern, lambda found: names[found.group()], written) == visible(text)
    assert not set(re.sub(pattern, "", written)) & set("\\{}$&#%_^~\"'`<>|-\n\r")
    assert "  " not in written and not written.startswith(" ") and (written[-2:] == "\\ " or written[-1:] != " ")


def test_latex_has_the_whole_text_in_boxes(tmp_path):
    result = random_result(60, 9, spans=2)
    plot(result, tmp_path / "a.tex", kind="strip", title="50 % of $x$")
    written = (tmp_path / "a.tex").read_text(encoding="utf-8")
    assert written == latex(result, title="50 % of $x$")
    assert r"\textbf{50 \% of \$x\$}" in written
    assert written.count(r"\$x\_1\$") == 2 * 5 and r"\textbf{\space{}painting,{}}" in written
    assert written.count("{") == written.count("}") + written.count(r"\{") - written.count(r"\}")
    shades = [tuple(map(int, found)) for found in re.findall(r"\[RGB\]\{(\d+),(\d+),(\d+)\}", written)]
    assert len(shades) == 2 * 55 and min(map(min, shades)) > 60  # black letters stay readable
    assert r"{\color[gray]{0.45}\strut \textless{}s\textgreater{}}" in written


def test_latex_is_for_strips_and_has_the_width_of_its_document(tmp_path):
    with pytest.raises(FileError, match=r"written as \.png, \.svg, \.pdf, not 'a\.tex'"):
        plot(random_result(), tmp_path / "a.tex")
    with pytest.raises(FileError, match=r"written as \.png, \.svg, \.pdf, \.tex, not 'a\.doc'"):
        plot(random_result(), tmp_path / "a.doc", kind="strip")
    with pytest.raises(OptionError, match=r"a \.tex file holds the whole text"):
        plot(random_result(), tmp_path / "a.tex", kind="strip", width="column")
    assert list(tmp_path.iterdir()) == []
