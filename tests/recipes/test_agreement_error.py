"""The agreement recipe: where the distractor is at fault it is blamed, where it is not, it is not."""

import json
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPES))
        import agreement_error

        return agreement_error


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("agreement_error")


@pytest.fixture(scope="module")
def found(recipe: ModuleType, written: Path) -> dict[str, Any]:
    return recipe.main(["--quick", "--output", str(written)])


def test_the_word_at_fault_is_blamed(found: dict[str, Any], recipe: ModuleType) -> None:
    assert 0.1 * found["sentences"] < found["errors"] < 0.6 * found["sentences"]
    assert 0 < found["errors_by_distractor"] < found["errors"]  # both kinds of error, or nothing could be told apart
    shares = found["agreement"][recipe.EXCHANGED]
    assert min(shares["nouns: distractor"], shares["nouns: subject"]) > 0.7
    assert shares["all words: subject"] > 0.7


def test_the_rollout_cannot_tell(found: dict[str, Any]) -> None:
    assert min(found["agreement"]["attention_rollout"].values()) < 0.5


def test_what_is_written(found: dict[str, Any], written: Path) -> None:
    assert json.loads((written / "numbers.json").read_text(encoding="utf-8")) == found
    for name in ("distractor.png", "report.html"):
        assert (written / name).stat().st_size > 5000, name


def test_swapping_the_distractor_changes_its_number_alone(recipe: ModuleType) -> None:
    rng = Random(0)
    for sentence in (recipe.agreement.draw(rng) for _ in range(50)):
        swapped = sentence.swapped()
        assert swapped.swapped() == sentence and swapped.mismatched != sentence.mismatched
        another = sentence.swapped(rng)
        assert another.distractor != swapped.distractor and another.distractor_number == swapped.distractor_number
        assert swapped.prompt.split()[:-1] == another.prompt.split()[:-1] == sentence.prompt.split()[:-1]
