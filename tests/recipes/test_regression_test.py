"""The recipe of a product's test: the answer stays right, and the check of the reason fails where it must."""

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
        import regression_test

        return regression_test


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("regression_test")


@pytest.fixture(scope="module")
def found(recipe: ModuleType, written: Path) -> dict[str, Any]:
    return recipe.main(["--quick", "--output", str(written)])


def test_the_answer_never_shows_it(found: dict[str, Any]) -> None:
    assert not any(each["answer"] for each in found.values())


def test_the_reason_does(found: dict[str, Any]) -> None:
    holds = [name for name, each in found.items() if not each["reason"]]
    assert holds == ["as released", "another greeting"]


def test_the_message_names_the_greeting(found: dict[str, Any]) -> None:
    said = found["document 2 lost, greeting says it"]["reason"]
    assert "NO  'greeting' has at most 10.0%" in said and "NO  'document 2' has at least 80.0%" in said
    assert said.index("'greeting' 'Hello Anna.") < said.index("'document 1' 'The red")  # the strongest first


def test_a_share_of_nothing_is_no_reason(found: dict[str, Any]) -> None:
    assert "at least 1 nats" in found["document 2 in two documents"]["reason"]
    assert max(found["document 2 in two documents"]["scores"].values()) < 0.1
    assert found["as released"]["scores"]["document 2"] > 1


def test_it_is_a_test_itself(recipe: ModuleType) -> None:
    recipe.test_the_answer_relies_on_document_2()
    assert recipe.complaint(recipe.check_answer, recipe.spanwise.load_model("tiny"), {"a": "The red box holds keys."})


def test_what_is_written(found: dict[str, Any], written: Path) -> None:
    assert json.loads((written / "numbers.json").read_text(encoding="utf-8")) == found
    for name in ("reasons.png", "report.html"):
        assert (written / name).stat().st_size > 5000, name
