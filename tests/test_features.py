"""Features: what is switched on and off together, against token scores, brute force, and Captum's own templates."""

import copy
import itertools
import re
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import transformers
from captum.attr import FeatureAblation, LLMAttribution, ShapleyValues, TextTemplateInput, TextTokenInput
from conftest import PROMPT, TARGET, few, make_model, make_tokenizer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import spanwise
from spanwise.errors import InputError, LengthError, MethodError, OptionError, SpanError
from spanwise.views.running import pieces
from spanwise.views.series import by_span

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


class TestFoundInReview:
    """Each of these was once wrong, silent, or a foreign traceback."""

    def test_a_function_that_reads_more_than_the_span(self, lm: spanwise.LanguageModel) -> None:
        def over_everything(outputs: object, context: object) -> torch.Tensor:
            values = outputs.logits.float().logsumexp(-1)
            return values - values.mean(1, keepdim=True)  # 0 for a span of one token

        found = spanwise.attribute(
            lm, PROMPT, TARGET, objective=over_everything, span=spanwise.tokens(1, 2), method="feature_ablation"
        )
        assert float(found.scores.nan_to_num().abs().max()) < 1e-6

    @pytest.mark.parametrize("attention", ["eager", "sdpa"])
    def test_a_mask_over_everything(self, attention: str) -> None:
        model = copy.deepcopy(make_model("qwen2"))
        model.set_attn_implementation(attention)
        lm = spanwise.LanguageModel(model, make_tokenizer())
        asked = {"method": "feature_ablation", "rows": "span", "features": [(0, len(PROMPT))], "baseline": "mask"}
        if attention == "eager":  # a query without a key attends to everything, the target's future too
            with pytest.raises(MethodError, match="leaves nothing of the prompt to attend to"):
                spanwise.attribute(lm, PROMPT, TARGET, **asked)
        else:
            assert spanwise.attribute(lm, PROMPT, TARGET, **asked).scores[0, 0].isfinite()

    def test_a_part_of_a_slot(self, lm: spanwise.LanguageModel) -> None:
        slots = spanwise.template("{name} lives in {city}. {name} likes", name="Michael", city="Austin")
        with pytest.raises(OptionError, match="only a part of the slot 'name'"):
            spanwise.attribute(lm, None, TARGET, features=slots, source=(0, 7), method="feature_ablation")
        kept = spanwise.attribute(
            lm, None, TARGET, features=slots, source="Austin", method="feature_ablation", rows="span"
        )
        assert [token.name for token in kept.source if not token.frozen] == ["city"]

    def test_text_in_place_of_a_token_without_text(self) -> None:
        lm = spanwise.LanguageModel(make_model("qwen2"), make_tokenizer(bos=True))
        with pytest.raises(OptionError, match=r"the token \[2\] has none"):
            spanwise.attribute(lm, PROMPT, TARGET, method="feature_ablation", frozen="none", baseline="text:x")

    def test_a_sampler_draws_once_for_each_setting(self, lm: spanwise.LanguageModel) -> None:
        draw = spanwise.product_baselines({"name": ["Texas", "Paris", "keys"], "city": ["table", "France"]})
        slots = spanwise.template("{name} lives in {city} and", baselines=draw, name="Michael", city="Austin")
        found = spanwise.attribute(lm, None, TARGET, features=slots, method="shapley_values", rows="span")
        assert found.completeness_gap is not None and found.completeness_gap < 1e-4

    def test_features_with_holes_are_shown_in_reading_order(self, lm: spanwise.LanguageModel) -> None:
        slots = spanwise.template("{name} lives in {city}. {name} likes", name="Michael", city="Austin")
        found = spanwise.attribute(lm, None, TARGET, features=slots, method="saliency", rows="span")
        shown = pieces(found, by_span(found)[0], len(found.source))
        assert "".join(piece.text for piece in shown).startswith("Michael lives in Austin. Michael likes")
        assert [piece.text for piece in shown if found.source[piece.index].name][:3] == ["Michael", "Austin", "Michael"]

    def test_the_end_of_a_generated_target_is_no_word(self, lm: spanwise.LanguageModel) -> None:
        ids = [*lm.tokenizer.encode(" Paris, Texas."), 3]
        for level, parts in (("word", ["Paris", "Texas"]), ("sentence", ["Paris, Texas."])):
            found = spanwise.attribute(lm, PROMPT, ids, method="saliency", target_features=level)
            assert found.row_labels == parts
        thought = [*lm.tokenizer.encode("<think>a</think> Texas."), 3]
        answer = spanwise.attribute(lm, PROMPT, thought, method="saliency", span=spanwise.role("answer"))
        assert answer.row_labels == [" Texas."]

    def test_a_prompt_that_opens_the_reasoning(self, lm: spanwise.LanguageModel) -> None:
        found = spanwise.attribute(
            lm, PROMPT + "<think>\n", "In Texas", method="saliency", span=spanwise.role("reasoning")
        )
        assert found.row_labels == ["In Texas"]

    def test_names_that_would_be_ignored(self, lm: spanwise.LanguageModel) -> None:
        with pytest.raises(OptionError, match="give one"):
            spanwise.attribute(lm, PROMPT, TARGET, span="painting", target_features=["traveling"])
        with pytest.raises(OptionError, match="no span was given"):
            spanwise.attribute(lm, PROMPT, TARGET, occurrence=0)
        both = spanwise.attribute(lm, PROMPT, "a a", method="saliency", target_features=["a"], occurrence="all")
        assert both.row_labels == ["a", "a"]

    def test_tokens_without_text_can_be_selected(self, unchecked_types: None) -> None:
        lm = spanwise.LanguageModel(make_model("qwen2"), make_tokenizer(bos=True))
        found = spanwise.attribute(
            lm, PROMPT, TARGET, method="saliency", frozen="none", source=spanwise.tokens(0, 2), rows="span"
        )
        assert [i for i, token in enumerate(found.source) if not token.frozen] == [0, 1]
        with pytest.raises(OptionError, match="a span is a text"):
            spanwise.attribute(lm, PROMPT, TARGET, source=5)

    def test_lengths_that_only_a_change_exceeds(self, lm: spanwise.LanguageModel) -> None:
        long = "a " * 100
        with pytest.raises(LengthError, match="has room for"):
            spanwise.attribute(lm, long, None, generation_options={"max_new_tokens": 40})
        with pytest.raises(LengthError):
            spanwise.attribute(
                lm, long, TARGET, method="feature_ablation", features=[(0, 4)], baseline="text:" + "b " * 60
            )
        with pytest.raises(LengthError):
            spanwise.attribute(lm, long, " b", span="b", objective=spanwise.contrast(" c" * 60))

    def test_a_generation_config_can_be_saved(self, lm: spanwise.LanguageModel, tmp_path: Path) -> None:
        config = transformers.GenerationConfig(max_new_tokens=3, pad_token_id=1)
        found = spanwise.attribute(
            lm, PROMPT, None, method="saliency", generation_options={"generation_config": config}
        )
        assert len(found.target) <= 3
        found.save(tmp_path / "run.safetensors")
        again = spanwise.Attribution.load(tmp_path / "run.safetensors")
        assert again.provenance.generation_options["generation_config"]["max_new_tokens"] == 3

    def test_a_decoders_first_token_cannot_be_left_out(self) -> None:
        lm = spanwise.LanguageModel(make_model("t5"), make_tokenizer())
        with pytest.raises(MethodError, match="cannot leave out the decoder's first token"):
            spanwise.attribute(
                lm, PROMPT, TARGET, method="feature_ablation", baseline="delete", frozen="none", rows="token"
            )

    def test_removal_on_inseq(self, lm: spanwise.LanguageModel) -> None:
        pytest.importorskip("inseq", reason="needs the inseq extra")
        with pytest.raises(MethodError, match="on the engine 'inseq' needs embeddings as baseline, not 'mask'"):
            spanwise.attribute(
                lm, PROMPT, TARGET, method="feature_ablation", engine="inseq", rows="token", baseline="mask"
            )
