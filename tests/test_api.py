"""What `attribute` promises beside the numbers: the model unchanged, clear refusals, NaN where nothing is defined."""

import copy
import warnings

import pytest
import torch
from conftest import ARCHITECTURES, PROMPT, TARGET, few, make_model, make_tokenizer

import spanwise
from spanwise.errors import (
    InputError,
    LengthError,
    MethodError,
    ModelError,
    NonFiniteError,
    OptionError,
    SpanError,
)

METHODS = [method.name for method in spanwise.list_methods()]


def run(lm: spanwise.LanguageModel, method: str, **asked: object) -> spanwise.Attribution:
    prompt = "The keys to" if method == "shapley_values" else PROMPT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spanwise.AttributionWarning)
        return spanwise.attribute(lm, prompt, TARGET, method=method, **{"method_options": few(method), **asked})


def test_aliases(lm: spanwise.LanguageModel) -> None:
    assert run(lm, "occlusion").provenance.method == "feature_ablation"


def test_every_architecture_of_the_tests_is_used() -> None:
    assert set(ARCHITECTURES) >= {"qwen2", "qwen3", "llama", "mistral", "gemma2", "gemma3", "phi3", "gpt2"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "gradient_shap", "feature_ablation"])
def test_other_types_give_float32_scores(dtype: torch.dtype, method: str) -> None:
    lm = spanwise.LanguageModel(copy.deepcopy(make_model("qwen2")).to(dtype), make_tokenizer())
    result = run(lm, method, span="different")
    assert result.scores.dtype == torch.float32
    reference = run(spanwise.LanguageModel(make_model("qwen2"), make_tokenizer()), method, span="different")
    ours, theirs = result.scores.nan_to_num(), reference.scores.nan_to_num()
    cosine = torch.nn.functional.cosine_similarity(ours, theirs).item()
    assert cosine > (0.9 if dtype == torch.bfloat16 else 0.99999)  # bfloat16 has 8 bits, here through 50 steps


class TestTheModelComesBackAsItWas:
    def snapshot(self, model: torch.nn.Module) -> object:
        return (
            {name: (module.training, len(module._forward_hooks)) for name, module in model.named_modules()},
            {name: (p.requires_grad, p.grad is None, p.dtype, p._version) for name, p in model.named_parameters()},
            str(model.config),
            torch.get_rng_state().tolist(),
        )

    @pytest.mark.parametrize("method", METHODS)
    def test_after_a_run(self, method: str) -> None:
        model = copy.deepcopy(make_model("qwen2")).train()
        model.lm_head.weight.requires_grad_(False)
        before = self.snapshot(model)
        run(spanwise.LanguageModel(model, make_tokenizer()), method)
        assert self.snapshot(model) == before

    @pytest.mark.parametrize("error", [RuntimeError("a broken kernel"), KeyboardInterrupt()])
    @pytest.mark.parametrize("method", ["integrated_gradients", "feature_ablation"])
    def test_after_an_error_and_after_ctrl_c(
        self, method: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = copy.deepcopy(make_model("qwen2")).train()
        before = self.snapshot(model)
        calls = []

        def failing(*args: object) -> None:
            calls.append(1)
            if len(calls) > 3:
                raise error

        handle = model.lm_head.register_forward_hook(failing)
        with pytest.raises(type(error)):
            run(spanwise.LanguageModel(model, make_tokenizer()), method, batch_size=2)
        handle.remove()
        assert self.snapshot(model) == before


def test_nan_for_frozen_and_for_what_a_row_could_not_see(lm: spanwise.LanguageModel) -> None:
    bos = spanwise.LanguageModel(lm.model, make_tokenizer(bos=True))
    result = run(bos, "feature_ablation")
    assert result.source[0].special and result.source[0].frozen
    assert result.scores[:, 0].isnan().all()
    open_ = run(bos, "feature_ablation", frozen="none")
    assert not open_.scores[:, 0].isnan().any()


def test_frozen_tokens_are_never_changed(lm: spanwise.LanguageModel) -> None:
    """The model sees BOS and the generated prefix as they are, whatever the method does to the rest."""
    bos = spanwise.LanguageModel(copy.deepcopy(lm.model), make_tokenizer(bos=True))
    seen = []
    layer = bos.model.model.layers[0]
    handle = layer.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args[0].detach()), with_kwargs=True
    )
    for method in ("integrated_gradients", "gradient_shap", "shapley_value_sampling"):
        options = {"stdevs": 0.3} if method == "gradient_shap" else {}
        result = run(bos, method, method_options=options)
        count = len(result.provenance.prompt_ids)
        own = bos.embedding(torch.tensor(result.provenance.prompt_ids[:1] + result.provenance.target_ids[:-1]))
        length = count + len(own) - 1
        for batch in seen:  # a batch that begins behind kept keys holds the last positions only
            if batch.shape[1] == length:
                assert torch.equal(batch[:, 0], own[0].expand(len(batch), -1))
            generated = batch[:, max(count - length + batch.shape[1], 0) :]
            assert torch.equal(generated, own[len(own) - generated.shape[1] :].expand(len(batch), -1, -1))
        assert any(batch.shape[1] == length for batch in seen)
        seen.clear()
    handle.remove()


def test_target_as_ids_and_generated(lm: spanwise.LanguageModel) -> None:
    generated = spanwise.attribute(lm, PROMPT, method="saliency", generation_options={"max_new_tokens": 6})
    assert generated.provenance.generated and 1 <= len(generated.target) <= 6
    ids = lm.tokenizer(PROMPT, return_tensors="pt")
    expected = lm.model.generate(**ids, max_new_tokens=6, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert list(generated.provenance.target_ids) == expected.tolist()
    given = spanwise.attribute(lm, PROMPT, expected, method="saliency")
    assert torch.equal(given.scores.nan_to_num(), generated.scores.nan_to_num())
    sampled = [
        spanwise.attribute(
            lm, PROMPT, method="saliency", seed=seed, generation_options={"max_new_tokens": 6, "do_sample": True}
        ).provenance.target_ids
        for seed in (1, 1, 2)
    ]
    assert sampled[0] == sampled[1] != sampled[2]


def test_prob_over_a_span_says_that_it_adds(lm: spanwise.LanguageModel) -> None:
    result = run(lm, "feature_ablation", span="different", objective="prob")
    assert any("sum of its token probabilities" in note for note in result.provenance.notes)
    assert result.provenance.unit == "probability"


def test_the_gap_of_a_zero_baseline_names_its_cause(lm: spanwise.LanguageModel) -> None:
    with pytest.warns(spanwise.AttributionWarning, match=r"gap is \d.*RMSNorm does not see scale.*baseline"):
        result = spanwise.attribute(
            lm, PROMPT, TARGET, method="integrated_gradients", baseline="zero", method_options={"n_steps": 3}
        )
    assert result.completeness_gap > 0.05


def test_kernel_shap_gives_spans_only(lm: spanwise.LanguageModel) -> None:
    result = run(lm, "lime", method_options={"n_samples": 20})
    assert result.rows == "span" and result.spans[0].text == TARGET
    with pytest.raises(MethodError, match="lime gives span scores only"):
        run(lm, "lime", rows="token")


def test_a_matrix_of_a_method_that_is_not_linear_has_no_span_scores(lm: spanwise.LanguageModel) -> None:
    assert run(lm, "saliency", span="different", rows="token").span_scores.isnan().all()


BAD = [
    ({"method": "integrated_gradient"}, OptionError, r"unknown method 'integrated_gradient'. Did you mean 'integrated"),
    ({"engine": "captun"}, OptionError, r"unknown engine 'captun'. Did you mean 'captum'\? Allowed: auto, captum"),
    ({"objective": "logprob"}, OptionError, r"unknown objective 'logprob'. Did you mean 'log_prob'"),
    (
        {"method_options": {"n_step": 3}},
        OptionError,
        r"option of integrated_gradients 'n_step'. Did you mean 'n_steps'",
    ),
    ({"method_options": {"n_steps": 0}}, OptionError, r"n_steps must be an integer of at least 1 or .auto., not 0"),
    ({"method_options": {"n_steps": 2.5}}, OptionError, r"n_steps must be an integer of at least 1 or .auto., not 2.5"),
    ({"method_options": {"method": "simpson"}}, OptionError, r"Allowed: gausslegendre"),
    ({"method": "lime", "method_options": {"n_samples": 0}}, OptionError, r"at least 1, not 0"),
    ({"method": "feature_ablation", "method_options": {"x": 1}}, OptionError, r"has no options of its own"),
    ({"batch_size": 0}, OptionError, r"batch_size must be an integer of at least 1, not 0"),
    ({"batch_size": "big"}, OptionError, r"batch_size must be 'auto' or an integer"),
    ({"baseline": "nil"}, OptionError, r"unknown baseline 'nil'. Allowed: unk, zero, pad, mean"),
    ({"baseline": "token:not one token"}, OptionError, r"is \d+ tokens of this vocabulary"),
    ({"baseline": torch.zeros(3, 5)}, OptionError, r"shape \[3, 5\]; allowed: \[64\]"),
    ({"method": "saliency", "baseline": "zero"}, OptionError, r"saliency has no baseline"),
    ({"frozen": "all"}, OptionError, r"unknown frozen 'all'"),
    ({"prefix": "free"}, OptionError, r"unknown prefix 'free'"),
    ({"rows": "both"}, OptionError, r"unknown rows 'both'"),
    ({"generation_options": {"max_new_tokens": 3}}, OptionError, r"so was the target"),
    ({"method": "shapley_values"}, MethodError, r"asked for \d+ features; it allows at most 8"),
    ({"span": 5}, OptionError, r"a span is a text, a compiled regex, a tuple \(start, end\) of characters.*not 5"),
    ({"span": [1, 9]}, OptionError, r"a tuple \(start, end\)"),
    ({"method_options": [1]}, OptionError, r"method_options is a mapping from names to values, not \[1\]"),
    ({"seed": "a"}, OptionError, r"seed must be an integer of at least 0, not 'a'"),
    ({"progress": "yes"}, OptionError, r"progress is None, True or False, not 'yes'"),
    ({"baseline": torch.full((64,), torch.nan)}, OptionError, r"baseline tensor holds NaN"),
    ({"method_options": {"n_steps": 5000}}, OptionError, r"Gauss-Legendre.*at most 1000.*riemann_middle"),
    ({"method": "attention", "objective": "prob"}, OptionError, r"no objective changes what attention reads"),
    ({"engine": "inseq", "method": "lime"}, MethodError, r"lime was asked on.*adds the integer id.*It runs on: captum"),
    ({"span": "swimming"}, SpanError, r"'swimming' is not in the target"),
]


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(("asked", "error", "message"), BAD, ids=[message[:40] for _, _, message in BAD])
def test_bad_input(lm: spanwise.LanguageModel, asked: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        spanwise.attribute(lm, PROMPT, TARGET, **asked)
    assert isinstance(caught.value, spanwise.AttributionError)


@pytest.mark.usefixtures("unchecked_types")
def test_a_target_of_no_kind(lm: spanwise.LanguageModel) -> None:
    with pytest.raises(InputError, match=r"a text, a sequence of token ids or None, not 3.5"):
        spanwise.attribute(lm, PROMPT, 3.5)
    with pytest.raises(ModelError, match="a name or a folder, not 3"):
        spanwise.load_model(3)
    with pytest.raises(OptionError, match="row 4 was asked, but scores has the rows 0 to 0"):
        run(lm, "saliency", span="different").top(row=4)


def test_too_long(lm: spanwise.LanguageModel) -> None:
    with pytest.raises(
        LengthError, match=r"has \d+ tokens and the target \d+; together more than the model's context of 128 tokens"
    ):
        spanwise.attribute(lm, PROMPT * 9, TARGET)
    with pytest.raises(LengthError):
        spanwise.attribute(lm, PROMPT * 9)


@pytest.mark.usefixtures("unchecked_types")
def test_not_a_model() -> None:
    with pytest.raises(InputError, match=r"LanguageModel is needed, not Qwen2ForCausalLM: spanwise.LanguageModel\("):
        spanwise.attribute(make_model("qwen2"), PROMPT, TARGET)
    with pytest.raises(ModelError, match="language model is needed, not str"):
        spanwise.LanguageModel("gpt2", make_tokenizer())
    with pytest.raises(ModelError, match="tokenizer is needed"):
        spanwise.LanguageModel(make_model("qwen2"), None)


def test_everything_frozen() -> None:
    lm = spanwise.LanguageModel(make_model("llama"), make_tokenizer(bos=True))
    with pytest.raises(InputError, match=r"nothing is left to attribute to.*frozen='none'"):
        spanwise.attribute(lm, "<s>", TARGET)


def test_non_finite_scores_name_the_type() -> None:
    model = copy.deepcopy(make_model("qwen2"))
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match=r"NaN or infinite values \(dtype float32, quantization none\).*bfloat16"):
        spanwise.attribute(spanwise.LanguageModel(model, make_tokenizer()), PROMPT, TARGET)
