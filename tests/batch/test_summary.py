"""A study read: its tables are `spanwise.aggregate`'s, two runs are matched row by row, and reports render as text."""

import io
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

import spanwise
from spanwise.batch import by_column
from spanwise.batch import summary as summaries
from spanwise.batch.summarized import estimate
from spanwise.batch.summary import summarize
from spanwise.cli import app
from spanwise.errors import FileError, InputError, OptionError
from spanwise.evaluation.agreement import rank_correlation
from spanwise.views.summary import figure, show
from spanwise.views.summary_report import html
from spanwise.views.summary_tables import category, drift_facts, extent, sections

EVIL = "<img src=x onerror=alert(1)>|`[x](y)\x1b"
PROMPTS = ["The keys to the cabinet", "The key", "The dogs near the old car in Paris"]
ROWS = [
    {
        "prompt": f"{PROMPTS[i % 3]} {EVIL if i == 4 else ''}",
        "target": " are new.",
        "span": "are",
        "kind": "abc"[i % 3],
        "n": i % 2,
    }
    for i in range(8)
] + [{"prompt": "", "target": " are", "span": "are", "kind": "b", "n": 1}]


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
    rows.append(dict(ROWS[0]))
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
    with pytest.raises(InputError, match="no results to summarize: its one row failed, row 0 with: the prompt must"):
        summarize(failed)
    with pytest.raises(OptionError, match=r"no column 'kinds' to summarize by\. Did you mean 'kind'\? .*: 'kind', 'n'"):
        summarize(run, by="kinds")
    with pytest.raises(OptionError, match="top_k"):
        summarize(run, run, top_k=0)
    with pytest.raises(OptionError, match=r"written as \.md or \.html"):
        summarize(run).report(tmp_path / "report.pdf")
    with pytest.raises(FileError):
        summarize(run).plot(tmp_path / "figure.gif")


def test_by_a_column_of_the_input(run: spanwise.Run) -> None:
    found = summarize(run, by=["kind", "n"])
    table = found.by_column("kind").set_index("value")
    assert table[["results", "failures"]].to_dict("index") == {
        "a": {"results": 3, "failures": 0},
        "b": {"results": 3, "failures": 1},
        "c": {"results": 2, "failures": 0},
    }
    for value, rows in (("a", (0, 3, 6)), ("b", (1, 4, 7)), ("c", (2, 5))):
        scores = [run.of_row(row).result.scores[0].abs() for row in rows]
        shares = [float(each.nan_to_num(0).max() / each.nansum()) for each in scores]
        assert table.loc[value, "strongest_share"] == pytest.approx(sum(shares) / len(rows), rel=1e-6)
        means = [float(each.nanmean()) for each in scores]
        assert table.loc[value, "mean_score"] == pytest.approx(sum(means) / len(rows), rel=1e-6)
        assert min(means) - 1e-6 <= table.loc[value, "mean_score_low"] <= table.loc[value, "mean_score_high"]
    assert found.by_column("n")[["value", "results", "failures"]].values.tolist() == [[0, 4, 0], [1, 4, 1]]
    with pytest.raises(OptionError, match=r"unknown column of the summary 'role'.* Allowed: kind, n"):
        found.by_column("role")


def test_many_values_are_cut_and_counted(run: spanwise.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_column, "LINES", 1)
    table = summarize(run, by="kind").run.columns["kind"]
    assert [(line.value, line.results, line.failures) for line in table.lines] == [("b", 3, 1)]
    assert (table.other_values, table.other_results, table.other_failures, table.unknown_failures) == (2, 5, 0, 0)
    told = sections(summarize(run, by="kind").as_dict())[0]
    assert (told.title, told.heads[0], told.note) == ("by kind", "kind", "and 2 other values with 5 results")
    assert by_column.grouping(run) == ("kind", "n")
    with monkeypatch.context() as patched:
        patched.setattr(spanwise.Run, "__len__", lambda run: 3)  # as many results as the column has values: none twice
        assert by_column.grouping(run) == ("n",)
    monkeypatch.setattr(by_column, "MOST_VALUES", 2)
    with pytest.raises(OptionError, match="the column 'kind' has more than 2 values in the first 3 results"):
        summarize(run, by="kind")
    assert by_column.grouping(run) == ("n",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"id": "a", "kind": "b"}', {"id": "a", "kind": "b"}),
        ('{"kind": null, "n": 12, "prompt": "The keys to …', {"kind": None, "n": 12}),
        ('{"kind": "b", "n": 12…', {"kind": "b"}),  # perhaps 123
        ('[["id", "kind"], ["a", "b"]]', {"id": "a", "kind": "b"}),
        ('[["id", "kind"], ["a, [", "b…', {"id": "a, ["}),
        ('[["id", "kin…', {}),
        ("no JSON", {}),
    ],
)
def test_values_of_a_failure(content: str, expected: dict[str, Any]) -> None:
    assert dict(by_column._values(content)) == expected


def test_kinds_of_one_line_are_left_out(run: spanwise.Run) -> None:
    found = summarize(run).as_dict()
    assert [line["category"] for line in found["run"]["tables"]["kind"]] == ["content"]
    heads = {section.title: section.heads[0] for section in sections(found)}
    assert heads == {
        "by place in the prompt": "place",
        "by distance to the first token asked about": "distance",
        "top sources": "source",
    }
    assert len(figure(found).axes) == 3
    two = [{**found["run"]["tables"]["kind"][0], "category": name} for name in ("content", "special")]
    found["run"]["tables"]["kind"] = two
    assert sections(found)[0].heads[0] == "kind" and len(figure(found).axes) == 4
    drawn = figure(summarize(run, by="kind").as_dict())
    assert [each.get_text() for each in drawn.axes[3].get_yticklabels()] == ["b", "a", "c"]
    assert drawn.axes[1].get_xlabel() == "tokens before the first token asked about"


def test_places_are_counted_from_the_first_token_asked_about() -> None:
    assert [category("position", each) for each in (2, 0, -1)] == ["2 before", "the first token asked about", "1 after"]


def test_rows_that_agree_fully_are_not_named(run: spanwise.Run) -> None:
    drift = summarize(run, run).drift
    assert drift is not None and drift.lowest == () and drift.histogram[-1] == 8
    assert drift_facts(asdict(drift))[-1][1] == "none: all that were compared agree fully"


def test_a_run_that_is_not_finished(run: spanwise.Run, tmp_path: Path) -> None:
    """Every word on it says so; before the first part there is a hint instead of a count."""
    copied = tmp_path / "open"
    shutil.copytree(run.path, copied)
    index = json.loads((copied / "index.json").read_text())
    index["state"], index["rows"] = "running", 20
    (copied / "index.json").write_text(json.dumps(index))
    told = "8 results of 20 rows, 1 failure; the run is not finished"
    found = summarize(spanwise.open_run(copied)).as_dict()
    assert extent(found["run"]) == told and f"{told}." in html(found)
    done = CliRunner().invoke(app, ["summarize", str(copied)])
    assert done.exit_code == 0 and told in " ".join(done.output.split())
    shown = CliRunner().invoke(app, ["view", str(copied), "--no-open"])
    assert shown.output.strip() == f"wrote {tmp_path / 'open.html'}: {told}"
    for part in copied.glob("part-*"):
        part.unlink()
    for command in ("summarize", "view"):
        with pytest.raises(InputError, match=r"no part is finished yet\. Give the batch command again"):
            CliRunner().invoke(app, [command, str(copied)], catch_exceptions=False)


def test_words_are_not_broken_and_dark_is_there(run: spanwise.Run) -> None:
    page = html(summarize(run).as_dict())
    assert "@media screen and (prefers-color-scheme: dark) { :root { color-scheme: dark" in " ".join(page.split())
    table_style = page[page.index("th,td{") : page.index("</style>")].split("}")[0]
    assert "overflow-wrap" not in table_style
    assert str(run.path.parent.name) + "/<wbr>" in page


def test_command_and_reports(run: spanwise.Run, other: spanwise.Run, tmp_path: Path) -> None:
    asked = ["summarize", str(run.path), "--other", str(other.path), "--output", str(tmp_path / "report"), "--by", "n"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "0-10 % " in done.output and "other:" in done.output  # no head is cut in 80 columns
    assert "top sources" in done.output and "rows compared" in done.output and "\x1b" not in done.output
    assert sorted(each.name for each in (tmp_path / "report").iterdir()) == [
        "summary.html",
        "summary.json",
        "summary.md",
        "summary.png",
    ]
    written = json.loads((tmp_path / "report" / "summary.json").read_text(encoding="utf-8"))
    printed = json.loads(CliRunner().invoke(app, [*asked[:4], *asked[6:], "--json"]).stdout)
    assert written == printed == json.loads(json.dumps(summarize(run, other, by="n").as_dict()))
    text = (tmp_path / "report" / "summary.md").read_text(encoding="utf-8")
    assert "![the tables below as a figure](<summary.png>)" in text and "## Top sources" in text
    assert "## By n" in text and "| n | results | failures |" in text and "category" not in text
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
