"""Inseq behind its adapter: the same numbers as the scorer's, and nothing left behind.

Rules: wherever both compute the same thing, Inseq's runners and Captum's over the scorer agree to 1e-4 of the largest
score (measured: 1e-6 in float32; the sums are taken in another order). What only Inseq has is held to a closed form.
The user's model and tokenizer are compared before and after, on success and on an error in the middle.
"""

import copy
import logging
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from conftest import PROMPT, make_model, make_tokenizer
from torch import Tensor

import spanwise
from spanwise.engines import captum_gradient, captum_perturbation, native_attention
from spanwise.engines.protocol import Runner, as_found
from spanwise.errors import InputError, MethodError, OptionError
from spanwise.methods import find_method
from spanwise.scoring.baselines import baseline_embeddings
from spanwise.scoring.batching import Batches
from spanwise.scoring.objectives import Objective, find_objective
from spanwise.scoring.scorer import Scorer
from spanwise.text.composing import Composed
from spanwise.text.encoding import encode
from spanwise.text.layout import make_axes

pytest.importorskip("inseq", reason="needs the inseq extra")

from inseq import FeatureAttributionOutput

from spanwise.engines import inseq as adapter
from spanwise.engines.inseq_result import from_inseq, to_inseq

ARCHITECTURES = ("qwen2", "llama", "gemma3", "gpt2")
TARGET = " painting, and"
TOLERANCE = 1e-4
PATH = {"n_steps": 6, "method": "gausslegendre", "internal_batch_size": None}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "saliency": {"reduction": "l2_norm"},
    "input_x_gradient": {"reduction": "sum"},
    "integrated_gradients": PATH,
    "gradient_shap": {"n_samples": 4, "stdevs": 0.1},
    "deeplift": {},
    "discretized_integrated_gradients": {"n_steps": 3, "strategy": "greedy"},
    "sequential_integrated_gradients": {**PATH, "n_steps": 3},
    "feature_ablation": {},
    "reagent": {
        "keep_top_n": 5,
        "replacing_ratio": 0.3,
        "stopping_condition_top_k": 384,  # the whole vocabulary: a random model has no likely target
        "max_probe_steps": 4,
        "num_probes": 3,
    },
    "value_zeroing": {"layer": "mean"},
    "attention": {"layer": "mean", "head": "mean"},
}


def make_lm(architecture: str, *, bos: bool = False) -> spanwise.LanguageModel:
    return spanwise.LanguageModel(make_model(architecture), make_tokenizer(bos=bos), name=architecture)


def make_scorer(
    lm: spanwise.LanguageModel,
    *,
    prompt: str = PROMPT,
    target: Any = TARGET,
    baseline: Any = "token:<unk>",
    objective: str | Objective = "log_prob",
    **axes: Any,
) -> Scorer:
    asked = {"span": None, "occurrence": None, "rows": "token", "frozen": "special", "prefix": "fixed", **axes}
    encoding = encode(lm.tokenizer, prompt, target)
    made = make_axes(encoding, Composed(prompt), find_method("integrated_gradients"), **asked)
    off, _ = baseline_embeddings(lm, baseline, len(made.source))
    aim = find_objective(objective)
    return Scorer(lm, encoding.prompt_ids, encoding.target_ids, aim, made.table, made.features, off, Batches(4))


def run(runner: Runner, scorer: Scorer, options: Mapping[str, Any]) -> Tensor:
    torch.manual_seed(0)
    np.random.seed(0)
    with scorer.lm.session():
        return as_found(runner(scorer, options)).scores.cpu()


def inseq(method: str, scorer: Scorer, **options: Any) -> Tensor:
    return run(adapter.RUNNERS[method], scorer, {**OPTIONS[method], **options})


def captum(method: str, scorer: Scorer, **options: Any) -> Tensor:
    runners = {**captum_gradient.RUNNERS, **captum_perturbation.RUNNERS}
    return run(runners[method], scorer, {**OPTIONS[method], **options})


def assert_close(found: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    assert found.shape == expected.shape
    assert found.isfinite().all()
    assert float(expected.abs().max()) > 1e-4
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


BOTH = ("saliency", "input_x_gradient", "integrated_gradients")


@pytest.mark.parametrize("method", BOTH)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("rows", ["token", "span"])
def test_captum_and_inseq_agree(architecture: str, method: str, rows: str) -> None:
    lm = make_lm(architecture)
    assert_close(inseq(method, make_scorer(lm, rows=rows)), captum(method, make_scorer(lm, rows=rows)))


@pytest.mark.parametrize("objective", ["prob", "logit", "entropy"])
@pytest.mark.parametrize("method", BOTH)
def test_they_agree_on_other_objectives(method: str, objective: str) -> None:
    lm = make_lm("llama")
    made = [make_scorer(lm, objective=objective) for _ in range(2)]
    assert_close(inseq(method, made[0]), captum(method, made[1]))


def test_an_objective_on_hidden_states() -> None:
    lm = make_lm("qwen2")
    probe = spanwise.probe(1, torch.linspace(-1, 1, lm.hidden_size))
    made = [make_scorer(lm, objective=probe) for _ in range(2)]
    assert_close(inseq("input_x_gradient", made[0]), captum("input_x_gradient", made[1]))


@pytest.mark.parametrize("method", BOTH)
def test_they_agree_on_words_spans_and_the_generated_prefix(method: str) -> None:
    """Two overlapping spans apart from the target's end, and features of two positions each."""
    lm = make_lm("gemma3")
    made = []
    for _ in range(2):
        scorer = make_scorer(lm, span=[" paint", "painting"], rows="span", prefix="attributed", frozen="none")
        scorer.features = torch.arange(len(scorer.features)) // 2
        scorer.__post_init__()
        made.append(scorer)
    assert_close(inseq(method, made[0]), captum(method, made[1]))


def test_signed_saliency() -> None:
    """Not on GPT-2: LayerNorm takes the mean out, so its gradients sum to 0 over the hidden axis."""
    lm = make_lm("llama")
    made = [make_scorer(lm) for _ in range(2)]
    signed = inseq("saliency", made[0], reduction="sum")
    assert (signed < 0).any()
    assert_close(signed, captum("saliency", made[1], reduction="sum"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient_shap_of_one_row(architecture: str) -> None:
    """The same random points from the same seed; with several rows Inseq draws new ones for each."""
    lm = make_lm(architecture)
    made = [make_scorer(lm, target=" the") for _ in range(2)]
    assert made[0].row_count == 1
    options = {"n_samples": 8, "stdevs": 0.0}
    assert_close(inseq("gradient_shap", made[0], **options), captum("gradient_shap", made[1], **options))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_deeplift_is_gradient_times_difference(architecture: str) -> None:
    """Captum's rescale rule knows none of these models' activations, so nothing of DeepLIFT but this is left."""
    scorer = make_scorer(make_lm(architecture))
    with scorer.lm.session():
        gradients = scorer.embedding_gradients(scorer.embeddings[None])[0]
    difference = scorer.embeddings - scorer.baseline_embeddings
    assert_close(inseq("deeplift", scorer), scorer.add_positions((gradients * difference).sum(-1)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sequential_integrated_gradients_are_complete_for_each_token(architecture: str) -> None:
    """A position's own path leads from it alone being off to the input: its score is the drop."""
    scorer = make_scorer(make_lm(architecture), target=" the")
    found = inseq("sequential_integrated_gradients", scorer, n_steps=20)
    assert_close(found, captum("feature_ablation", scorer))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_discretized_integrated_gradients_of_two_steps(architecture: str) -> None:
    """The path has its two ends only, and the sum takes the gradient at the left one: the baseline."""
    scorer = make_scorer(make_lm(architecture))
    with scorer.lm.session():
        gradients = scorer.embedding_gradients(scorer.baseline_embeddings[None])[0]
    expected = scorer.add_positions((gradients * (scorer.embeddings - scorer.baseline_embeddings)).sum(-1))
    assert_close(inseq("discretized_integrated_gradients", scorer, n_steps=2), expected)


def test_discretized_integrated_gradients_needs_a_token_as_baseline() -> None:
    scorer = make_scorer(make_lm("qwen2"), baseline=torch.ones(64))
    with pytest.raises(MethodError, match=r"its baseline must be a token's: baseline='pad' or 'token:TEXT'"):
        inseq("discretized_integrated_gradients", scorer)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_feature_ablation_is_ours_without_sign(architecture: str) -> None:
    lm = make_lm(architecture)
    ours = captum("feature_ablation", make_scorer(lm))
    assert (ours < 0).any()
    assert_close(inseq("feature_ablation", make_scorer(lm)), ours.abs())


def test_feature_ablation_does_not_add_absolute_drops() -> None:
    with pytest.raises(MethodError, match=r"absolute drops .* ask for rows='token', or for engine='captum'"):
        inseq("feature_ablation", make_scorer(make_lm("qwen2"), rows="span"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_attention_is_the_models_own(architecture: str) -> None:
    lm = make_lm(architecture)
    scorer = make_scorer(lm, prefix="attributed", frozen="none")
    twin = copy.deepcopy(lm.model)
    twin.set_attn_implementation("eager")
    ids = torch.tensor([[*scorer.prompt_ids, *scorer.target_ids]])
    with torch.no_grad():
        weights = torch.stack(twin(ids, output_attentions=True).attentions)[:, 0]  # [layer, head, position, source]
    at = range(len(scorer.prompt_ids) - 1, ids.shape[1] - 1)
    own = weights[:, :, at, : scorer.length]
    assert_close(inseq("attention", scorer), own.mean((0, 1)))
    assert_close(inseq("attention", scorer, layer="last", head=2), own[-1, 2])
    assert not torch.allclose(own[-1, 2], own[0, 2], atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"head": "max"}, {"layer": 0, "head": 1}, {"layer": "last"}])
@pytest.mark.parametrize("rows", ["token", "span"])
def test_attention_is_the_native_engines(rows: str, options: dict[str, Any]) -> None:
    lm = make_lm("gemma3")
    native = run(native_attention.attention, make_scorer(lm, rows=rows), {**OPTIONS["attention"], **options})
    assert_close(inseq("attention", make_scorer(lm, rows=rows), **options), native)


@pytest.mark.parametrize("method", ["reagent", "value_zeroing"])
def test_shares_of_a_span_are_averaged(method: str) -> None:
    """They add up to 1 over everything that the span's tokens could see, as a single token's do."""
    found = inseq(method, make_scorer(make_lm("llama"), rows="span", prefix="attributed", frozen="none"))
    assert torch.allclose(found.sum(1), torch.ones(1))


def test_attention_of_a_layer_that_is_not_there() -> None:
    with pytest.raises(OptionError, match="the option layer is 7; the model has 2, numbered 0 to 1"):
        inseq("attention", make_scorer(make_lm("qwen2")), layer=7)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_value_zeroing_from_its_definition(architecture: str) -> None:
    """1 - cosine of a block's output with and without one position's values, as a share; the last block's normed."""
    lm = make_lm(architecture)
    scorer = make_scorer(lm, target=" the", prefix="attributed", frozen="none")
    own = zeroed_values(lm, torch.tensor([scorer.prompt_ids]))  # [layer, source]
    assert_close(inseq("value_zeroing", scorer), own.mean(0, keepdim=True))
    assert_close(inseq("value_zeroing", scorer, layer=0), own[:1])


def zeroed_values(lm: spanwise.LanguageModel, ids: Tensor) -> Tensor:
    gpt2 = hasattr(lm.model, "transformer")
    body = lm.model.transformer if gpt2 else lm.model.model
    blocks, norm = (body.h, body.ln_f) if gpt2 else (body.layers, body.norm)
    width = lm.hidden_size
    found: dict[int, Tensor] = {}

    def keep(index: int) -> Any:
        return lambda module, args, output: found.__setitem__(index, (output if torch.is_tensor(output) else output[0]))

    handles = [block.register_forward_hook(keep(i)) for i, block in enumerate(blocks)]
    scores = torch.zeros(len(blocks), ids.shape[1])
    with torch.no_grad():
        lm.model(ids)
        clean = dict(found)
        for layer, block in enumerate(blocks):
            for position in range(ids.shape[1]):

                def zero(module: Any, args: Any, output: Tensor, position: int = position) -> Tensor:
                    output = output.clone()
                    output[:, position, 2 * width if gpt2 else 0 :] = 0
                    return output

                handle = (block.attn.c_attn if gpt2 else block.self_attn.v_proj).register_forward_hook(zero)
                lm.model(ids)
                handle.remove()
                pair = clean[layer], found[layer]
                before, after = map(norm, pair) if layer == len(blocks) - 1 else pair
                scores[layer, position] = 1 - torch.cosine_similarity(before[0, -1], after[0, -1], dim=-1)
    for handle in handles:
        handle.remove()
    return scores / scores.sum(1, keepdim=True)


def test_reagent_gives_shares_and_repeats_itself() -> None:
    lm = make_lm("qwen2")
    made = [make_scorer(lm, prefix="attributed", frozen="none") for _ in range(2)]
    found, again = (inseq("reagent", scorer) for scorer in made)
    assert torch.equal(found, again)
    assert torch.allclose(found.sum(1), torch.ones(len(found)))
    assert (found[0, len(made[0].prompt_ids) :] == 0).all()  # the first target token sees no other


def test_reagent_leaves_frozen_tokens_alone() -> None:
    """Only the last prompt token is free; what the model is given differs there and nowhere else."""
    lm = make_lm("llama")
    scorer = make_scorer(lm, target=" the")
    free = len(scorer.prompt_ids) - 1
    scorer.features = torch.where(torch.arange(len(scorer.features)) == free, 0, -1)
    scorer.__post_init__()
    seen: list[Tensor] = []

    def keep(module: Any, args: Any, kwargs: Any) -> None:
        seen.append(args[0] if args else kwargs["input_ids"])

    handle = lm.model.register_forward_pre_hook(keep, with_kwargs=True)
    inseq("reagent", scorer, replacing_ratio=1.0)
    handle.remove()
    differs = torch.cat(seen) != torch.tensor([scorer.prompt_ids])
    assert differs[:, free].any()
    assert not differs[:, :free].any()


def test_reagent_without_an_end() -> None:
    lm = make_lm("qwen2")
    with torch.no_grad():
        ids = lm.tokenizer(PROMPT, return_tensors="pt")["input_ids"]
        unlikely = int(lm.model(ids).logits[0, -1].argmin())
    scorer = make_scorer(lm, target=[unlikely])
    with pytest.raises(MethodError, match=r"among the model's 1 likeliest; for some target token no probe found them"):
        inseq("reagent", scorer, stopping_condition_top_k=1)


def state_of(lm: spanwise.LanguageModel) -> dict[str, Any]:
    """Everything of a model and tokenizer that an engine could have touched."""
    model, tokenizer = lm.model, lm.tokenizer
    hooks = {
        f"{name}{kind}": list(getattr(module, kind))
        for name, module in model.named_modules()
        for kind in vars(module)
        if kind.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called"))
    }
    return {
        "hooks": hooks,
        "names": {name: sorted(vars(module)) for name, module in model.named_modules()},
        "training": [module.training for module in model.modules()],
        "parameters": [(id(each), each.requires_grad, id(each.grad), each.dtype) for each in model.parameters()],
        "weights": [each.detach().clone() for each in model.parameters()],
        "config": dict(vars(model.config)),
        "generation": dict(vars(model.generation_config)),
        "tokenizer": [tokenizer.pad_token, tokenizer.unk_token, tokenizer.bos_token, tokenizer.padding_side],
        "sides": [tokenizer.truncation_side, len(tokenizer)],
        "trace": sys.gettrace(),
        "logging": [logging.getLogger("inseq").level, list(logging.getLogger().handlers)],
    }


def assert_unchanged(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name, value in before.items():
        if name == "weights":
            assert all(torch.equal(one, other) for one, other in zip(value, after[name], strict=True))
        else:
            assert value == after[name], name


@pytest.fixture(params=ARCHITECTURES)
def trained(request: pytest.FixtureRequest) -> spanwise.LanguageModel:
    """A model as in training, with gradients, without the ids that Inseq needs; a tokenizer without a pad token."""
    model = copy.deepcopy(make_model(request.param)).train()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(model.config, name, None)
    tokenizer = copy.deepcopy(make_tokenizer())
    tokenizer.pad_token = None
    return spanwise.LanguageModel(model, tokenizer)


@pytest.mark.parametrize("method", sorted(adapter.RUNNERS))
def test_model_and_tokenizer_are_as_they_were(trained: spanwise.LanguageModel, method: str) -> None:
    before = state_of(trained)
    found = inseq(method, make_scorer(trained, target=" the"))
    assert found.isfinite().all()
    assert_unchanged(before, state_of(trained))


@pytest.mark.parametrize("method", sorted(adapter.RUNNERS))
def test_they_are_as_they_were_after_an_error(method: str) -> None:
    """The error comes in the middle of a forward, in the second block, when Inseq's and Captum's hooks are in place."""
    lm = spanwise.LanguageModel(copy.deepcopy(make_model("qwen2")), make_tokenizer())
    scorer = make_scorer(lm, target=" the")
    calls = 0

    def fail(module: Any, args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > (2 if method == "reagent" else 1 if method == "value_zeroing" else 0):
            raise ValueError("a failure\nin the middle")

    # Value zeroing's trace waits inside the attention for a line that a failure there keeps it from.
    part = "self_attn.k_proj" if method == "value_zeroing" else "mlp"
    handle = lm.model.model.layers[1].get_submodule(part).register_forward_pre_hook(fail)
    before = state_of(lm)
    name = {"feature_ablation": "occlusion"}.get(method, method)
    expected = rf"Inseq .* failed at {name} on Qwen2ForCausalLM: ValueError: a failure in the middle"
    with pytest.raises(MethodError, match=expected) as caught:
        inseq(method, scorer)
    assert isinstance(caught.value.__cause__, ValueError)
    assert_unchanged(before, state_of(lm))
    handle.remove()
    assert_close(inseq("input_x_gradient", make_scorer(lm)), captum("input_x_gradient", make_scorer(lm)))


def test_no_log_handler_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A root logger without handlers, as a script has it, is given one by the first `logging.info`: ReAGent's."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    inseq("reagent", make_scorer(make_lm("qwen2"), target=" the"))
    assert logging.getLogger().handlers == []


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_bos_is_there_once(architecture: str) -> None:
    lm = make_lm(architecture, bos=True)
    lengths = set()

    def keep(module: Any, args: Any, kwargs: Any) -> None:
        lengths.add(kwargs["inputs_embeds"].shape[1])

    made = [make_scorer(lm, frozen="none") for _ in range(2)]
    assert list(made[0].prompt_ids).count(2) == 1
    handle = lm.model.register_forward_pre_hook(keep, with_kwargs=True)
    found = inseq("input_x_gradient", made[0])
    handle.remove()
    prompt = len(made[0].prompt_ids)
    assert lengths == set(range(prompt, prompt + len(made[0].target_ids)))
    assert_close(found, captum("input_x_gradient", made[1]))


def test_ids_that_no_text_gives() -> None:
    """Single bytes instead of the merged tokens, and a pad token inside: the ids are the model's input all the same."""
    lm = make_lm("qwen2")
    ids = [*lm.tokenizer.convert_tokens_to_ids(list("Ġpaint")), 1, 7]
    assert lm.tokenizer(lm.tokenizer.decode(ids))["input_ids"] != ids
    made = [make_scorer(lm, target=ids) for _ in range(2)]
    assert_close(inseq("integrated_gradients", made[0]), captum("integrated_gradients", made[1]))


@pytest.mark.parametrize("method", sorted(adapter.RUNNERS))
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bfloat16(architecture: str, method: str) -> None:
    """float32 out. Both engines hand the model the same bfloat16 input, so they agree as in float32."""
    lm = spanwise.LanguageModel(copy.deepcopy(make_model(architecture)).to(torch.bfloat16), make_tokenizer())
    made = [make_scorer(lm, target=" the") for _ in range(2)]
    found = inseq(method, made[0])
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    if method in BOTH:
        assert_close(found, captum(method, made[1]))


@pytest.fixture(scope="module", params=ARCHITECTURES)
def four_bit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> spanwise.LanguageModel:
    pytest.importorskip("bitsandbytes", reason="needs the quantization extra")
    folder = tmp_path_factory.mktemp(request.param)
    make_model(request.param).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return spanwise.load_model(folder, quantization="nf4")


@pytest.mark.parametrize("method", sorted(adapter.RUNNERS))
def test_four_bit(four_bit: spanwise.LanguageModel, method: str) -> None:
    assert four_bit.quantization == "nf4"
    before = state_of(four_bit)
    made = [make_scorer(four_bit, target=" the") for _ in range(2)]
    found = inseq(method, made[0])
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert_unchanged(before, state_of(four_bit))
    if method in BOTH:
        assert_close(found, captum(method, made[1]))


@pytest.fixture(scope="module")
def dispatched(tmp_path_factory: pytest.TempPathFactory) -> spanwise.LanguageModel:
    pytest.importorskip("accelerate", reason="needs the quantization extra")
    folder = tmp_path_factory.mktemp("dispatched")
    make_model("llama").save_pretrained(folder)
    places = dict.fromkeys(("model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb", "lm_head"), "cpu")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, device_map={**places, "model.layers.1": "disk"}, offload_folder=str(folder / "offload")
    )
    return spanwise.LanguageModel(model, make_tokenizer())


@pytest.mark.parametrize("method", sorted(adapter.RUNNERS))
def test_a_model_spread_over_memory_and_disk(dispatched: spanwise.LanguageModel, method: str) -> None:
    """The same numbers as on the whole model, and the dispatch's own hooks still there."""
    before = {name: hooks for name, hooks in state_of(dispatched).items() if name in ("hooks", "names", "config")}
    assert_close(inseq(method, make_scorer(dispatched)), inseq(method, make_scorer(make_lm("llama"))), 1e-5)
    assert_unchanged(before, state_of(dispatched))


def test_work_is_counted() -> None:
    lm, done = make_lm("qwen2"), []
    scorer = make_scorer(lm)
    scorer.tick = done.append
    inseq("integrated_gradients", scorer)
    rows, steps = scorer.row_count, PATH["n_steps"]
    assert scorer.counts.forwards == scorer.counts.backwards == rows * steps
    assert scorer.counts.calls == rows * 2  # 6 steps in batches of 4
    assert sum(done) == 2 * rows * steps


def test_reagents_work_is_counted() -> None:
    """One forward for the replacements, one at the input, two a step: the replaced text and the stopping test."""
    scorer = make_scorer(make_lm("qwen2"), target=" the")
    inseq("reagent", scorer, stopping_condition_top_k=384, num_probes=3)
    assert scorer.counts.forwards == 1 + 3 * 3
    assert scorer.counts.calls == 1 + 3


def test_encoder_decoder_models_are_refused() -> None:
    lm = spanwise.LanguageModel(copy.deepcopy(make_model("qwen2")), make_tokenizer())
    scorer = make_scorer(lm)
    lm.model.config.is_encoder_decoder = True
    with pytest.raises(MethodError, match="runs on causal models; Qwen2ForCausalLM is an encoder-decoder model"):
        run(adapter.RUNNERS["saliency"], scorer, OPTIONS["saliency"])


@pytest.fixture(params=["token", "span"])
def result(request: pytest.FixtureRequest) -> spanwise.Attribution:
    span = ["painting", "and"] if request.param == "span" else None
    return spanwise.attribute(
        make_lm("qwen2", bos=True), PROMPT, TARGET, span=span, method="input_x_gradient", prefix="attributed"
    )


def assert_equal(one: spanwise.Attribution, other: spanwise.Attribution) -> None:
    for name in ("scores", "span_scores", "target_scores"):
        assert torch.equal(getattr(one, name).nan_to_num(99.0), getattr(other, name).nan_to_num(99.0)), name
    for name in ("source", "target", "spans", "rows", "prompt", "target_text", "completeness_gap", "provenance"):
        assert getattr(one, name) == getattr(other, name), name


def test_a_result_goes_to_inseq_and_back(result: spanwise.Attribution, tmp_path: Path) -> None:
    output = to_inseq(result)
    assert_equal(from_inseq(output), result)
    output.save(tmp_path / "result.json")
    again = FeatureAttributionOutput.load(tmp_path / "result.json")
    assert_equal(from_inseq(again), result)


def test_inseq_shows_and_aggregates_our_result(result: spanwise.Attribution) -> None:
    output = to_inseq(result)
    page = output.show(display=False, return_html=True)
    assert all(label.strip() in page for label in result.row_labels)
    shown = output.get_scores_dicts()[0]["target_attributions"]
    assert len(shown) == len(result.scores)
    for row, (_, scores) in enumerate(shown.items()):
        for column, ((_, token), score) in enumerate(scores.items()):
            if column < len(result.source):
                assert token == result.source_tokens[column]
                assert np.allclose(score, result.scores[row, column], equal_nan=True)
    merged = output.aggregate("spans", target_spans=[(1, 3)])[0]
    assert len(merged.target) == len(output[0].target) - 1
    back = from_inseq(output.aggregate("spans", target_spans=[(1, 3)]))
    assert back.scores.shape == (len(result.scores), len(result.source) - 1)
    assert back.provenance.engine == "captum"
    assert back.provenance.notes == ("changed in Inseq since",)


@pytest.mark.parametrize("method", ["input_x_gradient", "integrated_gradients", "attention", "feature_ablation"])
def test_what_inseq_gives_on_its_own_is_what_the_adapter_gives(method: str) -> None:
    """Inseq as its manual has it: from texts, at its own baseline (<unk>), of the probability, prefix included."""
    import inseq as library

    lm = make_lm("llama")
    twin = spanwise.LanguageModel(copy.deepcopy(lm.model), copy.deepcopy(lm.tokenizer))
    twin.model.set_attn_implementation("eager")
    name = {"feature_ablation": "occlusion"}.get(method, method)
    model = library.load_model(twin.model, name, tokenizer=twin.tokenizer, device="cpu")
    options = {"n_steps": 6} if method == "integrated_gradients" else {}
    with warnings.catch_warnings():
        # Captum says that Inseq's inputs do not require gradients, where parameters are frozen.
        warnings.filterwarnings("ignore", "Input Tensor 0 did not already require gradients", UserWarning)
        theirs = from_inseq(
            model.attribute(PROMPT, PROMPT + TARGET, show_progress=False, step_scores=steps_of(name), **options)
        )
    scorer = make_scorer(lm, objective="prob", prefix="attributed", frozen="none")
    seen = ~theirs.scores.isnan()
    ours = inseq(method, scorer)
    assert_close(torch.where(seen, theirs.scores, 0.0), ours)
    assert theirs.source_tokens == [token.text for token in encode(lm.tokenizer, PROMPT, TARGET).prompt_tokens] + [
        token.text for token in theirs.target[:-1]
    ]
    assert (theirs.prompt, theirs.target_text) == (PROMPT, TARGET)
    assert theirs.provenance.method == method
    if steps_of(name):
        assert torch.allclose(theirs.target_scores, scorer.reference(), atol=1e-6)


def steps_of(name: str) -> list[str]:
    return [] if name == "attention" else ["probability"]


def test_results_that_cannot_be_read(result: spanwise.Attribution) -> None:
    output = to_inseq(result)
    with pytest.raises(InputError, match="sequence 1 was asked; the output has 1"):
        from_inseq(output, index=1)
    output[0].source_attributions = output[0].target_attributions
    with pytest.raises(InputError, match="only results of causal models can be read"):
        from_inseq(output)
