"""Inseq's names over our guards: Inseq's own numbers where they are right, and a reason where they are not.

Rules: "plain" is the installed Inseq on a copy of the same model, with attention computed the same way (eager). Float32
scores agree to 1e-5 of the largest; measured: 1e-6, sums are taken in another order. Nothing is left behind on the
user's model or tokenizer.
"""

import copy
import importlib
import inspect
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ENCODER_DECODERS, PROMPT, make_model, make_tokenizer
from torch import Tensor

import spanwise
from spanwise.errors import AttributionWarning, InputError, LengthError, MethodError, ModelError, OptionError

library = pytest.importorskip("inseq", reason="needs the inseq extra")
from spanwise.compat import inseq  # noqa: E402

ARCHITECTURES = ("llama", "qwen2", "gpt2")
TEXT = PROMPT + " painting, and"
TOLERANCE = 1e-5
PATH = {"n_steps": 5}


def ours(architecture: str = "llama", method: str | None = None, *, bos: bool = False, **options: Any) -> Any:
    return inseq.load_model(make_model(architecture), method, tokenizer=make_tokenizer(bos=bos), **options)


def plain(architecture: str = "llama", method: str | None = None, *, eager: bool = False, **options: Any) -> Any:
    model = copy.deepcopy(make_model(architecture))
    if eager:
        model.set_attn_implementation("eager")
    tokenizer = copy.deepcopy(make_tokenizer())
    return library.load_model(model, method, tokenizer=tokenizer, device="cpu", **options)


def both(
    architecture: str, method: str, /, *, text: Any = TEXT, prompt: Any = PROMPT, **options: Any
) -> tuple[Any, Any]:
    found = []
    eager = method == "attention"
    for model in (ours(architecture, method), plain(architecture, method, eager=eager)):
        torch.manual_seed(0)
        np.random.seed(0)
        with warnings.catch_warnings():
            # Captum says that plain Inseq's inputs do not require gradients, where parameters are frozen.
            warnings.filterwarnings("ignore", "Input Tensor . did not already require gradients", UserWarning)
            warnings.filterwarnings("ignore", r"\s*Setting forward, backward hooks", UserWarning)
            warnings.filterwarnings("ignore", "Contrastive inputs do not match original inputs", UserWarning)
            found.append(model.attribute(prompt, text, show_progress=False, **copy.deepcopy(options)))
    return found[0], found[1]


def assert_close(one: Tensor, other: Tensor) -> None:
    assert one.shape == other.shape
    assert torch.equal(one.isnan(), other.isnan())
    largest = other.nan_to_num().abs().max()
    assert largest > 0
    assert (one.nan_to_num() - other.nan_to_num()).abs().max() <= TOLERANCE * largest


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert type(a) is type(b)
        assert (a.source, a.target) == (b.source, b.target)
        assert (a.attr_pos_start, a.attr_pos_end) == (b.attr_pos_start, b.attr_pos_end)
        if b.target_attributions is not None:
            assert_close(a.target_attributions, b.target_attributions)
        if b.source_attributions is not None:
            assert_close(a.source_attributions, b.source_attributions)
        assert a.step_scores.keys() == b.step_scores.keys()
        for name in b.step_scores:
            assert torch.allclose(a.step_scores[name], b.step_scores[name], atol=1e-5), name
    same = {name: value for name, value in other.info.items() if name not in ("exec_time",)}
    assert {name: one.info[name] for name in same} == same


SHARED: list[tuple[str, dict[str, Any]]] = [
    ("saliency", {}),
    ("saliency", {"abs": False}),
    ("input_x_gradient", {"attributed_fn": "logit"}),
    ("input_x_gradient", {"attributed_fn": "entropy"}),
    ("integrated_gradients", PATH),
    ("integrated_gradients", {"attribution_args": {**PATH, "method": "riemann_trapezoid", "internal_batch_size": 2}}),
    ("integrated_gradients", {**PATH, "attributed_fn": "probability", "logprob": True}),
    ("occlusion", {}),
    ("occlusion", {"attributed_fn": "logit"}),
]
INSEQS: list[tuple[str, dict[str, Any]]] = [
    ("integrated_gradients", {**PATH, "return_convergence_delta": True}),
    ("occlusion", {"sliding_window_shapes": (2, 64)}),
    ("gradient_shap", {"n_samples": 3, "stdevs": 0.1}),
    ("deeplift", {}),
    ("sequential_integrated_gradients", {"n_steps": 3}),
    ("layer_gradient_x_activation", {}),
    ("attention", {}),
    ("dummy", {"step_scores": ["probability", "logit"]}),
]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("method", "options"), SHARED + INSEQS[:-1], ids=str)
def test_numbers_are_inseqs(architecture: str, method: str, options: dict[str, Any]) -> None:
    assert_same(*both(architecture, method, **options))


def test_the_shared_path_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests above compare Inseq with itself: all target tokens cost one forward, not one each."""
    lengths: list[int] = []
    model = ours("llama", "saliency")
    hook = model.model.register_forward_hook(lambda module, args, output: lengths.append(len(output.logits)))
    try:
        model.attribute(PROMPT, TEXT, show_progress=False)
        shared = sum(lengths)
        lengths.clear()
        model.attribute(PROMPT, TEXT, show_progress=False, attributed_fn=_first_logit)
        each = sum(lengths)
    finally:
        hook.remove()
    count = len(model.encode(TEXT).input_ids[0]) - len(model.encode(PROMPT).input_ids[0])
    assert (shared, each) == (1, count)
    assert count > 1


def _first_logit(args: Any) -> Tensor:
    return args.attribution_model.output2logits(args.forward_output)[:, 7]


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "occlusion"])
def test_positions_and_step_scores(method: str) -> None:
    length = len(make_tokenizer()(TEXT)["input_ids"])
    options = {"attr_pos_start": length - 3, "attr_pos_end": length - 1, "step_scores": ["probability", "entropy"]}
    one, other = both("llama", method, **options, **(PATH if method == "integrated_gradients" else {}))
    assert_same(one, other)
    assert one[0].target_attributions.shape[1] == 2
    negative, _ = both("llama", method, attr_pos_end=-1, **(PATH if method == "integrated_gradients" else {}))
    assert negative[0].attr_pos_end == length - 1


@pytest.mark.parametrize("function", ["contrast_prob_diff", "contrast_logits_diff", "pcxmi"])
def test_contrasts(function: str) -> None:
    contrast = PROMPT + " painting, the"
    options = {"attributed_fn": function, "contrast_targets": contrast, "step_scores": [function]}
    assert_same(*both("llama", "input_x_gradient", **options))


def test_several_sequences(caplog: pytest.LogCaptureFixture) -> None:
    prompts, texts = [PROMPT, "The keys"], [TEXT, "The keys to the cabinet"]
    with caplog.at_level(logging.WARNING):
        one, other = both("qwen2", "integrated_gradients", prompt=prompts, text=texts, batch_size=1, **PATH)
    assert_same(one, other)
    assert one.info["input_texts"] == prompts


def test_a_step_function_of_the_users() -> None:
    def margin(args: Any, other_id: int = 5) -> Tensor:
        logits = args.attribution_model.output2logits(args.forward_output)
        return logits.gather(-1, args.target_ids.reshape(-1, 1)).squeeze(-1) - logits[:, other_id]

    inseq.register_step_function(margin, "margin_of_this_test")
    try:
        assert "margin_of_this_test" in inseq.list_step_functions()
        options = {"attributed_fn": "margin_of_this_test", "step_scores": ["margin_of_this_test"], "other_id": 9}
        assert_same(*both("llama", "saliency", **options))
    finally:
        from inseq.attr.step_functions import STEP_SCORES_MAP

        del STEP_SCORES_MAP["margin_of_this_test"]


@pytest.mark.filterwarnings("ignore:The use of `x.T` on tensors:UserWarning")  # in Inseq's own aggregation
def test_results_show_save_aggregate_and_weight(tmp_path: Path) -> None:
    outputs = both("llama", "integrated_gradients", step_scores=["probability"], **PATH)
    dicts = [output.get_scores_dicts(do_aggregation=True)[0]["target_attributions"] for output in outputs]
    assert dicts[0].keys() == dicts[1].keys()
    for row in dicts[0]:
        for token, score in dicts[0][row].items():
            assert score == pytest.approx(dicts[1][row][token], abs=1e-5, nan_ok=True)
    merged = [output.aggregate("spans", target_spans=[(1, 3)])[0] for output in outputs]
    assert len(merged[0].target) == len(outputs[0][0].target) - 1
    page = outputs[0].show(display=False, return_html=True)
    assert "painting" in page or "pa" in page
    outputs[0].save(str(tmp_path / "out.json"))
    again = inseq.FeatureAttributionOutput.load(str(tmp_path / "out.json"))
    assert_close(again[0].target_attributions, outputs[0][0].target_attributions)
    for output in outputs:
        output.weight_attributions("probability")
    assert_close(outputs[0][0].target_attributions, outputs[1][0].target_attributions)


@pytest.mark.parametrize("method", ["saliency", "occlusion"])
def test_the_model_writes_the_text(method: str) -> None:
    options = {"generation_args": {"max_new_tokens": 4, "do_sample": False}}
    one, other = both("llama", method, text=None, **options)
    assert_same(one, other)
    assert one.info["constrained_decoding"] is False
    assert one[0].attr_pos_end - one[0].attr_pos_start == 4


def test_generated_ids_are_attributed_as_they_were_written() -> None:
    """Inseq tokenizes what was written again; ids that do not come back are then others'."""
    model = ours("llama", "saliency")
    prompts = [PROMPT, "The keys to", "12 + 3", "In his"]
    options = {"max_new_tokens": 6, "do_sample": False}
    found = model.attribute(prompts, generation_args=options, batch_size=4, show_progress=False)
    for prompt, each in zip(prompts, found, strict=True):
        ids = torch.tensor([make_tokenizer()(prompt)["input_ids"]])
        wanted = make_model("llama").generate(ids, attention_mask=torch.ones_like(ids), **options)[0].tolist()
        special = make_tokenizer().all_special_ids
        assert [token.id for token in each.target] == wanted[: ids.shape[1]] + [
            id_ for id_ in wanted[ids.shape[1] :] if id_ not in special
        ]


def test_a_tokenizer_that_adds_bos() -> None:
    """Inseq fails its own check there: what was written begins with <s>, the prompt does not."""
    model = ours("llama", "input_x_gradient", bos=True)
    found = model.attribute(PROMPT, generation_args={"max_new_tokens": 3, "do_sample": False}, show_progress=False)
    assert [token.token for token in found[0].target[:2]] == ["<s>", make_tokenizer().tokenize(PROMPT)[0]]
    forced = model.attribute(PROMPT, TEXT, show_progress=False)
    doubled = model.attribute("<s>" + PROMPT, "<s>" + TEXT, show_progress=False)
    assert [token.id for token in doubled[0].target] == [token.id for token in forced[0].target]
    assert_close(doubled[0].target_attributions, forced[0].target_attributions)
    empty = model.attribute("", "The keys", show_progress=False)
    assert (empty[0].target[0].token, empty[0].attr_pos_start) == ("<s>", 1)


def test_a_model_without_special_ids(unchecked_types: None) -> None:
    """Inseq does not load it: "'NoneType' object is not iterable"."""
    model, tokenizer = copy.deepcopy(make_model("qwen2")), copy.deepcopy(make_tokenizer())
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(model.config, name, None)
    tokenizer.bos_token = None
    loaded = inseq.load_model(model, "saliency", tokenizer=tokenizer)
    assert_same(
        loaded.attribute(PROMPT, TEXT, show_progress=False),
        ours("qwen2", "saliency").attribute(PROMPT, TEXT, show_progress=False),
    )
    assert model.config.bos_token_id is None
    with pytest.raises(InputError, match="an input text is empty, and the model has no BOS token"):
        loaded.attribute("", "The keys", show_progress=False)


def test_a_token_spelled_like_the_padding_is_kept() -> None:
    """Inseq drops it from the tokens and leaves the scores in their old places."""
    text = "The<pad> keys"
    found = ours("llama", "saliency").attribute(text, text + " to the", show_progress=False)[0]
    assert "<pad>" in [token.token for token in found.target]
    assert len(found.target) == len(found.target_attributions)


def test_attention_under_sdpa_and_value_zeroing() -> None:
    """Both fail in Inseq on transformers 5; held to our own, whose numbers are held to closed forms."""
    lm = spanwise.LanguageModel(make_model("llama"), make_tokenizer())
    before = lm.model.config._attn_implementation
    for method in ("attention", "value_zeroing"):
        options = {"layer": 1, **({"head": 2} if method == "attention" else {})}
        wanted = spanwise.attribute(
            lm,
            PROMPT,
            " painting, and",
            method=method,
            engine="inseq",
            method_options=options,
            frozen="none",
            prefix="attributed",
            rows="token",
        )
        found = ours("llama", method).attribute(PROMPT, TEXT, show_progress=False)[0].target_attributions
        found = found[:, :, 1, 2] if method == "attention" else found[:, :, 1]
        assert_close(found[:-1].T, wanted.scores)
    assert lm.model.config._attn_implementation == before


def test_reagent_needs_no_download() -> None:
    torch.manual_seed(0)
    options = {"num_probes": 2, "max_probe_steps": 4, "stopping_condition_top_k": 384}
    found = ours("llama", "reagent", **options).attribute(PROMPT, TEXT, show_progress=False)[0]
    first = found.target_attributions[: found.attr_pos_start, 0, 0]
    assert float(first.sum()) == pytest.approx(1.0, abs=1e-4)
    assert first.std() > 0


def test_discretized_integrated_gradients_keep_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    model = ours("llama", "discretized_integrated_gradients")
    found = model.attribute(PROMPT, PROMPT + " the", show_progress=False, n_steps=3)
    assert found[0].target_attributions[:-1].abs().sum() > 0
    assert not list(tmp_path.rglob("*.pkl"))


def test_cross_entropy_and_perplexity() -> None:
    """Inseq's raise for single sequences; its perplexity is 2 to the power of nats."""
    model = ours("llama", "saliency")
    names = ["probability", "crossentropy", "perplexity"]
    with pytest.warns(AttributionWarning, match="perplexity is exp"):
        scores = model.attribute(PROMPT, TEXT, step_scores=names, show_progress=False)[0].step_scores
    assert torch.allclose(scores["crossentropy"], -scores["probability"].log(), atol=1e-5)
    assert torch.allclose(scores["perplexity"], 1 / scores["probability"], rtol=1e-4)
    found = model.attribute(PROMPT, TEXT, attributed_fn="crossentropy", show_progress=False, abs=False)
    wanted = model.attribute(PROMPT, TEXT, attributed_fn="probability", logprob=True, show_progress=False, abs=False)
    assert_close(-found[0].target_attributions, wanted[0].target_attributions)


def test_dropout_for_a_step_score_leaves_the_scores_alone() -> None:
    model = copy.deepcopy(make_model("gpt2"))
    tokenizer = make_tokenizer()
    asked = {"step_scores": ["mc_dropout_prob_avg"], "attributed_fn": _first_logit, "show_progress": False}
    found = inseq.load_model(model, "saliency", tokenizer=tokenizer).attribute(PROMPT, TEXT, **asked)
    wanted = inseq.load_model(model, "saliency", tokenizer=tokenizer).attribute(
        PROMPT, TEXT, attributed_fn=_first_logit, show_progress=False
    )
    assert_close(found[0].target_attributions, wanted[0].target_attributions)
    assert not model.training


@pytest.mark.parametrize("method", ["layer_integrated_gradients", "layer_deeplift", "lime"])
def test_wrong_numbers_are_refused_with_the_reason(method: str) -> None:
    with pytest.raises(MethodError, match=f"{method} is refused. Inseq's own"):
        ours("llama", method)
    with pytest.raises(MethodError, match="is refused"):
        ours("llama").attribute(PROMPT, TEXT, method=method)


@pytest.mark.parametrize("name", ["layer_integrated_gradients", "layer_deeplift"])
def test_the_refused_are_zero_in_inseq(name: str) -> None:
    """When this fails, Inseq has mended them, and they can be let through."""
    model = plain("llama", name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = model.attribute(PROMPT, TEXT, show_progress=False)[0].target_attributions
    assert not found.nan_to_num().any()


def test_bad_input(unchecked_types: None) -> None:
    model = ours("llama", "saliency")
    with pytest.raises(AssertionError, match="must start with the input texts: the input is 'Paris'"):
        model.attribute("Paris", "London is", show_progress=False)
    with pytest.raises(InputError, match="has no token beyond the input"):
        model.attribute("Paris", "Paris", show_progress=False)
    with pytest.raises(LengthError, match="more than the model's context of 128"):
        model.attribute(PROMPT, PROMPT + " and" * 200, show_progress=False)
    with pytest.raises(InputError, match="a text or a list of texts, at least one"):
        model.attribute([], show_progress=False)
    with pytest.raises(library.utils.errors.UnknownAttributionMethodError):
        ours("llama", "saliencies")
    with pytest.raises(library.utils.errors.MissingAttributionMethodError):
        ours("llama").attribute(PROMPT, TEXT)
    with pytest.raises(ValueError, match="Unknown function: luck"):
        model.attribute(PROMPT, TEXT, attributed_fn="luck")
    with pytest.raises(ModelError, match="a transformers language model is needed"):
        inseq.load_model(object(), tokenizer=make_tokenizer())
    with pytest.raises(ModelError, match="give tokenizer="):
        inseq.load_model(copy.deepcopy(make_model("llama")))
    with pytest.raises(OptionError, match="unknown framework 'jax'"):
        inseq.load_model("tiny", framework="jax")
    with pytest.raises(OptionError, match="model_kwargs are for a model that is loaded by its name"):
        inseq.load_model(make_model("llama"), tokenizer=make_tokenizer(), model_kwargs={"dtype": "bfloat16"})
    with pytest.warns(AttributionWarning, match="a token straddles the end of the input text 'Fr'"):
        model.attribute("Fr", "France, Paris", show_progress=False)


def test_nothing_is_left_behind() -> None:
    model, tokenizer = copy.deepcopy(make_model("qwen2")).train(), copy.deepcopy(make_tokenizer())
    tokenizer.padding_side = "right"
    model.config.pad_token_id = None
    weight = next(model.parameters())
    weight.grad = torch.ones_like(weight)
    before = (str(model.config), repr(tokenizer), [hook for m in model.modules() for hook in m._forward_hooks])
    loaded = inseq.load_model(model, "saliency", tokenizer=tokenizer)
    for method in ("saliency", "attention", "value_zeroing", "deeplift"):
        loaded.attribute(PROMPT, TEXT, method=method, show_progress=False)
    with pytest.raises(RuntimeError, match="stop"):
        loaded.attribute(PROMPT, TEXT, attributed_fn=_stop, show_progress=False)
    after = (str(model.config), repr(tokenizer), [hook for m in model.modules() for hook in m._forward_hooks])
    assert after == before
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(weight.grad, torch.ones_like(weight))
    assert loaded.attribution_method.method_name == "saliency"


def _stop(args: Any) -> Tensor:
    raise RuntimeError("stop")


def test_devices_as_pytorch_names_them() -> None:
    """Inseq refuses "cuda:0"; where the model is already is no move."""
    model = ours("llama", "saliency", device="cpu")
    assert model.device == "cpu"
    found = model.attribute(PROMPT, TEXT, device="cpu", show_progress=False)
    assert found[0].target_attributions.device.type == "cpu"


def test_bfloat16_models() -> None:
    """gradient_shap fails in Inseq there; the methods' own arithmetic is float32 here."""
    model = copy.deepcopy(make_model("llama")).bfloat16()
    for method in ("gradient_shap", "integrated_gradients", "occlusion"):
        loaded = inseq.load_model(model, method, tokenizer=make_tokenizer())
        options = {"n_samples": 3} if method == "gradient_shap" else {}
        np.random.seed(0)
        torch.manual_seed(0)
        found = loaded.attribute(PROMPT, TEXT, show_progress=False, **options)[0].target_attributions
        np.random.seed(0)
        torch.manual_seed(0)
        whole = ours("llama", method).attribute(PROMPT, TEXT, show_progress=False, **options)[0].target_attributions
        assert found.dtype == torch.float32
        together = torch.nn.functional.cosine_similarity(
            found.nan_to_num().flatten(), whole.nan_to_num().flatten(), dim=0
        )
        assert together > 0.9, method  # bfloat16 has 8 bits; this tells right from wrong


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "deeplift", "occlusion"])
def test_four_bits_are_their_dequantized_twin(method: str) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the quantization extra")
    from spanwise.model.dequantized import dequantized

    lm = spanwise.load_model("tiny", quantization="nf4", device_map="cpu")
    text = "The keys to the cabinet"
    found = inseq.load_model(lm.model, method, tokenizer=lm.tokenizer).attribute(
        text, text + " are", show_progress=False
    )
    twin = dequantized(lm)
    twin = getattr(twin, "model", twin)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Input Tensor . did not already require gradients", UserWarning)
        warnings.filterwarnings("ignore", r"\s*Setting forward, backward hooks", UserWarning)
        tokenizer = copy.deepcopy(lm.tokenizer)
        twin.config.bos_token_id = 0  # without one Inseq does not load
        wanted = library.load_model(twin, method, tokenizer=tokenizer, device="cpu").attribute(
            text, text + " are", show_progress=False
        )
    assert_close(found[0].target_attributions, wanted[0].target_attributions)


@pytest.mark.parametrize("architecture", ["t5", "bart"])
@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "attention"])
def test_encoder_decoder_models(architecture: str, method: str) -> None:
    options = PATH if method == "integrated_gradients" else {}
    if method != "attention":
        options = {**options, "step_scores": ["probability"], "attribute_target": True}
    assert_same(*both(architecture, method, prompt="The keys", text="are on the table", **options))


@pytest.mark.parametrize("architecture", sorted(ENCODER_DECODERS))
def test_probabilities_of_encoder_decoder_models_are_the_models(architecture: str) -> None:
    """Marian's decoder scales the embeddings it is given; Inseq has scaled them already, and gets other numbers."""
    model = ours(architecture, "saliency")
    found = model.attribute("The keys", "are on the table", step_scores=["probability"], show_progress=False)[0]
    ids = torch.tensor([[token.id for token in found.target]])
    source = make_tokenizer()("The keys", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = make_model(architecture)(input_ids=source, decoder_input_ids=ids[:, :-1]).logits
    wanted = logits.softmax(-1).gather(-1, ids[:, 1:, None])[0, :, 0]
    assert torch.allclose(found.step_scores["probability"], wanted[-len(found.step_scores["probability"]) :], atol=1e-6)


@pytest.mark.parametrize("architecture", ["bart", "llama"])
def test_generate(architecture: str) -> None:
    """Padded prompts give what each gives alone; Inseq leaves it to transformers to guess what is padding."""
    model, options = ours(architecture, "saliency"), {"max_new_tokens": 4, "do_sample": False}
    texts = [PROMPT, "The keys"]
    together = model.generate(texts, skip_special_tokens=True, batch_size=2, **options)
    assert together == [model.generate(text, skip_special_tokens=True, **options)[0] for text in texts]
    found = model.attribute(texts, generation_args=options, show_progress=False)
    assert len(found) == 2
    assert found.info["constrained_decoding"] is False


def test_peft_like_models_are_taken_by_their_base() -> None:
    class Adapted(torch.nn.Module):
        def __init__(self, base: Any) -> None:
            super().__init__()
            self.base, self.config = base, base.config

        def get_base_model(self) -> Any:
            return self.base

    found = inseq.load_model(Adapted(make_model("llama")), "saliency", tokenizer=make_tokenizer())
    wanted = ours("llama", "saliency")
    options = {"show_progress": False}
    assert_same(found.attribute(PROMPT, TEXT, **options), wanted.attribute(PROMPT, TEXT, **options))


def test_the_bundled_model_by_name() -> None:
    model = inseq.load_model("tiny", "occlusion")
    found = model.attribute("The keys to the cabinet", "The keys to the cabinet are", show_progress=False)
    lm = spanwise.load_model("tiny")
    options = {"rows": "token", "frozen": "none", "objective": "prob", "baseline": "unk", "method": "feature_ablation"}
    wanted = spanwise.attribute(lm, "The keys to the cabinet", " are", **options)
    assert_close(found[0].target_attributions[:-1].T, wanted.scores.abs())
    assert isinstance(model, library.AttributionModel)


def test_names_and_signatures_are_the_installed_inseqs() -> None:
    """The drift guard: a release that adds, removes or renames an argument fails here."""
    assert set(inseq.__all__) == {*library.__all__, "get_version"}
    assert _arguments(inseq.load_model) == _arguments(library.load_model)
    own = library.models.HuggingfaceDecoderOnlyModel
    for kind in (importlib.import_module("spanwise.compat.inseq_causal").CausalModel,):
        for name in ("attribute", "encode", "embed_ids"):
            assert _arguments(getattr(kind, name)) == _arguments(getattr(own, name)), name
    loading = {name for name in inspect.signature(own.load).parameters if name != "kwargs"}
    ours_loading = set(inspect.signature(inseq._load).parameters) - {"method_options"}
    assert ours_loading == loading


def _arguments(function: Any) -> list[tuple[str, str, Any]]:
    empty = (None, (), [], {})  # Inseq's mutable defaults; ours say the same without being mutable
    return [
        (each.name, str(each.kind), "empty" if each.default in empty else each.default)
        for each in inspect.signature(inspect.unwrap(function)).parameters.values()
    ]
