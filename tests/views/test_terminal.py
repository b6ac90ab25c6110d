"""The terminal view: what stands there with and without color, and that texts stay texts."""

import dataclasses
import io
import math
import re

import pytest
import torch
from random_result import random_result
from rich.console import Console

from spanwise.attribution import Attribution, Token
from spanwise.views.labels import cells, label, shorten, visible
from spanwise.views.terminal import show


def printed(result: Attribution, *, width: int = 100, color: bool = False) -> str:
    file = io.StringIO()
    system = "truecolor" if color else None
    show(result, console=Console(file=file, width=width, force_terminal=color, color_system=system))
    return file.getvalue()


def test_one_block_a_span_with_the_strongest_tokens_and_the_facts():
    result = random_result(spans=2)
    text = printed(result)
    assert text.count("span: ") == 2
    assert "» painting,« travel" in text and "painting,» travel« 日本" in text
    for row in result.span_scores:
        order = sorted((i for i in range(11) if i != 5), key=lambda i: -abs(float(row[i])))
        for i in order[:5]:
            assert re.search(rf"{re.escape(f'{float(row[i]):+.4f}')}[^\n\[]+\[{i}\] ", text)
        assert f"{float(row[order[5]]):+.4f}" not in text
    for fact in ("integrated_gradients (captum) of a/model", "log_prob (nats)", "baseline zero", "gap 0.34%"):
        assert fact in text
    assert "52 forwards, 50 backwards" in text and "3.2 seconds" in text


def test_without_spans_each_row_is_a_block_and_many_are_cut_with_a_note():
    assert printed(random_result(target=9)).count("target token: ") == 9
    text = printed(random_result(target=30))
    assert text.count("target token: ") == 12
    assert re.search(r"target tokens \[.*\) of 30 left out: \d+ % of the absolute score", " ".join(text.split()))


def test_prompts_are_not_read_as_markup_and_control_characters_are_spelled_out():
    result = random_result(spans=1)
    evil = "\x1b[31m[/]\u202e"
    token = Token(evil, 1, 0, len(evil), "prompt")
    moved = [dataclasses.replace(t, start=t.start + 5, end=t.end + 5) for t in result.source[1:11]]
    source = (token, *moved, *result.source[11:])
    text = printed(dataclasses.replace(result, source=source, prompt=evil + result.prompt[3:]))
    assert "\\x1b[31m[/]\\u202e" in text and "\x1b" not in text and "\u202e" not in text
    assert "[bold]" in text and "$x_1$" in text


def ablated(largest: float, **changed: object) -> Attribution:
    """A result of `feature_ablation` whose strongest score is `largest`."""
    result = random_result(spans=1)
    told = {"method": "feature_ablation", "objective": "log_prob", "unit": "nats", "backwards": 0, **changed}
    factor = largest / float(result.scores.nan_to_num().abs().max())
    provenance = dataclasses.replace(result.provenance, **told)
    return dataclasses.replace(
        result, scores=result.scores * factor, span_scores=result.span_scores * factor, provenance=provenance
    )


def test_a_picture_of_nothing_says_so():
    note = (
        "note: no single feature moves the objective by 0.01 nats: ask for larger features (features='sentence') "
        "or a method that removes several at once (shapley_value_sampling)"
    )
    assert note in " ".join(printed(ablated(0.0099)).split())
    already = " ".join(printed(ablated(0.0099, method="shapley_value_sampling")).split())
    assert "(features='sentence')" in already and "several at once" not in already
    strong, gradient = ablated(0.0101), ablated(0.0099, method="saliency", backwards=1)
    other_unit = ablated(0.0099, objective="prob", unit="probability")
    for result in (strong, gradient, other_unit):
        assert "no single feature" not in printed(result)


def test_strong_tokens_are_marked_without_color():
    result = random_result(spans=1)
    scores = torch.zeros_like(result.span_scores)
    scores[0, [1, 7, 9]] = torch.tensor([2.0, -1.1, 0.9])
    text = printed(dataclasses.replace(result, span_scores=scores))
    assert "[+ keys+]" in text and "[- [bold]-]" in text and "counterrevolutionaries+]" not in text
    assert "at least half of the strongest score, 2 nats" in text


def test_colors_follow_sign_and_strength_and_frozen_is_dim():
    result = random_result(spans=1)
    scores = torch.zeros_like(result.span_scores)
    scores[0, [1, 7, 9]] = torch.tensor([2.0, -2.0, 0.2])
    scores[0, 5] = math.nan
    text = printed(dataclasses.replace(result, span_scores=scores), color=True)
    assert "48;2;178;24;43m keys\x1b" in text and "48;2;33;102;172m [bold]\x1b" in text
    assert "\x1b[38;2;214;96;77m counterrevolutionaries\x1b" in text  # a weak score colors the letters alone
    assert "\x1b[2m<s>\x1b" in text
    assert "[+" not in text
    assert "\x1b[1;4m painting,\x1b" in text


def test_no_color_environment_gives_markers(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    file = io.StringIO()
    show(random_result(spans=1), console=Console(file=file, force_terminal=True, width=100))
    assert "38;2;" not in file.getvalue() and "48;2;" not in file.getvalue()
    assert "at least half of the strongest score" in file.getvalue()


@pytest.mark.parametrize("width", [24, 40, 200])
def test_lines_fit_the_terminal(width):
    for line in printed(random_result(60, 9, spans=2), width=width).splitlines():
        assert cells(line) <= width


def test_long_sources_are_windowed_and_say_so():
    result = random_result(1000, 9, spans=1)
    text = " ".join(printed(result).split())
    assert re.search(r"source tokens \[.*\) of 1000 left out: \d+ % of the absolute score", text)
    assert " … " in text


def test_the_generated_prefix_is_set_off_when_it_has_scores():
    assert "‖" not in printed(random_result(spans=1))
    result = random_result(spans=4, prefix=True)
    assert "‖  painting, travel" in printed(result)
    span_scores = result.span_scores.clone()
    span_scores[3, 11] = 50.0
    assert "generated [11]" in printed(dataclasses.replace(result, span_scores=span_scores))


def test_a_character_shared_by_tokens_is_printed_once_in_the_stronger_color():
    result = random_result(1, 2, spans=1)
    shared = (Token("é", 1, 0, 1, "prompt"), Token("é", 2, 0, 1, "prompt"))
    table = torch.tensor([[0.5, -3.0]])
    result = dataclasses.replace(
        result, source=shared, prompt="é", scores=torch.zeros(2, 2), span_scores=table, spans=result.spans
    )
    lines = printed(result).splitlines()
    assert lines[1] == "[-é-]"
    assert re.search(r"-3\.0000  █{8} +\[1\]  é", lines[2]) and re.search(r"\+0\.5000 +█. +\[0\]  é", lines[3])


def test_tokens_without_text_show_their_id_and_text_between_tokens_is_kept():
    result = random_result(2, 2, spans=1)
    source = (Token("", 7, 0, 0, "prompt", special=True, frozen=True), Token("b", 8, 3, 4, "prompt"))
    scores = torch.tensor([[math.nan, 1.0]])
    text = printed(
        dataclasses.replace(result, source=source, prompt="a, b", scores=scores.repeat(2, 1), span_scores=scores)
    )
    assert "[7]a, [+b+]" in text


@pytest.mark.parametrize(("value", "said"), [(math.nan, "no score is defined"), (0.0, "every defined score is 0")])
def test_results_without_any_score(value, said):
    result = random_result(1, 1, spans=1, rows="span")
    scores = torch.full_like(result.scores, value)
    assert said in printed(dataclasses.replace(result, scores=scores, span_scores=scores))


def test_scores_without_sign_are_purple_and_promise_no_sign():
    text = printed(random_result(spans=1, signed=False), color=True)
    assert "48;2;84;39;143m" in text and "48;2;178;24;43m" not in text
    assert "negative" not in printed(random_result(spans=1, signed=False))


def test_labels():
    assert label("  a b\n ") == "··a b⏎·"
    assert label("counterrevolutionaries") == "counterrevolu…"
    assert label("   ") == "···"
    assert shorten("日本語日本語", 5) == "日本…"
    assert visible("\u200d") == "\\u200d" and visible("👩\u200d👧") == "👩\u200d👧"
    assert visible("\x00\u2028\t") == "\\x00\\u2028⇥"


def test_notes_are_told() -> None:
    """What a result's reader should know stands under it: a span that cuts a token, a gap, unpacked weights."""

    result = random_result(6, 2)
    told = dataclasses.replace(result.provenance, notes=("the span begins inside a [bold]token",))
    stream = io.StringIO()
    show(dataclasses.replace(result, provenance=told), console=Console(file=stream, width=100))
    assert "note: the span begins inside a [bold]token" in stream.getvalue()


def test_sixteen_colors_tell_weak_middle_and_strong_apart():
    result = random_result(spans=1)
    scores = torch.zeros_like(result.span_scores)
    scores[0, [1, 7, 10, 9]] = torch.tensor([2.0, -2.0, 0.8, 0.2])
    file = io.StringIO()
    console = Console(file=file, width=100, force_terminal=True, color_system="standard")
    show(dataclasses.replace(result, span_scores=scores), console=console)
    tokens = [re.escape(result.source[i].text) for i in (1, 7, 10, 9)]
    for token, style in zip(tokens, ("30;41", "30;46", "1;31", "31"), strict=True):
        assert re.search(rf"\x1b\[{style}m{token}\x1b", file.getvalue())
    assert "38;2;" not in file.getvalue()


def test_bars_start_at_zero_and_need_room():
    result = random_result(spans=1)
    scores = torch.zeros_like(result.span_scores)
    scores[0, [1, 7]] = torch.tensor([2.0, -1.0])
    text = printed(dataclasses.replace(result, span_scores=scores))
    assert re.search(r"\+2\.0000 {10}█{8} ", text) and re.search(r"-1\.0000 {6}█{4} ", text)
    unsigned = dataclasses.replace(result.provenance, signed=False)
    text = printed(dataclasses.replace(result, span_scores=scores.abs(), provenance=unsigned))
    assert re.search(r"\+2\.0000  █{16} ", text) and re.search(r"\+1\.0000  █{8} ", text)
    assert "█" not in printed(result, width=40)
