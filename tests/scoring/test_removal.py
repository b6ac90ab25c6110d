"""Off as not there: "mask" and "delete" against plain forwards of the masked and the shortened prompt."""

import pytest
import torch
from conftest import ENCODER_DECODERS, PROMPT, TARGET, make_model, make_tokenizer

import spanwise
from spanwise.errors import MethodError


def log_probs(lm: spanwise.LanguageModel, ids: list[int], target_ids: list[int], hidden: int | None) -> torch.Tensor:
    mask = torch.ones(1, len(ids) + len(target_ids), dtype=torch.long)
    if hidden is not None:
        mask[0, hidden] = 0
    with torch.no_grad():
        logits = lm.model(torch.tensor([[*ids, *target_ids]]), attention_mask=mask).logits[0, len(ids) - 1 : -1]
    return logits.float().log_softmax(-1)[torch.arange(len(target_ids)), torch.tensor(target_ids)]


@pytest.mark.parametrize("kind", ["mask", "delete"])
def test_ablation(any_lm: spanwise.LanguageModel, kind: str) -> None:
    result = spanwise.attribute(any_lm, PROMPT, TARGET, method="feature_ablation", baseline=kind, rows="token")
    ids, target_ids = list(result.provenance.prompt_ids), list(result.provenance.target_ids)
    for position in (0, 3, len(ids) - 1):
        shorter = ids[:position] + ids[position + 1 :] if kind == "delete" else ids
        changed = log_probs(any_lm, shorter, target_ids, position if kind == "mask" else None)
        expected = log_probs(any_lm, ids, target_ids, None) - changed
        torch.testing.assert_close(result.scores[:, position], expected, atol=3e-5, rtol=1e-5)
    assert result.provenance.baseline == kind


@pytest.mark.parametrize("method", ["shapley_value_sampling", "kernel_shap", "lime"])
@pytest.mark.parametrize("kind", ["mask", "delete"])
def test_other_methods(kind: str, method: str) -> None:
    lm = spanwise.LanguageModel(make_model("llama"), make_tokenizer(bos=True))
    result = spanwise.attribute(lm, PROMPT, TARGET, span="painting", method=method, baseline=kind)
    assert result.completeness_gap is None or result.completeness_gap < 1e-3


@pytest.mark.parametrize("architecture", sorted(ENCODER_DECODERS))
@pytest.mark.parametrize("kind", ["mask", "delete"])
def test_encoder_decoder(architecture: str, kind: str) -> None:
    lm = spanwise.LanguageModel(make_model(architecture), make_tokenizer())
    result = spanwise.attribute(lm, PROMPT, TARGET, span="painting", method="feature_ablation", baseline=kind)
    assert result.scores.nan_to_num().abs().sum() > 0


def test_refusals(lm: spanwise.LanguageModel) -> None:
    with pytest.raises(MethodError, match="integrated_gradients needs embeddings to start from; baseline='mask'"):
        spanwise.attribute(lm, PROMPT, TARGET, baseline="mask")
    with pytest.raises(MethodError, match="needs prefix='fixed'"):
        spanwise.attribute(lm, PROMPT, TARGET, method="feature_ablation", baseline="delete", prefix="attributed")
    with pytest.raises(MethodError, match="leaves nothing of the prompt"):
        spanwise.attribute(lm, PROMPT, TARGET, method="shapley_value_sampling", baseline="delete")
