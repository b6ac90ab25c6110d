"""What the tests on one GPU and on several share.

They are compared with the same model on the CPU in float32. Both do the same arithmetic, but add up in another order,
and scores are differences: 1e-4 of the largest score is allowed, where the same order gives 1e-5. LIME and KernelSHAP
solve a system on top, whose condition number multiplies that, and gradient x input adds up products that nearly cancel:
1e-3 (measured on the CPU between two ways to compute attention: 5e-4).
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import SHAPE, few, make_model, make_tokenizer

import spanwise

GPUS = torch.cuda.device_count()
NEEDS_ONE = [
    pytest.mark.gpu,
    pytest.mark.skipif(GPUS < 1, reason=f"needs a CUDA device; torch {torch.__version__} sees none"),
    pytest.mark.filterwarnings("default"),  # what the CUDA libraries have to say is not what is tested
    pytest.mark.usefixtures("exact_products"),
]
NEEDS_TWO = [
    *NEEDS_ONE,
    pytest.mark.multi_gpu,
    pytest.mark.skipif(GPUS < 2, reason=f"needs two CUDA devices; torch {torch.__version__} sees {GPUS}"),
]

PROMPT, TARGET, SPAN = "In Austin, he", " enjoys traveling.", "traveling"
PAIRS = [(method.name, engine) for method in spanwise.list_methods() for engine in method.engines]
FAMILIES = ["integrated_gradients", "feature_ablation", "attention_rollout"]
DRAWN_ON_THE_DEVICE = ("smoothgrad", "reagent")
"""Their random numbers are the GPU's, which are others than the CPU's."""

TWO: dict[str, int | str] = {
    "model.embed_tokens": 0,
    "model.rotary_emb": 0,
    "model.layers.0": 0,
    "model.layers.1": 1,
    "model.norm": 1,
    "lm_head": 1,
}


@pytest.fixture
def exact_products() -> Iterator[None]:
    """Keeps float32 products in float32: TF32 has 10 bits."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama."""
    path = tmp_path_factory.mktemp("llama")
    make_model("llama").save_pretrained(path)
    make_tokenizer(bos=True).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 170 million random weights, whose memory is more than noise."""
    path = tmp_path_factory.mktemp("larger")
    shape = {
        **SHAPE,
        "vocab_size": 32_000,
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": 8,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "max_position_embeddings": 1024,
        "initializer_range": 0.02,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape)).to(torch.bfloat16).save_pretrained(path)
    make_tokenizer(bos=True).save_pretrained(path)
    return path


def attributed(lm: spanwise.LanguageModel, method: str, **asked: Any) -> spanwise.Attribution:
    asked = {"prompt": PROMPT, "target": TARGET, "span": SPAN, "method_options": few(method), **asked}
    if method == "shapley_values":
        asked["prompt"] = "The"  # it visits every order of the features
    if (method, asked.get("engine")) == ("feature_ablation", "inseq"):
        asked["span"] = None  # Inseq's absolute drops do not add up to a span's
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spanwise.AttributionWarning)
        return spanwise.attribute(lm, method=method, **asked)


def difference(found: spanwise.Attribution, expected: spanwise.Attribution) -> float:
    """Returns the largest difference as a share of the largest score; the figures are printed (`pytest -rP`)."""
    assert found.scores.dtype == torch.float32 and found.scores.device.type == "cpu"
    assert torch.equal(found.scores.isnan(), expected.scores.isnan())
    largest = float(expected.scores.nan_to_num().abs().max())
    assert largest > 0
    share = float((found.scores - expected.scores).nan_to_num().abs().max()) / largest
    print(f"{found.provenance.method} on {found.provenance.engine}: {share:.1e} of the largest score")
    return share


def allowed(method: str) -> float:
    return 1e-3 if method in ("kernel_shap", "lime", "input_x_gradient") else 1e-4


def repeated(lm: spanwise.LanguageModel, tokens: int) -> str:
    """Returns a prompt of about so many tokens."""
    return (PROMPT + " ") * (tokens // len(lm.tokenizer.encode(PROMPT + " ", add_special_tokens=False)))
