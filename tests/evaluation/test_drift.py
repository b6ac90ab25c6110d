"""`compare_precision`: figures against SciPy on the saved scores and plain forwards; one model in memory at a time."""

import gc
import importlib.util
import json
import math
import weakref
from pathlib import Path

import pytest
import torch
from conftest import make_model, make_tokenizer

import spanwise
from spanwise.errors import DependencyError, InputError, OptionError
from spanwise.evaluation.agreement import rank_correlation, top_k_overlap
from spanwise.evaluation.drift import drift as room
from spanwise.evaluation.drift.drift import Drift, compare_precision

stats = pytest.importorskip("scipy.stats", reason="needs the flow extra")
needs_quantization = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="needs the quantization extra"
)
# Few steps are enough to compare; the completeness gap that they leave is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")

PROMPT, TARGET = "The keys to the cabinet", " are on the table."
FEW = {"method_options": {"n_steps": 8}}


def compared(*precisions: str, prompt: str = PROMPT, **asked: object) -> Drift:
    return compare_precision(
        "tiny", prompt, TARGET, precisions=list(precisions), progress=False, **{**FEW, "top_k": 3, **asked}
    )


def defined(result: spanwise.Attribution) -> list[list[float]]:
    return [[score for score in row if not math.isnan(score)] for row in result.scores.tolist()]


def test_the_same_precision_twice_is_the_same() -> None:
    drift = compared("float32", "float32", span="are")
    for line in drift.lines:
        assert (line.spearman, line.kendall, line.overlap, line.log_prob_change) == (1.0, 1.0, 1.0, 0.0)
    assert torch.equal(drift.log_prob_changes, torch.zeros(2, len(drift.results[0].target)))


@needs_quantization
@pytest.mark.parametrize("asked", [{"span": ["are", "table"]}, {}, {"span": "are", "rows": "token"}])
def test_figures_against_independent_ones(asked: dict[str, object], tmp_path: Path) -> None:
    prompt = "The keys to the old cabinet near the window that belonged to my sister"  # long enough to be reordered
    drift = compared("float32", "bf16", "nf4", prompt=prompt, **asked)
    loaded = []
    for index, result in enumerate(drift.results):
        result.save(tmp_path / f"{index}.safetensors")
        loaded.append(spanwise.Attribution.load(tmp_path / f"{index}.safetensors"))
    expected = defined(loaded[0])
    target = loaded[0].target
    asked_tokens = [i for span in loaded[0].spans for i in range(span.first_token, span.last_token)]
    if not loaded[0].spans:
        asked_tokens = list(range(len(target)))
    rows = asked_tokens if loaded[0].rows == "token" else range(len(expected))
    for line, result, log_probs in zip(drift.lines, loaded, drift.log_probs, strict=True):
        found = defined(result)
        # SciPy in float64 on float32 scores; ours is rounded to float32 once
        pairs = [(found[row], expected[row]) for row in rows]
        assert line.spearman == pytest.approx(sum(stats.spearmanr(*p).statistic for p in pairs) / len(pairs), abs=1e-6)
        assert line.kendall == pytest.approx(sum(stats.kendalltau(*p).statistic for p in pairs) / len(pairs), abs=1e-6)
        tops = [[set(sorted(range(len(s)), key=lambda i: -abs(s[i]))[:3]) for s in pair] for pair in pairs]
        assert line.overlap == pytest.approx(sum(len(a & b) for a, b in tops) / 3 / len(pairs), abs=1e-6)
        assert line.completeness_gap == result.completeness_gap
        plain = plain_log_probs(line.precision, result)
        # float32 sums in another order; bfloat16 rounds each product to 8 bits
        tolerance = 1e-5 if line.precision != "bf16" else 0.05
        torch.testing.assert_close(log_probs, plain, atol=tolerance, rtol=tolerance)
        assert line.log_prob == pytest.approx(float(log_probs[asked_tokens].sum()), abs=1e-6)
        change = float((log_probs - drift.log_probs[0])[asked_tokens].sum())
        assert line.log_prob_change == pytest.approx(change, abs=1e-6)
    nf4 = drift.lines[2]
    assert nf4.log_prob_change != 0 and nf4.spearman is not None and nf4.kendall is not None
    assert 0 < nf4.kendall < nf4.spearman < 1


def plain_log_probs(precision: str, result: spanwise.Attribution) -> torch.Tensor:
    kind = {"quantization": precision} if precision == "nf4" else {"dtype": precision}
    lm = spanwise.load_model("tiny", **kind)
    ids = [*result.provenance.prompt_ids, *result.provenance.target_ids]
    with torch.no_grad():
        logits = lm.model(torch.tensor([ids]), use_cache=False).logits[0].float()
    before = len(result.provenance.prompt_ids) - 1
    log_probs = logits.log_softmax(-1)[before:-1]
    return log_probs[torch.arange(len(log_probs)), torch.tensor(ids[before + 1 :])]


def test_log_probabilities_of_another_objective() -> None:
    drift = compared("float32", "bf16", objective="logit", method="saliency", method_options={})
    by_log_prob = compared("float32", "bf16", method="saliency", method_options={})
    assert not torch.allclose(drift.results[0].target_scores, drift.log_probs[0])
    torch.testing.assert_close(drift.log_probs, by_log_prob.log_probs)
    assert drift.lines[0].completeness_gap is None


def test_the_reference_comes_first() -> None:
    assert [line.precision for line in compared("bf16", "float32").lines] == ["bf16", "float32"]
    drift = compared("bf16", "float32", reference="float32")
    assert [line.precision for line in drift.lines] == ["float32", "bf16"]
    assert drift.reference == "float32" and drift.results[0].provenance.dtype == "float32"
    assert [line.precision for line in compared("bf16", reference="float32").lines] == ["float32", "bf16"]


def test_a_target_that_the_reference_generates() -> None:
    drift = compare_precision(
        "tiny",
        PROMPT,
        precisions=["float32", "bf16"],
        method="saliency",
        generation_options={"max_new_tokens": 3},
        top_k=3,
        progress=False,
    )
    first, second = (result.provenance for result in drift.results)
    assert first.generated and not second.generated
    assert first.target_ids == second.target_ids


def test_one_model_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[torch.nn.Module]] = []
    load = room.load_model

    def watched(*args: object, **options: object) -> spanwise.LanguageModel:
        assert [each for each in alive if each() is not None] == []
        lm = load(*args, **options)
        alive.append(weakref.ref(lm.model))
        return lm

    monkeypatch.setattr(room, "load_model", watched)
    drift = compared("float32", "bf16", "float16")
    gc.collect()
    assert len(alive) == 3 and all(each() is None for each in alive)
    assert len(drift.results) == 3


def test_exports() -> None:
    pandas = pytest.importorskip("pandas", reason="needs the dataframe extra")
    drift = compared("float32", "bf16", span="are")
    table = drift.to_dataframe()
    assert isinstance(table, pandas.DataFrame) and list(table["precision"]) == ["float32", "bf16"]
    assert table["spearman"][1] == drift.lines[1].spearman
    read = json.loads(json.dumps(drift.as_dict(), allow_nan=False))
    assert read["reference"] == "float32" and len(read["results"]) == 2
    assert read["precisions"][1]["log_prob_change"] == drift.lines[1].log_prob_change
    assert "bf16" in repr(drift)


REFUSED = [
    ({"precisions": ["float32", "int4"]}, "unknown precision 'int4'. Did you mean 'int8'?"),
    ({"precisions": ["float32"]}, "at least two precisions, the reference included; found: float32"),
    ({"precisions": []}, "at least two precisions, the reference included; found: none"),
    ({"precisions": "bf16"}, "precisions is a list of names, not 'bf16'"),
    ({"precisions": ["float32", "bf16"], "reference": "gold"}, "unknown precision 'gold'"),
    ({"precisions": ["float32", "bf16"], "top_k": 0}, "top_k must be an integer of at least 1, not 0"),
    ({"precisions": ["float32", "bf16"], "top_k": 50}, "the overlap of the top 50 was asked, but only 5 source tokens"),
]


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(("asked", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refusals(asked: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        compare_precision("tiny", PROMPT, TARGET, method="saliency", progress=False, **asked)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("missing", "extra"), [("bitsandbytes", "quantization"), ("accelerate", "quantization"), ("scipy", "flow")]
)
def test_missing_packages_are_told_before_any_work(missing: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == missing else spec(name, *rest))
    monkeypatch.setattr(room, "load_model", lambda *args, **options: pytest.fail("a model was loaded"))
    with pytest.raises(
        DependencyError, match=rf"'{missing}', which is not installed: pip install 'spanwise\[{extra}\]'"
    ):
        compared("bf16", "nf4")


@pytest.mark.usefixtures("unchecked_types")
def test_rank_correlation() -> None:
    one = torch.tensor([[1.0, 2.0, torch.nan, 3.0, 3.0], [5.0, 5.0, torch.nan, 5.0, 5.0]])
    other = torch.tensor([[-1.0, 7.0, torch.nan, 8.0, 6.0], [1.0, 2.0, torch.nan, 3.0, 4.0]])
    for kind, measure in (("spearman", stats.spearmanr), ("kendall", stats.kendalltau)):
        found = rank_correlation(one, other, kind)
        assert found[0] == pytest.approx(measure([1, 2, 3, 3], [-1, 7, 8, 6]).statistic)
        assert found[1].isnan()  # a row that says the same everywhere has no order
        assert rank_correlation(one[:1], -one[:1], kind)[0] == pytest.approx(-1.0)
        assert rank_correlation(one[:1], one[:1].exp(), kind)[0] == 1.0
    assert rank_correlation(one[:, :1], other[:, :1]).isnan().all()
    with pytest.raises(InputError, match="shapes"):
        rank_correlation(one, other[:1])
    with pytest.raises(InputError, match="not defined in the same places"):
        rank_correlation(one, other.nan_to_num())
    with pytest.raises(OptionError, match="unknown rank correlation 'pearson'"):
        rank_correlation(one, other, "pearson")


def test_top_k_overlap() -> None:
    one = torch.tensor([[3.0, -4.0, torch.nan, 1.0, 0.0], [1.0, 1.0, torch.nan, 1.0, 1.0]])
    other = torch.tensor([[0.0, 9.0, torch.nan, 2.0, -8.0], [1.0, 1.0, torch.nan, 1.0, 1.0]])
    assert top_k_overlap(one, other, 2).tolist() == [0.5, 1.0]
    assert top_k_overlap(one, other, 4).tolist() == [1.0, 1.0]
    with pytest.raises(OptionError, match="only 4 source tokens have scores"):
        top_k_overlap(one, other, 5)


@pytest.mark.usefixtures("unchecked_types")
def test_the_command(tmp_path: Path) -> None:
    import typer
    from typer.testing import CliRunner

    from spanwise.cli.drift import drift as command

    app = typer.Typer()
    app.command()(command)
    make_model("qwen2").save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    asked = ["--model", str(tmp_path / "model"), "--prompt", PROMPT, "--target", TARGET, "--method", "saliency"]
    asked += ["--precision", "float32", "--precision", "bf16", "--top-k", "3"]
    done = CliRunner().invoke(app, [*asked, "--json"])
    assert done.exit_code == 0
    assert [line["precision"] for line in json.loads(done.stdout)["precisions"]] == ["float32", "bf16"]
    plot = tmp_path / "drift.png"
    done = CliRunner().invoke(app, [*asked, "--plot", str(plot)])
    assert done.exit_code == 0 and f"wrote {plot}" in done.stdout.replace("\n", "")
    assert plot.stat().st_size > 5000 and "Spearman" in done.stdout
    done = CliRunner().invoke(app, ["--target", TARGET])
    assert isinstance(done.exception, OptionError) and "a prompt is needed" in str(done.exception)
