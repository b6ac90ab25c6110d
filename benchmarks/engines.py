"""Side by side with Captum, in one run: time ratios, work done, memory, and how far apart the scores are.

    python benchmarks/engines.py            # a 26 M Qwen2 shape, prompt 31, target 26 tokens; some minutes
    python benchmarks/engines.py --quick    # a small shape, seconds; judges exactness only

Times are of one process on a shared machine: read the ratios, not the seconds. Memory is the largest growth of the
process while the work ran. The difference is relative to Captum's largest score; Captum's default perturbation path is
wrong with transformers 5.3 and later, so scores are compared with its one-pass path, `forward_in_tokens=False`.
"""

import argparse
import json
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import rich.table
import torch
import transformers
from captum.attr import (
    FeatureAblation,
    LayerIntegratedGradients,
    LLMAttribution,
    LLMGradientAttribution,
    ShapleyValueSampling,
    TextTokenInput,
)
from rich.console import Console
from tokenizers import Tokenizer, models, pre_tokenizers

import spanwise

SHAPES = {
    "26M": {"vocab_size": 32000, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 9},
    "quick": {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
}
STEPS = 20


@dataclass
class Row:
    """One line of the table; seconds, GiB, and a difference relative to the engine's largest score."""

    work: str
    engine: str
    engine_seconds: float
    our_seconds: float
    needed: float
    forwards: int
    backwards: int
    engine_gib: float
    our_gib: float
    difference: float

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.engine_seconds / self.our_seconds


def make_lm(shape: dict[str, int]) -> spanwise.LanguageModel:
    """Returns a random model with one token a word."""
    torch.manual_seed(0)
    heads = {"num_attention_heads": 6 if shape["hidden_size"] == 384 else 4, "num_key_value_heads": 2}
    config = transformers.Qwen2Config(**shape, **heads, tie_word_embeddings=True, initializer_range=0.05)
    model = transformers.Qwen2ForCausalLM(config).eval()
    vocabulary = {"<unk>": 0, "<pad>": 1, **{f"w{i}": i for i in range(2, shape["vocab_size"])}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>")
    return spanwise.LanguageModel(model, fast, name="random Qwen2")


def measured(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Returns what `work` returns, its seconds, and the largest growth of resident memory in GiB."""
    process = psutil.Process()
    start, peak, stop = process.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.005):
            peak[0] = max(peak[0], process.memory_info().rss - start)

    thread = threading.Thread(target=watch)
    thread.start()
    began = time.perf_counter()
    try:
        result = work()
    finally:
        seconds = time.perf_counter() - began
        stop.set()
        thread.join()
    return result, seconds, peak[0] / 2**30


def compare(work: str, engine: str, theirs: Any, ours: Any, truth: torch.Tensor | None, needed: float) -> Row:
    """Runs both and returns their row; `truth` stands in for an engine path that is known to be wrong."""
    ours()  # once before, so that neither side pays for first use
    mine, our_seconds, our_gib = measured(ours)
    other, engine_seconds, engine_gib = measured(theirs)
    reference = other if truth is None else truth
    found = mine.scores[:, [not token.frozen for token in mine.source]]
    difference = float((found - reference).abs().max() / reference.abs().max())
    counts = mine.provenance.forwards, mine.provenance.backwards
    return Row(work, engine, engine_seconds, our_seconds, needed, *counts, engine_gib, our_gib, difference)


def run(lm: spanwise.LanguageModel, prompt_count: int, target_count: int, samples: int) -> list[Row]:
    """Returns all rows for one model."""
    prompt = " ".join(f"w{7 * i % 400 + 2}" for i in range(1, prompt_count + 1))
    target = torch.tensor([11 * i % 400 + 2 for i in range(1, target_count + 1)])
    inputs = TextTokenInput(prompt, lm.tokenizer, baselines=lm.tokenizer.pad_token_id)
    gradient = LLMGradientAttribution(LayerIntegratedGradients(lm.model, lm.embedding), lm.tokenizer)

    def ours(method: str, rows: str, **options: Any) -> Callable[[], spanwise.Attribution]:
        return lambda: spanwise.attribute(
            lm,
            prompt,
            target,
            method=method,
            rows=rows,
            baseline="pad",
            method_options=options,
            progress=False,
        )

    def captum_gradient(name: str) -> Callable[[], torch.Tensor]:
        return lambda: (
            getattr(gradient.attribute(inputs, target, n_steps=STEPS), name).detach().reshape(-1, prompt_count)
        )

    def captum_perturbation(method: Any, **options: Any) -> Callable[[], torch.Tensor]:
        def work() -> torch.Tensor:
            torch.manual_seed(0)
            return LLMAttribution(method(lm.model), lm.tokenizer).attribute(inputs, target, **options).token_attr

        return work

    one_pass = {"forward_in_tokens": False}
    rows = []
    ablation = captum_perturbation(FeatureAblation, **one_pass)
    rows.append(compare("feature_ablation", "one pass", ablation, ours("feature_ablation", "token"), None, 1.4))
    default, truth = captum_perturbation(FeatureAblation), ablation()
    rows.append(compare("feature_ablation", "default", default, ours("feature_ablation", "token"), truth, 30))
    sampling = ours("shapley_value_sampling", "token", n_samples=samples)
    one = captum_perturbation(ShapleyValueSampling, n_samples=samples, **one_pass)
    rows.append(compare(f"shapley_value_sampling, {samples}", "one pass", one, sampling, None, 1))
    default = captum_perturbation(ShapleyValueSampling, n_samples=samples)
    rows.append(compare(f"shapley_value_sampling, {samples}", "default", default, sampling, one(), 20))
    for rows_, name, needed in (("span", "seq_attr", 20), ("token", "token_attr", 1.7)):
        mine = ours("integrated_gradients", rows_, n_steps=STEPS)
        work = f"integrated_gradients, {STEPS} steps, {rows_}"
        rows.append(compare(work, "gradient", captum_gradient(name), mine, None, needed))
    return rows


def print_table(rows: list[Row]) -> None:
    """Prints one line a row."""
    table = rich.table.Table(title="Captum's time over ours")
    for name in ("work", "Captum path", "Captum s", "ours s", "ratio", "asked", "fwd / bwd", "GiB C / o", "difference"):
        table.add_column(name, justify="left" if name in ("work", "Captum path") else "right")
    for row in rows:
        table.add_row(
            row.work,
            row.engine,
            f"{row.engine_seconds:.2f}",
            f"{row.our_seconds:.2f}",
            f"{row.ratio:.1f}x",
            f"{row.needed:g}x",
            f"{row.forwards} / {row.backwards}",
            f"{row.engine_gib:.2f} / {row.our_gib:.2f}",
            f"{row.difference:.1e}",
        )
    Console(width=130).print(table)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small shape, seconds; judges exactness only")
    parser.add_argument("--prompt", type=int, default=31, help="tokens of the prompt")
    parser.add_argument("--target", type=int, default=26, help="tokens of the target")
    parser.add_argument("--samples", type=int, default=2, help="samples of Shapley value sampling")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's threads")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore", spanwise.AttributionWarning)
    shape = SHAPES["quick" if arguments.quick else "26M"]
    sizes = (9, 5, 2) if arguments.quick else (arguments.prompt, arguments.target, arguments.samples)
    lm = make_lm(shape)
    parameters = sum(p.numel() for p in lm.model.parameters())
    Console().print(f"{parameters / 1e6:.1f} M parameters, prompt {sizes[0]}, target {sizes[1]}, float32, CPU")
    rows = run(lm, *sizes)
    print_table(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps([{**asdict(row), "ratio": row.ratio} for row in rows], indent=2))


if __name__ == "__main__":
    main()
