"""A study read: its tables are `spanwise.aggregate`'s, two runs are matched row by row, and reports render as text."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

import spanwise
from spanwise.batch import summary as summaries
from spanwise.batch.summarized import estimate
from spanwise.batch.summary import summarize
from spanwise.cli import app
from spanwise.errors import FileError, InputError, OptionError
from spanwise.evaluation.agreement import rank_correlation
from spanwise.views.summary import show
from spanwise.views.summary_report import html

EVIL = "<img src=x onerror=alert(1)>|`[x](y)\x1b"
PROMPTS = ["The keys to the cabinet", "The key", "The dogs near the old car in Paris"]
ROWS = [
    {"prompt": f"{PROMPTS[i % 3]} {EVIL if i == 4 else ''}", "target": " are new.", "span": "are"} for i in range(8)
] + [{"prompt": "", "target": " are", "span": "are"}]


def run_of(place: Path, lm: spanwise.LanguageModel, rows: Any = ROWS, **asked: Any) -> spanwise.Run:
    return spanwise.attribute_many(lm, rows, place, **{"method": "saliency", "progress": False} | asked)


@pytest.fixture(scope="module")
def tiny() -> spanwise.LanguageModel:
    return spanwise.load_model("tiny")


@pytest.fixture(scope="module")
def run(tiny: spanwise.LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> spanwise.Run:
    return run_of(tmp_path_factory.mktemp("summary") / "first", tiny, method="feature_ablation")


@pytest.fixture(scope="module")
def other(tiny: spanwise.LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> spanwise.Run:
    """Without row 1, with row 2 about another target, with a row more."""
    rows = [dict(row) for row in ROWS[:8]]
    rows[1]["prompt"], rows[2]["target"], rows[2]["span"] = "", " is old.", "is"
    rows.append({"prompt": PROMPTS[0], "target": " are new.", "span": "are"})
    place = tmp_path_factory.mktemp("summary") / "second"
    return run_of(place, tiny, rows, method="input_x_gradient")


def test_tables_in_pieces_are_the_table_of_all(run: spanwise.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "_AT_ONCE", 3)
    found = summarize(run)
    assert (found.run.rows, found.run.results, found.run.failures, found.run.reasons) == (9, 8, 1, (("InputError", 1),))
    for by in summaries.CATEGORIES:
        expected = spanwise.aggregate(list(run), by=by).set_index("category")
        table = found.to_dataframe(by).set_index("category").drop(columns="run").astype(float)
        assert set(table.index) == set(expected.index) and len(table) > 0
        ours, theirs = table.loc[expected.index].to_numpy(), expected.astype(float).to_numpy()
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12, nan_ok=True)
    strongest = [float(each.scores[0].abs().nan_to_num(0).max() / each.scores[0].abs().nansum()) for each in run]
    assert found.run.strongest_share is not None
    assert found.run.strongest_share.mean == pytest.approx(sum(strongest) / 8, rel=1e-6)


def test_two_runs_are_matched_by_row(run: spanwise.Run, other: spanwise.Run) -> None:
    drift = summarize(run, other, top_k=2).drift
    assert drift is not None
    assert (drift.matched, drift.only_first, drift.only_second, drift.different) == (6, 1, 1, 1)
    pairs = [(run.of_row(i).result, other.of_row(i).result) for i in (0, 3, 4, 5, 6, 7)]
    signed = all(each.provenance.signed for each in pairs[0])
    scores = [[each.scores if signed else each.scores.abs() for each in pair] for pair in pairs]
    expected = sum(float(rank_correlation(*pair)) for pair in scores) / 6
    assert drift.spearman is not None and drift.spearman.mean == pytest.approx(expected, rel=1e-6)
    assert drift.spearman.low is not None and drift.spearman.low <= expected <= drift.spearman.high  # type: ignore[operator]
    assert sum(drift.histogram) == 6 and drift.lowest[0][1] == min(value for _, value in drift.lowest)
    assert drift.log_prob_change is not None and drift.log_prob_change.mean == pytest.approx(0.0, abs=1e-4)


def test_a_run_agrees_with_itself(run: spanwise.Run) -> None:
    drift = summarize(run, run).drift
    assert drift is not None and drift.spearman is not None and drift.overlap is not None
    assert (drift.spearman.mean, drift.spearman.low, drift.overlap.mean, drift.different) == (1.0, 1.0, 1.0, 0)


def test_change_of_log_probability(tiny: spanwise.LanguageModel, tmp_path: Path) -> None:
    """Another model of the same vocabulary: the change is the sum over the span's tokens; none for other objectives."""
    first = run_of(tmp_path / "a", tiny, ROWS[:2])
    changed = spanwise.load_model("tiny", dtype="bfloat16")
    second = run_of(tmp_path / "b", changed, ROWS[:2])
    drift = summarize(first, second).drift
    pairs = [(one.target_scores[0], two.target_scores[0]) for one, two in zip(first, second, strict=True)]
    assert drift is not None and drift.log_prob_change is not None
    assert drift.log_prob_change.mean == pytest.approx(float(sum(two - one for one, two in pairs)) / 2, rel=1e-4)
    third = summarize(first, run_of(tmp_path / "c", tiny, ROWS[:2], objective="logit")).drift
    assert third is not None and third.log_prob_change is None


def test_estimates() -> None:
    found = estimate([0.0, 1.0] * 50, 0)
    assert found is not None and found.low is not None and found.high is not None
    assert found.mean == 0.5 and 0.38 < found.low < 0.43 and 0.57 < found.high < 0.62  # 1.96 * 0.05 on either side
    assert estimate([], 0) is None and estimate([2.0], 0).low is None  # type: ignore[union-attr]


def test_what_is_refused(tiny: spanwise.LanguageModel, run: spanwise.Run, tmp_path: Path) -> None:
    elsewhere = run_of(tmp_path / "else", tiny, [{"prompt": "Paris", "target": " is", "span": "is"}])
    with pytest.raises(InputError, match=r"no row is in both runs: .* have 7 and 0 rows that the other lacks, and 1"):
        summarize(run, elsewhere)
    failed = run_of(tmp_path / "failed", tiny, [{"prompt": "", "target": " is", "span": "is"}])
    with pytest.raises(InputError, match="has no results to summarize: 1 rows failed"):
        summarize(failed)
    with pytest.raises(OptionError, match="top_k"):
        summarize(run, run, top_k=0)
    with pytest.raises(OptionError, match=r"written as \.md or \.html"):
        summarize(run).report(tmp_path / "report.pdf")
    with pytest.raises(FileError):
        summarize(run).plot(tmp_path / "figure.gif")


def test_command_and_reports(run: spanwise.Run, other: spanwise.Run, tmp_path: Path) -> None:
    asked = ["summarize", str(run.path), "--other", str(other.path), "--output", str(tmp_path / "report")]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "top sources" in done.output and "rows compared" in done.output and "\x1b" not in done.output
    assert sorted(each.name for each in (tmp_path / "report").iterdir()) == [
        "summary.html",
        "summary.json",
        "summary.md",
        "summary.png",
    ]
    written = json.loads((tmp_path / "report" / "summary.json").read_text(encoding="utf-8"))
    printed = json.loads(CliRunner().invoke(app, [*asked[:4], "--json"]).stdout)
    assert written == printed == json.loads(json.dumps(summarize(run, other).as_dict()))
    text = (tmp_path / "report" / "summary.md").read_text(encoding="utf-8")
    assert "![the tables below as a figure](<summary.png>)" in text and "## Top sources" in text
    page = (tmp_path / "report" / "summary.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page and "data:image/png;base64," in page and "<script" not in page


def test_hostile_text_stays_text(run: spanwise.Run) -> None:
    found = summarize(run).as_dict()
    found["run"]["folder"] = found["run"]["model"] = EVIL
    found["run"]["tables"]["token"][0]["category"] = EVIL
    page = html(found)
    assert "<img src=x" not in page and "&lt;img src=x" in page and "\x1b" not in page
    from spanwise.views.summary_report import _plain

    assert _plain("a|`<b>") == "a\\|\\`\\<b\\>"
    console = Console(width=100, file=io.StringIO())
    show(found, console=console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "<img src=x onerror=alert(1)>" in shown and "\x1b" not in shown
