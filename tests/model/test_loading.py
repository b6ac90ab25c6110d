"""Loading: what comes back, and what is refused."""

from pathlib import Path

import pytest
import torch
import transformers
from conftest import make_model, make_tokenizer

import spanwise
from spanwise.errors import DependencyError, ModelError, OptionError, QuantizationError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    make_model("llama").save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    return path


def test_ready_to_be_attributed(folder: Path) -> None:
    lm = spanwise.load_model(folder)
    assert not lm.model.training
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())
    assert (lm.dtype, lm.quantization, lm.device_map) == (torch.float32, None, None)
    assert repr(lm) == f"LanguageModel({str(folder)!r}, LlamaForCausalLM, float32 on cpu)"
    assert lm.context_length == 128


@pytest.mark.parametrize("dtype", ["bfloat16", "bf16", torch.bfloat16, "torch.bfloat16"])
def test_dtype_by_name_or_type(folder: Path, dtype: torch.dtype | str) -> None:
    assert spanwise.load_model(folder, dtype=dtype).dtype == torch.bfloat16


def test_dtype_is_the_checkpoints(tmp_path: Path) -> None:
    make_model("llama").__class__(make_model("llama").config).to(torch.bfloat16).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    assert spanwise.load_model(tmp_path).dtype == torch.bfloat16


def test_a_config_object_and_another_tokenizer(folder: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the quantization extra")
    config = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="fp4")
    tokenizer = make_tokenizer(bos=True)
    lm = spanwise.load_model(folder, quantization=config, tokenizer=tokenizer)
    assert lm.quantization == "fp4" and lm.tokenizer is tokenizer
    assert spanwise.load_model(folder, tokenizer=str(folder)).tokenizer.bos_token == "<s>"


def test_the_bundled_model() -> None:
    lm = spanwise.load_model("tiny")
    assert lm.name == "tiny" and lm.architecture == "Qwen2ForCausalLM" and lm.dtype == torch.float32
    assert sum(p.numel() for p in lm.model.parameters()) < 1_100_000


def test_refusals(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"no model folder '/no/such/model'. Bundled models: tiny"):
        spanwise.load_model("/no/such/model")
    with pytest.raises(ModelError, match=r"holds no model: there is no config.json"):
        spanwise.load_model(tmp_path)
    (tmp_path / "config.json").write_text("{not json", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot load"):
        spanwise.load_model(tmp_path)
    with pytest.raises(OptionError, match=r"compute_dtype and double_quant belong to quantization='nf4'"):
        spanwise.load_model(folder, compute_dtype="float32")
    with pytest.raises(OptionError, match="not to 'int8'"):
        spanwise.load_model(folder, quantization="int8", double_quant=True)
    with pytest.raises(OptionError, match=r"unknown dtype 'float7'. Did you mean 'float"):
        spanwise.load_model(folder, dtype="float7")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"needs the package 'bitsandbytes'.*pip install 'spanwise\[quant"):
        spanwise.load_model(folder, quantization="nf4")


@pytest.mark.usefixtures("unchecked_types")
def test_an_unknown_quantization(folder: Path) -> None:
    with pytest.raises(OptionError, match=r"unknown quantization 'nf5'. Did you mean 'nf4'\? Allowed: nf4, fp4, int8"):
        spanwise.load_model(folder, quantization="nf5")


def test_what_the_library_refuses_is_a_quantization_error(folder: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the quantization extra")
    with pytest.raises(QuantizationError, match="cannot load"):
        spanwise.load_model(folder, quantization="nf4", device_map={"": "disk"})
