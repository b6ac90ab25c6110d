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
        "rows": 62,
        "results": 60,
        "failures": 1,
        "reasons": [("InputError", 1)],
        "scored": 240,
        "strongest_share": None,
        "completeness_gap": None,
        "tables": {
            "token": [
                {
                    "category": EVIL,
                    "count": 60,
                    "results": 60,
                    "mean": 0.5,
                    "stderr": 0.1,
                    "share": 0.75,
                    "strongest": 1,
                }
            ]
        },
    },
    "other": None,
    "drift": None,
}
FAILED = {"row": 60, "error": "InputError", "reason": f"no {EVIL}", "content": EVIL}


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

    def make(at: str = "", **more: Any) -> Opened:
        path = tmp_path / f"run{len(opened)}.html"
        rows = [(2 * i, results[i == 31 if i < 59 else 2], {"split": f"s{i}", EVIL: EVIL}) for i in range(60)]
        write_run(path, rows, SUMMARY, failures=[FAILED], **more)
        page = Opened(browser, path)
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
    assert opened.page.text_content("#found") == "60 rows"
    assert [row[0] for row in rows_of(opened)] == [str(2 * i) for i in range(25)]
    assert rows_of(opened)[0][1:] == [PROMPT, "are", results[0].top(1)[0][0].text]
    opened.page.click("#next")
    opened.page.click("#next")
    assert [row[0] for row in rows_of(opened)] == [str(2 * i) for i in range(50, 60)]
    assert opened.page.is_disabled("#next") and not opened.page.is_disabled("#back")


def test_search_finds(open_page: Callable[..., Opened], results: list[Attribution]) -> None:
    opened = open_page()
    opened.page.fill("#query", "the KEY to the cabinets")
    opened.until("document.getElementById('found').textContent === '1 found in 60 rows'")
    assert [row[0] for row in rows_of(opened)] == ["62"]
    opened.page.fill("#query", "s17")
    opened.until("document.querySelector('#list tbody a').textContent === '34'")
    opened.page.select_option("#where", "prompt")
    opened.until("document.getElementById('found').textContent === '0 found in 60 rows'")
    opened.page.select_option("#where", "source")
    top = [result.top(1)[0][0].text for result in results]
    opened.page.fill("#query", top[1])
    count = 1 + 58 * (top[1] in top[0]) + (top[1] in top[2])
    opened.until(f"document.getElementById('found').textContent.startsWith('{count} found')")
    opened.page.fill("#query", "")
    opened.until("document.getElementById('found').textContent === '60 rows'")


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
    opened.until("document.querySelector('#one h2').textContent === 'Row 4'")


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
    assert opened.page.text_content("#found") == "the first 10 of 60 rows"
    opened.page.evaluate("location.hash = 'row=62'")
    opened.until("document.getElementById('one').textContent === 'Row 62 is not on this page.'")


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
    assert (done.exit_code, done.output.strip()) == (0, f"wrote {tmp_path / 'run.html'}: 2 of 3 rows")
    refused = CliRunner().invoke(app, ["view", str(tmp_path / "run"), str(tmp_path / "run"), "--no-open"])
    assert "one folder of a run, alone" in str(refused.exception)
    assert (tmp_path / "run.html").read_text(encoding="utf-8").count('class="rows"') == 1
