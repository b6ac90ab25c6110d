"""Encoder-decoder models: the encoder's input and the generated prefix are the source, on the same scorer."""

import warnings

import pytest
import torch
from conftest import ENCODER_DECODERS, few, make_model, make_tokenizer

import spanwise

PROMPT, TARGET = "The keys to the cabinet", "are on the table"
pytestmark = pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")


@pytest.fixture(params=sorted(ENCODER_DECODERS))
def lm(request: pytest.FixtureRequest) -> spanwise.LanguageModel:
    return spanwise.LanguageModel(make_model(request.param), make_tokenizer(), name=request.param)


def plain_values(lm: spanwise.LanguageModel, prompt_ids: list[int], target_ids: list[int]) -> torch.Tensor:
    """One token after the other by a forward of its own, from ids."""
    values = []
    for k, label in enumerate(target_ids):
        written = torch.tensor([[lm.decoder_start, *target_ids[:k]]])
        with torch.no_grad():
            outputs = lm.model(input_ids=torch.tensor([prompt_ids]), decoder_input_ids=written, use_cache=False)
        values.append(outputs.logits[0, -1].log_softmax(-1)[label])
    return torch.stack(values)


def test_target_scores_and_ablation_equal_plain_forwards(lm: spanwise.LanguageModel) -> None:
    result = spanwise.attribute(
        lm, PROMPT, TARGET, method="feature_ablation", baseline="pad", prefix="attributed", rows="token"
    )
    prompt_ids, target_ids = list(result.provenance.prompt_ids[:-1]), list(result.provenance.target_ids)
    assert prompt_ids == lm.tokenizer(PROMPT)["input_ids"]
    full = plain_values(lm, prompt_ids, target_ids)
    torch.testing.assert_close(result.target_scores, full, atol=1e-5, rtol=1e-5)
    changed = [*prompt_ids[:2], lm.tokenizer.pad_token_id, *prompt_ids[3:]]
    effect = full - plain_values(lm, changed, target_ids)
    torch.testing.assert_close(result.scores[:, 2], effect, atol=3e-5, rtol=1e-5)  # two log-probabilities apart
    start = result.source[len(prompt_ids)]
    assert start.special and start.frozen and start.text == ""
    assert result.scores[0, len(prompt_ids) + 1 :].isnan().all()  # the first token saw no prefix
    assert not result.scores[1:, len(prompt_ids) + 1].isnan().any()


def test_gradient_equals_a_finite_difference(lm: spanwise.LanguageModel) -> None:
    result = spanwise.attribute(lm, PROMPT, TARGET, method="saliency", method_options={"reduction": "sum"})
    prompt_ids = torch.tensor([result.provenance.prompt_ids[:-1]])
    target_ids = list(result.provenance.target_ids)
    step = 1e-3

    def value(shift: float) -> float:
        def hook(module: torch.nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            moved = output.clone()
            if torch.equal(args[0], prompt_ids):
                moved[0, 1] += shift
            return moved

        handle = lm.embedding.register_forward_hook(hook)
        try:
            return float(plain_values(lm, prompt_ids[0].tolist(), target_ids).double().sum())
        finally:
            handle.remove()

    difference = (value(step) - value(-step)) / (2 * step)
    # float32 values of about 20 nats (2e-6) over a step of 2e-3
    assert float(result.scores[:, 1].sum()) == pytest.approx(difference, rel=5e-3, abs=1e-2)


@pytest.mark.parametrize(
    "method",
    [
        each.name
        for each in spanwise.list_methods()
        if each.name != "shapley_values" and each.engines != ("inseq",)  # that adapter is for causal models
    ],
)
def test_every_method_runs(lm: spanwise.LanguageModel, method: str) -> None:
    asked = {"baseline": "mask"} if method == "context_cite" else {}  # its own leaves no place for the target's tokens
    result = spanwise.attribute(
        lm, PROMPT, TARGET, method=method, span="table", prefix="attributed", method_options=few(method), **asked
    )
    free = ~torch.tensor([token.frozen for token in result.source])
    free[len(result.provenance.prompt_ids) + result.spans[0].last_token - 1 :] = False
    assert result.scores[0, free].isfinite().all() and result.scores[0, ~free].isnan().all()


def test_generated_target(lm: spanwise.LanguageModel) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = spanwise.attribute(lm, PROMPT, method="saliency", generation_options={"max_new_tokens": 4})
        ids = lm.model.generate(**lm.tokenizer(PROMPT, return_tensors="pt"), max_new_tokens=4, do_sample=False)
    assert list(result.provenance.target_ids) == ids[0, 1:].tolist()


def test_loading(tmp_path) -> None:
    make_model("t5").save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    assert spanwise.load_model(tmp_path).is_encoder_decoder


@pytest.mark.parametrize("method", ["attention", "attention_rollout", "attention_flow"])
def test_attention(lm: spanwise.LanguageModel, method: str) -> None:
    """Raw weights are the model's own; in a rollout all of a position's attention comes from somewhere."""
    options = {"layer": 1, "head": 2} if method == "attention" else {}
    asked = {"method": method, "method_options": options, "prefix": "attributed", "frozen": "none", "rows": "token"}
    result = spanwise.attribute(lm, PROMPT, TARGET, **asked)
    if method == "attention_rollout":
        torch.testing.assert_close(result.scores.nansum(1), torch.ones(len(result.target)))
    if method != "attention":
        return
    prompt_ids, target_ids = result.provenance.prompt_ids[:-1], result.provenance.target_ids
    before = lm.model.config._attn_implementation
    lm.model.set_attn_implementation("eager")
    with torch.no_grad():
        outputs = lm.model(
            input_ids=torch.tensor([prompt_ids]),
            decoder_input_ids=torch.tensor([[lm.decoder_start, *target_ids[:-1]]]),
            output_attentions=True,
        )
    lm.model.set_attn_implementation(before)
    torch.testing.assert_close(result.scores[:, : len(prompt_ids)], outputs.cross_attentions[1][0, 2])
    own = outputs.decoder_attentions[1][0, 2]
    torch.testing.assert_close(result.scores[:, len(prompt_ids) :].nan_to_num(), own.tril())
