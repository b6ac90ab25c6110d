"""Plans against independent figures: arithmetic from the config, loaded tensors, accelerate, and measured growth."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import ARCHITECTURES, ENCODER_DECODERS, make_model, make_tokenizer
from plan_configs import MACHINES, SHAPES

import spanwise
from spanwise.errors import AttributionError, LengthError, ModelError, OptionError, QuantizationError
from spanwise.model.device_maps import device_of
from spanwise.model.meta import meta_model
from spanwise.model.planning.activations import Pass, Setting, bytes_per_sequence, peak_activations, plain_config
from spanwise.model.planning.placing import planned_map
from spanwise.model.planning.planner import plan
from spanwise.model.planning.weights import loaded_weights, planned_weights, quantized_layers

GIB = 2**30
KINDS = (None, "nf4", "int8")


@pytest.mark.parametrize("name", SHAPES)
def test_weights_and_maps_of_public_models(name: str) -> None:
    """Weights are the sum over parameters; every map covers the model; 4-bit ones stay on the accelerators."""
    from accelerate.utils import check_device_map

    shape = SHAPES[name]
    model = meta_model(plain_config(shape.config(), torch.bfloat16))
    for kind in KINDS:
        weights = planned_weights(model, kind)
        # What the arithmetic leaves out: 64 bytes of table a 4-bit layer, and the rotary frequencies.
        assert weights.total == pytest.approx(shape.weights_bytes(kind), rel=1e-4)
        for total in (weights.by_dtype, weights.by_quantization, weights.by_module):
            assert sum(total.values()) == weights.total
        for devices in MACHINES.values():
            sizes = {i: int(each.removesuffix("GiB")) * GIB for i, each in enumerate(devices)}
            found, room = planned_map("auto", model, sizes, kind, double_quant=False)
            check_device_map(model, found)
            places = set(found.values())
            held: Counter[Any] = Counter()
            for tensor, size in weights.by_name.items():
                held[device_of(tensor, found)] += size
            if kind:
                assert places <= set(sizes)
            # 1e-3: limits are compared with the sizes of `module_sizes`, which leave the tables out.
            assert room == all(held[i] <= size * 1.001 for i, size in sizes.items()) & ("disk" not in places)


@pytest.mark.parametrize(
    ("name", "kind", "gib"),
    [
        ("Llama-3-70B", None, 131.4),
        ("Llama-3-70B", "nf4", 35.8),
        ("Qwen2.5-72B", "nf4", 37.3),
        ("Qwen2.5-1.5B", "nf4", 1.05),
    ],
)
def test_known_sizes(name: str, kind: str | None, gib: float) -> None:
    """Sizes as transformers reports them, which leaves out the scales of quantized layers."""
    weights = planned_weights(meta_model(plain_config(SHAPES[name].config(), torch.bfloat16)), kind)
    reported = weights.total - weights.by_dtype.get(f"{kind} scales", 0)
    assert reported / GIB == pytest.approx(gib, abs=0.05)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES | ENCODER_DECODERS))
@pytest.mark.parametrize(("kind", "double"), [("nf4", False), ("fp4", True), ("int8", False), (None, False)])
def test_planned_is_loaded(architecture: str, kind: str | None, double: bool, tmp_path: Path) -> None:
    """The bytes of a plan are those of the loaded model's tensors, to the byte; so are the layers it quantizes."""
    pytest.importorskip("bitsandbytes", reason="quantization needs the quantization extra")
    make_model(architecture).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    lm = spanwise.load_model(tmp_path, quantization=kind, double_quant=double)
    planned = planned_weights(meta_model(plain_config(lm.model.config, lm.dtype)), kind, double_quant=double)
    loaded = loaded_weights(lm.model, kind)
    assert planned.by_dtype == loaded.by_dtype
    assert planned.total == loaded.total
    assert planned.by_module == loaded.by_module
    assert planned.quantized == loaded.quantized


def test_plan_of_a_name_a_folder_a_config_and_a_loaded_model(tmp_path: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(Path(spanwise.__file__).parent / "model" / "tiny")
    config.save_pretrained(tmp_path)  # no weights, no tokenizer
    lm = spanwise.load_model("tiny")
    short: dict[str, Any] = {"devices": ["cpu:8GiB"], "prompt_tokens": 20, "target_tokens": 5}
    plans = [plan(each, dtype="float32", **short) for each in ("tiny", tmp_path, config)] + [plan(lm, **short)]
    for each in plans:
        assert each.weights_bytes == sum(
            tensor.numel() * tensor.element_size() for tensor in {*lm.model.parameters(), *lm.model.buffers()}
        )
        assert (each.activation_bytes, each.device_map, each.fits) == (plans[0].activation_bytes, {"": "cpu"}, True)
    assert plans[0].seconds is None and plans[3].seconds is not None and plans[3].seconds > 0
    assert "fits" in repr(plans[0])


@pytest.mark.parametrize("method", [each.name for each in spanwise.list_methods()])
def test_every_method_has_a_plan_and_its_work_is_what_attribute_does(method: str) -> None:
    """Forwards and backwards are those of the provenance, for methods whose table has an exact number."""
    lm = spanwise.load_model("tiny")
    found = plan(lm, method=method, prompt_tokens=6, target_tokens=3)
    assert found.activation_bytes > 0 and found.forwards > 0
    assert json.loads(json.dumps(found.as_dict()))["weights_bytes"] == found.weights_bytes
    if method in ("integrated_gradients", "feature_ablation", "saliency", "attention"):
        ids = lm.tokenizer.encode("The keys to the cabinet are on the table and the old door.")
        prompt = lm.tokenizer.decode(ids[:6])
        target = spanwise.tokens(0, 3)
        result = spanwise.attribute(lm, prompt, ids[6:9], span=target, method=method, frozen="none", progress=False)
        made = result.provenance
        again = plan(lm, method=method, prompt_tokens=len(made.prompt_ids), target_tokens=3)
        assert (again.forwards, again.backwards) == (made.forwards, made.backwards)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES | ENCODER_DECODERS))
@pytest.mark.parametrize("gradients", [True, False])
def test_memory_grows_with_batch_and_length(architecture: str, gradients: bool) -> None:
    model = meta_model(plain_config(make_model(architecture).config, torch.float32))
    setting = Setting(None, torch.float32, False)
    pair = 10 if architecture in ENCODER_DECODERS else 0

    def peak(batch: int, length: int) -> int:
        one_pass = Pass(length, 4, gradients, encoder_length=pair)
        return sum(peak_activations(model, one_pass, batch, setting).values())

    assert peak(4, 40) - peak(3, 40) == peak(5, 40) - peak(4, 40) > 0
    assert peak(4, 60) > peak(4, 40)


def test_blocks_add_up() -> None:
    """The short way, by two models of a few blocks, gives what the whole model gives; gradients need far more."""
    config = transformers.LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=9, num_attention_heads=4, vocab_size=384
    )
    lm = spanwise.LanguageModel(transformers.LlamaForCausalLM(config), make_tokenizer())
    model = meta_model(plain_config(config, torch.float32))
    found = {}
    for gradients in (True, False):
        one, two = (
            sum(peak_activations(model, Pass(50, 5, gradients), batch, Setting(None, torch.float32, False)).values())
            for batch in (1, 2)
        )
        found[gradients] = bytes_per_sequence(lm, 50, 5, gradients=gradients)
        assert found[gradients] == two - one
    assert found[True] > 5 * found[False]


def test_activations_are_where_their_blocks_are() -> None:
    model = meta_model(plain_config(SHAPES["Qwen2.5-1.5B"].config(), torch.bfloat16))
    setting = Setting("nf4", torch.bfloat16, True)
    split = {"model.embed_tokens": 0, "model.rotary_emb": 0, "model.norm": 1, "lm_head": 0}
    split |= {f"model.layers.{i}": int(i >= 7) for i in range(28)}
    whole = peak_activations(model, Pass(200, 10, True), 1, setting)[""]
    parts = peak_activations(model, Pass(200, 10, True), 1, setting, split)
    # 7 of 28 blocks, and on both devices what a block, or the head, needs while it runs.
    assert parts[0] / parts[1] == pytest.approx(7 / 21, abs=0.2)
    assert whole <= sum(parts.values()) <= 1.5 * whole


def test_what_does_not_fit_is_said() -> None:
    config = SHAPES["Llama-3-8B"].config()
    small = plan(config, devices=["8GiB"], prompt_tokens=30, target_tokens=5)
    assert not small.fits and "disk" in small.device_map.values()
    assert "does not fit: the weights need 15 GiB of 8 GiB" in small.reasons[0]
    needed = SHAPES["Llama-3-8B"].weights_bytes("nf4") / GIB
    assert small.reasons[-1] == f"nf4 would need {needed:.3g} GiB for the weights"
    assert "the backward needs them" in small.notes[0]
    quantized = plan(config, quantization="nf4", devices=["8GiB"], prompt_tokens=30, target_tokens=5)
    assert quantized.fits and set(quantized.device_map.values()) == {0}
    assert quantized.devices[0].peak_bytes <= quantized.devices[0].bytes
    tight = plan(config, quantization="nf4", devices=["8GiB"], prompt_tokens=3000, target_tokens=5)
    assert not tight.fits and tight.largest_batch == 0
    assert "the largest batch that fits is 0" in tight.reasons[0]
    cheap = plan(config, quantization="nf4", devices=["8GiB"], prompt_tokens=3000, target_tokens=5, method="lime")
    assert cheap.fits and cheap.largest_batch > 0


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """As users run it: JSON with `weights_bytes` on top, a page else; exit code 1 where it does not fit."""
    import typer

    from spanwise.cli.plan import plan as command

    app = typer.Typer()
    app.command()(command)
    short = ["tiny", "--prompt-tokens", "20", "--target-tokens", "5", "--quantization", "nf4"]
    assert app([*short, "--device", "8GiB", "--device", "8GiB", "--json"], standalone_mode=False) in (0, None)
    found = json.loads(capsys.readouterr().out)
    same = plan("tiny", quantization="nf4", devices=["8GiB"] * 2, prompt_tokens=20, target_tokens=5)
    assert found["weights_bytes"] == same.weights_bytes and found["fits"]
    assert app([*short, "--device", "1MB"], standalone_mode=False) == 1
    page = capsys.readouterr().out
    assert "does not fit" in page and "nf4" in page


REFUSED: list[tuple[dict[str, Any], type[AttributionError], str]] = [
    ({"quantization": "int4"}, OptionError, "unknown quantization 'int4'. Did you mean 'int8'?"),
    ({"quantization": "int8", "double_quant": True}, OptionError, "double_quant belongs to 4-bit quantization"),
    ({"double_quant": True}, OptionError, "double_quant belongs to quantization='nf4' or 'fp4'"),
    ({"devices": ["24 gigs"]}, OptionError, "not '24 gigs'"),
    ({"devices": []}, OptionError, "devices takes a list of sizes"),
    ({"devices": "24GiB"}, OptionError, "devices takes a list of sizes"),
    ({"devices": ["0GiB"]}, OptionError, "no memory"),
    ({"devices": ["8GiB"], "device_map": "cpu"}, OptionError, "devices does not name the CPU"),
    ({"devices": ["8GiB"], "device_map": "even"}, OptionError, "unknown device_map 'even'"),
    ({"method": "salience"}, OptionError, "Did you mean 'saliency'?"),
    ({"engine": "tea"}, OptionError, "unknown engine for integrated_gradients 'tea'"),
    ({"method_options": {"steps": 3}}, OptionError, "unknown option of integrated_gradients 'steps'"),
    ({"prompt_tokens": -1}, OptionError, "prompt_tokens must be an integer of at least 1, not -1"),
    ({"target_tokens": 0}, OptionError, "target_tokens must be an integer of at least 1, not 0"),
    ({"prompt_tokens": 9000}, LengthError, "and the model's context holds"),
    ({"batch_size": "big"}, OptionError, "batch_size must be 'auto' or an integer"),
    ({"batch_size": 0}, OptionError, "batch_size must be an integer of at least 1, not 0"),
    ({"rows": "words"}, OptionError, "unknown rows 'words'"),
    ({"dtype": "float8"}, OptionError, "unknown dtype 'float8'"),
]


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(("given", "error", "message"), REFUSED, ids=[str(given) for given, _, _ in REFUSED])
def test_refusals(given: dict[str, Any], error: type[AttributionError], message: str) -> None:
    with pytest.raises(error) as caught:
        plan("tiny", **given)
    assert message in str(caught.value)


@pytest.mark.usefixtures("unchecked_types")
def test_models_that_cannot_be_planned(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no config\.json in it"):
        plan(tmp_path)
    with pytest.raises(ModelError, match="there is no model folder"):
        plan("./nowhere")
    with pytest.raises(OptionError, match="plan takes a name, a folder, a config or a LanguageModel, not int"):
        plan(7)
    with pytest.raises(OptionError, match="the model is loaded"):
        plan(spanwise.load_model("tiny"), quantization="nf4")
    config = SHAPES["Llama-3-8B"].config()
    config.quantization_config = {"quant_method": "gptq", "bits": 4}
    with pytest.raises(QuantizationError, match="quantized by 'gptq'"):
        plan(config)


def test_layers_are_those_of_transformers() -> None:
    """The layers that we count as quantized are those that transformers replaces."""
    pytest.importorskip("bitsandbytes", reason="quantization needs the quantization extra")
    for architecture in ARCHITECTURES:
        model = meta_model(plain_config(make_model(architecture).config, torch.bfloat16))
        ours = set(quantized_layers(model))
        quantizer = transformers.quantizers.AutoHfQuantizer.from_config(
            transformers.BitsAndBytesConfig(load_in_4bit=True)
        )
        quantizer._process_model_before_weight_loading(model, None)
        replaced = {name for name, module in model.named_modules() if type(module).__name__ == "Linear4bit"}
        assert ours == replaced and ours


# The process grows by what tensors need and by what the C library keeps of it; a few MB are the engines' own. A tenth
# above and below is what was measured; the issue allows a fifth.
TOLERANCE = 0.2


def make_folder(path: Path, kind: str, layers: int) -> Path:
    common: dict[str, Any] = {
        "vocab_size": 8000,
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": layers,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "max_position_embeddings": 1024,
    }
    config = {"qwen2": transformers.Qwen2Config, "llama": transformers.LlamaConfig}[kind](**common)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    return path


def measured(**asked: Any) -> dict[str, Any]:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("measuring a process's growth needs Linux")
    script = Path(__file__).parent / "measured_growth.py"
    # Left alone, glibc keeps freed blocks of less than 32 MiB in a heap with holes, and the process grows by up to
    # twice what the tensors need. With this, blocks of more than 256 KiB go back to the system when they are freed.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "262144"}
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(asked)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_process_grows_as_planned(tmp_path: Path) -> None:
    """One quick measurement; `pytest -m slow` has the others."""
    folder = make_folder(tmp_path, "llama", 4)
    options = {"n_steps": 4}
    found = measured(folder=str(folder), method="integrated_gradients", options=options, prompt=160, target=16, batch=4)
    assert found["growth"] == pytest.approx(found["planned"], rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["qwen2", "llama"])
@pytest.mark.parametrize(
    "load", [{}, {"dtype": "bfloat16"}, {"quantization": "nf4"}, {"quantization": "int8"}], ids=str
)
@pytest.mark.parametrize(
    ("method", "options", "batch"),
    [("integrated_gradients", {"n_steps": 4}, 4), ("kernel_shap", {"n_samples": 32}, 16)],
)
def test_the_process_grows_as_planned_everywhere(
    kind: str, load: dict[str, Any], method: str, options: dict[str, int], batch: int, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path, kind, 8)
    found = measured(folder=str(folder), load=load, method=method, options=options, prompt=240, target=16, batch=batch)
    print(kind, load, method, found["growth"] / 1e6, found["planned"] / 1e6)
    if load.get("quantization") == "int8" and method == "kernel_shap":
        pytest.xfail(
            "bitsandbytes' int8 product on the CPU takes more inside its kernel than is counted: 300 for 202 MB"
        )
    assert found["growth"] == pytest.approx(found["planned"], rel=TOLERANCE)
