"""Device maps: the same scores wherever the weights are, and what is wrong with a map said before anything is loaded.

A disk holds the same float32 numbers as memory, and the arithmetic is done on the same CPU: scores of a dispatched
model agree with the undivided one's to a few roundings. Several accelerators: `test_several_devices.py`, `tests/gpu`.
"""

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import ENCODER_DECODERS, PROMPT, SHAPE, TARGET, few, make_tokenizer

import spanwise
from spanwise.errors import FileError, ModelError, OptionError, QuantizationError
from spanwise.methods import find_method
from spanwise.model import device_maps, devices
from spanwise.model.devices import parse_size

pytest.importorskip("accelerate", reason="needs the quantization extra")

LAYERS = 4
DEEP = {**SHAPE, "num_hidden_layers": LAYERS}
MODELS = {
    "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**DEEP, tie_word_embeddings=True)),
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**DEEP)),
}
WHOLE = {name: "cpu" for name in ("model.embed_tokens", "model.layers", "model.norm", "model.rotary_emb", "lm_head")}
LAYERED = {
    "model.embed_tokens": "cpu",
    **{f"model.layers.{index}": "cpu" if index < 2 else "disk" for index in range(LAYERS)},
    "model.norm": "disk",
    "model.rotary_emb": "cpu",
    "lm_head": "cpu",
}
EMBEDDING_TOO = {**LAYERED, "model.embed_tokens": "disk", "lm_head": "disk"}
ILL_CONDITIONED = ("kernel_shap", "lime")  # a regression's condition number on top of the roundings
pytestmark = pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")


def saved(name: str, path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        (MODELS | ENCODER_DECODERS)[name]().save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: saved(name, tmp_path_factory.mktemp(name)) for name in (*MODELS, "bart", "t5")}


@pytest.fixture(scope="module")
def llama(folders: dict[str, Path]) -> Path:
    return folders["llama"]


@pytest.fixture
def two_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is checked before anything is loaded; nothing can be loaded onto these two."""
    monkeypatch.setattr(devices, "accelerators", lambda: [0, 1])


def difference(one: spanwise.Attribution, other: spanwise.Attribution) -> float:
    expected = other.scores.nan_to_num()
    return float((one.scores.nan_to_num() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("method", [method.name for method in spanwise.list_methods()])
@pytest.mark.parametrize("architecture", sorted(MODELS))
def test_same_scores_from_the_disk(folders: dict[str, Path], architecture: str, method: str, tmp_path: Path) -> None:
    whole = spanwise.load_model(folders[architecture])
    divided = spanwise.load_model(folders[architecture], device_map=EMBEDDING_TOO, offload_folder=tmp_path)
    assert divided.device_map == EMBEDDING_TOO and divided.device == torch.device("cpu")
    for layer in (divided.embedding, divided.model.model.layers[3]):
        assert next(layer.parameters()).device.type == "meta"  # on the disk between forwards
    prompt = "The keys to" if method == "shapley_values" else PROMPT
    for engine in find_method(method).engines:
        asked = {"span": "painting", "method": method, "engine": engine, "method_options": few(method)}
        if (method, engine) == ("feature_ablation", "inseq"):
            asked["rows"] = "token"  # it has no rows of several tokens
        found, expected = (spanwise.attribute(lm, prompt, TARGET, **asked) for lm in (divided, whole))
        assert difference(found, expected) <= (1e-4 if method in ILL_CONDITIONED else 1e-5), engine


@pytest.mark.parametrize("method", ["integrated_gradients", "feature_ablation", "attention"])
@pytest.mark.parametrize("architecture", sorted(MODELS))
def test_same_scores_with_some_layers_on_the_disk(
    folders: dict[str, Path], architecture: str, method: str, tmp_path: Path
) -> None:
    divided = spanwise.load_model(folders[architecture], device_map=LAYERED, offload_folder=tmp_path)
    asked = {"span": "painting", "method": method, "method_options": few(method)}
    found, expected = (
        spanwise.attribute(lm, PROMPT, TARGET, **asked) for lm in (divided, spanwise.load_model(folders[architecture]))
    )
    assert difference(found, expected) <= 1e-5


def test_a_generated_target_and_a_contrast_from_the_disk(folders: dict[str, Path], tmp_path: Path) -> None:
    whole = spanwise.load_model(folders["qwen2"])
    divided = spanwise.load_model(folders["qwen2"], device_map=EMBEDDING_TOO, offload_folder=tmp_path)
    asked: dict[str, Any] = {"method": "integrated_gradients", "method_options": {"n_steps": 4}}
    for more in ({"baseline": "mean"}, {"baseline": "zero"}, {"objective": spanwise.contrast(" cooking")}):
        found, expected = (
            spanwise.attribute(lm, PROMPT, TARGET, span="painting", **asked, **more) for lm in (divided, whole)
        )
        assert difference(found, expected) <= 1e-5, more
    texts = [
        spanwise.attribute(lm, PROMPT, generation_options={"max_new_tokens": 4}, **asked).target_text
        for lm in (divided, whole)
    ]
    assert texts[0] == texts[1]


def test_a_dispatched_model_is_saved_whole(folders: dict[str, Path], tmp_path: Path) -> None:
    divided = spanwise.load_model(folders["llama"], device_map=EMBEDDING_TOO, offload_folder=tmp_path / "off")
    divided.save(tmp_path / "saved")
    again, whole = spanwise.load_model(tmp_path / "saved"), spanwise.load_model(folders["llama"])
    for (name, one), other in zip(again.model.named_parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), {"": "cpu"}, {"": torch.device("cpu")}, WHOLE])
def test_one_device(llama: Path, device: Any) -> None:
    lm = spanwise.load_model(llama, device_map=device)
    assert lm.device == torch.device("cpu")
    assert all(parameter.device.type == "cpu" for parameter in lm.model.parameters())


@pytest.mark.parametrize("strategy", ["auto", "balanced", "balanced_low_0", "sequential"])
def test_worked_out_over_cpu_and_disk(llama: Path, strategy: str, tmp_path: Path) -> None:
    given = {"cpu": "400KB"}
    lm = spanwise.load_model(llama, device_map=strategy, max_memory=given, offload_folder=tmp_path)
    assert lm.device_map is not None and set(lm.device_map.values()) == {"cpu", "disk"}
    assert given == {"cpu": "400KB"}  # accelerate would write into it
    held = sum(each.numel() * 4 for each in lm.model.parameters() if each.device.type == "cpu")
    assert 0 < held <= 400_000
    assert (
        difference(
            spanwise.attribute(lm, PROMPT, TARGET, span="painting", method="saliency"),
            spanwise.attribute(spanwise.load_model(llama), PROMPT, TARGET, span="painting", method="saliency"),
        )
        <= 1e-5
    )


def test_max_memory_alone_is_auto(llama: Path, tmp_path: Path) -> None:
    lm = spanwise.load_model(llama, max_memory={"cpu": "400KB"}, offload_folder=tmp_path)
    assert lm.device_map is not None and "disk" in lm.device_map.values()
    assert spanwise.load_model(llama, device_map="auto").device == torch.device("cpu")


@pytest.mark.parametrize(
    ("size", "number"),
    [(5, 5), ("5", 5), ("9GiB", 9 * 2**30), ("9000MB", 9_000_000_000), ("1.5 gib", 3 * 2**29), ("2kB", 2000), (0, 0)],
)
def test_sizes(size: int | str, number: int) -> None:
    assert parse_size(size) == number


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("size", ["9 gigs", "GiB", "-1GiB", -1, 1.5, "1.5", True, None, "9GiB 3", "", "1e9"])
def test_malformed_sizes(llama: Path, size: Any) -> None:
    with pytest.raises(OptionError, match=r"a size is bytes or a text such as '9GiB' or '9000MB', not "):
        spanwise.load_model(llama, device_map="auto", max_memory={"cpu": size})


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_memory": {0: "9GiB"}}, r"max_memory names 0, .*Devices: cpu, disk. No accelerator was found"),
        ({"max_memory": {"cuda:0": "9GiB"}}, r"max_memory names 'cuda:0'"),
        ({"max_memory": {"disk": "9GiB"}}, r"no limit for 'disk'"),
        ({"max_memory": {"gpu": "9GiB"}}, r"max_memory names 'gpu'"),
        ({"max_memory": {}}, r"takes sizes by device"),
        ({"max_memory": "9GiB"}, r"takes sizes by device"),
        ({"max_memory": {"cpu": "9GiB"}, "device_map": {"": "cpu"}}, r"would not be read"),
        ({"max_memory": {"cpu": "9GiB"}, "device_map": "cpu"}, r"would not be read"),
        ({"device_map": "automatic"}, r"device_map names 'automatic', which is no device"),
        ({"device_map": "cuda"}, r"device_map names 'cuda'"),
        ({"device_map": 0}, r"device_map names 0"),
        ({"device_map": -1}, r"device_map names -1"),
        ({"device_map": True}, r"device_map names True"),
        ({"device_map": torch.device("meta")}, r"device_map names device\(type='meta'\)"),
        ({"device_map": {}}, r"device_map is empty"),
        ({"device_map": {**WHOLE, "lm_head": "cuda:1"}}, r"device_map names 'cuda:1'"),
    ],
)
def test_devices_that_are_not_there(llama: Path, options: dict[str, Any], message: str) -> None:
    if torch.cuda.is_available():
        pytest.skip("says what a machine without an accelerator says")
    with pytest.raises(OptionError, match=message):
        spanwise.load_model(llama, **options)


def without(name: str) -> dict[str, str]:
    return {module: device for module, device in LAYERED.items() if module != name}


@pytest.mark.parametrize(
    ("device_map", "message"),
    [
        (without("lm_head"), r"does not say where these are: lm_head\.$"),
        (without("model.layers.1"), r"does not say where these are: model.layers.1\.$"),
        ({"lm_head": "cpu"}, r"does not say where these are: model\.$"),
        (
            {**without("lm_head"), "lm_haed": "cpu"},
            r"names 'lm_haed', which is no module of LlamaForCausalLM. Did you mean 'lm_head'\?",
        ),
        ({**LAYERED, "model.layers.9": "cpu"}, r"names 'model.layers.9'.*Did you mean 'model.layers"),
        ({**LAYERED, "model.layers.2.mlp": "cpu"}, r"splits model.layers.2 over cpu, disk; a LlamaDecoderLayer must"),
    ],
)
def test_maps_that_do_not_fit_the_model(
    llama: Path, device_map: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers.LlamaForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(OptionError, match=message):
        spanwise.load_model(llama, device_map=device_map, offload_folder=tmp_path)


def test_layer_1_does_not_stand_for_layer_10(tmp_path: Path) -> None:
    config = transformers.LlamaConfig(**{**SHAPE, "num_hidden_layers": 11})
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    device_map = {name: "cpu" for name in WHOLE if name != "model.layers"}
    device_map |= {f"model.layers.{index}": "cpu" for index in range(10)}
    with pytest.raises(OptionError, match=r"where these are: model.layers.10\.$"):
        spanwise.load_model(tmp_path, device_map=device_map)


def test_tied_weights_stay_together(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"lm_head.weight on 'disk' and model.embed_tokens.weight on 'cpu'.*tied"):
        spanwise.load_model(folders["qwen2"], device_map={**LAYERED, "lm_head": "disk"}, offload_folder=tmp_path)
    with pytest.raises(OptionError, match=r"they are the same weights"):
        spanwise.load_model(
            folders["t5"], device_map={"shared": "disk", "encoder": "cpu", "decoder": "cpu", "lm_head": "disk"}
        )


def test_an_encoder_decoder_map(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"where these are: final_logits_bias\.$"):
        spanwise.load_model(folders["bart"], device_map={"model": "cpu", "lm_head": "cpu"})
    lm = spanwise.load_model(
        folders["bart"],
        device_map={
            "model.shared": "cpu",
            "model.encoder": "cpu",
            "model.decoder.embed_tokens": "cpu",
            "model.decoder.embed_positions": "cpu",
            "model.decoder.layernorm_embedding": "cpu",
            "model.decoder.layers": "disk",
            "lm_head": "cpu",
            "final_logits_bias": "cpu",
        },
        offload_folder=tmp_path,
    )
    asked = {"span": "painting", "method": "saliency"}
    whole = spanwise.load_model(folders["bart"])
    found, expected = (spanwise.attribute(each, PROMPT, TARGET, **asked) for each in (lm, whole))
    assert difference(found, expected) <= 1e-5


def test_the_disk_needs_a_folder(llama: Path) -> None:
    with pytest.raises(OptionError, match=r"puts \d.* KiB on the disk, and no offload_folder is given"):
        spanwise.load_model(llama, device_map=LAYERED)


def test_a_model_that_fits_nowhere(llama: Path) -> None:
    with pytest.raises(
        ModelError, match=r"does not fit: .* left over \(needed: .* model.layers.\* .* in 4 blocks.*"
    ) as said:
        spanwise.load_model(llama, device_map="auto", max_memory={"cpu": "300KiB"})
    size = sum(each.numel() * 4 for each in spanwise.load_model(llama).model.parameters())
    assert f"needed: {size / 2**10:.3g} KiB" in str(said.value) and "available: 300 KiB on cpu" in str(said.value)


def test_an_offload_folder_that_cannot_be_written(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"offload_folder .*file cannot be written"):
        spanwise.load_model(llama, device_map=LAYERED, offload_folder=tmp_path / "file")
    with pytest.raises(FileError, match=r"offload_folder .*cannot be written"):
        spanwise.load_model(llama, device_map=LAYERED, offload_folder="/proc/no/such/place")

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 10**6 - 1000, 1000))
    with pytest.raises(FileError, match=r"has 1000 bytes free, and the modules on the disk are \d.* KiB"):
        spanwise.load_model(llama, device_map=LAYERED, offload_folder=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_quantized_layers_are_not_offloaded(llama: Path, quantization: Any, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the quantization extra")
    with pytest.raises(QuantizationError, match=rf"quantized with '{quantization}' must be on accelerators alone, or"):
        spanwise.load_model(llama, quantization=quantization, device_map=LAYERED, offload_folder=tmp_path)
    with pytest.raises(QuantizationError, match=r"do not fit \(needed: .*; available: 300 KiB on cpu"):
        spanwise.load_model(llama, quantization=quantization, max_memory={"cpu": "300KiB"}, offload_folder=tmp_path)
    assert spanwise.load_model(llama, quantization=quantization, device_map="auto").quantization == quantization


@pytest.mark.usefixtures("two_accelerators")
def test_maps_over_accelerators_are_checked_the_same(llama: Path, folders: dict[str, Path]) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the quantization extra")
    on_two = {**dict.fromkeys(LAYERED, "cuda:0"), "model.layers.3": 1, "lm_head": torch.device("cuda", 1)}
    with pytest.raises(OptionError, match=r"names 2, .*Devices: 0 \(cuda:0\), 1 \(cuda:1\), cpu, disk\.$"):
        spanwise.load_model(llama, device_map={**on_two, "lm_head": 2})
    with pytest.raises(OptionError, match=r"lm_head.weight on 1 and model.embed_tokens.weight on 0"):
        spanwise.load_model(folders["qwen2"], device_map=on_two)
    with pytest.raises(QuantizationError, match=r"device_map puts .* of it on the cpu"):
        spanwise.load_model(llama, device_map={**on_two, "model.norm": "cpu"}, quantization="nf4")
    placement = device_maps.Placement(on_two)
    assert placement.given_map() == {**dict.fromkeys(LAYERED, 0), "model.layers.3": 1, "lm_head": 1}
    assert [device_maps.Placement(each).given_map() for each in ("cuda", "1", 1)] == [{"": 0}, {"": 1}, {"": 1}]
    assert device_maps.Placement("auto", {"cpu": 1, 1: "1KiB", "cuda:0": 5}).limits == {0: 5, 1: 1024, "cpu": 1}
