"""The recipe of the 4-bit span: both methods name the part whose exchange makes the phrase fall."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

RECIPES = Path(__file__).parents[2] / "recipes"
PLANTED = ["Austin", "software engineer", "Michael"]


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPES))
        import quantized_span

        return quantized_span


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quantized_span")


@pytest.fixture(scope="module")
def found(recipe: ModuleType, written: Path) -> dict[str, Any]:
    return recipe.main(["--quick", "--output", str(written)])


def test_it_is_four_bit(found: dict[str, Any]) -> None:
    assert found["model"] == "tiny nf4"


def test_methods_and_exchange_name_the_planted_part(found: dict[str, Any]) -> None:
    for name in ("feature_ablation", "integrated_gradients", "exchanged"):
        assert found["strongest_part"][name] == PLANTED, name


def test_an_exchange_of_another_part_moves_nothing(found: dict[str, Any]) -> None:
    falls = torch.tensor(found["tables"]["exchanged"])
    planted = torch.tensor([[part == cause for part in found["parts"]] for cause in PLANTED])
    assert falls[planted].min() > 5 and falls[~planted].abs().max() < 0.05
    ablated = torch.tensor(found["tables"]["feature_ablation"])
    assert (ablated[planted] < falls[planted]).all()


def test_single_tokens_of_a_two_word_cause_have_nothing(found: dict[str, Any]) -> None:
    row, column = found["phrases"].index("traveling to different countries"), found["parts"].index("software engineer")
    assert found["tables"]["feature_ablation"][row][column] > 3
    assert abs(found["tables"]["ablation, its tokens added"][row][column]) < 0.1


def test_what_is_written(found: dict[str, Any], written: Path) -> None:
    assert json.loads((written / "numbers.json").read_text(encoding="utf-8")) == found
    methods = ("feature_ablation", "integrated_gradients")
    pictures = [f"{kind}_{method}.png" for kind in ("sequence", "tokens") for method in methods]
    for name in ("parts.png", "report.html", *pictures):
        assert (written / name).stat().st_size > 5000, name
