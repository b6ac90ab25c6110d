"""On one GPU: the CPU's scores, quantized layers with their gradients, memory as planned, and batches that halve."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from gpu_checks import (
    DRAWN_ON_THE_DEVICE,
    FAMILIES,
    NEEDS_ONE,
    PAIRS,
    SPAN,
    TWO,
    allowed,
    attributed,
    difference,
    exact_products,
    folder,
    larger,
    repeated,
)

import spanwise

__all__ = ["exact_products", "folder", "larger"]  # fixtures
pytestmark = NEEDS_ONE

GPU: dict[str, Any] = {"device_map": {"": 0}}


@pytest.fixture(autouse=True)
def fresh_memory() -> Iterator[None]:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("model", ["tiny", "llama"])
@pytest.mark.parametrize(("method", "engine"), PAIRS)
def test_every_method_equals_the_cpu(folder: Path, model: str, method: str, engine: str) -> None:
    path = "tiny" if model == "tiny" else folder
    here, on_cpu = spanwise.load_model(path, dtype="float32", **GPU), spanwise.load_model(path, dtype="float32")
    assert str(here.device) == "cuda:0" and str(on_cpu.device) == "cpu"
    found = attributed(here, method, engine=engine)
    assert difference(attributed(here, method, engine=engine), found) <= allowed(method)  # the seed is kept
    if method not in DRAWN_ON_THE_DEVICE:
        assert difference(found, attributed(on_cpu, method, engine=engine)) <= allowed(method)


@pytest.mark.parametrize("baseline", ["unk", "zero", "mean", "on the CPU", "on the GPU"])
@pytest.mark.parametrize("method", ["integrated_gradients", "feature_ablation"])
def test_baselines(folder: Path, method: str, baseline: str) -> None:
    here, on_cpu = spanwise.load_model(folder, **GPU), spanwise.load_model(folder)
    row = torch.linspace(-0.2, 0.2, here.hidden_size)
    tensors = {"on the CPU": row, "on the GPU": row.cuda()}
    found = attributed(here, method, baseline=tensors.get(baseline, baseline))
    expected = attributed(on_cpu, method, baseline=row if baseline in tensors else baseline)
    assert difference(found, expected) <= allowed(method)


@pytest.mark.parametrize("baseline", ["mask", "delete"])
def test_removals(folder: Path, baseline: str) -> None:
    here, on_cpu = spanwise.load_model(folder, **GPU), spanwise.load_model(folder)
    found, expected = (attributed(lm, "feature_ablation", baseline=baseline) for lm in (here, on_cpu))
    assert difference(found, expected) <= allowed("feature_ablation")


@pytest.mark.parametrize("objective", ["entropy", "kl", "probe", "contrast"])
@pytest.mark.parametrize("method", ["input_x_gradient", "feature_ablation"])
def test_objectives(folder: Path, method: str, objective: str) -> None:
    here, on_cpu = spanwise.load_model(folder, **GPU), spanwise.load_model(folder)
    aim: Any = {
        "entropy": "entropy",
        "kl": spanwise.kl(),
        "probe": spanwise.probe(1, torch.linspace(-0.2, 0.2, here.hidden_size)),
        "contrast": spanwise.contrast("painting"),
    }[objective]
    if (method, objective) == ("input_x_gradient", "kl"):
        pytest.skip("the gradient of kl is 0 at the input: it is the minimum")
    found, expected = (attributed(lm, method, objective=aim) for lm in (here, on_cpu))
    assert difference(found, expected) <= allowed(method)


def test_a_model_moved_by_hand(folder: Path) -> None:
    """Inseq itself refuses "cuda:0"; the adapter moves nothing."""
    model = make_model("llama").__class__.from_pretrained(folder).to("cuda:0")
    lm = spanwise.LanguageModel(model, make_tokenizer(bos=True))
    found = attributed(lm, "input_x_gradient", engine="inseq")
    expected = attributed(spanwise.load_model(folder), "input_x_gradient", engine="inseq")
    assert difference(found, expected) <= allowed("input_x_gradient")
    assert next(model.parameters()).device == torch.device("cuda:0")


def test_a_generated_target(folder: Path) -> None:
    here, on_cpu = spanwise.load_model(folder, **GPU), spanwise.load_model(folder)
    asked: dict[str, Any] = {"target": None, "span": None, "generation_options": {"max_new_tokens": 4}}
    found, expected = (attributed(lm, "feature_ablation", **asked) for lm in (here, on_cpu))
    assert found.provenance.target_ids == expected.provenance.target_ids
    assert difference(found, expected) <= allowed("feature_ablation")


def test_random_numbers_of_the_caller_are_left_alone(folder: Path) -> None:
    torch.cuda.manual_seed(5)
    before = torch.cuda.get_rng_state(0)
    attributed(spanwise.load_model(folder, **GPU), "smoothgrad")
    assert torch.equal(torch.cuda.get_rng_state(0), before)


@pytest.mark.parametrize("method", FAMILIES)
def test_bfloat16_is_close(method: str) -> None:
    """Eight bits a product: the same picture, not the same numbers."""
    here, exact = spanwise.load_model("tiny", dtype="bfloat16", **GPU), spanwise.load_model("tiny", dtype="float32")
    found, expected = (attributed(lm, method).scores.nan_to_num().flatten() for lm in (here, exact))
    assert torch.nn.functional.cosine_similarity(found, expected, dim=0) > 0.9


@pytest.mark.parametrize("method", FAMILIES)
def test_weights_kept_on_the_cpu(folder: Path, method: str) -> None:
    placed = {**dict.fromkeys(TWO, 0), "model.layers.0": "cpu"}
    here, on_cpu = spanwise.load_model(folder, device_map=placed), spanwise.load_model(folder)
    assert here.device_map and here.device_map["model.layers.0"] == "cpu"
    assert difference(attributed(here, method), attributed(on_cpu, method)) <= allowed(method)


# With float32 compute the two do the same arithmetic. bfloat16 rounds each product to 8 bits. int8 rounds inputs too.
ROUNDING = {("nf4", "float32"): 1e-4, ("fp4", "float32"): 1e-4, ("nf4", "bfloat16"): 0.15, ("int8", None): 0.15}


@pytest.mark.parametrize("method", ["input_x_gradient", *FAMILIES])
@pytest.mark.parametrize(("quantization", "compute"), list(ROUNDING))
def test_quantized_equals_its_dequantized_twin(
    folder: Path, quantization: str, compute: str | None, method: str
) -> None:
    """Forward and gradient, against plain layers that hold the dequantized weights."""
    pytest.importorskip("bitsandbytes", reason="needs the quantization extra")
    from spanwise.model.dequantized import dequantized

    lm = spanwise.load_model(folder, quantization=quantization, compute_dtype=compute, dtype="float32", **GPU)
    assert lm.quantization == quantization and str(lm.device) == "cuda:0"
    lm.model.generate(torch.arange(8, device="cuda")[None], max_new_tokens=2, do_sample=False, pad_token_id=1)
    found, expected = attributed(lm, method), attributed(dequantized(lm), method)
    assert difference(found, expected) <= ROUNDING[quantization, compute]
    torch.testing.assert_close(
        found.target_scores, expected.target_scores, atol=ROUNDING[quantization, compute], rtol=0
    )


@pytest.mark.parametrize("method", ["integrated_gradients", "feature_ablation"])
def test_peak_memory_is_told(larger: Path, method: str) -> None:
    lm = spanwise.load_model(larger, **GPU)
    weights = sum(each.numel() * each.element_size() for each in lm.model.parameters())
    told = attributed(lm, method, batch_size=4).provenance.peak_memory_gib
    assert told is not None
    assert told * 2**30 == torch.cuda.max_memory_allocated() > weights


@pytest.mark.parametrize("quantization", [None, "nf4"])
@pytest.mark.parametrize("rows", ["span", "token"])
@pytest.mark.parametrize("method", ["integrated_gradients", "input_x_gradient", "feature_ablation"])
def test_the_plan_is_within_15_percent(larger: Path, method: str, rows: str, quantization: str | None) -> None:
    if quantization:
        pytest.importorskip("bitsandbytes", reason="needs the quantization extra")
    lm = spanwise.load_model(larger, quantization=quantization, dtype="bfloat16", **GPU)
    prompt, asked = repeated(lm, 256), {"rows": rows, "batch_size": 8, "method_options": {}}
    attributed(lm, method, prompt=prompt, **asked)  # libraries take their workspaces once
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    result = attributed(lm, method, prompt=prompt, **asked)
    measured = torch.cuda.max_memory_allocated()
    planned = spanwise.plan(
        larger,
        quantization=quantization,
        dtype="bfloat16",
        devices=["24GiB"],
        method=method,
        prompt_tokens=len(result.provenance.prompt_ids),
        target_tokens=len(result.provenance.target_ids),
        rows=rows,
        batch_size=8,
    )
    print(f"planned {planned.peak_bytes / 2**20:.0f} MiB, measured {measured / 2**20:.0f} MiB")
    assert planned.peak_bytes == pytest.approx(measured, rel=0.15)


def test_batches_halve_where_memory_runs_out(larger: Path) -> None:
    lm = spanwise.load_model(larger, **GPU)
    prompt = repeated(lm, 512)
    asked: dict[str, Any] = {"prompt": prompt, "span": SPAN, "method_options": {"n_steps": 48}}
    one = attributed(lm, "integrated_gradients", batch_size=1, **asked)
    weights, peak = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
    total = torch.cuda.get_device_properties(0).total_memory
    room = weights + 5 * (peak - weights) + 2**28  # for some four sequences
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, room / total))
    found = attributed(lm, "integrated_gradients", batch_size="auto", **asked)
    assert found.provenance.batch_size is not None and 1 <= found.provenance.batch_size < 16384 // 512
    assert any("memory ran out" in note for note in found.provenance.notes)
    # bfloat16 weights: another batch size has other kernels, which round otherwise
    cosine = torch.nn.functional.cosine_similarity(
        found.scores.nan_to_num().flatten(), one.scores.nan_to_num().flatten(), dim=0
    )
    assert cosine > 0.9
    with pytest.raises(spanwise.AttributionError, match="memory ran out with a batch of 48 sequences"):
        attributed(lm, "integrated_gradients", batch_size=48, **asked)
