"""The engines recipe: asked the same they agree, called by default they do not; no time is asserted."""

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
        import compare_engines

        return compare_engines


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare_engines")


@pytest.fixture(scope="module")
def found(recipe: ModuleType, written: Path) -> dict[str, Any]:
    return recipe.main(["--quick", "--output", str(written)])


def test_nothing_failed(found: dict[str, Any]) -> None:
    assert set(found) == {"input_x_gradient", "feature_ablation"}
    assert not [name for ways in found.values() for name, each in ways.items() if "failed" in each]


def test_asked_the_same_they_agree(found: dict[str, Any]) -> None:
    assert found["input_x_gradient"]["Captum"]["difference"] < 0.02
    assert found["input_x_gradient"]["Inseq, aligned"]["difference"] < 1e-3
    assert found["feature_ablation"]["Captum, aligned"]["difference"] < 1e-4
    assert found["feature_ablation"]["Inseq, aligned"]["spearman"] > 0.99  # absolute scores: it keeps no sign


def test_by_default_they_do_not(found: dict[str, Any]) -> None:
    assert found["feature_ablation"]["Captum"]["difference"] > 0.5  # its cached path, wrong behind the first token
    assert found["feature_ablation"]["Captum"]["spearman"] > 0.99  # the span is the first token, where it is right
    for method in found:
        assert found[method]["Inseq"]["difference"] > 0.1, method
    assert found["input_x_gradient"]["Inseq"]["spearman"] < 0.9


def test_inseq_leaves_the_configuration(recipe: ModuleType) -> None:
    from steps.engines import inseqs_model

    lm = recipe.spanwise.load_model("tiny")
    before = lm.model.config.to_dict()
    with pytest.raises(KeyError), inseqs_model(lm, "saliency"):
        assert lm.model.config.bos_token_id is not None
        raise KeyError
    assert lm.model.config.to_dict() == before


def test_what_is_written(found: dict[str, Any], written: Path) -> None:
    assert json.loads((written / "numbers.json").read_text(encoding="utf-8")) == found
    for name in ("engines.png", "report.html"):
        assert (written / name).stat().st_size > 5000, name
