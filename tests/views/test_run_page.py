"""The page of a run in a real browser: search finds, rows show Python's numbers, hostile text is inert."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Opened, started
from typer.testing import CliRunner

import spanwise
from spanwise.attribution import Attribution
from spanwise.cli import app
from spanwise.errors import FileError
from spanwise.views.run_page import row_data, write_run

EVIL = '<script>alert(1)</script></style>"><img src=x onerror=alert(2)> \u202eabc\u202c \u2066&lt;\u2028{{data}}\x1b'
PROMPT = "The keys to the cabinet"


def line(category: str | int) -> dict[str, Any]:
    return {"category": category, "count": 60, "results": 60, "mean": 0.5, "stderr": 0.1, "share": 0.75, "strongest": 1}


def by_column(*values: str) -> dict[str, Any]:
    estimate = {"mean": 0.5, "low": 0.25, "high": 0.75, "count": 30}
    shown = [
        {"value": value, "results": 30, "failures": 1, "strongest_share": estimate, "mean_score": None}
        for value in values
    ]
    return {"lines": shown, "other_values": 3, "other_results": 4, "other_failures": 0, "unknown_failures": 1}


SUMMARY: dict[str, Any] = {
    "run": {
        "folder": EVIL,
        "method": "feature_ablation",
        "engine": "captum",
        "model": EVIL,
        "precision": "float32",
        "objective": "log_prob",
        "unit": "nats",
        "signed": True,
        "features": "token",
        "done": True,
        "rows": 120,
        "results": 60,
        "failures": 1,
        "reasons": [("InputError", 1)],
        "scored": 240,
        "strongest_share": None,
        "completeness_gap": None,
        "tables": {
            "kind": [line(EVIL)],
            "position": [line(place) for place in range(1, 31)],
            "token": [line(EVIL)],
        },
        "columns": {
            "split": by_column("s0", "s1"),
            EVIL: by_column(EVIL),
        },
    },
    "other": None,
    "drift": None,
}
FAILED = {"row": 61, "error": "InputError", "reason": f"no {EVIL}", "content": EVIL}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started() as running:
        yield running


@pytest.fixture(scope="module")
def results() -> list[Attribution]:
    lm = spanwise.load_model("tiny")
    asked = {"method": "feature_ablation", "span": "are"}
    prompts = (PROMPT, "The key to the cabinets", f"The keys 😀 {EVIL}")
    return [spanwise.attribute(lm, prompt, " are on the table.", **asked) for prompt in prompts]


@pytest.fixture
def open_page(browser: Any, results: list[Attribution], tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Opens the page of 60 rows; afterwards nothing was complained of, and nothing but the file was asked for."""
    opened: list[Opened] = []

    def make(at: str = "", context: dict[str, Any] | None = None, **more: Any) -> Opened:
        path = tmp_path / f"run{len(opened)}.html"
        rows = [(2 * i, results[i == 31 if i < 59 else 2], {"split": f"s{i}", EVIL: EVIL}) for i in range(60)]
        asked: dict[str, Any] = {"summary": SUMMARY, "failures": [FAILED], "extra": ["split", EVIL]}
        write_run(path, rows, **asked | more)
        page = Opened(browser, path, **context or {})
        page.until("document.documentElement.dataset.ready")
        opened.append(page)
        if at:
            page.page.evaluate(f"location.hash = '{at}'")
        return page

    yield make
    for each in opened:
        assert each.complaints == []
        assert [url.split("#")[0] for url in each.requests if not url.startswith("data:")] == [each.address]
        each.context.close()


def rows_of(opened: Opened) -> list[list[str]]:
    return opened.page.evaluate(
        "[...document.querySelectorAll('#list tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    )


def test_rows_are_paged(open_page: Callable[..., Opened], results: list[Attribution]) -> None:
    opened = open_page()
    assert opened.page.text_content("#found") == "60 results"
    assert [row[0] for row in rows_of(opened)] == [str(2 * i) for i in range(25)]
    assert rows_of(opened)[0][1:5] == [PROMPT, "are", results[0].top(1)[0][0].text, "s0"]
    opened.page.click("#next")
    opened.page.click("#next")
    assert [row[0] for row in rows_of(opened)] == [str(2 * i) for i in range(50, 60)]
    assert opened.page.is_disabled("#next") and not opened.page.is_disabled("#back")


def test_search_finds(open_page: Callable[..., Opened], results: list[Attribution]) -> None:
    opened = open_page()
    opened.page.fill("#query", "the KEY to the cabinets")
    opened.until("document.getElementById('found').textContent === '1 found in 60 results'")
    assert [row[0] for row in rows_of(opened)] == ["62"]
    opened.page.fill("#query", "s17")
    opened.until("document.querySelector('#list tbody a').textContent === '34'")
    opened.page.select_option("#where", "prompt")
    opened.until("document.getElementById('found').textContent === '0 found in 60 results'")
    opened.page.select_option("#where", "source")
    top = [result.top(1)[0][0].text for result in results]
    opened.page.fill("#query", top[1])
    count = 1 + 58 * (top[1] in top[0]) + (top[1] in top[2])
    opened.until(f"document.getElementById('found').textContent.startsWith('{count} found')")
    opened.page.fill("#query", "")
    opened.until("document.getElementById('found').textContent === '60 results'")


def test_a_row_shows_its_scores(open_page: Callable[..., Opened], results: list[Attribution]) -> None:
    opened = open_page(at="row=62")
    opened.until("document.querySelector('#one h2').textContent === 'Row 62'")
    assert opened.page.text_content("#one .source") == "The key to the cabinets"
    assert opened.page.text_content("#one mark") == "are"
    titles = opened.page.evaluate("[...document.querySelectorAll('#one .source span')].map(s => s.title)")
    shown = [float(title.replace("−", "-")) for title in titles]
    assert shown == pytest.approx(results[1].span_scores[0, : len(shown)].tolist(), rel=1e-3)
    colors = opened.page.evaluate(
        "[...document.querySelectorAll('#one .source span')].map(s => getComputedStyle(s).backgroundColor)"
    )
    strongest = max(range(len(shown)), key=lambda i: abs(shown[i]))
    assert colors[strongest] == ("rgb(178, 24, 43)" if shown[strongest] > 0 else "rgb(33, 102, 172)")
    opened.page.click("#list tbody tr:nth-child(3) td:nth-child(2)")
    opened.until("document.querySelector('#one h2').textContent === 'Row 54'")  # the list is on the page of row 62


def test_hostile_text_is_inert(open_page: Callable[..., Opened]) -> None:
    opened = open_page(at="row=118")
    opened.until("document.querySelector('#one h2').textContent === 'Row 118'")
    assert "<script>alert(1)</script>" in opened.page.text_content("#one .source")
    for name in ("failures", "aggregates"):
        opened.page.click(f"#show-{name}")
        shown = opened.page.inner_text(f"#{name}-view")
        assert "<img src=x onerror=alert(2)>" in shown and "\u202e" not in shown
    assert opened.page.evaluate("document.querySelectorAll('img, main script, main style').length") == 0
    assert "\u202e" not in opened.page.text_content("main")


def test_what_is_left_out_is_said(open_page: Callable[..., Opened]) -> None:
    opened = open_page(most=10)
    assert opened.page.text_content("#found") == "the first 10 of 60 results"
    assert opened.page.text_content("#extent") == "60 results of 120 rows, 1 failure."
    told = "document.getElementById('one').textContent"
    for row, expected in (
        (62, "Row 62 is not on this page: the page holds the first 10 of 60 results."),
        (120, "There is no row 120: the input has the rows 0 to 119."),
    ):
        opened.page.evaluate(f"location.hash = 'row={row}'")
        opened.until(f"{told} === '{expected}'")
    opened.page.evaluate("location.hash = 'row=61'")
    opened.until(f"{told}.startsWith('Row 61 has no result (InputError): no <script>alert(1)')")
    assert opened.page.locator('#list tr[aria-current="true"]').count() == 0


def test_a_run_that_is_not_finished(open_page: Callable[..., Opened]) -> None:
    opened = open_page(summary={**SUMMARY, "run": {**SUMMARY["run"], "done": False}}, at="row=119")
    assert opened.page.text_content("#extent") == "60 results of 120 rows, 1 failure; the run is not finished."
    opened.until(
        "document.getElementById('one').textContent === 'Row 119 is not on this page: the run is not finished.'"
    )


def chosen(opened: Opened) -> list[str]:
    return opened.page.locator('#list tr[aria-current="true"] a').all_text_contents()


def test_an_address_goes_to_the_rows_page(open_page: Callable[..., Opened]) -> None:
    opened = open_page(at="row=110")
    opened.until("document.getElementById('page').textContent === 'page 3 of 3'")
    assert chosen(opened) == ["110"]
    box = opened.page.locator('#list tr[aria-current="true"]').bounding_box()
    assert 0 <= box["y"] <= opened.page.viewport_size["height"] - box["height"]
    opened.page.fill("#query", "s1")  # s1 and s10 to s19; row 110 has s55
    opened.until("document.getElementById('found').textContent.startsWith('11 found')")
    assert chosen(opened) == ["2"]  # the row shown is one of those found
    opened.page.evaluate("location.hash = 'row=38'")  # s19: of those found
    opened.until("document.querySelector('#one h2').textContent === 'Row 38'")
    assert chosen(opened) == ["38"] and opened.page.input_value("#query") == "s1"
    opened.page.evaluate("location.hash = 'row=60'")  # not of those found: the search ends
    opened.until("document.getElementById('page').textContent === 'page 2 of 3'")
    assert chosen(opened) == ["60"] and opened.page.input_value("#query") == ""


def test_nothing_found_shows_no_row(open_page: Callable[..., Opened]) -> None:
    opened = open_page()
    opened.page.fill("#query", "nowhere")
    opened.until("document.getElementById('one').textContent === 'No row was found.'")
    opened.page.fill("#query", "s59")
    opened.until("document.querySelector('#one h2')?.textContent === 'Row 118'")


def test_own_columns_are_searched_and_listed(open_page: Callable[..., Opened]) -> None:
    opened = open_page()
    assert opened.page.locator("#where option").all_text_contents()[-2] == "split"
    heads = opened.page.locator("#list th").all_text_contents()
    assert heads[:5] == ["row", "prompt", "span", "strongest source", "split"]
    assert heads[5].startswith("<script>") and "\u202e" not in heads[5]
    opened.page.fill("#query", "1")
    opened.until("document.getElementById('found').textContent.startsWith('60 found')")  # by the evil column
    opened.page.select_option("#where", "column:0")
    opened.until("document.getElementById('found').textContent.startsWith('15 found')")  # s1, s10 ... s19, s21 ... s51
    assert [row[4] for row in rows_of(opened)][:3] == ["s1", "s10", "s11"]


def test_aggregates_say_how_to_read_them(open_page: Callable[..., Opened]) -> None:
    opened = open_page()
    opened.page.click("#show-aggregates")
    shown = opened.page.inner_text("#aggregates-view")
    assert "±: its standard error" in shown and "share of the strongest: the largest absolute score" in shown
    titles = opened.page.locator("#aggregates-view h2").all_text_contents()
    assert [titles[0], *titles[2:]] == ["the run", "by distance to the first token asked about", "top sources"]
    heads = opened.page.evaluate(
        "[...document.querySelectorAll('#aggregates-view thead tr')].map(r => [...r.cells].map(c => c.textContent))"
    )
    assert heads[1] == ["split", "results", "failures", "share of the strongest", "mean |score|, nats", ""]
    assert heads[2] == ["distance", "columns", "results", "mean score", "share", "strongest", ""]
    card = opened.page.locator("#aggregates-view .card", has_text="by distance")
    assert card.locator("tbody tr").count() == 12
    card.get_by_text("Show all 30").click()
    assert card.locator("tbody tr").count() == 30 and card.locator("button").count() == 0


def test_aggregates_of_another_column(open_page: Callable[..., Opened]) -> None:
    opened = open_page()
    opened.page.click("#show-aggregates")
    card = opened.page.locator("#aggregates-view .card", has=opened.page.locator("#column"))
    assert card.locator("tbody td:first-child").all_text_contents() == ["s0", "s1"]
    assert card.locator("tbody td:nth-child(4)").all_text_contents() == ["0.500 [0.250,\u00a00.750]"] * 2
    assert "and 3 other values with 4 results; 1 failure without a known value" in card.text_content()
    opened.page.select_option("#column", "1")
    assert card.locator("tbody td:first-child").count() == 1
    assert "<script>alert(1)" in card.locator("tbody td:first-child").text_content()


def test_dark_where_the_reader_has_it_so(open_page: Callable[..., Opened]) -> None:
    opened = open_page(context={"color_scheme": "dark"})
    style = "getComputedStyle(document.body)"
    assert opened.page.evaluate(f"{style}.backgroundColor") == "rgb(19, 21, 26)"
    piece = "getComputedStyle(document.querySelector('#one .source span[title]')).backgroundColor"
    dark = opened.page.evaluate(piece)
    opened.page.emulate_media(color_scheme="light")
    opened.until(f"{style}.backgroundColor === 'rgb(244, 245, 247)'")
    assert opened.page.evaluate(piece) != dark
    opened.page.emulate_media(color_scheme="dark", media="print")
    opened.until(f"{style}.backgroundColor === 'rgb(244, 245, 247)'")


def test_on_a_phone(open_page: Callable[..., Opened]) -> None:
    """A row that is tapped comes into view, and its prompt has the width of the screen."""
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    opened = open_page(context=phone)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 390
    assert opened.page.locator("#list tbody tr:nth-child(5) td:nth-child(2)").bounding_box()["width"] > 250
    opened.page.tap("#list tbody tr:nth-child(5) td:nth-child(2)")
    opened.until("document.querySelector('#one h2').textContent === 'Row 8'")
    for _ in range(2):
        opened.until("document.querySelector('#one h2').getBoundingClientRect().bottom < innerHeight")
        opened.page.click("#one .back")
        opened.until("document.querySelector('#one h2').getBoundingClientRect().top > innerHeight")
        opened.page.tap("#list tbody tr:nth-child(5) a")  # again, under the same address
    opened.page.click("#show-aggregates")
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 390
    assert "linear-gradient" in opened.page.evaluate(
        "getComputedStyle(document.querySelector('.wide')).backgroundImage"
    )


def test_scores_of_a_row_are_the_results(results: list[Attribution]) -> None:
    found = row_data(7, results[0], {"split": None, "number": 3})
    assert "".join(found["pieces"]) == PROMPT and found["prefix"] == -1
    covered = [score for score in found["spans"][0]["scores"] if score is not False]
    assert covered == pytest.approx(results[0].span_scores[0, : len(covered)].tolist(), rel=1e-4)
    assert found["spans"][0]["text"] == [" ", "are", " on the table."]
    assert found["extra"] == {"split": "", "number": "3"}


def test_a_generated_prefix_is_set_apart(results: list[Attribution]) -> None:
    lm = spanwise.load_model("tiny")
    asked = {"method": "feature_ablation", "span": "table", "prefix": "attributed"}
    found = row_data(0, spanwise.attribute(lm, PROMPT, " are on the table.", **asked), {})
    assert "".join(found["pieces"][: found["prefix"]]) == PROMPT
    assert "".join(found["pieces"][found["prefix"] :]) == " are on the"


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"\.html"):
        write_run(tmp_path / "run.txt", [], SUMMARY)


def test_the_command(tmp_path: Path) -> None:
    lm = spanwise.load_model("tiny")
    rows = [{"prompt": PROMPT, "target": " are on the table.", "span": "are", "n": i} for i in range(3)]
    spanwise.attribute_many(lm, rows, tmp_path / "run", method="saliency", progress=False)
    done = CliRunner().invoke(app, ["view", str(tmp_path / "run"), "--no-open", "--most-rows", "2"])
    assert (done.exit_code, done.output.strip()) == (
        0,
        f"wrote {tmp_path / 'run.html'}: 3 results of 3 rows; the page holds the first 2 results",
    )
    refused = CliRunner().invoke(app, ["view", str(tmp_path / "run"), str(tmp_path / "run"), "--no-open"])
    assert "one folder of a run, alone" in str(refused.exception)
    assert (tmp_path / "run.html").read_text(encoding="utf-8").count('class="rows"') == 1
