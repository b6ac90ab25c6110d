"""The translation recipe: the gender turns with the word that is blamed, and not with the other person's occupation."""

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
        import gender_bias_translation

        return gender_bias_translation


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gender")


@pytest.fixture(scope="module")
def found(recipe: ModuleType, written: Path) -> dict[str, Any]:
    return recipe.main(["--quick", "--output", str(written)])


def test_the_gender_turns_with_the_blamed_word_alone(found: dict[str, Any]) -> None:
    for condition, blamed in (("no cue", "blames own occupation"), ("cue", "blames his/her")):
        assert found[condition]["with_all_forms"] == found[condition]["sentences"] >= 5
        for form, expected in (("subject's article", blamed), ("other's article", "blames own occupation")):
            figures = found[condition]["methods"]["feature_ablation"][form]
            assert figures[expected] > 0.8, (condition, form)
            assert figures["turns with blamed"] > 0.8 and figures["turns with another"] < 0.2, (condition, form)


def test_the_article_leans_as_far_as_the_planted_stereotype(found: dict[str, Any]) -> None:
    for name, each in found["stereotypes"].items():
        assert abs(each["planted"] - each["leaning"]) < 1.0, name


def test_the_participle_follows_what_is_written_already(found: dict[str, Any]) -> None:
    for condition in ("no cue", "cue"):
        shares = found[condition]["shares"]
        assert shares["participle"]["already written"] > 0.5 > shares["other's article"]["already written"]


def test_what_is_written(found: dict[str, Any], written: Path) -> None:
    assert json.loads((written / "numbers.json").read_text(encoding="utf-8")) == found
    for name in ("gender.png", "example_1.png", "example_1.html"):
        assert (written / name).stat().st_size > 5000, name


def test_exchanged_words_have_the_opposite_gender(recipe: ModuleType) -> None:
    pair = recipe.Pair("doctor", "nurse", "her", "bag", "tired", (True, True))
    from grammars.translation import FEMININE

    rng = Random(0)
    assert pair.exchanged(0, "his/her/the", rng).owner == "his"
    assert FEMININE[pair.exchanged(0, "own occupation", rng).subject] > 0.8
    assert FEMININE[pair.exchanged(1, "own occupation", rng).other] < 0.2
    assert pair.exchanged(0, "other words", rng) is None
    assert pair.kind_of(1, " nurse") == pair.kind_of(0, "doctor") == "own occupation"


def test_a_translation_without_the_forms_has_fewer_spans(recipe: ModuleType) -> None:
    pair = recipe.Pair("doctor", "nurse", "the", "bag", "tired", (False, True))
    assert pair.spans(pair.italian) == [(0, 2), (22, 26), (69, 75)]
    assert pair.spans("Il dottore") == [(0, 2)]
