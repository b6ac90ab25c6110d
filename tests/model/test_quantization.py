"""Quantized models on the CPU: right numbers whatever ran before.

The dequantized twin is the same model with the quantized layers replaced by plain ones that hold the dequantized
weights. With float32 compute the two do the same float32 arithmetic, so scores agree to 1e-5 of the largest. bfloat16
compute rounds every product to 8 bits; int8 also quantizes the activations: both are held to what was measured, with a
margin of two.
"""

import copy
import re
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from conftest import GEMMA, GPT2_SHAPE, SHAPE, make_model, make_tokenizer
from torch import nn

import spanwise
from spanwise.errors import OptionError, QuantizationError
from spanwise.model import backward, quantization

pytest.importorskip("bitsandbytes", reason="needs the quantization extra")

PROMPT, TARGET = "The keys to the cabinet", " are on the table."
SHORT_PROMPT = "The keys to"
# Widths that bitsandbytes' 4-bit blocks of 64 and its CPU packing of 32 rows both take.
WIDE = {**SHAPE, "hidden_size": 64, "intermediate_size": 128}
MODELS = {
    "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**WIDE)),
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**WIDE)),
    "gemma3": lambda: transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(**WIDE, **GEMMA)),
    "gpt2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2_SHAPE, **GPT2_TOKENS)),  # Conv1D
}
GPT2_TOKENS = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 1}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    paths = {name: tmp_path_factory.mktemp(name) for name in MODELS}
    for name, path in paths.items():
        with torch.random.fork_rng():
            torch.manual_seed(1)
            MODELS[name]().save_pretrained(path)
        make_tokenizer().save_pretrained(path)
    return {name: str(path) for name, path in paths.items()}


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def folder(request: pytest.FixtureRequest, folders: dict[str, str]) -> str:
    return folders[request.param]


def dequantized_twin(lm: spanwise.LanguageModel) -> spanwise.LanguageModel:
    import bitsandbytes as bnb

    config = copy.deepcopy(lm.model.config)
    del config.quantization_config
    twin = type(lm.model)(config).eval()
    state = {}
    for name, module in lm.model.named_modules():
        if isinstance(module, bnb.nn.Linear4bit):
            weight = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
        elif isinstance(module, bnb.nn.Linear8bitLt):
            scale = module.weight.SCB if module.weight.SCB is not None else module.state.SCB
            weight = module.weight.data.float() * scale[:, None] / 127
        else:
            own = dict(module.named_parameters(recurse=False))
            state |= {f"{name}.{key}".lstrip("."): value for key, value in own.items()}
            continue
        # GPT-2's Conv1D holds its weights transposed
        state[f"{name}.weight"] = weight.float().T if module.source_cls is not nn.Linear else weight.float()
        if module.bias is not None:
            state[f"{name}.bias"] = module.bias.float()
    missing, unexpected = twin.load_state_dict(state, strict=False)
    assert not unexpected and not missing
    return spanwise.LanguageModel(twin, lm.tokenizer)


def relative_difference(one: spanwise.Attribution, other: spanwise.Attribution) -> float:
    ours, theirs = one.scores.nan_to_num(), other.scores.nan_to_num()
    return float((ours - theirs).abs().max() / theirs.abs().max())


# ReAGent stops on the order of tokens, where a rounding decides; the contract suite runs it on nf4.
METHODS = [method.name for method in spanwise.list_methods() if method.name != "reagent"]
OPTIONS = {
    "integrated_gradients": {"n_steps": 8},
    "gradient_shap": {"n_samples": 4},
    "smoothgrad": {"n_samples": 4},
    "discretized_integrated_gradients": {"n_steps": 8},
    "sequential_integrated_gradients": {"n_steps": 4},
    "uniform_discretized_integrated_gradients": {"n_steps": 8},
    "shapley_value_sampling": {"n_samples": 2},
    "kernel_shap": {"n_samples": 32},
    "lime": {"n_samples": 32},
}


ONE_A_FAMILY = ["integrated_gradients", "feature_ablation", "attention"]
CASES = [(name, method) for name in MODELS for method in (METHODS if name in ("llama", "qwen2") else ONE_A_FAMILY)]


@pytest.mark.parametrize(("architecture", "method"), CASES)
@pytest.mark.parametrize("quantization", ["nf4", "fp4", "int8"])
@pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")
@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
def test_equals_the_dequantized_twin(
    folders: dict[str, str], architecture: str, quantization: str, method: str
) -> None:
    lm = spanwise.load_model(folders[architecture], quantization=quantization)
    assert lm.quantization == quantization and lm.no_backward is None
    prompt = SHORT_PROMPT if method == "shapley_values" else PROMPT
    used(lm)  # would pack the weights
    asked = {"method": method, "span": "on", "method_options": OPTIONS.get(method, {})}
    found = spanwise.attribute(lm, prompt, TARGET, **asked)
    expected = spanwise.attribute(dequantized_twin(lm), prompt, TARGET, **asked)
    # LIME's and KernelSHAP's regressions see differences of 1e-6 and solve a system: their condition number on top
    exact = 1e-4 if method in ("kernel_shap", "lime") else 1e-5
    assert relative_difference(found, expected) <= (exact if quantization != "int8" else 0.15)
    forward = (found.target_scores - expected.target_scores).abs().max()
    assert forward <= (1e-5 if quantization != "int8" else 0.15) * expected.target_scores.abs().max()
    assert found.scores.dtype == torch.float32
    assert (quantization == "int8") == any("8 bits" in note for note in found.provenance.notes)


def used(lm: spanwise.LanguageModel) -> None:
    """What a user does with a model before attributing: a forward, and a generated text."""
    with torch.no_grad():
        lm.model(torch.arange(8)[None])
    lm.model.generate(torch.arange(8)[None], max_new_tokens=3, do_sample=False, pad_token_id=1)


@pytest.mark.parametrize("double_quant", [False, True])
def test_bfloat16_compute_is_close(folder: str, double_quant: bool) -> None:
    lm = spanwise.load_model(folder, quantization="nf4", compute_dtype="bfloat16", double_quant=double_quant)
    assert lm.compute_dtype == "bfloat16"
    found = spanwise.attribute(lm, PROMPT, TARGET, span="on", method="feature_ablation")
    expected = spanwise.attribute(dequantized_twin(lm), PROMPT, TARGET, span="on", method="feature_ablation")
    assert relative_difference(found, expected) <= 0.06


@pytest.mark.parametrize("double_quant", [False, True])
def test_a_model_packed_by_an_earlier_run_is_unpacked(folder: str, double_quant: bool) -> None:
    config = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.float32,
        bnb_4bit_use_double_quant=double_quant,
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, quantization_config=config).eval()
    clean = spanwise.LanguageModel(copy.deepcopy(model), make_tokenizer())
    expected = spanwise.attribute(clean, PROMPT, TARGET, span="on", method="input_x_gradient")
    model.generate(torch.arange(8)[None], max_new_tokens=3, do_sample=False, pad_token_id=1)
    packed = [module for module in model.modules() if _packed(module)]
    if not packed:
        pytest.skip("bitsandbytes packs 4-bit weights only on CPUs with AVX512-BF16, which this one is not")
    lm = spanwise.LanguageModel(model, make_tokenizer())
    with pytest.warns(spanwise.AttributionWarning, match="had been packed"):
        found = spanwise.attribute(lm, PROMPT, TARGET, span="on", method="input_x_gradient")
    assert not any(_packed(module) for module in model.modules())
    assert any("packed" in note for note in found.provenance.notes)
    # scales rounded to bfloat16: 2^-9 a weight, some more with double quantization
    assert relative_difference(found, expected) < 0.05
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        again = spanwise.attribute(lm, PROMPT, TARGET, span="on", method="input_x_gradient")
    assert torch.equal(again.scores.nan_to_num(), found.scores.nan_to_num())


def test_a_packed_model_whose_state_was_read_is_repaired(folder: str) -> None:
    """`state_dict` (and `save_pretrained`) unpacks the codes but leaves the scales packed: logits off by nats."""
    config = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, quantization_config=config).eval()
    clean = spanwise.LanguageModel(copy.deepcopy(model), make_tokenizer())
    expected = spanwise.attribute(clean, PROMPT, TARGET, span="on", method="feature_ablation")
    model.generate(torch.arange(8)[None], max_new_tokens=3, do_sample=False, pad_token_id=1)
    if not any(_packed(module) for module in model.modules()):
        pytest.skip("bitsandbytes packs 4-bit weights only on CPUs with AVX512-BF16, which this one is not")
    model.state_dict()
    with pytest.warns(spanwise.AttributionWarning, match="had been packed"):
        found = spanwise.attribute(
            spanwise.LanguageModel(model, make_tokenizer()), PROMPT, TARGET, span="on", method="feature_ablation"
        )
    assert relative_difference(found, expected) < 0.05  # scales rounded to bfloat16


def test_a_packed_model_that_cannot_be_restored_is_refused(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from spanwise.model import four_bit

    lm = spanwise.load_model(folder, quantization="nf4")
    monkeypatch.setattr(four_bit, "_is_packed", lambda layer: True)
    monkeypatch.setattr(four_bit, "_unpacked", lambda layer: None)
    with pytest.raises(QuantizationError, match=r"spanwise\.load_model"):
        spanwise.attribute(lm, PROMPT, TARGET, method="saliency")


def test_a_model_handed_over_comes_back_with_its_switches(folder: str) -> None:
    config = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, quantization_config=config)
    layers = [module for module in model.modules() if isinstance(module, nn.Linear) and hasattr(module, "quant_state")]
    before = [layer.support_avx512bf16_for_cpu for layer in layers]
    assert layers
    spanwise.attribute(spanwise.LanguageModel(model, make_tokenizer()), PROMPT, TARGET, method="saliency")
    assert [layer.support_avx512bf16_for_cpu for layer in layers] == before


def _packed(module: nn.Module) -> bool:
    state = getattr(getattr(module, "weight", None), "quant_state", None)
    return bool(getattr(state, "packing_format_for_cpu", False))


def test_the_notices_of_the_library_are_not_repeated(folder: str, caplog: pytest.LogCaptureFixture) -> None:
    lm = spanwise.load_model(folder, quantization="int8")
    spanwise.attribute(lm, PROMPT, TARGET, method="saliency")
    assert "MatMul8bitLt" not in caplog.text
    with torch.no_grad():
        lm.model(torch.arange(8)[None])  # outside of ours, the library speaks as before
    assert "MatMul8bitLt" in caplog.text


def in_place(lm: spanwise.LanguageModel) -> spanwise.LanguageModel:
    """Returns a copy whose weights are aligned in memory; those of a file are as the file has them.

    torch's products order their sums by the address, so that the same weights give scores that differ by 1e-7.
    """
    return spanwise.LanguageModel(copy.deepcopy(lm.model), lm.tokenizer)


SAVED = [
    {"quantization": "nf4"},
    {"quantization": "nf4", "double_quant": True, "compute_dtype": "bfloat16"},
    {"quantization": "nf4", "storage_dtype": "bfloat16", "skip_modules": ["model.layers.0"]},
    {"quantization": "fp4", "storage_dtype": "float32"},
    {"quantization": "int8"},
]


@pytest.mark.parametrize("options", SAVED, ids=str)
@pytest.mark.parametrize("first", ["saved at once", "used before"])
@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
def test_saved_and_loaded_again(folder: str, options: dict[str, Any], first: str, tmp_path: Path) -> None:
    lm = spanwise.load_model(folder, **options)
    asked = {"span": "on", "method": "input_x_gradient"}
    if first == "used before":
        used(lm)
        spanwise.attribute(lm, PROMPT, TARGET, **asked)
    lm.save(tmp_path / "saved")
    again = spanwise.load_model(tmp_path / "saved")
    assert (again.quantization, again.compute_dtype) == (lm.quantization, lm.compute_dtype)
    found, expected = (spanwise.attribute(in_place(each), PROMPT, TARGET, **asked) for each in (again, lm))
    assert torch.equal(found.target_scores, expected.target_scores)
    assert torch.equal(found.scores.nan_to_num(), expected.scores.nan_to_num())
    assert [type(module) for module in again.model.modules()] == [type(module) for module in lm.model.modules()]


@pytest.mark.parametrize("double_quant", [False, True])
def test_a_packed_model_is_saved_as_it_is_unpacked(folder: str, double_quant: bool, tmp_path: Path) -> None:
    config = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.float32,
        bnb_4bit_use_double_quant=double_quant,
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, quantization_config=config).eval()
    lm = spanwise.LanguageModel(model, make_tokenizer())
    used(lm)
    if not any(_packed(module) for module in model.modules()):
        pytest.skip("bitsandbytes packs 4-bit weights only on CPUs with AVX512-BF16, which this one is not")
    lm.save(tmp_path / "saved")
    asked = {"span": "on", "method": "input_x_gradient"}
    again = spanwise.load_model(tmp_path / "saved")
    found, expected = (spanwise.attribute(in_place(each), PROMPT, TARGET, **asked) for each in (again, lm))
    assert torch.equal(found.scores.nan_to_num(), expected.scores.nan_to_num())


@pytest.fixture(scope="module")
def quantized(folders: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("quantized") / "nf4"
    spanwise.load_model(folders["llama"], quantization="nf4").save(path)
    return str(path)


def test_a_checkpoint_that_is_quantized_already(quantized: str, folders: dict[str, str], tmp_path: Path) -> None:
    for again in ({}, {"quantization": "nf4"}, {"device_map": "auto"}, {"device_map": "cpu"}):
        lm = spanwise.load_model(quantized, **again)
        assert (lm.quantization, lm.compute_dtype) == ("nf4", "float32")
        assert not any(parameter.requires_grad for parameter in lm.model.parameters())
    assert spanwise.load_model(quantized, compute_dtype="bf16").compute_dtype == "bfloat16"
    layer = spanwise.load_model(quantized, compute_dtype="bf16").model.model.layers[0].mlp.up_proj
    assert layer.compute_dtype == torch.bfloat16
    with pytest.raises(QuantizationError, match=r"already is quantized, with 'nf4'; quantization='int8' would need"):
        spanwise.load_model(quantized, quantization="int8")
    with pytest.raises(QuantizationError, match=r"quantization='fp4' would need its original weights"):
        spanwise.load_model(quantized, quantization=transformers.BitsAndBytesConfig(load_in_4bit=True))
    with pytest.raises(OptionError, match=r"double_quant and skip_modules: fixed when .* was quantized \(with 'nf4'\)"):
        spanwise.load_model(quantized, double_quant=True, skip_modules=["lm_head"])
    spanwise.load_model(folders["llama"], quantization="int8").save(tmp_path / "int8")
    assert spanwise.load_model(tmp_path / "int8").quantization == "int8"
    with pytest.raises(OptionError, match=r"compute_dtype: only 4-bit layers have one"):
        spanwise.load_model(tmp_path / "int8", compute_dtype="float32")


def kinds(lm: spanwise.LanguageModel) -> dict[str, str]:
    return {name: type(module).__name__ for name, module in lm.model.named_modules()}


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])  # gemma3 ties its head
def test_skipped_modules_and_the_head_stay(folders: dict[str, str], architecture: str, quantization: Any) -> None:
    lm = spanwise.load_model(
        folders[architecture], quantization=quantization, skip_modules=["down_proj", "model.layers.1.self_attn"]
    )
    plain = {name for name, kind in kinds(lm).items() if kind == "Linear"}
    projections = {f"model.layers.1.self_attn.{name}_proj" for name in "qkvo"}
    assert plain == {"lm_head", "model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"} | projections
    found = spanwise.attribute(lm, PROMPT, TARGET, span="on", method="saliency")
    expected = spanwise.attribute(dequantized_twin(lm), PROMPT, TARGET, span="on", method="saliency")
    assert relative_difference(found, expected) <= (1e-5 if quantization == "nf4" else 0.15)


def test_what_is_refused(folders: dict[str, str]) -> None:
    llama, nf4 = folders["llama"], {"quantization": "nf4"}
    with pytest.raises(OptionError, match=r"skip_modules names 'down_porj', .* LlamaForCausalLM. Did you mean 'down_p"):
        spanwise.load_model(llama, **nf4, skip_modules=["down_porj"])
    with pytest.raises(OptionError, match=r"compute_dtype and storage_dtype: only with 4-bit quantization, not with '"):
        spanwise.load_model(llama, quantization="int8", compute_dtype="bf16", storage_dtype="bf16")
    with pytest.raises(
        OptionError, match=r"skip_modules: only with quantization='nf4' or 'fp4' \(skip_modules: 'int8'"
    ):
        spanwise.load_model(llama, skip_modules=["lm_head"])
    with pytest.raises(OptionError, match=r"unknown storage_dtype 'uint7'. Did you mean 'uint8'\?"):
        spanwise.load_model(llama, **nf4, storage_dtype="uint7")
    with pytest.raises(OptionError, match=r"unknown compute_dtype 'uint8'"):
        spanwise.load_model(llama, **nf4, compute_dtype="uint8")
    own = transformers.BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=["down_proj"])
    with pytest.raises(OptionError, match=r"double_quant: the config object has its own"):
        spanwise.load_model(llama, quantization=own, double_quant=True)
    assert kinds(spanwise.load_model(llama, quantization=own))["lm_head"] == "Linear8bitLt"  # as transformers reads it
    with pytest.raises(OptionError, match=r"does not have lm_head, which shares its weights with the embedding"):
        spanwise.load_model(folders["gemma3"], quantization=own)


@pytest.mark.usefixtures("unchecked_types")
def test_what_is_no_list_of_names(folders: dict[str, str]) -> None:
    with pytest.raises(OptionError, match=r"skip_modules takes a list of module names, not 'down_proj'"):
        spanwise.load_model(folders["llama"], quantization="nf4", skip_modules="down_proj")
    with pytest.raises(OptionError, match=r"quantization takes nf4, fp4, int8 or a BitsAndBytesConfig, not 4"):
        spanwise.load_model(folders["llama"], quantization=4)


def test_a_device_that_the_library_does_not_know(folders: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    import bitsandbytes

    monkeypatch.setattr(bitsandbytes, "supported_torch_devices", {"cuda"})
    with pytest.raises(QuantizationError, match=r"cannot load .* with 'nf4': None of the available devices"):
        spanwise.load_model(folders["llama"], quantization="nf4")


# Other libraries' models. None of them is installed here: layers that behave as theirs do stand in for them.


class Quantized(nn.Module):
    """A linear layer with the three kinds of kernels: one with a gradient, without, and with a wrong one."""

    def __init__(self, of: nn.Linear, kind: str) -> None:
        super().__init__()
        self.in_features, self.kind = of.in_features, kind
        self.register_buffer("codes", of.weight.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "fails" and x.requires_grad:
            return NoBackward.apply(x, self.codes)
        if self.kind == "none":
            return (x.detach() @ self.codes.T).detach()
        if self.kind == "wrong":  # activations rounded: the gradient passes through their scale alone
            scale = x.abs().amax(-1, keepdim=True) / 127
            x = (x / scale).round() * scale
        return x @ self.codes.T


class NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        return x @ codes.T

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        raise NotImplementedError("no kernel for the backward")


def model_quantized_with(config: Any, kind: str | None = None) -> spanwise.LanguageModel:
    model = copy.deepcopy(make_model("llama"))
    model.config.quantization_config = config
    if kind is not None:
        for layer in model.model.layers:
            layer.mlp.down_proj = Quantized(layer.mlp.down_proj, kind)
    return spanwise.LanguageModel(model, make_tokenizer())


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("right", None),
        ("none", r"quantized with gptq: its Quantized gives no gradient"),
        ("wrong", r"quantized with gptq: the gradient of its Quantized is wrong \(-?0\.\d\d of the change"),
        ("fails", r"quantized with gptq: its Quantized fails in the backward \(no kernel for the backward\)"),
    ],
)
def test_layers_of_other_libraries_are_tried(kind: str, reason: str | None) -> None:
    lm = model_quantized_with({"quant_method": "gptq", "bits": 4}, kind)
    assert lm.quantization == "gptq"
    assert lm.no_backward is None if reason is None else re.fullmatch(reason + ".*", lm.no_backward or "")
    if kind != "none":  # which would cut the graph of nothing else, and perturbation needs none
        found = spanwise.attribute(lm, PROMPT, TARGET, span="on", method="feature_ablation")
        assert found.provenance.quantization == "gptq"


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("gptq", "only some of its kernels have a backward"),
        ("awq", "only some of its kernels have a backward"),
        ("torchao", "only weight-only types of it have a backward"),
        ("hqq", None),
        ("quanto", None),
        ("fp8", None),
        ("mxfp4", "its kernel is for inference"),
        ("unheard-of", "transformers does not count it among those that gradients pass through"),
    ],
)
def test_what_is_known_where_no_layer_can_be_tried(method: str, reason: str | None) -> None:
    lm = model_quantized_with({"quant_method": method})
    assert lm.quantization == method and repr(lm).endswith(f"{method} on cpu)")
    assert lm.no_backward is None if reason is None else lm.no_backward.startswith(f"quantized with {method}: {reason}")
    lm.model.hf_quantizer = SimpleNamespace(is_trainable=False)
    assert spanwise.LanguageModel(lm.model, lm.tokenizer).no_backward is not None


def test_every_method_of_transformers_is_known() -> None:
    from transformers.utils.quantization_config import QuantizationMethod

    assert {method.value for method in QuantizationMethod} <= set(backward.BACKWARD)


def test_config_objects_of_other_libraries_and_nested_ones() -> None:
    assert model_quantized_with(transformers.GPTQConfig(bits=4)).quantization == "gptq"
    outer = SimpleNamespace(quantization_config=None)
    outer.get_text_config = lambda decoder: SimpleNamespace(quantization_config={"quant_method": "awq"})
    assert quantization.stored(outer) == {"quant_method": "awq"}


@pytest.mark.parametrize("weights", ["Int8WeightOnlyConfig", "IntxWeightOnlyConfig"])
def test_torchao_where_it_is_installed(folders: dict[str, str], weights: str) -> None:
    torchao = pytest.importorskip("torchao.quantization", reason="needs torchao")
    config = transformers.TorchAoConfig(getattr(torchao, weights)())
    model = transformers.AutoModelForCausalLM.from_pretrained(folders["llama"], quantization_config=config)
    lm = spanwise.LanguageModel(model, make_tokenizer())
    assert lm.quantization == "torchao" and lm.no_backward is None
