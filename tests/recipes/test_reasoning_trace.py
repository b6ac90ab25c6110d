"""The reasoning recipe: the larger share is on the side that the answer follows."""

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
        import reasoning_trace

        return reasoning_trace


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reasoning_trace")


@pytest.fixture(scope="module")
def found(recipe: ModuleType, written: Path) -> dict[str, Any]:
    return recipe.main(["--quick", "--output", str(written)])


def test_the_answer_follows_where_the_share_is(found: dict[str, Any]) -> None:
    chain, aside = found["kinds"]["chain"], found["kinds"]["aside"]
    assert chain["answers_right"] > 0.8 and aside["answers_right"] > 0.8
    assert chain["follows"]["reasoning"] > 0.7 and aside["follows"]["prompt"] > 0.7
    assert chain["follows"]["prompt"] < 0.3 and aside["follows"]["reasoning"] < 0.3
    assert chain["share"]["reasoning"] > 2 * chain["share"]["prompt"]
    assert aside["share"]["prompt"] > 2 * aside["share"]["reasoning"]


def test_exchanged_names_are_in_one_place_alone(recipe: ModuleType) -> None:
    rng = Random(1)
    for kind in recipe.KINDS:
        puzzle = recipe.calls.draw(rng, kind)
        whole = puzzle.prompt + puzzle.before
        for place in ("prompt", "reasoning"):
            changed = puzzle.exchanged(place, "Somebody")
            kept = changed.startswith(puzzle.prompt), changed.endswith(puzzle.before)
            assert changed.count("Somebody") == 1 and kept == (place == "reasoning", place == "prompt")
            assert changed != whole


def test_the_shares_are_of_everything(found: dict[str, Any]) -> None:
    for each in found["kinds"].values():
        assert sum(each["share"].values()) == pytest.approx(1.0, abs=1e-5)


def test_what_is_written(found: dict[str, Any], written: Path) -> None:
    assert json.loads((written / "numbers.json").read_text(encoding="utf-8")) == found
    for name in ("parts.png", "strip.png", "report.html"):
        assert (written / name).stat().st_size > 5000, name


def test_a_puzzle_says_where_its_answer_is(recipe: ModuleType) -> None:
    rng = Random(0)
    for kind in recipe.KINDS:
        for puzzle in (recipe.calls.draw(rng, kind) for _ in range(20)):
            fact = "{} calls {}.".format(*puzzle.told)
            assert fact in puzzle.prompt and puzzle.told[1] == puzzle.name
            assert (fact in puzzle.reasoning) == (kind != "aside")
            assert puzzle.answer.endswith(f" {puzzle.name}.")
            assert puzzle.before + f" {puzzle.name}." == puzzle.reasoning + puzzle.answer


def test_what_the_prompt_does_not_decide_begins_in_the_reasoning(recipe: ModuleType, tmp_path: Path) -> None:
    lm = recipe.load(recipe.arguments("", "reasoning_trace", ["--output", str(tmp_path)]), "decoder")
    puzzle = recipe.calls.draw(Random(0), "chain")
    result = recipe.explained(lm, puzzle, puzzle.another(Random(0)))
    reached, begins = recipe.through(lm, puzzle, result, "feature_ablation")
    count = len(reached)
    scores = {token.text: float(s) for token, s in zip(result.source[count:], result.scores[0, count:], strict=True)}
    inside = [float(s) for t, s in zip(result.source[count:], result.scores[0, count:], strict=True)
              if t.end <= len(puzzle.reasoning)]  # fmt: skip
    assert float(reached.sum()) + begins == pytest.approx(sum(inside), abs=1e-3)
    assert begins > 0.5 * scores["</think>"] > 1  # which follows whatever the prompt says
    names = {name for call in puzzle.calls for name in call}
    assert result.source[int(reached.argmax())].text.strip() in names
