"""One contract for every method on every engine: axes, NaN rule, unit, completeness, seeds, the model unchanged.

Where several engines have a method, their numbers are compared in their own tests; here is what all of them owe.
"""

import math
import warnings

import pytest
import torch
from conftest import few, make_model, make_tokenizer

import spanwise
from spanwise.methods import ENGINES, find_method

PROMPT, TARGET, SPAN = "In Austin, he enjoys", " painting, traveling.", "painting"
PAIRS = [(method.name, engine) for method in spanwise.list_methods() for engine in method.engines]
CAUSAL = ("qwen2", "llama", "gemma3", "gpt2")
TOKEN_ROWS_ONLY = {("feature_ablation", "inseq")}
"""Inseq's occlusion keeps absolute values, which do not add up over a span; it refuses span rows."""


def run(lm: spanwise.LanguageModel, method: str, engine: str, **asked: object) -> spanwise.Attribution:
    prompt = "The" if method == "shapley_values" else PROMPT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spanwise.AttributionWarning)
        if (method, engine) in TOKEN_ROWS_ONLY:
            asked["rows"] = "token"
        return spanwise.attribute(
            lm, prompt, TARGET, span=SPAN, method=method, engine=engine, method_options=few(method), **asked
        )


def snapshot(lm: spanwise.LanguageModel) -> tuple[object, ...]:
    model = lm.model
    return (
        {name: (module.training, len(module._forward_hooks)) for name, module in model.named_modules()},
        {name: (p.requires_grad, p.grad is None, p.dtype, p._version) for name, p in model.named_parameters()},
        str(model.config),
        str(model.generation_config),
        model.config._attn_implementation,
        (lm.tokenizer.pad_token_id, lm.tokenizer.unk_token_id, lm.tokenizer.bos_token_id, len(lm.tokenizer)),
        torch.get_rng_state().tolist(),
    )


@pytest.mark.parametrize("architecture", CAUSAL)
@pytest.mark.parametrize(("method", "engine"), PAIRS)
def test_contract(architecture: str, method: str, engine: str) -> None:
    lm = spanwise.LanguageModel(make_model(architecture), make_tokenizer(bos=True))
    info = find_method(method)
    before = snapshot(lm)
    result, again = run(lm, method, engine), run(lm, method, engine)
    assert snapshot(lm) == before
    assert torch.equal(result.scores.nan_to_num(), again.scores.nan_to_num())
    assert result.scores.dtype == torch.float32 and result.scores.device.type == "cpu"
    rows = len(result.target) if (method, engine) in TOKEN_ROWS_ONLY else 1
    assert result.scores.shape == (rows, len(result.source))
    frozen = torch.tensor([token.frozen for token in result.source])
    assert frozen[0] and frozen[len(result.provenance.prompt_ids) :].all()
    assert torch.equal(result.scores.isnan(), frozen.expand(rows, -1))
    assert result.scores.nan_to_num().abs().sum() > 0
    if not result.provenance.signed:
        assert (result.scores.nan_to_num() >= 0).all()
    assert (result.completeness_gap is not None) == info.complete
    provenance = result.provenance
    assert (provenance.method, provenance.engine) == (method, engine)
    assert provenance.unit == info.unit.replace("objective", "nats")
    assert provenance.forwards > 0 and provenance.calls > 0
    features = int((~frozen).sum())
    if engine != "inseq":
        forwards, backwards = info.work_in_all(engine, features, 1, provenance.options)
        assert provenance.forwards <= forwards and provenance.backwards == backwards
        if not info.cost.startswith("at most") and method != "shapley_values":
            assert provenance.forwards == forwards


@pytest.mark.parametrize(("method", "engine"), [pair for pair in PAIRS if find_method(pair[0]).token_matrix])
def test_token_rows(method: str, engine: str) -> None:
    """A matrix has one row a target token; where the method is linear, its rows add up to the span's scores."""
    lm = spanwise.LanguageModel(make_model("qwen2"), make_tokenizer())
    matrix = run(lm, method, engine, rows="token", prefix="attributed")
    count = len(matrix.provenance.prompt_ids)
    for row, scores in enumerate(matrix.scores):
        assert not scores[: count + row].isnan().any() and scores[count + row :].isnan().all()
    info = find_method(method)
    if not info.linear or (method, engine) in TOKEN_ROWS_ONLY:
        assert info.linear or matrix.span_scores.isnan().all()
        return
    if (method, engine) == ("gradient_shap", "inseq"):
        return  # Inseq draws new random points for each target token
    # With the prefix fixed both have the same features, so that sampled methods draw the same samples for both.
    matrix, by_span = (run(lm, method, engine, rows=rows) for rows in ("token", "span"))
    largest = float(by_span.scores.nan_to_num().abs().max())
    # sums of float32 in another order
    torch.testing.assert_close(
        matrix.span_scores, by_span.span_scores, atol=2e-5 * max(largest, 1), rtol=1e-4, equal_nan=True
    )


@pytest.mark.parametrize("kind", ["bfloat16", "nf4"])
@pytest.mark.parametrize(("method", "engine"), PAIRS)
def test_float32_scores_from_other_types(kind: str, method: str, engine: str, folder: str) -> None:
    if kind == "nf4":
        pytest.importorskip("bitsandbytes", reason="needs the quantization extra")
    lm = spanwise.load_model(folder, quantization="nf4") if kind == "nf4" else spanwise.load_model(folder, dtype=kind)
    result = run(lm, method, engine)
    assert result.scores.dtype == torch.float32
    assert all(math.isfinite(score) for _, score in result.top(3)) and result.top(1)[0][1] != 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("llama")
    make_model("llama").save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    return str(path)


def test_engines_that_lack_a_method_say_why() -> None:
    """A method is on an engine, or refused by it with a reason; nothing in between."""
    for method in spanwise.list_methods():
        assert set(method.engines) | set(method.refused) == set(ENGINES), method.name
        assert not set(method.engines) & set(method.refused)
        assert all(method.refused.values())
