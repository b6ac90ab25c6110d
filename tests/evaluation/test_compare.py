"""`compare`: several methods on one question, asked once; who agrees, who stands apart, who was refused."""

import dataclasses
import importlib.util
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer

import spanwise
from spanwise.errors import InputError, MethodError, OptionError, SpanError
from spanwise.evaluation.comparison import compare as room
from spanwise.evaluation.comparison.compare import compare
from spanwise.evaluation.comparison.comparison import Comparison
from spanwise.evaluation.comparison.methods import DEFAULT_METHODS
from spanwise.evaluation.comparison.pairs import Pair
from spanwise.evaluation.comparison.sentences import find_groups, sentences

stats = pytest.importorskip("scipy.stats", reason="needs the flow extra")
needs_inseq = pytest.mark.skipif(importlib.util.find_spec("inseq") is None, reason="needs the inseq extra")
needs_quantization = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="needs the quantization extra"
)
# Few steps are enough to compare; the completeness gap that they leave is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")

PROMPT, TARGET = "The keys to the old cabinet near the window of my sister", " are on the table."
CHEAP = ["saliency", "input_x_gradient", "feature_ablation"]


@pytest.fixture(scope="module")
def tiny() -> spanwise.LanguageModel:
    return spanwise.load_model("tiny")


@pytest.fixture(scope="module")
def result(tiny: spanwise.LanguageModel) -> spanwise.Attribution:
    return spanwise.attribute(tiny, PROMPT, TARGET, method="input_x_gradient", span=" are", progress=False)


def ask(lm: spanwise.LanguageModel, methods: Any = CHEAP, target: Any = TARGET, **asked: Any) -> Comparison:
    return compare(lm, PROMPT, target, methods=methods, progress=False, **{"n_permutations": 200, **asked})


def changed(result: spanwise.Attribution, scores: torch.Tensor, **made: Any) -> spanwise.Attribution:
    return dataclasses.replace(
        result,
        scores=scores.float(),
        span_scores=scores.float(),
        provenance=dataclasses.replace(result.provenance, **made),
    )


def noise(result: spanwise.Attribution, seed: int) -> torch.Tensor:
    drawn = torch.randn(result.scores.shape, generator=torch.Generator().manual_seed(seed))
    return drawn.masked_fill(result.scores.isnan(), torch.nan)


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_each_method_is_what_attribute_gives_and_the_model_stays(tiny: spanwise.LanguageModel) -> None:
    before = state(tiny.model)
    found = ask(tiny, span=[" are", "table"], method_options={"saliency": {"reduction": "sum"}})
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.model.state_dict().items())
    for name, each in found.results.items():
        options = {"reduction": "sum"} if name == "saliency" else None
        expected = spanwise.attribute(
            tiny, PROMPT, TARGET, method=name, span=[" are", "table"], method_options=options, progress=False
        )
        torch.testing.assert_close(each.scores, expected.scores, equal_nan=True)
    pair = found.pair("feature_ablation", "saliency")
    assert (pair.one, pair.other, pair.absolute) == ("saliency", "feature_ablation", False)
    rows = [found.results[name].scores for name in (pair.one, pair.other)]
    kept = ~rows[0][0].isnan()
    expected = [stats.spearmanr(*(each[row][kept[: each.shape[1]]] for each in rows)).statistic for row in range(2)]
    assert pair.spearman == pytest.approx(sum(expected) / 2, abs=1e-6)


def test_scores_without_a_sign_are_compared_by_size(tiny: spanwise.LanguageModel) -> None:
    found = ask(tiny, span=" are")
    saliency, products = (found.results[name].scores[0] for name in ("saliency", "input_x_gradient"))
    kept = ~saliency.isnan()
    pair = found.pair("saliency", "input_x_gradient")
    assert pair.absolute
    assert pair.spearman == pytest.approx(stats.spearmanr(saliency[kept], products[kept].abs()).statistic, abs=1e-6)
    assert not found.pair("input_x_gradient", "feature_ablation").absolute
    assert any(note.startswith("saliency: no sign, so pairs with it compare absolute") for note in found.notes)


def test_the_same_scores_agree_and_reversed_ones_do_not(result: spanwise.Attribution) -> None:
    same, reversed_ = changed(result, 3 * result.scores), changed(result, -result.scores)
    found = Comparison.of({"own": result, "same": same, "reversed": reversed_}, n_permutations=500)
    one, other = found.pair("own", "same"), found.pair("own", "reversed")
    assert (one.spearman, one.kendall, one.overlap) == (1.0, 1.0, 1.0)
    assert (other.spearman, other.kendall, other.overlap) == (pytest.approx(-1), pytest.approx(-1), 1.0)
    # the smallest p-value of 500 orders, times 3 pairs
    assert one.spearman_p == 1 / 501 and one.spearman_holm == pytest.approx(3 / 501)
    assert "own and same agree beyond chance (Spearman 1.00" in found.sentences[0]
    assert any("reversed stands apart: look at it" in sentence for sentence in found.sentences)
    assert any("own and reversed order the tokens in opposite ways" in sentence for sentence in found.sentences)
    assert found.disputed == ()  # by size all three are the same
    unsigned = changed(result, -result.scores.abs(), signed=False)
    assert Comparison.of({"own": result, "unsigned": unsigned}).pairs[0].spearman == 1.0


def test_noise_agrees_with_nothing(result: spanwise.Attribution) -> None:
    found = Comparison.of({str(seed): changed(result, noise(result, seed)) for seed in range(4)}, n_permutations=500)
    assert "No two of 0, 1, 2 and 3 agree beyond chance" in found.sentences[0]
    assert not any("stands apart" in sentence for sentence in found.sentences)
    assert all(pair.spearman_holm is not None and pair.spearman_holm > 0.05 for pair in found.pairs)


def test_groups_and_who_is_between_them() -> None:
    """Within a group every two agree; who agrees with a part of it only is named, and so is who agrees with none."""
    near = {"ab": 0.9, "ac": 0.8, "bc": 0.85, "de": 0.7, "ad": 0.5, "fa": 0.6, "fd": 0.4}
    pairs = [
        Pair(one, other, one + other in ("ac", "de"), rho, rho, 0.5, p, p, p, p, p, p)
        for one, other in combinations("abcdefg", 2)
        for rho in [near.get(one + other, near.get(other + one, -0.1))]
        for p in [0.01 if rho > 0 else 0.6]
    ]
    assert find_groups("abcdefg", pairs) == [["a", "b", "c"], ["d", "e"], ["f"], ["g"]]
    told = sentences("abcdefg", pairs, (), {"h": "no reason."})
    assert told == (
        "a, b and c agree beyond chance (Spearman 0.80 to 0.90, in part of absolute scores, Holm-corrected p < 0.05).",
        "d and e agree beyond chance (Spearman of absolute scores 0.70, Holm-corrected p < 0.05).",
        "f agrees beyond chance with a and d, not with b, c, e and g.",
        "g stands apart: look at it. "
        "It agrees with none beyond chance; nearest is a (Spearman -0.10, corrected p 0.6).",
        "Between (a, b and c) and (d and e), 1 of 6 pairs agree beyond chance.",
        "h did not run: no reason.",
    )


def test_the_most_disputed_token(result: spanwise.Attribution) -> None:
    steps = torch.arange(1.0, result.scores.shape[1] + 1).masked_fill(result.scores[0].isnan(), torch.nan)[None]
    last = int((~steps[0].isnan()).nonzero().max())
    moved = steps.clone()
    moved[0, last] = 0.5
    found = Comparison.of({"one": changed(result, steps), "moved": changed(result, moved)})
    assert found.disputed[0].column == last and found.disputed[0].text == result.source_tokens[last]
    assert found.disputed[0].ranks == {"one": 1.0, "moved": last + 1}
    assert f"{result.source_tokens[last]!r} (rank 1 in one, {last + 1} in moved)" in found.sentences[-1]


@needs_inseq
def test_two_engines_agree(tiny: spanwise.LanguageModel) -> None:
    methods = [("integrated_gradients", "captum"), "integrated_gradients@inseq"]
    found = ask(tiny, methods, span=" are", method_options={"integrated_gradients": {"n_steps": 8}})
    assert found.names == ("integrated_gradients@captum", "integrated_gradients@inseq")
    one, other = found.results.values()
    assert one.provenance.engine == "captum" and other.provenance.engine == "inseq"
    torch.testing.assert_close(one.scores, other.scores, equal_nan=True, atol=1e-4, rtol=1e-3)
    assert found.pairs[0].spearman == pytest.approx(1.0, abs=0.01)


def test_what_cannot_run_is_listed_with_the_reason(tiny: spanwise.LanguageModel) -> None:
    found = ask(tiny, ["saliency", "shapley_values", "lime@inseq", "feature_ablation"])
    assert found.names == ("saliency", "feature_ablation")
    assert set(found.refused) == {"shapley_values", "lime@inseq"}
    assert "it allows at most 8" in found.refused["shapley_values"]
    assert any(sentence.startswith("shapley_values did not run: ") for sentence in found.sentences)
    with pytest.raises(MethodError, match=r"needs two methods, but 1 of 2 can run here\. shapley_values: .* at most 8"):
        ask(tiny, ["saliency", "shapley_values"])
    assert ask(tiny, ["saliency", "feature_ablation", "lime"], rows="token").refused.keys() == {"lime"}


def test_default_methods(tiny: spanwise.LanguageModel) -> None:
    found = compare(tiny, "The keys", " are", progress=False)
    assert found.names == DEFAULT_METHODS and not found.refused
    families = {spanwise.methods.METHODS[name].family for name in found.names}
    assert families == {"gradient", "perturbation", "attention"}


def test_a_generated_target_is_generated_once(tiny: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    read = room.read
    monkeypatch.setattr(room, "read", lambda *args, **asked: calls.append(args) or read(*args, **asked))
    asked = []
    attribute = room.attribute
    monkeypatch.setattr(room, "attribute", lambda *args, **more: asked.append(args) or attribute(*args, **more))
    found = ask(tiny, ["shapley_values", *CHEAP], target=None, generation_options={"max_new_tokens": 3})
    assert len(calls) == 1 and len(asked) == 4 and all(args[2] is not None for args in asked)
    alone = spanwise.attribute(tiny, PROMPT, method="saliency", generation_options={"max_new_tokens": 3})
    for each in found.results.values():
        assert each.provenance.target_ids == alone.provenance.target_ids
        assert each.provenance.generated and each.provenance.generation_options == alone.provenance.generation_options


def test_which_methods_read_the_objective() -> None:
    blind = {info.name for info in spanwise.list_methods() if not info.reads_objective}
    assert blind == {"reagent", "value_zeroing", "context_cite", "attention", "attention_rollout", "attention_flow"}


def test_what_does_not_concern_a_method_is_said(tiny: spanwise.LanguageModel) -> None:
    found = ask(tiny, ["saliency", "feature_ablation", "attention"], baseline="zero", objective="logit")
    made = {name: each.provenance for name, each in found.results.items()}
    assert made["feature_ablation"].baseline == "zero" and made["saliency"].baseline is None
    assert made["saliency"].objective == "logit" and made["attention"].objective == "log_prob"
    assert any(note.startswith("saliency, attention: without baseline") for note in found.notes)
    assert any(note.startswith("attention: without objective") for note in found.notes)


@pytest.mark.parametrize("kind", ["token rows", "attributed prefix", "words", "contrast"])
def test_questions_of_every_kind(tiny: spanwise.LanguageModel, kind: str) -> None:
    asked: dict[str, Any] = {
        "token rows": {"rows": "token"},
        "attributed prefix": {"rows": "token", "prefix": "attributed"},
        "words": {"features": "word", "span": " are"},
        "contrast": {"objective": spanwise.contrast(" is"), "span": " are"},
    }[kind]
    found = ask(tiny, ["input_x_gradient", "feature_ablation", "attention_rollout"], **asked)
    assert len(found.pairs) == 3 and not found.refused
    assert all(pair.spearman is not None and 0 < (pair.spearman_p or 0) <= 1 for pair in found.pairs)


@pytest.mark.parametrize("architecture", ["gpt2", "t5"])
def test_other_architectures(architecture: str) -> None:
    lm = spanwise.LanguageModel(make_model(architecture), make_tokenizer(), name=architecture)
    assert ask(lm, ["saliency", "feature_ablation", "attention"], span=" are").names[2] == "attention"


@needs_quantization
def test_a_quantized_model() -> None:
    found = ask(spanwise.load_model("tiny", quantization="nf4"), span=" are")
    assert all(each.provenance.quantization == "nf4" for each in found.results.values())


def test_few_scores_have_few_orders(tiny: spanwise.LanguageModel) -> None:
    found = compare(tiny, "The keys", " are", methods=CHEAP, progress=False)
    assert found.exact and found.permutations == 2
    assert any("no agreement can be told from chance" in note for note in found.notes)
    assert found.top_k == 1
    constant = changed(found.results["saliency"], 0 * found.results["saliency"].scores + 1)
    flat = Comparison.of({"own": found.results["saliency"], "constant": constant})
    assert flat.pairs[0].spearman is None and flat.pairs[0].spearman_p is None
    assert any(note.startswith("constant: all scores are equal") for note in flat.notes)
    assert torch.isnan(flat.matrix()[0, 1]) and "none" in repr(flat)


def test_exports(tiny: spanwise.LanguageModel, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = ask(tiny, span=" are")
    read = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert read["methods"] == CHEAP and len(read["pairs"]) == 3 and set(read["results"]) == set(CHEAP)
    assert "results" not in found.as_dict(results=False)
    matrix = found.matrix("kendall")
    assert torch.equal(matrix, matrix.T) and matrix.diag().tolist() == [1.0] * 3
    assert matrix[0, 2] == pytest.approx(found.pair("saliency", "feature_ablation").kendall)
    assert found.matrix("overlap_holm").diag().isnan().all()
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.top_k = 3  # type: ignore[misc]
    found.show()
    out = " ".join(capsys.readouterr().out.split())
    assert found.sentences[0].split()[0] in out and "saliency ~ input_x_gradient" in out
    found.plot(tmp_path / "c.svg")
    assert (tmp_path / "c.svg").stat().st_size > 5000
    if importlib.util.find_spec("pandas"):
        table = found.to_dataframe()
        assert list(table["one"]) == ["saliency", "saliency", "input_x_gradient"]


REFUSED: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "an unknown method": (OptionError, "Did you mean 'saliency'?", {"methods": ["salience", "lime"]}),
    "an unknown engine": (OptionError, "unknown engine 'tea'", {"methods": ["saliency@tea", "lime"]}),
    "one method": (OptionError, "at least two methods; given: saliency", {"methods": ["saliency"]}),
    "a name alone": (OptionError, "methods is a list of names", {"methods": "saliency"}),
    "no name": (OptionError, 'a name, "name@engine" or', {"methods": ["saliency", 3]}),
    "the same twice": (OptionError, "saliency on the engine 'captum' was given twice", {"methods": ["saliency"] * 2}),
    "the same by its engine": (OptionError, "given twice", {"methods": ["saliency", ("saliency", "captum")]}),
    "the same by its alias": (OptionError, "given twice", {"methods": ["occlusion", "feature_ablation"]}),
    "a large k": (OptionError, "top_k=50 was asked, but only", {"top_k": 50}),
    "no k": (OptionError, "top_k must be an integer of at least 1", {"top_k": 0}),
    "no orders": (OptionError, "n_permutations must be an integer", {"n_permutations": 0}),
    "an option of none": (OptionError, "unknown option of saliency", {"method_options": {"saliency": {"steps": 3}}}),
    "options of another": (OptionError, "unknown method in method_options 'lime'", {"method_options": {"lime": {}}}),
    "options as a list": (OptionError, "method_options is a mapping", {"method_options": []}),
    "no span": (SpanError, "not in the target", {"span": "swim"}),
    "an unknown objective": (OptionError, "unknown objective 'loss'", {"objective": "loss"}),
    "an unknown baseline": (OptionError, "unknown baseline 'tea'", {"baseline": "tea"}),
    "a baseline of none": (
        OptionError,
        "baseline= was given, but none of saliency, attention has one",
        {"baseline": "unk", "methods": ["saliency", "attention"]},
    ),
    "generation of nothing": (OptionError, "nothing is generated", {"generation_options": {"max_new_tokens": 3}}),
}


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("slip", REFUSED)
def test_refusals(tiny: spanwise.LanguageModel, slip: str) -> None:
    kind, told, asked = REFUSED[slip]
    with pytest.raises(kind, match=told.replace("?", r"\?")):
        ask(tiny, **asked)


@pytest.mark.usefixtures("unchecked_types")
def test_no_model_and_unknown_names(tiny: spanwise.LanguageModel) -> None:
    with pytest.raises(InputError, match="a LanguageModel is needed, not str"):
        compare("tiny", PROMPT, TARGET)
    with pytest.raises(TypeError, match="unexpected keyword argument 'spam'"):
        ask(tiny, spam=1)


def test_results_that_do_not_compare(tiny: spanwise.LanguageModel, result: spanwise.Attribution) -> None:
    def other(prompt: str = PROMPT, target: str = TARGET, **asked: Any) -> spanwise.Attribution:
        return spanwise.attribute(tiny, prompt, target, **{"method": "saliency", "span": " are", **asked})

    cases = {
        "their prompts are": other("The keys to the old cabinet near the window of my mother"),
        "their targets are": other(target=" are on the desk."),
        "their rows are": other(span=" on"),
        "their objective is 'log_prob' and 'prob'": other(objective="prob"),
        "their features is": other(features="word"),
        "their model is 'tiny' and 'other'": changed(result, result.scores, model="other"),
        "scores in other places": other(source="keys"),
    }
    for told, each in cases.items():
        with pytest.raises(InputError, match=f"'one' and 'two' do not compare: .*{told}|do not compare: {told}"):
            Comparison.of({"one": result, "two": each})
    with pytest.raises(OptionError, match="two results are of input_x_gradient@captum"):
        Comparison.of([result, result])
    with pytest.raises(InputError, match="at least two results; given: 1"):
        Comparison.of([result])
    assert Comparison.of([result, other()]).names == ("input_x_gradient", "saliency")


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("command", ["compare", "checklist"])
def test_a_model_is_loaded_as_attribute_loads_it(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from spanwise.cli import app

    asked: list[dict[str, Any]] = []

    def load(name_or_path: str, **given: Any) -> None:
        asked.append(given)
        raise InputError("nothing is loaded here.")

    monkeypatch.setattr(spanwise, "load_model", load)
    options = ["--quantization", "nf4", "--compute-dtype", "float16", "--storage-dtype", "bfloat16", "--double-quant"]
    options += ["--skip-module", "lm_head", "--dtype", "float32", "--device-map", "auto", "--max-memory", "0=1GiB"]
    options += ["--offload-folder", "off"]
    for each in ("attribute", command):
        CliRunner().invoke(app, [each, "--prompt", PROMPT, "--target", TARGET, *options])
    assert asked[0] == asked[1] and None not in asked[0].values()


@pytest.mark.usefixtures("unchecked_types")
def test_the_command(tmp_path: Path) -> None:
    import typer
    from typer.testing import CliRunner

    from spanwise.cli.compare import compare as command

    app = typer.Typer()
    app.command()(command)
    asked = ["--prompt", PROMPT, "--target", TARGET, "--span", "are", "--permutations", "100"]
    asked += ["--method", "saliency", "--method", "integrated_gradients@captum", "--method", "shapley_values"]
    asked += ["--option", "integrated_gradients.n_steps=5"]
    done = CliRunner().invoke(app, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["methods"] == ["saliency", "integrated_gradients@captum"] and "shapley_values" in found["refused"]
    assert found["results"]["integrated_gradients@captum"]["provenance"]["options"]["n_steps"] == 5
    plot = tmp_path / "compare.png"
    done = CliRunner().invoke(app, [*asked, "--plot", str(plot)])
    assert done.exit_code == 0 and f"wrote {plot}" in done.stdout.replace("\n", "")
    assert plot.stat().st_size > 5000 and "Spearman" in done.stdout
    for more, told in (
        (["--option", "n_steps=5"], "--option takes METHOD.name=value here"),
        (["--plot", "x.bmp"], "figures are written as"),
    ):
        done = CliRunner().invoke(app, [*asked, *more])
        assert isinstance(done.exception, spanwise.AttributionError) and told in str(done.exception)
    assert "a prompt is needed" in str(CliRunner().invoke(app, []).exception)
