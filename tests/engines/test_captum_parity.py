"""Ours against Captum's own classes for language models, at the same baselines.

Captum is called with `forward_in_tokens=False`: its default path feeds the sequence twice with transformers 5.3 and
later, which `test_captums_default_path` keeps an eye on. Tolerance: 1e-5 of the largest score, since both sum the same
float32 numbers in another order.
"""

import pytest
import torch
from captum.attr import (
    FeatureAblation,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    LLMAttribution,
    LLMGradientAttribution,
    ShapleyValues,
    TextTokenInput,
)
from conftest import PROMPT, TARGET

import spanwise

TOLERANCE = 1e-5

# Few steps are enough to compare; the completeness gap that they leave is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")


def assert_same(ours: spanwise.Attribution, theirs: torch.Tensor) -> None:
    kept = ~torch.tensor([token.frozen for token in ours.source])
    scores = ours.scores[:, kept]
    assert scores.shape == theirs.shape
    assert float((scores - theirs).abs().max()) <= TOLERANCE * float(theirs.abs().max())


@pytest.mark.parametrize("n_steps", [5, 20])
def test_integrated_gradients(any_lm: spanwise.LanguageModel, n_steps: int) -> None:
    """Captum's default baseline is token id 0, here "<unk>"."""
    captum = LLMGradientAttribution(LayerIntegratedGradients(any_lm.model, any_lm.embedding), any_lm.tokenizer)
    theirs = captum.attribute(TextTokenInput(PROMPT, any_lm.tokenizer), TARGET, n_steps=n_steps)
    ours = spanwise.attribute(
        any_lm, PROMPT, TARGET, baseline="token:<unk>", rows="token", method_options={"n_steps": n_steps}
    )
    assert_same(ours, theirs.token_attr)
    whole = spanwise.attribute(
        any_lm, PROMPT, TARGET, baseline="token:<unk>", rows="span", method_options={"n_steps": n_steps}
    )
    assert_same(whole, theirs.seq_attr[None])


@pytest.mark.parametrize("quadrature", ["riemann_trapezoid", "riemann_middle", "riemann_left", "riemann_right"])
def test_quadratures_and_internal_batches(lm: spanwise.LanguageModel, quadrature: str) -> None:
    captum = LLMGradientAttribution(LayerIntegratedGradients(lm.model, lm.embedding), lm.tokenizer)
    theirs = captum.attribute(TextTokenInput(PROMPT, lm.tokenizer), TARGET, n_steps=6, method=quadrature)
    for internal in (None, 4):
        options = {"n_steps": 6, "method": quadrature, "internal_batch_size": internal}
        ours = spanwise.attribute(lm, PROMPT, TARGET, baseline="token:<unk>", method_options=options)
        assert_same(ours, theirs.token_attr)


def test_input_x_gradient(any_lm: spanwise.LanguageModel) -> None:
    captum = LLMGradientAttribution(LayerGradientXActivation(any_lm.model, any_lm.embedding), any_lm.tokenizer)
    theirs = captum.attribute(TextTokenInput(PROMPT, any_lm.tokenizer), TARGET)
    assert_same(spanwise.attribute(any_lm, PROMPT, TARGET, method="input_x_gradient"), theirs.token_attr)


def test_feature_ablation(any_lm: spanwise.LanguageModel) -> None:
    inputs = TextTokenInput(PROMPT, any_lm.tokenizer, baselines=any_lm.tokenizer.pad_token_id)
    captum = LLMAttribution(FeatureAblation(any_lm.model), any_lm.tokenizer)
    theirs = captum.attribute(inputs, TARGET, forward_in_tokens=False)
    ours = spanwise.attribute(any_lm, PROMPT, TARGET, method="feature_ablation", baseline="pad")
    assert_same(ours, theirs.token_attr)


@pytest.mark.parametrize("architecture", ["qwen2", "gemma3"])
def test_shapley_values(architecture: str) -> None:
    from conftest import make_model, make_tokenizer

    lm = spanwise.LanguageModel(make_model(architecture), make_tokenizer())
    prompt = "The keys to"
    inputs = TextTokenInput(prompt, lm.tokenizer, baselines=lm.tokenizer.pad_token_id)
    theirs = LLMAttribution(ShapleyValues(lm.model), lm.tokenizer).attribute(
        inputs, " the cabinet", forward_in_tokens=False
    )
    ours = spanwise.attribute(lm, prompt, " the cabinet", method="shapley_values", baseline="pad")
    assert_same(ours, theirs.token_attr)


def test_a_tokenizer_that_adds_bos() -> None:
    """Captum attributes to BOS too; frozen='none' does the same."""
    from conftest import make_model, make_tokenizer

    lm = spanwise.LanguageModel(make_model("llama"), make_tokenizer(bos=True))
    inputs = TextTokenInput(PROMPT, lm.tokenizer)
    captum = LLMGradientAttribution(LayerIntegratedGradients(lm.model, lm.embedding), lm.tokenizer)
    theirs = captum.attribute(inputs, TARGET, n_steps=5)
    ours = spanwise.attribute(
        lm, PROMPT, TARGET, baseline="token:<unk>", frozen="none", rows="token", method_options={"n_steps": 5}
    )
    assert ours.source[0].special
    assert_same(ours, theirs.token_attr)


def test_captums_default_path_is_still_wrong(lm: spanwise.LanguageModel) -> None:
    """When this fails, Captum has been repaired: say so in the documentation and drop the warning there."""
    inputs = TextTokenInput(PROMPT, lm.tokenizer, baselines=lm.tokenizer.pad_token_id)
    captum = LLMAttribution(FeatureAblation(lm.model), lm.tokenizer)
    right = captum.attribute(inputs, TARGET, forward_in_tokens=False).token_attr
    default = captum.attribute(inputs, TARGET).token_attr
    assert torch.allclose(right[0], default[0], atol=1e-4)
    assert float((right[1:] - default[1:]).abs().max()) > 0.1


def test_to_captum(lm: spanwise.LanguageModel) -> None:
    from captum.attr import LLMAttributionResult

    result = spanwise.attribute(lm, PROMPT, TARGET, method="feature_ablation")
    theirs = result.to_captum()
    assert isinstance(theirs, LLMAttributionResult)
    kept = [not token.frozen for token in result.source]
    assert torch.equal(theirs.token_attr, result.scores[:, kept])
    assert "".join(theirs.input_tokens) == PROMPT
    assert torch.allclose(theirs.seq_attr, result.scores[:, kept].sum(0))
    again = spanwise.Attribution.from_captum(theirs)
    assert torch.equal(again.scores, result.scores[:, kept])
    assert again.prompt == PROMPT and again.target_text == TARGET
    torch.testing.assert_close(again.target_scores, result.target_scores)
    whole = spanwise.Attribution.from_captum(
        LLMAttributionResult(input_tokens=["a", "b"], output_tokens=["c"], seq_attr=[1.0, 2.0])
    )
    assert whole.rows == "span" and whole.span_scores.tolist() == [[1.0, 2.0]]
