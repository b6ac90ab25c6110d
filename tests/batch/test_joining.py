"""Several targets of one prompt in a data set: the prompt is read once for them."""

from pathlib import Path

import pytest
import torch

import spanwise

PROMPT = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"
LONG = "The keys to the cabinet are on the table. " * 3 + PROMPT
TARGETS = (" painting.", " a", " traveling to different countries.")

pytestmark = pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")


@pytest.mark.parametrize("method", ["feature_ablation", "shapley_value_sampling"])
def test_they_get_what_they_get_alone(tmp_path: Path, method: str) -> None:
    lm = spanwise.load_model("tiny")
    options = {"n_samples": 2} if method == "shapley_value_sampling" else {}
    rows = [{"prompt": LONG, "target": target} for target in TARGETS]
    rows.insert(1, {"prompt": PROMPT, "target": TARGETS[0]})
    run = spanwise.attribute_many(lm, rows, tmp_path / "run", method=method, method_options=options, progress=False)
    results = list(run)
    for row, result in zip(rows, results, strict=True):
        alone = spanwise.attribute(lm, row["prompt"], row["target"], method=method, method_options=options)
        torch.testing.assert_close(result.scores, alone.scores, atol=2e-5, rtol=1e-5, equal_nan=True)
        if alone.standard_error is not None:
            assert result.standard_error is not None
            torch.testing.assert_close(
                result.standard_error, alone.standard_error, atol=2e-5, rtol=1e-4, equal_nan=True
            )
    shared = ["3 targets of this prompt were read together" in " ".join(each.provenance.notes) for each in results]
    assert shared == [True, False, True, True]
