"""The citation recipe: the cited document is the source, and without it the sentence is lost."""

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
        import rag_citations

        return rag_citations


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rag_citations")


@pytest.fixture(scope="module")
def found(recipe: ModuleType, written: Path) -> dict[str, Any]:
    return recipe.main(["--quick", "--output", str(written)])


def test_the_cited_document_is_the_source(found: dict[str, Any]) -> None:
    assert found["sentences"] == 3 * found["cases"]
    assert found["right_answers"] > 0.7
    assert found["cites_the_source"] > 0.9


def test_without_the_cited_document_the_sentence_is_lost(found: dict[str, Any]) -> None:
    assert found["cited_matters_most"] > 0.9
    assert found["fall_without_the_cited"] > 4 * found["largest_fall_without_another"]


def test_the_way_down_ends_at_the_word(found: dict[str, Any]) -> None:
    right = [each for each in found["citations"] if each["right"] and each["is_source"]]
    hits = [each["sentence"].removesuffix(".").endswith(each["down_to"]["token"]) for each in right]
    assert sum(hits) > 0.7 * len(hits)
    assert all(each["down_to"]["token"] in each["down_to"]["sentence"] for each in right)


def test_what_is_written(found: dict[str, Any], written: Path) -> None:
    assert json.loads((written / "numbers.json").read_text(encoding="utf-8")) == found
    for name in ("documents.png", "dropping.png", "report.html"):
        assert (written / name).stat().st_size > 5000, name


def test_a_case_is_answered_by_its_sources(recipe: ModuleType) -> None:
    rng = Random(0)
    for case in (recipe.notes.draw(rng) for _ in range(20)):
        assert len(case.notes) == 12
        for source, value, sentence in zip(case.sources, case.values, case.answer.split(".")[:-1], strict=True):
            assert sentence.strip() + "." in case.notes[source] and sentence.endswith(value)
