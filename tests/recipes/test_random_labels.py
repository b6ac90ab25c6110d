"""The random-label check, short: a method that reads the model tells the two apart, an edge detector does not."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import spanwise

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    """The recipe as a module, with its folder on the path as a script has it."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPES))
        import random_labels

        return random_labels


def test_shuffling_moves_answers_within_family_and_place(recipe: ModuleType) -> None:
    true = spanwise.ground_truth(["facts", "profile"], held_out=False, per_family=60)
    false = recipe.shuffled(true, 0)
    assert recipe.shuffled(true, 0) == false != recipe.shuffled(true, 1)
    assert sum(a.span != b.span for a, b in zip(true, false, strict=True)) > 0.8 * len(true)
    for a, b in zip(true, false, strict=True):
        assert (a.prompt, a.family) == (b.prompt, b.family)
        assert b.target[slice(*b.span_range)] == b.span
        assert b.target[: b.span_range[0]] == a.target[: a.span_range[0]]
    for family in ("facts", "profile"):
        assert sorted(e.span for e in true if e.family == family) == sorted(e.span for e in false if e.family == family)


def test_an_edge_detector_does_not_see_what_was_learned(recipe: ModuleType) -> None:
    found = recipe.run(
        per_family=80,
        prompts=12,
        steps=90,
        families=("pronoun",),
        methods=("integrated_gradients", "feature_ablation", recipe.EDGE_DETECTOR),
    )
    assert found["own_answers_learned"]["true"] > 0.9
    figures = found["methods"]
    edge = figures[recipe.EDGE_DETECTOR]
    assert edge["shuffled"] == edge["again"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert edge["verdict"] == "does not tell them apart"
    for method in ("integrated_gradients", "feature_ablation"):
        assert figures[method]["shuffled"]["high"] < 0.8, method


def test_verdict(recipe: ModuleType) -> None:
    clear, unclear = ({"mean": 0.1, "low": low, "high": 0.2} for low in (0.01, -0.01))
    assert recipe.verdict({"difference": clear}) == "tells them apart"
    assert recipe.verdict({"difference": unclear}) == "does not tell them apart"


def test_quick_form(tmp_path: Path) -> None:
    output = tmp_path / "labels.json"
    script = f"import sys; sys.argv = ['random_labels.py', '--quick', '--output', {str(output)!r}]; "
    shorter = "import random_labels as r; r.QUICK |= {'per_family': 10, 'prompts': 2, 'steps': 3}; r.main()"
    done = subprocess.run(
        [sys.executable, "-c", script + shorter], cwd=RECIPES, capture_output=True, text=True, check=True
    )
    assert "true and shuffled" in done.stdout and f"wrote {output}" in done.stdout
    found = json.loads(output.read_text(encoding="utf-8"))
    assert "token length" in found["methods"] and found["prompts_attributed"] == 2
