"""The result type's own small promises."""

import torch
from conftest import PROMPT, TARGET

import spanwise


def test_top(lm: spanwise.LanguageModel) -> None:
    """Of a row, of the first span, or of everything."""
    asked = {"method": "feature_ablation", "span": ["painting", "different"]}
    matrix = spanwise.attribute(lm, PROMPT, TARGET, rows="token", **asked)
    by_span = spanwise.attribute(lm, PROMPT, TARGET, **asked)
    assert [token for token, _ in matrix.top(3)] == [token for token, _ in by_span.top(3)]
    assert by_span.top(1) != by_span.top(1, row=1)
    whole = spanwise.attribute(lm, PROMPT, TARGET, method="saliency")
    token, score = whole.top(1)[0]
    assert score == float(whole.scores.nansum(0).max()) and token in whole.source
    scores = [abs(score) for _, score in matrix.top(100)]
    assert scores == sorted(scores, reverse=True) and len(scores) == len(matrix.provenance.prompt_ids)


def test_repr_says_what_it_is(lm: spanwise.LanguageModel) -> None:
    result = spanwise.attribute(lm, PROMPT, TARGET, method="saliency", span=["painting", "different"])
    assert repr(result) == f"Attribution(saliency of 2 spans, {len(result.source)} source tokens, qwen2 float32)"
    assert torch.equal(result.scores.isnan(), result.span_scores.isnan())
