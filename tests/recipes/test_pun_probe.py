"""The probe recipe: the two words that decide carry the output, and removing what a method ranks first changes it."""

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
        import pun_probe

        return pun_probe


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pun_probe")


@pytest.fixture(scope="module")
def found(recipe: ModuleType, written: Path) -> dict[str, Any]:
    return recipe.main(["--quick", "--output", str(written)])


def test_the_probe_reads_the_meaning(found: dict[str, Any]) -> None:
    assert found["right_by_layer"][0] < 0.7 < 0.9 < found["right_by_layer"][found["layer"]]
    assert found["layer"] > 0


def test_the_first_of_the_ranking_matter_more_than_the_last(found: dict[str, Any]) -> None:
    figures = found["methods"]["integrated_gradients"]
    assert figures["fall_without_top"] > 2 * max(figures["fall_without_bottom"], 0.1)
    assert figures["rank_correlation"] > 0.3
    share = figures["share"]
    assert share["deciding place"] > share["other place"]


def test_integrated_gradients_rank_better_than_rollout(found: dict[str, Any]) -> None:
    methods = found["methods"]
    assert methods["integrated_gradients"]["rank_correlation"] > methods["attention_rollout"]["rank_correlation"]


def test_what_is_written(found: dict[str, Any], written: Path) -> None:
    assert json.loads((written / "numbers.json").read_text(encoding="utf-8")) == found
    for name in ("effects.png", "report.html"):
        assert (written / name).stat().st_size > 5000, name


def test_a_story_has_one_place_that_decides(recipe: ModuleType) -> None:
    rng = Random(0)
    for story in (recipe.puns.draw(rng) for _ in range(50)):
        places = [word for word in recipe.puns.PLACES if f" {word}." in story.prompt]
        natural, made = recipe.puns.WORDS[story.word]
        assert [word for word in places if word in natural + made] == [story.place]
        assert (story.place in made) == story.made
        at = story.prompt.index(f" {story.word}.")
        end = at + 1 + len(story.word)
        assert story.kind_of(at, end) == story.kind_of(at + 1, at + 3) == "two-meaning word"  # a piece of it too
        assert story.kind_of(end, end + 1) == "punctuation"
