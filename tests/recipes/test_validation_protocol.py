"""The protocol recipe: the method that is right finds the causes, and what failed is said."""

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
        import validation_protocol

        return validation_protocol


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("validation_protocol")


@pytest.fixture(scope="module")
def found(recipe: ModuleType, written: Path) -> dict[str, Any]:
    return recipe.main(["--quick", "--output", str(written)])


def test_ablation_finds_the_planted_causes(found: dict[str, Any]) -> None:
    tops = {name: own["planted_cause_on_top"]["mean"] for name, own in found["methods"].items()}
    assert tops["feature_ablation"] > 0.8 > tops["attention_rollout"]
    assert 0.05 < found["random_on_top"] < 0.4


def test_every_failure_is_in_the_appendix(found: dict[str, Any], written: Path) -> None:
    text = (written / "appendix.md").read_text(encoding="utf-8")
    failed = [key for statuses in found["checklists"] for key, status in statuses.items() if status == "fail"]
    assert len(found["failures"]) >= len(set(failed)) > 0
    assert all(f"* {line}" in text for line in found["failures"])
    for name, own in found["methods"].items():
        assert f"| {name} |" in text and len(own["missed"]) == round(
            found["prompts"] * (1 - own["planted_cause_on_top"]["mean"])
        )


def test_the_checks_are_there_once_a_method(found: dict[str, Any]) -> None:
    assert len(found["checklists"]) == 1 and len(found["checklists"][0]) == 27
    assert found["checklists"][0]["completeness / integrated_gradients"] == "pass"
    assert found["checklists"][0]["completeness / attention_rollout"] == "not applicable"


def test_what_is_written(found: dict[str, Any], written: Path) -> None:
    assert json.loads((written / "numbers.json").read_text(encoding="utf-8")) == found
    for name in ("checks.png", "planted.png", "first_prompt.png", "report.html", "appendix.md"):
        assert (written / name).stat().st_size > 3000, name
