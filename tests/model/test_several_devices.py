"""Models spread over several devices, which are simulated: the same scores as the undivided model on the CPU.

A process of its own has the devices (see `simulated_devices`), loads the model with a device map and attributes; this
process has the undivided model. Both do the same arithmetic on the same CPU, and random numbers are the CPU's, so the
scores agree to a few roundings of float32: measured 5e-6 of the largest score, allowed 1e-5. A tensor that is left on
the wrong device raises, as on GPUs.

Not here, since it cannot be simulated: 4-bit and 8-bit layers, whose kernels know real devices only (`tests/gpu` has
them), and memory that runs out. A head that is tied to the embedding is not put elsewhere than the embedding:
transformers loads such a map, but its own forward fails.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import simulated_devices
import torch
import transformers
from conftest import few, make_model, make_tokenizer
from torch.nn.attention import SDPBackend, sdpa_kernel

import spanwise
from spanwise.methods import find_method

pytest.importorskip("accelerate", reason="device maps need the quantization extra")

PROMPT, TARGET, SPAN = "In Austin, he", " enjoys traveling.", "traveling"
PAIRS = [(method.name, engine) for method in spanwise.list_methods() for engine in method.engines]
ALLOWED = 1e-5

Map = dict[str, int | str]
TWO: Map = {
    "model.embed_tokens": 0,
    "model.rotary_emb": 0,
    "model.layers.0": 0,
    "model.layers.1": 1,
    "model.norm": 1,
    "lm_head": 1,
}
# Inputs begin on the second device, go to the first and the third, and the logits come back to the second.
THREE: Map = {**TWO, "model.embed_tokens": 1, "model.rotary_emb": 1, "model.layers.1": 2, "model.norm": 2}
# Weights that are kept on the CPU and on the disk, and brought to a device for each forward.
OFFLOADED: Map = {**TWO, "model.layers.0": "cpu", "model.layers.1": "disk"}
PAIR: Map = {
    "shared": 0,
    "encoder": 0,
    "decoder.embed_tokens": 0,
    "decoder.block": 1,
    "decoder.final_layer_norm": 1,
    "decoder.dropout": 1,
    "lm_head": 0,
}
MAPS = {"llama": TWO, "qwen2": THREE, "t5": PAIR}


@dataclass
class Found:
    """What an attribution gave, in plain Python, which goes from process to process."""

    scores: list[list[float]]
    target_scores: list[float]
    target_ids: tuple[int, ...]
    kind: str
    device_map: dict[str, str] | None
    weights: list[str]


Elsewhere = Callable[..., Any]


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    """Calls a function of this module in the process that has three devices; what it raises is raised here."""
    with ExitStack() as stack:
        processes: list[ProcessPoolExecutor] = []

        def call(function: Callable[..., Any], *args: Any) -> Any:
            if not processes:
                process = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=begin)
                processes.append(stack.enter_context(process))
            try:
                return processes[0].submit(function, *args).result(timeout=120)
            except BrokenProcessPool:  # the next test gets a new one
                processes.clear()
                raise

        yield call


def begin() -> None:
    """Makes the process one with three devices."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    warnings.simplefilter("error")  # as in pyproject.toml
    warnings.filterwarnings("ignore", "unclosed file .*model_config.yaml", ResourceWarning)
    torch.set_num_threads(1)
    simulated_devices.register(3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {name: tmp_path_factory.mktemp(name) for name in MAPS}
    for name, path in found.items():
        make_model(name).save_pretrained(path)
        make_tokenizer(bos=True).save_pretrained(path)
    return found


_loaded: dict[str, spanwise.LanguageModel] = {}


def load(folder: Path, options: dict[str, Any]) -> spanwise.LanguageModel:
    """Loads a model once; an `offload_folder` goes to transformers directly, and the model to `LanguageModel`."""
    name = f"{folder} {options}"
    if name not in _loaded and "offload_folder" in options:
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, **options)
        _loaded[name] = spanwise.LanguageModel(model, transformers.AutoTokenizer.from_pretrained(folder))
    elif name not in _loaded:
        _loaded[name] = spanwise.load_model(folder, **options)
    return _loaded[name]


def options_of(method: str) -> dict[str, int]:
    """The method's own options that make it very short; regressions need their samples."""
    shorter = {"n_steps": 3} if method in ("kernel_shap", "lime") else {"n_steps": 3, "n_samples": 3}
    return {name: shorter.get(name, value) for name, value in few(method).items()}


def direction(lm: spanwise.LanguageModel) -> torch.Tensor:
    """A user's tensor, on the CPU as users make it."""
    return torch.linspace(-0.2, 0.2, lm.hidden_size)


def logit_and_state(outputs: Any, context: Any) -> torch.Tensor:
    """A user's objective of logits, and of a hidden state, which is on its layer's device."""
    state = outputs.hidden_states[-1][:, context.positions.to(outputs.hidden_states[-1].device)]
    index = context.target_ids.expand(len(outputs.logits), -1).unsqueeze(-1)
    return outputs.logits.gather(-1, index).squeeze(-1) + state.sum(-1).to(index.device)


OBJECTIVES: dict[str, Callable[[spanwise.LanguageModel], Any]] = {
    "prob": lambda lm: "prob",
    "logit": lambda lm: "logit",
    "entropy": lambda lm: "entropy",
    "kl": lambda lm: spanwise.kl(),
    "probe": lambda lm: spanwise.probe(1, direction(lm)),
    "probe of the last layer": lambda lm: spanwise.probe(-1, direction(lm), 0.5),
    "contrast": lambda lm: spanwise.contrast("painting"),
    "function": lambda lm: logit_and_state,
}


def attributed(folder: Path, options: dict[str, Any], asked: dict[str, Any]) -> Found:
    lm = load(folder, options)
    asked = {"target": TARGET, "method_options": options_of(asked["method"]), **asked}
    if asked.get("baseline") == "tensor":
        asked["baseline"] = direction(lm)
    if "objective" in asked:
        asked["objective"] = OBJECTIVES[asked["objective"]](lm)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spanwise.AttributionWarning)
        result = spanwise.attribute(lm, **{"prompt": PROMPT, **asked})
    return Found(
        scores=result.scores.tolist(),
        target_scores=result.target_scores.tolist(),
        target_ids=result.provenance.target_ids,
        kind=f"{result.scores.dtype} on {result.scores.device}",
        device_map=result.provenance.device_map,
        weights=sorted({str(parameter.device) for parameter in lm.model.parameters()}),
    )


def check(
    elsewhere: Elsewhere, folder: Path, options: dict[str, Any], asked: dict[str, Any], allowed: float = ALLOWED
) -> Found:
    """Attributes on the devices and on the CPU, and compares."""
    found = elsewhere(attributed, folder, options, asked)
    # A device that torch does not know computes attention by the plain formula, so the CPU does so too.
    with sdpa_kernel(SDPBackend.MATH):
        expected = attributed(folder, {name: options[name] for name in options if name == "dtype"}, asked)
    assert expected.device_map is None and expected.weights == ["cpu"]
    assert any(device.startswith("sim:") for device in found.weights)
    assert found.kind == expected.kind == "torch.float32 on cpu"
    assert found.target_ids == expected.target_ids
    ours, theirs = torch.tensor(found.scores), torch.tensor(expected.scores)
    largest = float(theirs.nan_to_num().abs().max())
    print(f"largest difference {float((ours - theirs).nan_to_num().abs().max()) / largest:.1e} of the largest score")
    assert largest > 0
    torch.testing.assert_close(ours, theirs, atol=allowed * largest, rtol=0, equal_nan=True)
    torch.testing.assert_close(torch.tensor(found.target_scores), torch.tensor(expected.target_scores))
    return found


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize(("method", "engine"), PAIRS)
def test_every_method(
    elsewhere: Elsewhere, folders: dict[str, Path], architecture: str, method: str, engine: str
) -> None:
    asked: dict[str, Any] = {"method": method, "engine": engine, "span": SPAN}
    if method == "shapley_values":
        asked["prompt"] = "The"  # it visits every order of the features
    if (method, engine) == ("feature_ablation", "inseq"):
        asked |= {
            "span": None,
            "target": " a.",
        }  # Inseq's absolute drops do not add up to a span's; short, as it is slow
    device_map = MAPS[architecture]
    found = check(elsewhere, folders[architecture], {"device_map": device_map}, asked)
    assert found.device_map == {name: str(device) for name, device in device_map.items()}
    assert found.weights == [f"sim:{device}" for device in sorted(set(device_map.values()))]


WAYS = [("integrated_gradients", "captum"), ("feature_ablation", "captum"), ("deeplift", "inseq")]
"""A gradient method, a perturbation method, and an engine with a forward of its own."""


@pytest.mark.parametrize("baseline", ["unk", "pad", "token:.", "zero", "mean", "tensor"])
@pytest.mark.parametrize(("method", "engine"), WAYS)
def test_baselines(elsewhere: Elsewhere, folders: dict[str, Path], method: str, engine: str, baseline: str) -> None:
    # From an embedding of zeros RMSNorm magnifies roundings at the first points; more points, less weight on them.
    options = few(method)
    asked = {"method": method, "engine": engine, "baseline": baseline, "span": SPAN, "method_options": options}
    check(elsewhere, folders["qwen2"], {"device_map": THREE}, asked)


@pytest.mark.parametrize("baseline", ["mask", "delete"])
@pytest.mark.parametrize("method", ["feature_ablation", "shapley_value_sampling"])
def test_removals(elsewhere: Elsewhere, folders: dict[str, Path], method: str, baseline: str) -> None:
    asked = {"method": method, "baseline": baseline, "span": SPAN}
    check(elsewhere, folders["qwen2"], {"device_map": THREE}, asked)


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
@pytest.mark.parametrize(("method", "engine"), WAYS)
def test_objectives(elsewhere: Elsewhere, folders: dict[str, Path], method: str, engine: str, objective: str) -> None:
    if engine == "inseq" and objective in ("kl", "contrast"):
        pytest.skip(f"{method} on Inseq has no {objective}")
    asked = {"method": method, "engine": engine, "objective": objective, "span": SPAN}
    check(elsewhere, folders["qwen2"], {"device_map": THREE}, asked)


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch_size": 1},
        {"batch_size": 3, "rows": "token"},
        {"frozen": "none", "span": SPAN},
        {"checkpointing": True, "span": SPAN},
        {"prefix": "attributed", "rows": "token"},
        {"target": None, "generation_options": {"max_new_tokens": 3}},
    ],
    ids=lambda arguments: "-".join(f"{name}={value}" for name, value in arguments.items()),
)
@pytest.mark.parametrize(("method", "engine"), [*WAYS, ("smoothgrad", "captum"), ("attention_rollout", "native")])
def test_arguments(
    elsewhere: Elsewhere, folders: dict[str, Path], method: str, engine: str, arguments: dict[str, Any]
) -> None:
    asked = {"method": method, "engine": engine, **arguments}
    check(elsewhere, folders["llama"], {"device_map": TWO}, asked)


FAMILIES = ["integrated_gradients", "feature_ablation", "attention_rollout"]


@pytest.mark.parametrize("strategy", ["auto", "balanced", "sequential"])
def test_maps_that_are_worked_out(elsewhere: Elsewhere, folders: dict[str, Path], strategy: str) -> None:
    options = {"device_map": strategy, "max_memory": {0: "500KB", 1: "500KB"}}  # the weights are 492 KB
    if strategy == "sequential":
        options["max_memory"] = {0: "400KB", 1: "400KB"}
    for method in FAMILIES:
        found = check(elsewhere, folders["llama"], options, {"method": method, "span": SPAN})
        assert found.weights == ["sim:0", "sim:1"] and found.device_map


@pytest.mark.parametrize("method", FAMILIES)
def test_weights_kept_on_the_cpu_and_on_the_disk(
    elsewhere: Elsewhere, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, method: str
) -> None:
    options = {"device_map": OFFLOADED, "offload_folder": str(tmp_path_factory.getbasetemp() / "offloaded")}
    found = check(elsewhere, folders["llama"], options, {"method": method, "span": SPAN})
    assert found.weights == ["meta", "sim:0", "sim:1"]  # accelerate leaves placeholders of what is offloaded


@pytest.mark.parametrize("method", FAMILIES)
def test_bfloat16(elsewhere: Elsewhere, folders: dict[str, Path], method: str) -> None:
    """Forwards round alike, to the last bit; backwards see other views, and round sums (2^-8) in another order."""
    options = {"device_map": TWO, "dtype": "bfloat16"}
    allowed = 2**-5 if find_method(method).family == "gradient" else ALLOWED
    check(elsewhere, folders["llama"], options, {"method": method, "span": SPAN}, allowed)


@pytest.mark.parametrize("method", FAMILIES)
def test_an_encoder_and_a_decoder(elsewhere: Elsewhere, folders: dict[str, Path], method: str) -> None:
    check(elsewhere, folders["t5"], {"device_map": PAIR}, {"method": method, "span": SPAN})


def without_a_hook(folder: Path, device_map: Map, method: str) -> list[str]:
    """Returns what goes wrong where accelerate no longer brings a block its input, and once it does again."""
    from accelerate.hooks import add_hook_to_module, remove_hook_from_module

    lm = spanwise.load_model(folder, device_map=device_map)
    block = lm.model.model.layers[1]
    hook = block._hf_hook
    errors = []
    for repair in (False, True):
        if repair:
            add_hook_to_module(block, hook)
        else:
            remove_hook_from_module(block)
        try:
            spanwise.attribute(lm, PROMPT, TARGET, span=SPAN, method=method, method_options=options_of(method))
        except RuntimeError as error:
            errors.append(str(error))
    return errors


@pytest.mark.parametrize("method", ["input_x_gradient", "feature_ablation", "attention_rollout"])
def test_a_missing_hook_is_noticed(elsewhere: Elsewhere, folders: dict[str, Path], method: str) -> None:
    """The test of these tests: a tensor on the wrong device is an error here, as it is on GPUs."""
    (error,) = elsewhere(without_a_hook, folders["llama"], TWO, method)
    assert "Expected all tensors to be on the same device, but found at least two devices, sim:" in error
    assert "sim:0" in error and "sim:1" in error


def what_is_refused() -> dict[str, str]:
    """Returns, for each way to mix devices, the error or the device of the result."""
    here, there, cpu = torch.ones(3, device="sim:0"), torch.ones(3, device="sim:1"), torch.ones(3)
    first = torch.tensor([0])
    tried: dict[str, Callable[[], Any]] = {
        "sum of two devices": lambda: here + there,
        "sum with the CPU": lambda: here + cpu,
        "on the CPU in place": lambda: cpu.add_(here),
        "one list": lambda: torch.cat([here, there]),
        "index elsewhere": lambda: cpu[first.to("sim:0")],
        "picked by another device": lambda: here.gather(0, first.to("sim:1")),
        "a number": lambda: here * torch.tensor(2.0),
        "indices on the CPU": lambda: there[first],
        "moved": lambda: here.to("sim:1") + there,
        "created": lambda: torch.arange(3, device="sim:2") + torch.zeros(3, device="sim:2"),
    }
    found = {}
    for name, work in tried.items():
        try:
            found[name] = str(work().device)
        except RuntimeError as error:
            found[name] = str(error)
    return found


def test_the_simulation(elsewhere: Elsewhere) -> None:
    found = elsewhere(what_is_refused)
    refused = [name for name, answer in found.items() if "xpected all tensors to be on the same device" in answer]
    assert refused == list(found)[:6]
    assert list(found.values())[6:] == ["sim:0", "sim:1", "sim:1", "sim:2"]
