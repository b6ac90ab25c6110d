"""The recall recipe: subject and relation are blamed, and the answer follows them and no other word."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPES))
        import factual_recall

        return factual_recall


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("factual_recall")


@pytest.fixture(scope="module")
def found(recipe: ModuleType, written: Path) -> dict[str, Any]:
    return recipe.main(["--quick", "--output", str(written)])


def test_the_answer_follows_what_is_exchanged(found: dict[str, Any]) -> None:
    assert found["known"] >= 0.9 * found["asked"] >= 10
    assert set(found["followed"]) == {"subject", "relation", "another word"}
    assert min(found["followed"].values()) > 0.9  # for another word: the answer stays


def test_the_attribution_says_so_before(found: dict[str, Any]) -> None:
    ablation = found["methods"]["feature_ablation"]
    assert ablation["both on top"] > 0.9 and ablation["another word"] < 0.1
    assert found["methods"]["input_x_gradient"]["both on top"] < 0.5  # the honest failure


def test_france_is_exchanged(found: dict[str, Any]) -> None:
    first = found["facts"][0]
    assert (first["prompt"], first["answer"]) == ("The capital of France is called", "Paris")
    for word in ("subject", "relation"):
        assert first["after"][word]["prompt"] != first["prompt"]
        assert first["after"][word]["expected"] != "Paris"


def test_words_have_kinds(recipe: ModuleType) -> None:
    fact = recipe.Fact("The {relation} of {subject} is called", "capital", "France")
    kinds = [fact.kind_of(word) for word in ("France", " capital", "France:", "of")]
    assert kinds == ["subject", "relation", "subject", "another word"]


def test_what_is_written(found: dict[str, Any], written: Path) -> None:
    assert json.loads((written / "numbers.json").read_text(encoding="utf-8")) == found
    for name in ("shares.png", "paris.png", "report.html"):
        assert (written / name).stat().st_size > 5000, name
