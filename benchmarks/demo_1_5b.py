"""A 1.5 B model in 4 bits on the CPU: the Michael sentence by integrated gradients, ours beside Captum's own.

    make demo-1.5b                                  # Qwen2.5-1.5B's shape, random weights; some 15 minutes
    python benchmarks/demo_1_5b.py --skip-captum    # ours alone; about 3 minutes
    python benchmarks/demo_1_5b.py --quick          # a small shape, seconds

The weights are random and written once to the output folder (2.9 GiB); what is timed does not depend on their values.
Each side loads the checkpoint in a process of its own, whose largest resident memory is printed. Captum is given the
model as `spanwise.load_model` returns it: as transformers loads it, 4-bit gradients are wrong on some CPUs, or crash.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers

import spanwise

PROMPT = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"
TARGET = " painting, traveling to different countries, and volunteering at community events. He"
TARGET_TOKENS = 15  # of the bundled tokenizer, as many as the sentence has without "He" in Qwen2.5's own
STEPS = 20
SHAPES = {
    "1.5B": {
        "vocab_size": 151936,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
    },
    "quick": {
        "vocab_size": 1536,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
}


def make_checkpoint(folder: Path, shape: str) -> None:
    """Writes a random model of the shape, in bfloat16, and the bundled tokenizer."""
    torch.manual_seed(0)
    config = transformers.Qwen2Config(**SHAPES[shape], num_key_value_heads=2, tie_word_embeddings=True)
    with torch.device("meta"):
        model = transformers.Qwen2ForCausalLM(config).to(torch.bfloat16)
    model.to_empty(device="cpu")
    model.init_weights()
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial, max_shard_size="500MB")
    spanwise.load_model("tiny").tokenizer.save_pretrained(partial)
    partial.rename(folder)


def with_spanwise(lm: spanwise.LanguageModel, target: torch.Tensor) -> torch.Tensor:
    """Returns the span's scores, one a prompt token."""
    first = lm.model.get_input_embeddings().weight[0].detach().float()  # Captum's default baseline
    result = spanwise.attribute(
        lm,
        PROMPT,
        target,
        span=spanwise.tokens(0, len(target)),
        baseline=first,
        method="integrated_gradients",
        method_options={"n_steps": STEPS, "method": "gausslegendre"},
        progress=True,
    )
    return result.scores[0, : len(result.provenance.prompt_ids)]


def with_captum(lm: spanwise.LanguageModel, target: torch.Tensor) -> torch.Tensor:
    """Returns the same scores by Captum's own classes, as its users call them."""
    from captum.attr import LayerIntegratedGradients, LLMGradientAttribution, TextTokenInput

    method = LayerIntegratedGradients(lm.model, lm.model.get_input_embeddings())
    inputs = TextTokenInput(PROMPT, lm.tokenizer)
    found = LLMGradientAttribution(method, lm.tokenizer).attribute(inputs, target=target, n_steps=STEPS)
    return found.seq_attr.float()


SIDES = {"spanwise": with_spanwise, "captum": with_captum}


def child(side: str, folder: Path) -> dict[str, Any]:
    """Returns what one side took, in seconds and GiB, and its scores."""
    warnings.simplefilter("ignore")
    begin = time.perf_counter()
    lm = spanwise.load_model(folder, quantization="nf4", compute_dtype="float32", dtype="float32")
    loaded = time.perf_counter()
    ids = lm.tokenizer(TARGET, add_special_tokens=False)["input_ids"][:TARGET_TOKENS]
    scores = SIDES[side](lm, torch.tensor(ids))
    return {
        "side": side,
        "load_seconds": loaded - begin,
        "seconds": time.perf_counter() - loaded,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "target_tokens": len(ids),
        "scores": scores.tolist(),
    }


def main() -> None:
    """Makes the checkpoint, runs both sides, prints them side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("out/demo-1.5b"), help="folder for the checkpoint")
    parser.add_argument("--skip-captum", action="store_true", help="run ours alone")
    parser.add_argument("--quick", action="store_true", help="a small shape")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--child", choices=[*SIDES, "make"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    shape = "quick" if arguments.quick else "1.5B"
    folder = arguments.output / f"model-{shape}"
    if arguments.child == "make":
        make_checkpoint(folder, shape)
        return
    if arguments.child:
        print(json.dumps(child(arguments.child, folder)))
        return

    def run(side: str) -> str:
        command = [sys.executable, __file__, "--child", side, "--output", str(arguments.output)]
        command += ["--quick"] * arguments.quick
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ).stdout

    if not folder.is_dir():
        arguments.output.mkdir(parents=True, exist_ok=True)
        print(f"writing a random {shape} checkpoint to {folder}", flush=True)
        run("make")
    rows = []
    for side in ["spanwise"] if arguments.skip_captum else list(SIDES):
        rows.append(json.loads(run(side).splitlines()[-1]))
        print(
            f"{side:9} load {rows[-1]['load_seconds']:6.1f} s   attribute {rows[-1]['seconds']:7.1f} s   "
            f"peak memory {rows[-1]['peak_gib']:.2f} GiB",
            flush=True,
        )
    if len(rows) == 2:
        ours, theirs = (torch.tensor(row["scores"]) for row in rows)
        print(
            f"{rows[0]['target_tokens']} target tokens, {STEPS} steps: {rows[1]['seconds'] / rows[0]['seconds']:.1f} "
            f"times as fast as Captum; largest difference {(ours - theirs).abs().max() / theirs.abs().max():.1e} of "
            "Captum's largest score"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
