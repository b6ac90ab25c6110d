"""Several prompts at once give what `attribute` gives for each: scores, marks, provenance."""

from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer

import spanwise
from spanwise.batch import stack, stacking
from spanwise.model import prefix

TOLERANCE = 1e-5
"""Other batches, other rounding: the scores of the tiny models are up to about 10."""

ROWS = [  # of 5 to 11 and 2 to 6 tokens; with `are` of 7, 6, 7 and 6, so that some are filled up
    {"prompt": "The keys to the cabinet", "target": " are on the table.", "span": "are"},
    {"prompt": "The table and the keys", "target": " are different.", "span": "are"},
    {"prompt": "The keys on the cabinet", "target": " are on the table.", "span": "table"},
    {"prompt": "The keys to the table", "target": " are on the table.", "span": "on the table"},
    {"prompt": "The keys to the cabinet", "target": " are on the table.", "span": ["table", "on"]},
    {"prompt": "12 + 3 is", "target": " 15.", "span": "15"},
    {"prompt": "In his free time, Michael", "target": " enjoys painting.", "span": "enjoys"},
    {"prompt": "France, Paris", "target": " and Texas.", "span": "Texas"},
]
METHODS = sorted(stacking.STACKED)


STEPS = {"integrated_gradients": {"n_steps": 4}}
WITHOUT = ("batch_size", "calls", "seconds", "peak_memory_gib")


def named(asked: dict[str, Any]) -> str:
    """Returns a name for arguments that is the same in every process: an objective is a function, without address."""
    return ", ".join(f"{key}={getattr(value, 'name', value)}" for key, value in asked.items())


def compared(lm: spanwise.LanguageModel, folder: Any, data: list[dict[str, Any]], **asked: Any) -> spanwise.Run:
    run = spanwise.attribute_many(lm, data, folder, **asked)
    assert not run.failures
    for entry in run.entries():
        row = data[entry.row]
        expected = spanwise.attribute(lm, row["prompt"], row["target"], span=row.get("span"), **asked)
        found = entry.result
        for name in ("scores", "span_scores", "target_scores"):
            one, other = getattr(found, name), getattr(expected, name)
            torch.testing.assert_close(one, other, atol=TOLERANCE, rtol=1e-5, equal_nan=True)
        for name in ("source", "target", "spans", "rows", "prompt", "target_text"):
            assert getattr(found, name) == getattr(expected, name)
        if expected.completeness_gap is None:
            assert found.completeness_gap is None
        else:
            assert found.completeness_gap == pytest.approx(expected.completeness_gap, abs=1e-4)
        made, other_made = found.provenance.as_dict(), expected.provenance.as_dict()
        for name in set(made) - {*WITHOUT, "forwards", "backwards", "notes"}:
            assert made[name] == other_made[name], name
        assert len(found.provenance.notes) == len(expected.provenance.notes)
    return run


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many prompts each stack held."""
    sizes: list[int] = []
    made = stack.Stack.__init__

    def remembering(self: Any, scorers: Any, batches: Any, **options: Any) -> None:
        sizes.append(len(scorers))
        made(self, scorers, batches, **options)

    monkeypatch.setattr(stack.Stack, "__init__", remembering)
    return sizes


@pytest.mark.filterwarnings("ignore:.*completeness gap:spanwise.AttributionWarning")
@pytest.mark.parametrize("rows", ["span", "token"])
@pytest.mark.parametrize("method", METHODS)
def test_as_attribute(lm: spanwise.LanguageModel, tmp_path: Any, stacks: list[int], method: str, rows: str) -> None:
    compared(lm, tmp_path, ROWS, method=method, rows=rows, method_options=STEPS.get(method))
    assert len(stacks) and max(stacks) > 1


@pytest.mark.filterwarnings("ignore:.*completeness gap:spanwise.AttributionWarning")
@pytest.mark.parametrize("method", METHODS)
def test_every_architecture(any_lm: spanwise.LanguageModel, tmp_path: Any, stacks: list[int], method: str) -> None:
    compared(any_lm, tmp_path, ROWS[:4], method=method, method_options=STEPS.get(method))
    assert stacks


@pytest.mark.filterwarnings("ignore:.*completeness gap:spanwise.AttributionWarning")
@pytest.mark.parametrize("method", METHODS)
def test_four_bits(tmp_path: Any, stacks: list[int], method: str) -> None:
    pytest.importorskip("bitsandbytes", reason="4-bit models need the quantization extra")
    lm = spanwise.load_model("tiny", quantization="nf4")
    compared(lm, tmp_path, ROWS, method=method, method_options=STEPS.get(method))
    assert stacks


@pytest.mark.filterwarnings("ignore:.*completeness gap:spanwise.AttributionWarning")
@pytest.mark.parametrize(
    "asked",
    [
        {"objective": "prob"},
        {"objective": "entropy", "method": "saliency"},
        {"features": "word"},
        {"prefix": "attributed", "rows": "token"},
        {"baseline": "mean"},
        {"baseline": "token: are"},
        {"source": "the"},
        {"batch_size": 3},
        {"method": "saliency", "method_options": {"reduction": "sum"}, "rows": "token"},
        {"method": "integrated_gradients", "method_options": {"n_steps": 3}, "batch_size": 2},
    ],
    ids=named,
)
def test_what_attribute_takes(lm: spanwise.LanguageModel, tmp_path: Any, stacks: list[int], asked: Any) -> None:
    compared(lm, tmp_path, ROWS[:4], **{"method": "feature_ablation", **asked})
    assert stacks


@pytest.mark.parametrize(
    "asked",
    [
        {"method": "feature_ablation", "baseline": "delete"},
        {"method": "feature_ablation", "baseline": "mask"},
        {"method": "shapley_value_sampling", "method_options": {"n_samples": 2}},
        {"method": "feature_ablation", "objective": spanwise.probe(1, torch.ones(64))},
        {"method": "feature_ablation", "objective": spanwise.kl()},
        {"method": "attention", "engine": "native"},
        {"method": "saliency", "checkpointing": True},
    ],
    ids=named,
)
def test_the_others_go_alone(lm: spanwise.LanguageModel, tmp_path: Any, stacks: list[int], asked: Any) -> None:
    rows = [{**row, "span": None} for row in ROWS[:2]] if asked["method"] == "attention" else ROWS[:2]
    compared(lm, tmp_path, rows, **asked)
    assert not stacks


def test_spans_of_one_prompt_share_the_forwards(lm: spanwise.LanguageModel, tmp_path: Any, stacks: list[int]) -> None:
    rows = [{"prompt": "The keys", "target": " are on the table.", "span": each} for each in ("are", "on", "table")]
    counted = 0
    forward = stack.forward

    def counting(lm: Any, ids: Any, *args: Any, **options: Any) -> Any:
        nonlocal counted
        counted += len(ids)
        return forward(lm, ids, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack, "forward", counting)
        run = compared(lm, tmp_path, rows, method="feature_ablation")
    features = int((~run[0].scores[0].isnan()).sum())
    assert stacks == [1] and counted == features + 1


def test_work_is_counted_for_each_prompt(lm: spanwise.LanguageModel, tmp_path: Any) -> None:
    run = spanwise.attribute_many(lm, ROWS[:4], tmp_path, method="feature_ablation")
    for result in run:
        features = int((~result.scores[0].isnan()).sum())
        assert result.provenance.forwards == features + 1


def test_numbers_that_are_none_are_that_row_s_failure(
    lm: spanwise.LanguageModel, tmp_path: Any, stacks: list[int]
) -> None:
    model = make_model("qwen2", seed=7)
    broken = spanwise.LanguageModel(model, make_tokenizer())
    weights = model.get_input_embeddings().weight
    token = make_tokenizer()("The keys to the 3")["input_ids"][-1]
    rows = [
        ROWS[1],
        {**ROWS[3], "span": "are"},
        {"prompt": "The keys to the 3", "target": " are on the table.", "span": "are"},
    ]
    before = weights[token].detach().clone()
    try:
        weights.data[token] = torch.nan
        run = spanwise.attribute_many(broken, rows, tmp_path, method="saliency")
    finally:
        weights.data[token] = before
    assert [(each.row, each.error) for each in run.failures] == [(2, "NonFiniteError")]
    assert [entry.row for entry in run.entries()] == [0, 1] and stacks


def test_where_memory_runs_out_each_goes_alone(
    lm: spanwise.LanguageModel, tmp_path: Any, stacks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, *, keeping: bool) -> None:
        raise spanwise.errors.OutOfMemoryError("memory ran out")

    monkeypatch.setattr(stack.Stack, "read_references", full)
    compared(lm, tmp_path, ROWS[:4], method="saliency")
    assert stacks


def test_what_was_read_before_does_not_matter(
    stacks: list[int], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether kept keys serve is tried once a model, which a prompt of one token cannot: a part has the same bytes."""
    monkeypatch.setattr(prefix, "_exact", type(prefix._exact)())
    lm = spanwise.LanguageModel(make_model("qwen2", seed=3), make_tokenizer())
    target = " are on the table."
    rows = [
        {"prompt": "The", "target": target, "span": "the"},
        {"prompt": "The keys to", "target": target, "span": "are"},
    ]
    kept: list[bool] = []
    read = stack.Stack.read_references

    def remembering(self: Any, *, keeping: bool) -> None:
        kept.append(keeping)
        read(self, keeping=keeping)

    monkeypatch.setattr(stack.Stack, "read_references", remembering)
    spanwise.attribute_many(lm, rows, tmp_path / "before", method="feature_ablation")
    spanwise.attribute(lm, "The keys to the cabinet", " are", method="feature_ablation")
    assert prefix.keeps(lm)
    spanwise.attribute_many(lm, rows, tmp_path / "after", method="feature_ablation")
    before, after = ((tmp_path / name / "part-00000.parquet").read_bytes() for name in ("before", "after"))
    assert stacks == [2, 2] and kept == [False, False] and before == after
