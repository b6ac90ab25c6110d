"""The report in a real browser: what it shows are Python's numbers, by pointer and by keys, in any light, for anybody.

Scores travel without loss and are summed in double precision, so copied numbers are compared to a part in a million.
"""

import dataclasses
import math
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import Opened, axe, started
from random_result import random_result
from torch import Tensor

import spanwise
from spanwise.attribution import Attribution
from spanwise.evaluation.agreement import rank_correlation
from spanwise.methods import METHODS
from spanwise.views.labels import visible
from spanwise.views.report import report

LINEAR = {name: info.linear for name, info in METHODS.items()}
PROMPT = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"
TARGET = " painting, traveling to different countries, and volunteering at community events."
EVIL = '<script>alert(1)</script></style>"><img src=x onerror=alert(2)> \u202eabc\u202c \u2066&lt;\u2028{{data}}\x1b'

Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started() as running:
        yield running


@pytest.fixture
def open_report(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens the report of some results; afterwards nothing was complained of, nothing but the file asked for."""
    opened: list[Opened] = []

    def make(*results: Attribution, checks: dict[str, Any] | None = None, **context: Any) -> Opened:
        path = tmp_path / f"report{len(opened)}.html"
        report(results, path, linear=LINEAR, checks=checks)
        opened.append(Opened(browser, path, **context))
        return opened[-1]

    yield make
    for each in opened:
        assert each.complaints == []
        assert [url for url in each.requests if not url.startswith(("data:", "blob:"))] == [each.address]
        each.context.close()


@pytest.fixture(scope="module")
def methods() -> list[Attribution]:
    lm = spanwise.load_model("tiny")
    asked = {"span": "traveling to different countries", "rows": "token"}
    names = ("feature_ablation", "input_x_gradient", "saliency")
    return [spanwise.attribute(lm, PROMPT, TARGET, method=name, **asked) for name in names]


@pytest.fixture(scope="module")
def chat() -> Attribution:
    lm = spanwise.load_model("tiny")
    said = [{"role": "system", "content": "簡潔に。"}, {"role": "user", "content": "ما هي عاصمة فرنسا؟ Paris 😀"}]
    return spanwise.attribute(lm, messages=said, target=" नई दिल्ली 😀", method="saliency", frozen="none")


def summed(rows: Tensor) -> Tensor:
    return rows.double().nansum(0).masked_fill(rows.isnan().all(0), math.nan)


def same(found: list[float], expected: Tensor) -> None:
    expected = expected.double()[: len(found)]
    torch.testing.assert_close(torch.tensor(found).double(), expected, rtol=1e-6, atol=1e-9, equal_nan=True)


def sink_result() -> Attribution:
    """Column 2 holds most of every row but one."""
    result = random_result(12, 6)
    scores = result.scores.clone()
    scores[:5, 2] = 50.0
    return dataclasses.replace(result, scores=scores)


def test_pointing_at_a_target_token_shows_its_row(open_report: Open, methods: list[Attribution]) -> None:
    opened = open_report(*methods)
    assert "traveling to different countries" in opened.page.inner_text("#told")
    before = opened.table()
    opened.page.locator("#target .token").nth(8).hover()
    token, score = methods[0].top(1, row=8)[0]
    assert opened.table()[0][0] == str(methods[0].source.index(token)) and token.text.strip() in opened.table()[0][1]
    assert opened.table()[0][2].startswith(f"{score:+.2f}")
    assert "log_prob" in opened.page.inner_text("#tip")
    opened.page.mouse.move(2, 2)
    assert opened.table() == before


def test_dragging_sums_rows_and_says_whether_that_is_exact(open_report: Open, methods: list[Attribution]) -> None:
    opened = open_report(*methods)
    tokens = opened.page.locator("#target .token")
    tokens.nth(3).hover()
    opened.page.mouse.down()
    tokens.nth(5).hover()
    opened.page.mouse.up()
    opened.page.mouse.move(2, 2)
    same(opened.scores(), summed(methods[0].scores[3:6]))
    assert "(3 tokens). Sum of the rows; rows of feature_ablation add up exactly." in opened.page.inner_text("#told")
    assert [t.get_attribute("aria-selected") for t in tokens.all()[2:7]] == ["false", "true", "true", "true", "false"]
    opened.page.select_option("#method", "2")
    same(opened.scores(), summed(methods[2].scores[3:6]))
    assert "saliency has no sign" in opened.page.inner_text("#told")


def test_not_linear_and_unknown_methods_say_so(open_report: Open) -> None:
    signed = random_result()
    for method, words in (("kernel_shap", "not exact"), ("my_own", "is not known")):
        made = dataclasses.replace(signed.provenance, method=method)
        assert words in open_report(dataclasses.replace(signed, provenance=made)).page.inner_text("#told")


def test_keys_alone_reach_everything(open_report: Open, methods: list[Attribution]) -> None:
    opened = open_report(methods[0])
    page = opened.page
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#target') !== null"):
            break
    page.keyboard.press("Home")
    same(opened.scores(), methods[0].scores[0])
    page.locator("#target .token").nth(0).focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    same(opened.scores(), summed(methods[0].scores[2:4]))
    page.locator("#target .token").nth(3).focus()
    page.keyboard.press("Control+a")
    same(opened.scores(), summed(methods[0].scores))
    page.locator("#source .token").nth(0).focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert "software" in page.inner_text("#tip")
    page.keyboard.press("Enter")
    same(opened.scores(), methods[0].scores[:, 4])
    assert "How “software” bears on each part of the target" in page.inner_text("#told")
    page.wait_for_timeout(500)
    assert page.inner_text("#said").startswith("“software”: strongest ·traveling")
    page.keyboard.press("Escape")
    same(opened.scores(), summed(methods[0].scores))


def test_pressing_a_source_token_shows_the_other_direction(open_report: Open, methods: list[Attribution]) -> None:
    opened = open_report(methods[0])
    token = opened.page.locator("#source .token").nth(7)
    token.click()
    same(opened.scores(), methods[0].scores[:, 7])
    strongest = int(methods[0].scores[:, 7].abs().argmax())
    assert opened.table()[0][0] == str(strongest)
    colors = opened.page.evaluate("[...document.querySelectorAll('#target .token')].map(t => t.style.backgroundColor)")
    assert colors[strongest] != colors[strongest - 1] and all(colors)
    token.click()
    assert "What bears on" in opened.page.inner_text("#told")


def test_levels_are_sums_as_python_has_them(open_report: Open) -> None:
    result = dataclasses.replace(random_result(44, 5, spans=1), target_scores=torch.zeros(5))
    opened = open_report(result)
    for name in ("words", "sentences"):
        opened.choose("level", name)
        joined = result.by(name[:-1])
        found = opened.csv()[1:]
        assert [line[1] for line in found] == joined.source_tokens[: len(found)]
        same([float(line[-1] or "nan") for line in found], summed(joined.scores[:2]))
        assert f"sums over {name}" in opened.page.inner_text("#stated")


def test_absolute_and_normalized_are_stated(open_report: Open) -> None:
    result = random_result()
    opened = open_report(result)
    whole = summed(result.scores)
    assert "Raw, signed; log_prob, nats" in opened.page.inner_text("#stated")
    opened.choose("sign", "absolute")
    same(opened.scores(), whole.abs())
    opened.choose("scale", "normalized")
    same(opened.scores(), whole.abs() / whole.abs().nansum())
    assert "Normalized, absolute values; share of the absolute scores shown" in opened.page.inner_text("#stated")
    assert opened.table()[0][-1].endswith("%")


def test_methods_side_by_side_and_their_agreement(open_report: Open, methods: list[Attribution]) -> None:
    opened = open_report(*methods)
    opened.page.select_option("#other", "1")
    assert opened.page.locator("#other-card").is_visible()
    for column, result in ((-2, methods[0]), (-1, methods[1])):
        same(opened.scores(column), result.span_scores[0])
    opened.page.locator("#agreement summary").click()
    opened.page.locator("table.rows").wait_for()
    numbers = "[...r.querySelectorAll('.number')].map(n => Number(n.dataset.value ?? NaN))"
    read = f"t => [...t.rows].slice(1).map(r => {numbers})"
    pairs, rows = (opened.page.eval_on_selector(f"#agreement {table}", read) for table in (".figures", "table.rows"))
    for at, (one, other) in enumerate(((0, 1), (0, 2), (1, 2))):
        ours, theirs = methods[one].scores[:, :18], methods[other].scores[:, :18]
        if other == 2:
            ours, theirs = ours.abs(), theirs.abs()
        by_row = rank_correlation(ours, theirs)
        torch.testing.assert_close(torch.tensor([row[at] for row in rows]), by_row, rtol=0, atol=1e-6)
        assert pairs[at][1:] == pytest.approx([float(by_row.mean()), float(by_row.min())], abs=1e-6)
        span = [methods[i].scores[2:6, :18].sum(0, keepdim=True) for i in (one, other)]
        span = [each.abs() for each in span] if other == 2 else span
        assert pairs[at][0] == pytest.approx(float(rank_correlation(*span)[0]), abs=1e-6)


def test_ties_share_a_rank(open_report: Open) -> None:
    one = random_result(30, 4)
    rounded = dataclasses.replace(one, scores=one.scores.round())
    other = dataclasses.replace(one, scores=(one.scores + random_result(30, 4, signed=False).scores).round())
    opened = open_report(rounded, other)
    opened.until("!document.querySelector('#agreement .figures').innerText.includes('…')")
    found = opened.page.evaluate("Number(document.querySelectorAll('#agreement .number')[1].dataset.value)")
    expected = rank_correlation(rounded.scores[:, :30], other.scores[:, :30]).mean()
    assert found == pytest.approx(float(expected), abs=1e-6)


def test_sinks_can_be_set_aside(open_report: Open) -> None:
    result = sink_result()
    opened = open_report(result)
    assert opened.page.inner_text("#sinks-choice").strip() == "sink tokens (1)"
    opened.page.uncheck("#sinks")
    expected = summed(result.scores)
    expected[2] = math.nan
    same(opened.scores(), expected)
    assert "set aside: 1 sink token, with at least 20 % of the absolute scores" in opened.page.inner_text("#swatches")
    assert "aside" in (opened.page.locator("#source .token").nth(2).get_attribute("class") or "")
    assert open_report(random_result()).page.locator("#sinks").is_hidden()


def test_template_tokens_can_be_hidden(open_report: Open, chat: Attribution) -> None:
    opened = open_report(chat)
    blocks = opened.page.locator("#source .block")
    assert blocks.evaluate_all("all => all.map(b => b.dataset.role)") == ["system", "user", "template"]
    opened.page.uncheck("#template")
    hidden = [token.template or token.special for token in chat.source]
    expected = summed(chat.scores).masked_fill(torch.tensor(hidden), math.nan)
    same(opened.scores(), expected)
    assert "im_start" not in opened.page.inner_text("#source")
    assert blocks.nth(2).is_hidden()


def test_rows_that_are_spans(open_report: Open) -> None:
    """A span is picked by pointing at any of its tokens; the rest of the target cannot be picked."""
    result = random_result(spans=2, rows="span")
    opened = open_report(result)
    assert opened.tokens("target") == [" painting", ",", " tra", "vel"]
    opened.page.locator("#target .token").nth(3).click()
    same(opened.scores(), result.scores[1])
    opened.page.locator("#chips button").nth(0).click()
    same(opened.scores(), result.scores[0])


def test_matrix(open_report: Open) -> None:
    """The cells have the colors of their scores; keys, pointer, zoom and scrolling work."""
    result = random_result(300, 40)
    opened = open_report(result)
    page = opened.page
    opened.choose("view", "matrix")
    same(opened.scores(), result.scores[:, :300].flatten())
    width = page.evaluate("document.getElementById('extent').offsetWidth")
    for _ in range(9):
        page.click("#larger")
    assert page.evaluate("document.getElementById('extent').offsetWidth") > 3 * width
    page.evaluate("document.getElementById('matrix').scrollTo(0, 0)")
    page.focus("#matrix")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert page.inner_text("#said").startswith("“日本語” → “,”")
    page.keyboard.press("Enter")
    assert "What bears on “,”" in page.inner_text("#told")
    page.wait_for_timeout(100)
    script = """(places) => {
        const [canvas, box, extent] = ['cells', 'matrix', 'extent'].map((id) => document.getElementById(id));
        const image = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        const [cell, tall] = [(extent.offsetWidth - 132) / 300, (extent.offsetHeight - 104) / 40];
        return places.map(([row, at]) => {
            const x = 132 + (at + 0.5) * cell - box.scrollLeft, y = 104 + (row + 0.5) * tall - box.scrollTop;
            const first = 4 * (Math.round(y) * canvas.width + Math.round(x));
            return [...image.data.slice(first, first + 3)];
        });
    }"""
    places = [[0, 0], [3, 7], [5, 4], [2, 5]]
    *colored, frozen = page.evaluate(script, places)
    for (row, column), (red, _, blue) in zip(places, colored, strict=False):
        assert (red > blue) == (float(result.scores[row, column]) > 0), (row, column)
    assert max(frozen) - min(frozen) < 16  # hatched in grey
    page.click("#cells", position={"x": 400, "y": 300})
    page.click("#fit")
    assert page.evaluate("document.getElementById('extent').offsetWidth") == width


def test_copies_as_svg_and_png(open_report: Open, methods: list[Attribution]) -> None:
    opened = open_report(methods[0])
    for kind in ("text", "matrix"):
        opened.choose("view", kind)
        opened.page.click("#svg")
        opened.page.get_by_text("SVG copied.").wait_for()
        drawn = ElementTree.fromstring(opened.page.evaluate("navigator.clipboard.readText()"))
        texts = "".join(drawn.itertext())
        assert "software" in texts and "traveling" in texts and "log_prob, nats" in texts
        opened.page.click("#png")
        opened.page.get_by_text("PNG copied.").wait_for()
    opened.choose("level", "tokens")
    large = open_report(random_result(400, 60))
    large.choose("view", "matrix")
    large.page.click("#svg")
    assert "More than 20,000 cells" in large.page.inner_text("#copied")


def test_without_a_clipboard_a_file_is_saved(browser: Any, open_report: Open) -> None:
    opened = open_report(random_result())
    opened.page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(); }")
    with opened.page.expect_download() as download:
        opened.page.click("#csv")
    assert download.value.suggested_filename == "attribution.csv"
    assert "CSV saved as attribution.csv." in opened.page.inner_text("#copied")


CONTRASTS = """() => {
    const light = (color) => color.match(/[\\d.]+/g).slice(0, 3).map(Number).map((c) => c / 255)
        .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const card = getComputedStyle(document.querySelector('.card')).backgroundColor;
    return [...document.querySelectorAll('#source .token, #target .token')].map((token) => {
        const style = getComputedStyle(token);
        const behind = style.backgroundColor === 'rgba(0, 0, 0, 0)' ? card : style.backgroundColor;
        const [low, high] = [light(style.color), light(behind)].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    });
}"""


def test_light_and_dark(open_report: Open) -> None:
    """As the system asks, until somebody presses the button; every text reads on its color."""
    result = random_result(60, 9)
    for scheme in ("light", "dark"):
        opened = open_report(result, color_scheme=scheme)
        for expected in (scheme, {"light": "dark", "dark": "light"}[scheme]):
            assert opened.page.get_attribute("html", "data-theme") == expected
            assert min(opened.page.evaluate(CONTRASTS)) >= 4.5
            opened.page.click("#theme")


def test_phone(open_report: Open, methods: list[Attribution], chat: Attribution) -> None:
    """Nothing is wider than the screen; a tap picks."""
    checks = {"sanity": [{"name": "a" * 30, "sentence": "words " * 30, "value": 0.5, "status": "pass"}]}
    size = {"width": 390, "height": 844}
    for results in ([chat], [*methods[:2]], [random_result(200, 60, spans=3, prefix=True)]):
        opened = open_report(*results, checks=checks, viewport=size, has_touch=True, is_mobile=True)
        for kind in ("matrix", "text"):
            opened.choose("view", kind)
            assert opened.page.evaluate("document.documentElement.scrollWidth") == 390
        opened.page.locator("#target .token").nth(0).tap()
        same(opened.scores(), results[0].scores[0])


def test_paper(open_report: Open, methods: list[Attribution]) -> None:
    opened = open_report(*methods, color_scheme="dark")
    opened.page.emulate_media(media="print")
    opened.until("document.documentElement.dataset.theme === 'light'")
    assert not opened.page.locator(".controls").is_visible() and opened.page.locator("#bar").is_visible()
    assert opened.page.evaluate("getComputedStyle(document.getElementById('source')).maxHeight") == "none"
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    opened.page.emulate_media(media="screen", color_scheme="dark")
    opened.until("document.documentElement.dataset.theme === 'dark'")


def test_checks_and_provenance_are_on_the_page(open_report: Open, methods: list[Attribution]) -> None:
    told = "The method was no different from random rankings, which is worth a second look."
    checks = {
        "sanity": {
            "seeds": 5,
            "checks": [
                {"name": "model", "status": "pass", "figures": {"spearman": 0.1234567, "top_k": 1}, "source": None},
                {"name": "seeds", "status": "not applicable", "reason": "not sampled", "source": None},
            ],
        },
        "evaluation": {"curve": list(range(99)), "lines": [{"metric": "AOPC", "value": 1}], "none": {}, "told": [told]},
        "metrics": {"aopc": {"better": "higher"}, "sufficiency": {"better": "lower"}},
    }
    opened = open_report(methods[0], checks=checks)
    text = opened.page.inner_text("#checks")
    for words in (
        "✓ pass",
        "– not applicable",
        "not sampled",
        "spearman 0.1235, top k 1",
        "99 values",
        told,
        "sufficiency",
    ):
        assert words in text
    assert "AOPC" not in text and "source" not in text
    opened.page.get_by_text("lines (1)").click()
    opened.page.get_by_text("AOPC", exact=True).wait_for()
    assert "not promised by this method" in text
    provenance = opened.page.inner_text("#provenance")
    assert "feature_ablation" in provenance and "unk" in provenance
    opened.page.locator("#provenance summary").first.click()
    opened.page.get_by_text("prompt ids").wait_for()


def test_no_text_of_a_prompt_runs(open_report: Open) -> None:
    lm = spanwise.load_model("tiny")
    result = spanwise.attribute(lm, EVIL, EVIL, method="saliency", span="alert(1)", rows="token")
    opened = open_report(result, checks={EVIL: [{EVIL: EVIL, "x": {EVIL: [EVIL]}}]})
    assert "".join(opened.tokens()).replace("⏎\n", "⏎") == visible(EVIL)
    assert opened.page.locator("img, body script:not([type])").count() == 0
    opened.page.locator("#target .token").nth(4).hover()
    opened.page.locator("#source .token").nth(4).click()
    opened.choose("view", "matrix")
    opened.page.click("#svg")
    opened.page.get_by_text("SVG copied.").wait_for()
    ElementTree.fromstring(opened.page.evaluate("navigator.clipboard.readText()"))
    shown = opened.page.evaluate("document.body.innerText")
    assert "\u202e" not in shown and "\\u202eabc" in shown.replace("·", "")


def test_policy_is_in_force(browser: Any, tmp_path: Path) -> None:
    """What is put into the page afterwards does not run, and nothing can be fetched."""
    report([random_result()], tmp_path / "report.html")
    opened = Opened(browser, tmp_path / "report.html")
    opened.page.evaluate(
        """() => { for (const html of ['<img src=x onerror="window.ran = 1">', '<b style="color: red">x</b>']) {
            document.body.insertAdjacentHTML('beforeend', html); }
            const script = document.createElement('script'); script.textContent = 'window.ran = 2';
            document.body.append(script); }"""
    )
    assert opened.page.evaluate("fetch('https://example.com').then(() => 'fetched', () => 'refused')") == "refused"
    assert opened.page.evaluate("window.ran ?? null") is None
    assert opened.page.evaluate("getComputedStyle(document.body.querySelector('b[style]')).color") != "rgb(255, 0, 0)"
    assert len(opened.complaints) >= 4 and all("Content Security Policy" in each for each in opened.complaints)


def test_marks_are_those_of_the_other_views(open_report: Open) -> None:
    texts = ["a\n", "\t", "\u200d", "b\u200dc", "\x1b[0m", "\u202e", "\x85", "\U000e0041", "é", "\ufe0f"]
    result = random_result(len(texts), 3)
    at, tokens = 0, []
    for token, text in zip(result.source, texts, strict=False):
        tokens.append(dataclasses.replace(token, text=text, start=at, end=at + len(text), special=False))
        at += len(text)
    source = (*tokens, *result.source[len(texts) :])
    opened = open_report(dataclasses.replace(result, source=source, prompt="".join(texts)))
    found = [text.replace("⏎\n", "⏎") for text in opened.tokens()]
    joiners = (2, 9)  # alone in a token, but within a text that they join
    assert [f for i, f in enumerate(found) if i not in joiners] == [
        visible(text) for i, text in enumerate(texts) if i not in joiners
    ]


def test_long_input_opens_and_scrolls(browser: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """2,000 source and 200 target tokens, two methods; times are printed, not asserted: machines differ."""
    result = random_result(2000, 200, spans=1)
    report([result, dataclasses.replace(result, scores=-result.scores)], tmp_path / "report.html")
    began = time.perf_counter()
    opened = Opened(browser, tmp_path / "report.html")
    opened.until("document.querySelectorAll('#top tbody tr').length === 10")
    opening = time.perf_counter() - began
    opened.choose("view", "matrix")
    opened.page.click("#larger")
    frames = opened.page.evaluate(
        """async () => { const box = document.getElementById('matrix'), times = [];
            for (let i = 0; i < 40; i++) { const began = performance.now(); box.scrollBy(37, 11);
                await new Promise(requestAnimationFrame); await new Promise(requestAnimationFrame);
                times.push((performance.now() - began) / 2); }
            return times.sort((a, b) => a - b); }"""
    )
    opened.choose("view", "text")
    drawing = opened.page.evaluate(
        """() => { const began = performance.now();
            const token = document.querySelectorAll('#target .token')[50], box = token.getBoundingClientRect();
            document.getElementById('target').scrollTo(0, token.offsetTop);
            token.dispatchEvent(new FocusEvent('focusin', {bubbles: true})); token.focus();
            return performance.now() - began; }"""
    )
    with capsys.disabled():
        print(
            f"\nreport of 2,000 x 200, two methods: opened in {opening:.2f} s; a frame while the matrix scrolls "
            f"{frames[20]:.0f} ms (median), {frames[-1]:.0f} ms (longest); a new pick {drawing:.0f} ms"
        )
    assert opened.complaints == [] and len(opened.tokens()) == 2000 and frames[-1] > 0
    opened.context.close()


def test_accessibility(open_report: Open, methods: list[Attribution], chat: Attribution, tmp_path: Path) -> None:
    """axe-core finds nothing serious in either theme, in the text and in the matrix."""
    script = axe(tmp_path / "axe")
    for results, scheme in ((methods, "light"), (methods, "dark"), ([chat], "dark")):
        opened = open_report(*results, color_scheme=scheme)
        opened.page.evaluate(script)
        if len(results) > 1:
            opened.page.select_option("#other", "1")
        for kind in ("text", "matrix"):
            opened.choose("view", kind)
            opened.page.locator("#provenance summary").first.click()
            found = opened.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
            grave = [(each["id"], each["nodes"][0]["html"], each["nodes"][0]["failureSummary"]) for each in found]
            assert not [each for each, v in zip(grave, found, strict=True) if v["impact"] in ("serious", "critical")]
