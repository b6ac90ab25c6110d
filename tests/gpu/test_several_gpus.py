"""On two GPUs: the CPU's scores from a model that is spread over them, quantized ones too."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_checks import (
    DRAWN_ON_THE_DEVICE,
    FAMILIES,
    NEEDS_TWO,
    PAIRS,
    PROMPT,
    SPAN,
    TARGET,
    TWO,
    allowed,
    attributed,
    difference,
    exact_products,
    folder,
)

import spanwise

__all__ = ["exact_products", "folder"]  # fixtures
pytestmark = NEEDS_TWO


def places(lm: spanwise.LanguageModel) -> set[str]:
    return {str(parameter.device) for parameter in lm.model.parameters()}


@pytest.mark.parametrize(("method", "engine"), PAIRS)
def test_every_method_equals_the_cpu(folder: Path, method: str, engine: str) -> None:
    spread, on_cpu = spanwise.load_model(folder, device_map=TWO), spanwise.load_model(folder)
    assert places(spread) == {"cuda:0", "cuda:1"}
    found = attributed(spread, method, engine=engine)
    assert found.provenance.device_map == {name: str(device) for name, device in TWO.items()}
    if method not in DRAWN_ON_THE_DEVICE:
        assert difference(found, attributed(on_cpu, method, engine=engine)) <= allowed(method)


@pytest.mark.parametrize("strategy", ["auto", "balanced"])
@pytest.mark.parametrize("method", FAMILIES)
def test_maps_that_are_worked_out(folder: Path, strategy: str, method: str) -> None:
    limits: dict[int | str, int | str] = {0: "500KB", 1: "500KB"}  # the weights are 492 KB
    spread = spanwise.load_model(folder, device_map=strategy, max_memory=limits)
    assert places(spread) == {"cuda:0", "cuda:1"}
    assert difference(attributed(spread, method), attributed(spanwise.load_model(folder), method)) <= allowed(method)


@pytest.mark.parametrize("asked", [{"objective": "entropy"}, {"prefix": "attributed"}, {"batch_size": 2}], ids=str)
@pytest.mark.parametrize("method", ["integrated_gradients", "feature_ablation"])
def test_arguments(folder: Path, method: str, asked: dict[str, Any]) -> None:
    spread, on_cpu = spanwise.load_model(folder, device_map=TWO), spanwise.load_model(folder)
    assert difference(attributed(spread, method, **asked), attributed(on_cpu, method, **asked)) <= allowed(method)


@pytest.mark.parametrize("objective", ["kl", "probe", "contrast"])
def test_objectives_that_read_more_than_logits(folder: Path, objective: str) -> None:
    spread, on_cpu = spanwise.load_model(folder, device_map=TWO), spanwise.load_model(folder)
    aims = {
        "kl": spanwise.kl(),
        "probe": spanwise.probe(-1, torch.linspace(-0.2, 0.2, on_cpu.hidden_size)),
        "contrast": spanwise.contrast("painting"),
    }
    found, expected = (attributed(lm, "feature_ablation", objective=aims[objective]) for lm in (spread, on_cpu))
    assert difference(found, expected) <= allowed("feature_ablation")


@pytest.mark.parametrize("method", ["input_x_gradient", *FAMILIES])
@pytest.mark.parametrize("device_map", [TWO, "balanced"], ids=["by hand", "balanced"])
def test_nf4_over_two(folder: Path, device_map: Any, method: str) -> None:
    """The same layers on one GPU give the same numbers."""
    pytest.importorskip("bitsandbytes", reason="needs the quantization extra")
    given: dict[str, Any] = {"quantization": "nf4", "compute_dtype": "float32", "dtype": "float32"}
    spread = spanwise.load_model(folder, device_map=device_map, **given)
    assert places(spread) == {"cuda:0", "cuda:1"} and spread.quantization == "nf4"
    whole = spanwise.load_model(folder, device_map={"": 0}, **given)
    assert difference(attributed(spread, method), attributed(whole, method)) <= allowed(method)


def test_peak_memory_is_that_of_both(folder: Path) -> None:
    lm = spanwise.load_model(folder, device_map=TWO)
    for index in (0, 1):
        torch.cuda.reset_peak_memory_stats(index)
    told = attributed(lm, "input_x_gradient").provenance.peak_memory_gib
    assert told is not None
    assert told * 2**30 == sum(torch.cuda.max_memory_allocated(index) for index in (0, 1))


def test_nothing_is_said_about_several_devices(folder: Path) -> None:
    """torch warns where random numbers of all devices are kept without naming the devices."""
    lm = spanwise.load_model(folder, device_map=TWO)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "CUDA reports that you have")
        spanwise.attribute(lm, PROMPT, TARGET, span=SPAN, method="feature_ablation")


def test_a_missing_hook_is_noticed(folder: Path) -> None:
    from accelerate.hooks import remove_hook_from_module

    lm = spanwise.load_model(folder, device_map=TWO)
    remove_hook_from_module(lm.model.model.layers[1])
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        attributed(lm, "feature_ablation")
