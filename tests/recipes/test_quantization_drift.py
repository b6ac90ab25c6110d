"""The drift recipe: rounding alone moves least, and what moves is measured with an interval."""

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
        import quantization_drift

        return quantization_drift


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quantization_drift")


@pytest.fixture(scope="module")
def found(recipe: ModuleType, written: Path) -> dict[str, Any]:
    return recipe.main(["--quick", "--output", str(written)])


def test_a_precision_is_compared_with_its_interval(found: dict[str, Any]) -> None:
    assert list(found["drift"]) == ["float32", "int8", "nf4"]
    for methods in found["drift"].values():
        for figures in methods.values():
            for each in figures.values():
                assert each["low"] <= each["mean"] <= each["high"]


def test_four_bits_drift_further_than_rounding(found: dict[str, Any]) -> None:
    drift = found["drift"]
    for method in ("feature_ablation", "integrated_gradients"):
        assert drift["nf4"][method]["spearman"]["mean"] < drift["float32"][method]["spearman"]["mean"] < 1, method
        assert abs(drift["float32"][method]["change"]["mean"]) < 0.05, method


def test_the_top_stays(found: dict[str, Any]) -> None:
    assert found["drift"]["nf4"]["feature_ablation"]["same_top"]["mean"] > 0.6
    hits = found["strongest_is_a_planted_cause"]
    assert abs(hits["bf16"]["feature_ablation"]["mean"] - hits["nf4"]["feature_ablation"]["mean"]) <= 0.25


def test_intervals_leave_out_what_is_undefined(recipe: ModuleType) -> None:
    assert recipe.with_interval([0.5, float("nan"), 0.5]) == {"mean": 0.5, "low": 0.5, "high": 0.5}


def test_what_is_written(found: dict[str, Any], written: Path) -> None:
    assert json.loads((written / "numbers.json").read_text(encoding="utf-8")) == found
    for name in ("drift.png", "report.html"):
        assert (written / name).stat().st_size > 5000, name
