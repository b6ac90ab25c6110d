"""The recipes on a model that knows nothing: none ends in a traceback, and what cannot be served is said."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
import transformers
from conftest import BART_SHAPE, PAIR_SHAPE, SHAPE, make_tokenizer

import spanwise
from spanwise.errors import ModelError

RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = (
    "agreement_error",
    "compare_engines",
    "factual_recall",
    "pun_probe",
    "quantization_drift",
    "quantized_span",
    "rag_citations",
    "reasoning_trace",
    "regression_test",
    "validation_protocol",
)
"""All but the translation recipe, which takes no model that continues texts."""


@pytest.fixture(scope="module", autouse=True)
def path() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPES))
        yield


def saved(model: transformers.PreTrainedModel, folder: Path) -> Path:
    model.eval().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.Qwen2Config(**{**SHAPE, "max_position_embeddings": 1024})  # a letter is a token here
        return saved(transformers.Qwen2ForCausalLM(config), tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.BartConfig(**PAIR_SHAPE, **BART_SHAPE)
        return saved(transformers.BartForConditionalGeneration(config), tmp_path_factory.mktemp("translator"))


@pytest.mark.slow
@pytest.mark.parametrize("quantization", [(), ("--quantization", "nf4")], ids=["", "nf4"])
@pytest.mark.parametrize("name", NAMES)
def test_a_random_model_is_served(name: str, quantization: tuple[str, ...], decoder: Path, tmp_path: Path) -> None:
    recipe = importlib.import_module(name)
    recipe.main(["--model", str(decoder), "--quick", *quantization, "--output", str(tmp_path)])
    assert (tmp_path / "numbers.json").is_file() and (tmp_path / "report.html").is_file()


@pytest.mark.parametrize("quantization", [(), ("--quantization", "nf4")], ids=["", "nf4"])
def test_the_short_ones_are_served(quantization: tuple[str, ...], decoder: Path, tmp_path: Path) -> None:
    for name in ("regression_test", "quantized_span"):
        recipe = importlib.import_module(name)
        recipe.main(["--model", str(decoder), "--quick", *quantization, "--output", str(tmp_path / name)])
        assert (tmp_path / name / "report.html").is_file()


def test_a_model_that_continues_texts_does_not_translate(decoder: Path, tmp_path: Path) -> None:
    recipe = importlib.import_module("gender_bias_translation")
    with pytest.raises(ModelError, match=r"Qwen2ForCausalLM\) continues texts; a model that translates is needed"):
        recipe.main(["--model", str(decoder), "--output", str(tmp_path)])


def test_a_model_that_does_not_write_the_forms_is_named(translator: Path, tmp_path: Path) -> None:
    recipe = importlib.import_module("gender_bias_translation")
    with pytest.raises(ModelError, match=r"no translation by .* has the two articles and the participle"):
        recipe.main(["--model", str(translator), "--quick", "--output", str(tmp_path)])


def test_a_slow_tokenizer_is_refused(monkeypatch: pytest.MonkeyPatch, translator: Path, tmp_path: Path) -> None:
    recipe = importlib.import_module("gender_bias_translation")
    monkeypatch.setattr(transformers.PreTrainedTokenizerFast, "is_fast", False)
    with pytest.raises(ModelError, match=r"a fast one can \(a tokenizer\.json in the folder\)"):
        recipe.main(["--model", str(translator), "--output", str(tmp_path)])


def test_a_script_says_it_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    common = importlib.import_module("common")

    def main() -> None:
        raise spanwise.AttributionError("this model cannot do that.")

    monkeypatch.setattr(sys, "argv", ["recipes/factual_recall.py"])
    with pytest.raises(SystemExit, match=r"^factual_recall\.py: this model cannot do that\.$"):
        common.run(main)


def test_whole_words_are_scored(decoder: Path) -> None:
    common = importlib.import_module("common")
    lm = spanwise.load_model(decoder)
    words = [" Paris", " a", " Buenos Aires"]  # of several tokens, of different length
    found = common.log_probs(lm, "The capital of France is", words)
    for word, value in zip(words, found, strict=True):
        result = spanwise.attribute(lm, "The capital of France is", word, method="saliency")
        assert value == pytest.approx(float(result.target_scores.sum()), abs=1e-4), word


def test_what_removes_a_token(decoder: Path) -> None:
    common = importlib.import_module("common")
    lm = spanwise.load_model(decoder)
    assert common.absent(lm) == ("unk", 0)
    lm.tokenizer.unk_token = None
    assert common.absent(lm) == ("pad", 1)
    lm.tokenizer.pad_token = None
    with pytest.raises(ModelError, match="has neither"):
        common.absent(lm)


def test_a_table_hides_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    common = importlib.import_module("common")
    rows = common.show_table("title", ("name", "value"), [("a\x1bb", -0.001), ("short",)])
    assert rows == [{"name": r"a\x1bb", "value": "0.00"}, {"name": "short"}]
    assert "\x1b" not in capsys.readouterr().out
