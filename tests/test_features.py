"""Features: what is switched on and off together, against token scores, brute force, and Captum's own templates."""

import itertools
import re
from typing import ClassVar

import pytest
import torch
from captum.attr import FeatureAblation, LLMAttribution, ShapleyValues, TextTemplateInput, TextTokenInput
from conftest import PROMPT, TARGET, few, make_model, make_tokenizer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import spanwise
from spanwise.errors import InputError, MethodError, OptionError, SpanError

GRADIENT = [method.name for method in spanwise.list_methods() if method.family == "gradient"]
WORDS = ["Michael", "works", "in", "Austin", ",", "Texas", ".", "In", "his", "free", "time", ",", "he", "enjoys"]


def plain_log_prob(lm: spanwise.LanguageModel, prompt_ids: list[int], target_ids: list[int]) -> float:
    """One uncached forward a token."""
    total = 0.0
    for at, id_ in enumerate(target_ids):
        ids = torch.tensor([[*prompt_ids, *target_ids[:at]]])
        with torch.no_grad():
            total += float(lm.model(ids, use_cache=False).logits[0, -1].float().log_softmax(-1)[id_])
    return total


class TestGradientsAddUp:
    @pytest.mark.parametrize("method", GRADIENT)
    @pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")
    def test_a_features_score_is_the_sum_of_its_tokens(self, lm: spanwise.LanguageModel, method: str) -> None:
        asked = {"method": method, "rows": "span", "method_options": few(method)}
        tokens = spanwise.attribute(lm, PROMPT, TARGET, **asked)
        for level in ("word", "sentence", "paragraph"):
            found = spanwise.attribute(lm, PROMPT, TARGET, **asked, features=level)
            for column, score in zip(found.source, found.scores[0], strict=True):
                own = tokens.scores[0, list(column.positions)]
                # the same terms added in another order; gate gradients of path methods add positions on the way
                assert torch.isclose(score, own.sum(), atol=2e-5, rtol=1e-4, equal_nan=True), (level, column)

    @given(
        cuts=st.sets(st.integers(1, len(PROMPT) - 1), max_size=6),
        method=st.sampled_from(["saliency", "input_x_gradient"]),
    )
    @settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")
    def test_random_spans(self, lm: spanwise.LanguageModel, cuts: set[int], method: str) -> None:
        tokens = spanwise.attribute(lm, PROMPT, TARGET, method=method, rows="span", method_options=few(method))
        borders = {token.start for token in tokens.source if token.role == "prompt"} | {0, len(PROMPT)}
        edges = [0, *sorted(cuts & borders), len(PROMPT)]
        spans = list(itertools.pairwise(edges))
        found = spanwise.attribute(
            lm, PROMPT, TARGET, method=method, rows="span", method_options=few(method), features=spans
        )
        assert len([token for token in found.source if not token.frozen]) == len(spans)
        assert torch.isclose(found.scores.nansum(), tokens.scores.nansum(), atol=2e-5, rtol=1e-4)


class TestPerturbation:
    def test_words_and_their_cost(self, lm: spanwise.LanguageModel) -> None:
        found = spanwise.attribute(lm, PROMPT, TARGET, method="feature_ablation", rows="span", features="word")
        assert [token.text.strip() for token in found.source if not token.frozen] == WORDS
        # one forward a feature, one for the target's own scores with all of them on
        assert found.provenance.forwards == len(WORDS) + 1
        assert found.provenance.features == "word"

    @pytest.mark.parametrize("baseline", ["token:<unk>", "mask", "delete", "text:nothing", "text:"])
    def test_against_plain_forwards(self, lm: spanwise.LanguageModel, baseline: str) -> None:
        found = spanwise.attribute(
            lm, PROMPT, TARGET, method="feature_ablation", rows="span", features="word", baseline=baseline
        )
        prompt_ids, target_ids = list(found.provenance.prompt_ids), list(found.provenance.target_ids)
        whole = plain_log_prob(lm, prompt_ids, target_ids)
        if baseline == "mask":
            pytest.skip("a plain forward cannot hide a position; tests/scoring/test_removal.py compares the mask")
        for column, score in zip(found.source, found.scores[0], strict=True):
            if column.frozen:
                continue
            if baseline == "delete":
                ids = [id_ for i, id_ in enumerate(prompt_ids) if i not in column.positions]
            elif baseline.startswith("text:"):
                bare = column.text.strip()
                start = column.start + column.text.index(bare) if len(column.positions) == 1 else column.start
                text = PROMPT[:start] + baseline.removeprefix("text:") + PROMPT[start + len(bare) :]
                ids = lm.tokenizer(text)["input_ids"]
            else:
                ids = [0 if i in column.positions else id_ for i, id_ in enumerate(prompt_ids)]
            assert abs(float(score) - (whole - plain_log_prob(lm, ids, target_ids))) < 2e-5, column

    def test_documents_need_one_forward_each(self) -> None:
        lm = spanwise.LanguageModel(make_model("qwen2"), make_tokenizer())
        docs = spanwise.documents(
            [f"The keys are on table {i}." for i in range(5)], names=[f"doc {i}" for i in range(5)]
        )
        found = spanwise.attribute(lm, "Where?", " Paris", method="feature_ablation", rows="span", features=docs)
        assert [token.name for token in found.source if not token.frozen] == [f"doc {i}" for i in range(5)]
        assert found.prompt.endswith("\n\nWhere?") and found.provenance.forwards == 5 + 1
        assert found.source_tokens.count("doc 3") == 1

    @pytest.mark.parametrize("method", ["kernel_shap", "lime", "shapley_value_sampling"])
    def test_other_methods_take_other_text(self, lm: spanwise.LanguageModel, method: str) -> None:
        found = spanwise.attribute(
            lm, PROMPT, TARGET, method=method, rows="span", features="sentence", baseline=lambda text: text.upper(),
            method_options=few(method),
        )  # fmt: skip
        assert found.provenance.baseline == "sampler <lambda>"
        assert found.scores.isfinite().any()

    def test_removal_and_text_are_for_perturbation(self, lm: spanwise.LanguageModel) -> None:
        with pytest.raises(MethodError, match="a baseline of other text is for perturbation methods"):
            spanwise.attribute(lm, PROMPT, TARGET, baseline="text:x")
        with pytest.raises(MethodError, match="needs prefix='fixed'"):
            spanwise.attribute(lm, PROMPT, TARGET, method="feature_ablation", baseline="text:x", prefix="attributed")

    def test_words_of_the_generated_prefix(self, lm: spanwise.LanguageModel) -> None:
        found = spanwise.attribute(
            lm, PROMPT, TARGET, method="feature_ablation", rows="token", features="word", prefix="attributed"
        )
        prefix = [token.text.strip() for token in found.source if token.role == "prefix"]
        assert prefix[:3] == ["painting", ",", "traveling"]
        first = next(i for i, token in enumerate(found.source) if token.role == "prefix")
        assert found.scores[0, first:].isnan().all() and not found.scores[-1, first].isnan()


class TestSource:
    @pytest.mark.parametrize("source", ["Austin, Texas", re.compile("Austin|Texas"), (17, 23), ["Austin", "Texas"]])
    def test_the_rest_is_frozen(self, lm: spanwise.LanguageModel, source: object) -> None:
        found = spanwise.attribute(lm, PROMPT, TARGET, method="feature_ablation", rows="span", source=source)
        whole = spanwise.attribute(lm, PROMPT, TARGET, method="feature_ablation", rows="span")
        free = [i for i, token in enumerate(found.source) if not token.frozen]
        assert free and all(any(c in "Austin, Texas" for c in found.source[i].text) for i in free)
        assert torch.allclose(found.scores[0, free], whole.scores[0, free], atol=1e-5)
        assert found.scores[0].isnan().sum() == len(found.source) - len(free)
        assert found.provenance.forwards == len(free) + 1

    def test_several_places_are_all_meant(self, lm: spanwise.LanguageModel) -> None:
        found = spanwise.attribute(lm, PROMPT, TARGET, method="saliency", source=",")
        assert [token.text for token in found.source if not token.frozen] == [",", ","]

    def test_errors(self, lm: spanwise.LanguageModel) -> None:
        with pytest.raises(SpanError, match="source='Paris' cannot be used: the source 'Paris' is not in the prompt"):
            spanwise.attribute(lm, PROMPT, TARGET, source="Paris")
        with pytest.raises(InputError, match="a prompt without messages has no roles"):
            spanwise.attribute(lm, PROMPT, TARGET, source=spanwise.role("user"))
        with pytest.raises(InputError, match="selects nothing"):
            spanwise.attribute(lm, PROMPT, TARGET, source=[])
        bos = spanwise.LanguageModel(lm.model, make_tokenizer(bos=True))
        with pytest.raises(InputError, match="special or template tokens only"):
            spanwise.attribute(bos, PROMPT, TARGET, source=spanwise.tokens(0, 1))


class TestTargetFeatures:
    def test_levels(self, lm: spanwise.LanguageModel) -> None:
        def parts(**asked: object) -> list[str]:
            found = spanwise.attribute(lm, PROMPT, TARGET, method="saliency", **asked)
            assert found.rows == "span"
            return found.row_labels

        assert parts(target_features="word") == ["painting", "traveling", "to", "different", "countries"]
        assert parts(target_features="phrase") == ["painting", "traveling to different countries"]
        assert parts(target_features="sentence") == ["painting, traveling to different countries."]
        assert parts(target_features=["painting", "different"]) == ["painting", "different"]
        assert parts(target_features="word", span="to different") == ["to", "different"]
        assert parts(span=["traveling to", "to different"]) == ["traveling to", "to different"]  # overlapping

    def test_rows_are_the_spans_own(self, lm: spanwise.LanguageModel) -> None:
        parts = spanwise.attribute(lm, PROMPT, TARGET, method="feature_ablation", target_features="word")
        alone = spanwise.attribute(lm, PROMPT, TARGET, method="feature_ablation", span="different")
        assert torch.allclose(parts.scores[3], alone.scores[0], atol=1e-5, equal_nan=True)

    def test_reasoning_is_a_span_of_its_own(self, lm: spanwise.LanguageModel) -> None:
        target = "<think>In Austin.</think> Texas"
        found = spanwise.attribute(
            lm, PROMPT, target, method="saliency", span=[spanwise.role("reasoning"), spanwise.role("answer")]
        )
        assert found.row_labels == ["<think>In Austin.</think>", " Texas"]
        with pytest.raises(SpanError, match="has no <think>"):
            spanwise.attribute(lm, PROMPT, TARGET, span=spanwise.role("reasoning"))

    def test_errors(self, lm: spanwise.LanguageModel) -> None:
        with pytest.raises(OptionError, match="target_features must be one of word, phrase, sentence"):
            spanwise.attribute(lm, PROMPT, TARGET, target_features="letter")
        with pytest.raises(OptionError, match="rows='token' was asked"):
            spanwise.attribute(lm, PROMPT, TARGET, target_features="word", rows="token")


class TestBadFeatures:
    @pytest.mark.parametrize(
        ("features", "told"),
        [
            ("letter", "unknown features 'letter'"),
            ("message", "needs messages"),
            ([(0, 5), (3, 9)], "overlap"),
            ([(0, 500)], "no span \\(start, end\\) inside"),
            ([(5, 5)], "no span"),
            ([], "features must be one of"),
            ([(0, 3), (3, 7)], "share the token 'Michael'|share the token"),
        ],
    )
    def test_refused(self, lm: spanwise.LanguageModel, features: object, told: str, unchecked_types: None) -> None:
        with pytest.raises((OptionError, InputError), match=told):
            spanwise.attribute(lm, PROMPT, TARGET, features=features)

    def test_only_special_tokens(self) -> None:
        lm = spanwise.LanguageModel(make_model("qwen2"), make_tokenizer())
        with pytest.raises(OptionError, match="covers no token that can be attributed to: special or template"):
            spanwise.attribute(lm, "Texas</s> Austin", " Paris", features=[(0, 5), (5, 9)])

    def test_prompt_and_messages(self, lm: spanwise.LanguageModel) -> None:
        for asked in ({}, {"prompt": "a", "messages": [{"role": "user", "content": "a"}]}):
            with pytest.raises(InputError, match="one of the two"):
                spanwise.attribute(lm, target=TARGET, **asked)
        with pytest.raises(InputError, match="a template makes the prompt"):
            spanwise.attribute(lm, "a", TARGET, features=spanwise.template("{x} b", x="c"))


class TestCaptumsInputs:
    """Captum's own classes over its one-pass path, which is right (`forward_in_tokens=False`)."""

    VALUES: ClassVar = {"name": "Michael", "city": "Austin", "hobby": "painting"}
    TEMPLATE = "{name} works in {city}. In his free time, {name} enjoys {hobby} and"

    @pytest.mark.parametrize("architecture", ["qwen2", "llama"])
    @pytest.mark.parametrize("method", ["feature_ablation", "shapley_values"])
    @pytest.mark.parametrize("baselines", [None, {"name": "Texas", "city": "Paris", "hobby": "traveling"}])
    @pytest.mark.filterwarnings("ignore")
    def test_template(self, architecture: str, method: str, baselines: dict[str, str] | None) -> None:
        lm = spanwise.LanguageModel(make_model(architecture), make_tokenizer())
        captum_class = FeatureAblation if method == "feature_ablation" else ShapleyValues
        inputs = TextTemplateInput(self.TEMPLATE, values=self.VALUES, baselines=baselines)
        target = torch.tensor(lm.tokenizer(TARGET)["input_ids"])
        theirs = LLMAttribution(captum_class(lm.model), lm.tokenizer).attribute(
            inputs, target=target, forward_in_tokens=False
        )
        ours = spanwise.attribute(
            lm, None, target, method=method, rows="token",
            features=spanwise.template(self.TEMPLATE, baselines=baselines, **self.VALUES),
        )  # fmt: skip
        free = [i for i, token in enumerate(ours.source) if not token.frozen]
        assert [ours.source[i].name for i in free] == list(self.VALUES)
        assert ours.provenance.baseline == "template"
        assert torch.allclose(ours.scores[:, free], theirs.token_attr, atol=1e-5 * float(theirs.token_attr.abs().max()))

    @pytest.mark.filterwarnings("ignore")
    def test_skipped_tokens_are_frozen(self) -> None:
        lm = spanwise.LanguageModel(make_model("llama"), make_tokenizer(bos=True))
        inputs = TextTokenInput(PROMPT, lm.tokenizer, baselines=0, skip_tokens=[2])
        target = torch.tensor(lm.tokenizer(TARGET, add_special_tokens=False)["input_ids"])
        theirs = LLMAttribution(FeatureAblation(lm.model), lm.tokenizer).attribute(
            inputs, target=target, forward_in_tokens=False
        )
        ours = spanwise.attribute(lm, PROMPT, target, method="feature_ablation", rows="token", baseline="token:<unk>")
        free = [i for i, token in enumerate(ours.source) if not token.frozen]
        assert len(free) == theirs.token_attr.shape[1]
        assert torch.allclose(ours.scores[:, free], theirs.token_attr, atol=1e-5 * float(theirs.token_attr.abs().max()))
