"""ROAR's claim on a short run: removing the planted causes hurts a retrained model more than removing other tokens."""

import json
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import spanwise

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module")
def roar() -> ModuleType:
    """The recipe as a module, with its folder on the path as a script has it."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPES))
        import roar

        return roar


@pytest.fixture(scope="module")
def lm() -> spanwise.LanguageModel:
    return spanwise.load_model("tiny")


def test_rows_end_with_the_answer_and_know_their_causes(roar: ModuleType, lm: spanwise.LanguageModel) -> None:
    examples = spanwise.ground_truth(["facts", "profile"], per_family=5)
    for example, row in zip(examples, roar.rows_of(lm.tokenizer, examples), strict=True):
        assert lm.tokenizer.decode(row.ids[: row.prompt]) == example.prompt
        assert lm.tokenizer.decode(row.ids[slice(*row.answer)]).strip() == example.span
        assert row.answer[1] == len(row.ids)
        pieces = lm.tokenizer.decode([row.ids[place] for place in row.causes])
        assert pieces.split() == " ".join(example.prompt[start:end] for start, end in example.causes).split()


def test_only_the_first_of_the_ranking_are_removed(roar: ModuleType, lm: spanwise.LanguageModel) -> None:
    (example,) = spanwise.ground_truth("facts", per_family=1)
    (row,) = roar.rows_of(lm.tokenizer, [example])
    scores = roar.scores_of(lm, example, "feature_ablation")
    assert len(scores) == row.prompt
    order = roar.order_of(scores, random.Random(0))
    assert order[0] == max(range(row.prompt), key=lambda place: scores[place]) and order[0] in row.causes
    (left,) = roar.removed([row], [order], 2, lm.tokenizer.unk_token_id)
    changed = [place for place, (a, b) in enumerate(zip(row.ids, left.ids, strict=True)) if a != b]
    assert sorted(changed) == sorted(order[:2]) and {left.ids[place] for place in changed} == {0}
    assert set(roar.order_of(roar.control(row, "causes"), random.Random(0))[: len(row.causes)]) == set(row.causes)
    assert roar.order_of([1.0, float("nan"), 2.0], random.Random(0)) == [2, 0]


def test_removing_the_causes_hurts_more_than_chance(roar: ModuleType) -> None:
    """Noun and time decide the verb; without them it is a guess among four."""
    found = roar.run(
        per_family=250, held_out=200, steps=140, counts=(2,), seeds=(0,), families=("agreement",), methods=()
    )
    by = {name: counts["2"][0] for name, counts in found["accuracy"].items()}
    assert found["accuracy_with_everything"][0] > 0.85
    assert by["causes"] < by["random"] - 0.1, by


def test_quick_form(tmp_path: Path) -> None:
    output = tmp_path / "roar.json"
    script = f"import sys; sys.argv = ['roar.py', '--quick', '--output', {str(output)!r}]; import roar; "
    shorter = "roar.QUICK |= {'per_family': 10, 'held_out': 5, 'steps': 3}; roar.main()"
    done = subprocess.run(
        [sys.executable, "-c", script + shorter], cwd=RECIPES, capture_output=True, text=True, check=True
    )
    assert "mean drop below random" in done.stdout and f"wrote {output}" in done.stdout
    found = json.loads(output.read_text(encoding="utf-8"))
    assert set(found["accuracy"]) == {"random", "causes", "feature_ablation", "input_x_gradient"}
    assert found["training_prompts"] == 20 and found["held_out_prompts"] == 10
