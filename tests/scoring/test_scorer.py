"""The scorer against the plain truth: one uncached forward over prompt + target, nothing shared with our code."""

from pathlib import Path

import pytest
import torch
from conftest import PROMPT, TARGET

import spanwise
from spanwise.scoring.objectives import OBJECTIVES

# A random model's path is not smooth; the completeness gap is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")


AT_TARGET = {
    "log_prob": lambda logits: logits.log_softmax(-1),
    "prob": lambda logits: logits.softmax(-1),
    "logit": lambda logits: logits,
}
"""Objectives that are a number of each word of the vocabulary, read at the target's."""


def plain_values(lm: spanwise.LanguageModel, prompt_ids, target_ids, objective: str) -> torch.Tensor:
    """One token after the other, each by a forward of its own, with torch's own log_softmax."""
    values = []
    for k, label in enumerate(target_ids):
        ids = torch.tensor([[*prompt_ids, *target_ids[:k]]])
        with torch.no_grad():
            logits = lm.model(input_ids=ids, use_cache=False).logits[0, -1].float()
        if objective == "entropy":
            values.append(torch.distributions.Categorical(logits=logits).entropy())
            continue
        values.append(AT_TARGET[objective](logits)[label])
    return torch.stack(values)


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_target_scores_equal_plain_forwards(any_lm: spanwise.LanguageModel, objective: str) -> None:
    if objective not in (*AT_TARGET, "entropy"):
        pytest.skip(f"not checked: no reference for {objective!r} in {Path(__file__).name}")
    result = spanwise.attribute(any_lm, PROMPT, TARGET, method="saliency", objective=objective)
    truth = plain_values(any_lm, result.provenance.prompt_ids, result.provenance.target_ids, objective)
    # float32 with sums in another order; log-probabilities here are around -6
    torch.testing.assert_close(result.target_scores, truth, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rows", ["token", "span"])
def test_ablation_equals_plain_forwards_with_the_token_replaced(any_lm: spanwise.LanguageModel, rows: str) -> None:
    pad = any_lm.tokenizer.pad_token_id
    result = spanwise.attribute(
        any_lm, PROMPT, TARGET, span="different", method="feature_ablation", baseline="pad", rows=rows, batch_size=5
    )
    prompt_ids, target_ids = result.provenance.prompt_ids, result.provenance.target_ids
    span = result.spans[0]
    full = plain_values(any_lm, prompt_ids, target_ids, "log_prob")
    for position in (0, 3, len(prompt_ids) - 1):
        changed = list(prompt_ids)
        changed[position] = pad
        effect = full - plain_values(any_lm, changed, target_ids, "log_prob")
        expected = effect if rows == "token" else effect[span.first_token : span.last_token].sum()[None]
        # a difference of two log-probabilities, each within 1e-5
        torch.testing.assert_close(result.scores[:, position], expected, atol=3e-5, rtol=1e-5)


def test_gradient_equals_a_finite_difference(lm: spanwise.LanguageModel) -> None:
    """The gradient along a random direction, against a central difference in float64."""
    model = type(lm.model)(lm.model.config).double().eval()
    model.load_state_dict(lm.model.state_dict())
    exact = spanwise.LanguageModel(model, lm.tokenizer)
    result = spanwise.attribute(
        exact, PROMPT, TARGET, span="different", method="saliency", method_options={"reduction": "sum"}
    )
    ids = torch.tensor([[*result.provenance.prompt_ids, *result.provenance.target_ids][:-1]])
    labels = torch.tensor(result.provenance.target_ids)
    span = result.spans[0]

    def value(embeddings: torch.Tensor) -> float:
        with torch.no_grad():
            logits = model(inputs_embeds=embeddings).logits[0, -len(labels) :]
        picked = logits.log_softmax(-1)[torch.arange(len(labels)), labels]
        return float(picked[span.first_token : span.last_token].sum())

    embeddings = model.get_input_embeddings()(ids).detach()
    for position in (0, 5):
        step = torch.zeros_like(embeddings)
        step[0, position] = 1e-3  # along all ones: the sum of the gradient over the hidden axis
        difference = (value(embeddings + step) - value(embeddings - step)) / 2e-3
        # the norms of the model compute in float32 (1e-7), which the difference divides by 2e-3
        assert float(result.scores[0, position]) == pytest.approx(difference, rel=5e-4, abs=5e-4)


def test_batches_do_not_change_scores(lm: spanwise.LanguageModel) -> None:
    one, many = (
        spanwise.attribute(lm, PROMPT, TARGET, method="integrated_gradients", batch_size=size, baseline="pad")
        for size in (1, 64)
    )
    assert one.provenance.calls > many.provenance.calls
    torch.testing.assert_close(one.scores, many.scores, atol=1e-5, rtol=1e-4, equal_nan=True)


def test_span_rows_are_the_sum_of_token_rows(lm: spanwise.LanguageModel) -> None:
    asked = {"span": ["painting", "different countries"], "baseline": "pad"}
    for method in ("integrated_gradients", "input_x_gradient", "feature_ablation"):
        if method == "input_x_gradient":
            del asked["baseline"]
        else:
            asked["baseline"] = "pad"
        by_span = spanwise.attribute(lm, PROMPT, TARGET, method=method, rows="span", **asked)
        by_token = spanwise.attribute(lm, PROMPT, TARGET, method=method, rows="token", **asked)
        torch.testing.assert_close(by_span.span_scores, by_token.span_scores, atol=1e-5, rtol=1e-4, equal_nan=True)


def test_a_span_leaves_out_what_comes_after_it(lm: spanwise.LanguageModel) -> None:
    """What was written later cannot have caused the span: the same scores with another ending."""
    one = spanwise.attribute(lm, PROMPT, TARGET, span="painting", method="saliency")
    other = spanwise.attribute(lm, PROMPT, " painting, or nothing", span="painting", method="saliency")
    count = len(one.provenance.prompt_ids)
    torch.testing.assert_close(one.scores[:, :count], other.scores[:, :count])


def test_attributed_prefix(lm: spanwise.LanguageModel) -> None:
    """Each row has scores for what it could see, and replaying it as a prompt gives the same scores."""
    result = spanwise.attribute(lm, PROMPT, TARGET, method="input_x_gradient", prefix="attributed")
    prompt_count = len(result.provenance.prompt_ids)
    for row, scores in enumerate(result.scores):
        assert not scores[: prompt_count + row].isnan().any()
        assert scores[prompt_count + row :].isnan().all()
    last = len(result.target) - 1
    moved = spanwise.attribute(lm, PROMPT + TARGET[:-1], result.provenance.target_ids[last:], method="input_x_gradient")
    torch.testing.assert_close(moved.scores[0], result.scores[last], atol=1e-5, rtol=1e-4)
