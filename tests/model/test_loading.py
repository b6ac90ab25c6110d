"""Loading: what comes back, and what is refused."""

import copy
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from conftest import make_model, make_tokenizer
from safetensors import SafetensorError

import spanwise
from spanwise.errors import DependencyError, FileError, ModelError, OptionError, QuantizationError


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
    with pytest.raises(ModelError, match="cannot read the config"):
        spanwise.load_model(tmp_path)
    with pytest.raises(OptionError, match=r"compute_dtype and double_quant: only with quantization='nf4' or 'fp4'"):
        spanwise.load_model(folder, compute_dtype="float32", double_quant=True)
    with pytest.raises(OptionError, match=r"unknown dtype 'float7'. Did you mean 'float"):
        spanwise.load_model(folder, dtype="float7")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"needs the package 'bitsandbytes'.*pip install 'spanwise\[quant"):
        spanwise.load_model(folder, quantization="nf4")


@pytest.mark.usefixtures("unchecked_types")
def test_an_unknown_quantization(folder: Path) -> None:
    with pytest.raises(OptionError, match=r"unknown quantization 'nf5'. Did you mean 'nf4'\? Allowed: nf4, fp4, int8"):
        spanwise.load_model(folder, quantization="nf5")


def test_weights_that_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="cannot load"):
        spanwise.load_model(tmp_path)


def test_a_missing_library_of_another_quantization(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 32}
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(QuantizationError, match=r"already is quantized, with 'gptq'; quantization='nf4'"):
        spanwise.load_model(tmp_path, quantization="nf4")
    if importlib.util.find_spec("optimum") is None:
        with pytest.raises(DependencyError, match=r"cannot load .*optimum"):
            spanwise.load_model(tmp_path)


def test_quick_loads_leave_no_bar(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spanwise.load_model(folder)
    assert capfd.readouterr().err == ""
    transformers.AutoModelForCausalLM.from_pretrained(folder)  # outside of ours, as before
    assert "Loading weights" in capfd.readouterr().err


@pytest.mark.parametrize("architecture", ["qwen2", "gemma3", "gpt2", "bart"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_saved_and_loaded_again(architecture: str, dtype: str, tmp_path: Path) -> None:
    spanwise.LanguageModel(make_model(architecture), make_tokenizer()).save(tmp_path / "original")
    lm = spanwise.load_model(tmp_path / "original", dtype=dtype)
    lm.save(tmp_path / "saved")
    again = spanwise.load_model(tmp_path / "saved")
    assert again.dtype == lm.dtype == getattr(torch, dtype)
    for one, other in zip(lm.model.state_dict().items(), again.model.state_dict().items(), strict=True):
        assert one[0] == other[0] and torch.equal(one[1], other[1])
    # aligned alike: torch's products order their sums by the address, and a file aligns weights as it likes
    pair = [spanwise.LanguageModel(copy.deepcopy(each.model), each.tokenizer) for each in (lm, again)]
    asked = {"span": "are", "method": "input_x_gradient"}
    expected, found = (spanwise.attribute(each, "The keys", " are here.", **asked) for each in pair)
    assert torch.equal(found.scores.nan_to_num(), expected.scores.nan_to_num())


def test_saving_takes_an_empty_folder_and_no_other(lm: spanwise.LanguageModel, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    lm.save(tmp_path / "empty")
    assert (tmp_path / "empty" / "config.json").is_file()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine", "utf-8")
    for name in ("full", "full/mine.txt"):
        with pytest.raises(FileError, match="exists and is not an empty folder"):
            lm.save(tmp_path / name)
    with pytest.raises(FileError, match=r"cannot save to .*No such file"):
        lm.save(tmp_path / "no" / "such" / "place")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["empty", "full"]
    assert (tmp_path / "full" / "mine.txt").read_text("utf-8") == "mine"


@pytest.mark.parametrize(
    "trouble",
    [
        OSError(28, "No space left on device"),
        SafetensorError("I/O error: No space left on device"),
        KeyboardInterrupt(),
    ],
    ids=["python", "safetensors", "interrupted"],
)
def test_a_full_disk_leaves_nothing(
    lm: spanwise.LanguageModel, trouble: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(self: object, folder: Path) -> None:  # after a part was written
        (Path(folder) / "tokenizer.json").write_text("{", "utf-8")
        raise trouble

    monkeypatch.setattr(type(lm.tokenizer), "save_pretrained", stops)
    expected = (KeyboardInterrupt, None) if isinstance(trouble, KeyboardInterrupt) else (FileError, "No space left")
    with pytest.raises(expected[0], match=expected[1]):
        lm.save(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_transformers_cannot_save(
    lm: spanwise.LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(self: object, folder: Path) -> None:
        raise ValueError("not serializable")

    monkeypatch.setattr(type(lm.model), "save_pretrained", refuses)
    with pytest.raises(ModelError, match="cannot save this Qwen2ForCausalLM: not serializable"):
        lm.save(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []
