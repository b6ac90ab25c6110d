"""`checklist`: every check of every method has a status, and a figure or a reason; files that hold any text."""

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import spanwise
from spanwise.errors import BoundaryError, FileError, MethodError, OptionError, OutOfMemoryError
from spanwise.evaluation.checklist import checklist as room
from spanwise.evaluation.checklist.checklist import checklist
from spanwise.evaluation.checklist.entries import THRESHOLDS, TITLES, agreement_entry, faithful_entry
from spanwise.evaluation.checklist.result import Checklist
from spanwise.evaluation.comparison.compare import compare
from spanwise.evaluation.comparison.comparison import Comparison
from spanwise.evaluation.faithfulness.intervals import FEWEST_RANDOM
from spanwise.views.checklist import escaped

pytest.importorskip("scipy", reason="needs the flow extra")
pytestmark = pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")

PROMPT, TARGET = "The keys to the old cabinet near the window", " are new."
METHODS = ["feature_ablation", "saliency", "attention_rollout"]


@pytest.fixture(scope="module")
def tiny() -> spanwise.LanguageModel:
    return spanwise.load_model("tiny")


def ask(lm: spanwise.LanguageModel, methods: Any = METHODS, **asked: Any) -> Checklist:
    return checklist(lm, PROMPT, TARGET, methods, **{"quick": True, "span": "are", "progress": False, **asked})


@pytest.fixture(scope="module")
def found(tiny: spanwise.LanguageModel) -> Checklist:
    before = {name: tensor.clone() for name, tensor in tiny.model.state_dict().items()}
    made = ask(tiny, [*METHODS, "lime", "shapley_values"], method_options={"lime": {"n_samples": 32}})
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.model.state_dict().items())
    return made


def test_every_check_of_every_method(found: Checklist) -> None:
    assert found.methods == (*METHODS, "lime") and set(found.titles) == set(found.thresholds) == set(TITLES)
    assert set(found.statuses) == {(check, method) for check in TITLES for method in found.methods}
    for entry in found.entries:
        assert entry.status in ("pass", "warn", "fail", "not applicable") and len(entry.summary) > 20
        assert bool(entry.figure) == (entry.status != "not applicable")
    applies = {(entry.check, entry.method) for entry in found.entries if entry.status != "not applicable"}
    assert {("random_model", method) for method in found.methods} <= applies
    assert {("beats_random", method) for method in found.methods} <= applies
    assert ("baselines", "feature_ablation") in applies and ("baselines", "saliency") not in applies
    assert ("seeds", "lime") in applies and ("seeds", "saliency") not in applies
    assert ("attention", "attention_rollout") in applies and ("attention", "saliency") not in applies
    assert all(found.entry("repeats", method).status == "pass" for method in found.methods)
    assert any(note.startswith("shapley_values did not run: ") for note in found.notes)
    assert all(evaluation.n_random >= FEWEST_RANDOM for evaluation in found.evaluations.values())


def test_it_says_what_the_checks_said(found: Checklist) -> None:
    for method in found.methods:
        sanity, evaluation = found.sanities[method], found.evaluations[method]
        assert found.entry("random_model", method).status == sanity["model_randomization"].status
        assert found.entry("random_model", method).summary == sanity["model_randomization"].summary
        beats = [evaluation.line("naopc", removed).beats_random for removed in evaluation.removed]
        expected = ("pass",) if all(beats) else ("warn", "fail") if any(beats) else ("fail",)
        assert found.entry("beats_random", method).status in expected
        line = evaluation.line("naopc")
        told = f"NAOPC {line.found.value:.2f}, random {line.found.random:.2f}, beat {line.found.beaten} of 20"
        assert told in found.entry("beats_random", method).figure
    kept = found.sanities["saliency"]["model_randomization"].figures["correlation_kept"]
    assert f"correlation {kept:.2f}" in found.entry("random_model", "saliency").figure


def test_agreement_needs_three_families(tiny: spanwise.LanguageModel) -> None:
    prompt = "The keys to the old cabinet near the window that belonged to my sister"
    methods = ["integrated_gradients", "saliency", "feature_ablation", "attention_rollout"]
    compared = compare(tiny, prompt, " are", methods=methods, progress=False)
    results = dict(compared.results)
    assert agreement_entry("saliency", Comparison.of({name: results[name] for name in methods[:3]})).status == (
        "not applicable"
    )
    same = {
        name: dataclasses.replace(result, scores=results["saliency"].scores) for name, result in list(results.items())
    }
    agreed = agreement_entry("saliency", Comparison.of(same))
    assert (agreed.status, agreed.figure) == ("pass", "with feature_ablation and attention_rollout")
    drawn = torch.randn(results["saliency"].scores.shape, generator=torch.Generator().manual_seed(0))
    drawn = drawn.masked_fill(results["saliency"].scores.isnan(), torch.nan)
    apart = same | {"attention_rollout": dataclasses.replace(results["attention_rollout"], scores=drawn.abs())}
    alone = agreement_entry("saliency", Comparison.of(apart))
    assert alone.status == "fail" and "attention_rollout" in alone.figure and "(p " in alone.figure
    rhos = {("integrated_gradients", "feature_ablation"): 0.0, ("saliency", "feature_ablation"): -0.9}
    unlike = [
        dataclasses.replace(pair, spearman=rhos.get((pair.one, pair.other), 0.1), spearman_holm=1.0)
        for pair in compared.pairs
    ]
    entry = agreement_entry("feature_ablation", dataclasses.replace(compared, pairs=tuple(unlike)))
    assert entry.figure == "attention_rollout 0.10 (p 1), integrated_gradients 0.00 (p 1)"  # 0 is nearer than -0.9
    few = agreement_entry("saliency", compare(tiny, "The keys", " are", methods=methods, progress=False))
    assert few.status == "not applicable" and "no corrected p-value" in few.summary


def test_scores_that_rank_nothing_beat_nothing(found: Checklist) -> None:
    constant = dataclasses.replace(found.evaluations["saliency"], constant=(0,))
    entry = faithful_entry("saliency", constant)
    assert (entry.status, entry.figure) == ("fail", "no ranking") and "ranks nothing" in entry.summary


def test_random_is_to_be_beaten_with_every_way_to_remove(found: Checklist) -> None:
    evaluation = found.evaluations["saliency"]

    def judged(**verdicts: str) -> str:
        lines = []
        for line in evaluation.lines:
            place = f"way_{evaluation.removed.index(line.removed)}"
            told = line.found and dataclasses.replace(line.found, against_random=verdicts[place])
            lines.append(dataclasses.replace(line, found=told))
        return faithful_entry("saliency", dataclasses.replace(evaluation, lines=tuple(lines))).status

    assert len(evaluation.removed) == 2
    assert judged(way_0="better", way_1="better") == "pass"
    assert judged(way_0="better", way_1="no different") == "warn"
    assert judged(way_0="worse", way_1="better") == judged(way_0="no different", way_1="no different") == "fail"


def test_no_verdict_is_not_applicable(found: Checklist) -> None:
    evaluation = found.evaluations["saliency"]
    lines = [
        dataclasses.replace(line, found=line.found and dataclasses.replace(line.found, against_random=None))
        for line in evaluation.lines
    ]
    entry = faithful_entry("saliency", dataclasses.replace(evaluation, lines=tuple(lines)))
    assert (entry.status, entry.figure) == ("not applicable", "") and len(entry.summary) > 20
    single = dataclasses.replace(evaluation, lines=tuple(lines), constant=(0,), features=(1,))
    assert faithful_entry("saliency", single).status == "not applicable"


@pytest.mark.parametrize("kind", [MethodError, OutOfMemoryError])
def test_a_check_that_cannot_be_made_says_why(
    tiny: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def refuse(*args: Any, **asked: Any) -> Any:
        raise kind("nothing can be removed here.")

    monkeypatch.setattr(room, "evaluate", refuse)
    monkeypatch.setattr(room, "sanity", refuse)
    found = ask(tiny, ["saliency", "feature_ablation"])
    assert {entry.status for entry in found.entries} == {"not applicable"}
    assert found.entry("beats_random", "saliency").summary == "nothing can be removed here."
    assert not found.evaluations and not found.sanities


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """What `evaluate` and `sanity` are asked, which is not done."""
    given: list[tuple[Any, dict[str, Any]]] = []

    def watch(lm: Any, result: Any, **asked: Any) -> Any:
        given.append((result, asked))
        raise MethodError("watched, and then refused.")

    monkeypatch.setattr(room, "evaluate", watch)
    monkeypatch.setattr(room, "sanity", watch)
    return given


def test_what_was_asked_reaches_the_checks(tiny: spanwise.LanguageModel, watched: list[Any]) -> None:
    contrast = spanwise.contrast(" is")
    ask(tiny, ["saliency", "attention"], objective=contrast, batch_size=3, checkpointing=True)
    assert [asked["objective"] for _, asked in watched] == [contrast, contrast, None, None]
    assert [asked["batch_size"] for _, asked in watched] == [3] * 4
    assert all(result.provenance.checkpointing for result, _ in watched)


def test_one_row_only(tiny: spanwise.LanguageModel, watched: list[Any]) -> None:
    """Comparison, evaluation and sanity checks must be of the same scores."""
    methods = ["saliency", "attention"]
    for count, target, asked in (
        (2, " are new.", {"span": ["are", "new"]}),
        (2, " are new.", {"span": ("are", "new")}),
        (3, " are new, are old, are.", {"span": "are", "occurrence": "all"}),
    ):
        with pytest.raises(OptionError, match=rf"a checklist is of one span, but {count} were given \(are, "):
            checklist(tiny, PROMPT, target, methods, quick=True, progress=False, **asked)
    assert not watched
    for span in (["are"], ("are",), (1, 4), None):
        assert ask(tiny, methods, span=span).span.strip() == ("are" if span else TARGET.strip())


def test_a_chat_and_its_border(tiny: spanwise.LanguageModel, watched: list[Any]) -> None:
    with pytest.raises(BoundaryError):
        checklist(tiny, "The keys to the cab", "inet are new.", METHODS, strict_boundary=True, progress=False)
    with pytest.raises(spanwise.AttributionError, match="template_options"):
        ask(tiny, template_options={"add_generation_prompt": False})
    with pytest.raises(spanwise.AttributionError, match="tools"):
        ask(tiny, tools=[{"name": "open"}])


def test_files(found: Checklist, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found.save(tmp_path / "list.md")
    text = (tmp_path / "list.md").read_text(encoding="utf-8")
    assert text == found.to_markdown()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(TITLES)
    for line in table:  # a cell more or less breaks a table
        assert line.replace("\\|", "").count("|") == len(found.methods) + 2
    for threshold in THRESHOLDS.values():
        assert escaped(threshold) in text
    for entry in found.entries:
        assert escaped(entry.summary) in text
    found.save(tmp_path / "list.json")
    read = json.loads((tmp_path / "list.json").read_text(encoding="utf-8"))
    assert len(read["entries"]) == len(found.entries) and set(read["sanities"]) == set(found.methods)
    assert "comparison" not in found.as_dict()
    json.dumps(found.as_dict(), allow_nan=False)
    with pytest.raises(FileError, match=r"written as \.md or \.json, not 'list\.txt'"):
        found.save(tmp_path / "list.txt")
    with pytest.raises(FileError, match="there is no folder"):
        found.save(tmp_path / "no" / "list.md")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["list.json", "list.md"]
    found.show()
    assert "attention_rollout" in capsys.readouterr().out
    assert "saliency: " in repr(found) and "passed" in repr(found)
    if importlib.util.find_spec("pandas"):
        assert len(found.to_dataframe()) == len(found.entries)


BAD = "a|b `code` <script>alert(1)</script> **bold** [x](http://y) # h\n| new | row |\u202e :tada: &amp; \\| $x$ @me"


def test_texts_stay_text(found: Checklist) -> None:
    for text in (BAD, "\n", "", "| |"):
        bad = dataclasses.replace(found, prompt=text, target=text, span=text, model=text, notes=(text,))
        good = found.to_markdown().splitlines()
        lines = bad.to_markdown().splitlines()
        assert len(lines) == len(good) - len(found.notes) + 1
        assert [line for line in lines if line.startswith("|")] == [line for line in good if line.startswith("|")]
    told = escaped(BAD)
    assert "<" not in told and ">" not in told and "\n" not in told and "\u202e" not in told
    assert "a\\|b \\`code\\` &lt;script&gt;" in told and "\\*\\*bold\\*\\*" in told and "\\[x\\]" in told
    assert "\\:tada: &amp;amp; \\\\\\|" in told and "http\\:" in told and "\\@me" in told


@pytest.mark.usefixtures("unchecked_types")
def test_refusals(tiny: spanwise.LanguageModel, found: Checklist) -> None:
    for told, asked in {
        "quick is True or False": {"quick": "yes"},
        "at least two methods": {"methods": ["saliency"]},
        "Did you mean 'saliency'": {"methods": ["salience", "lime"]},
    }.items():
        with pytest.raises(OptionError, match=told):
            ask(tiny, **asked)
    with pytest.raises(OptionError, match="unknown check 'random'"):
        found.entry("random", "saliency")


@pytest.mark.usefixtures("unchecked_types")
def test_the_command(tmp_path: Path) -> None:
    import typer
    from typer.testing import CliRunner

    from spanwise.cli.checklist import checklist as command

    app = typer.Typer()
    app.command()(command)
    asked = ["--prompt", PROMPT, "--target", TARGET, "--span", "are", "--quick"]
    asked += ["--method", "saliency", "--method", "feature_ablation"]
    output = tmp_path / "list.md"
    done = CliRunner().invoke(app, [*asked, "--json", "--output", str(output)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["methods"] == ["saliency", "feature_ablation"]
    assert output.read_text(encoding="utf-8").startswith("# Checklist: 2 methods on tiny")
    done = CliRunner().invoke(app, [*asked, "--output", "list.txt"])
    assert isinstance(done.exception, FileError)
    apart = ["--prompt", "The keys to the cab", "--target", "inet are new.", "--strict-boundary"]
    assert isinstance(CliRunner().invoke(app, apart).exception, BoundaryError)
