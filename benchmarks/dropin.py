"""The same script before and after its import line is changed: how far apart the numbers are, and the time ratio.

    python benchmarks/dropin.py            # the bundled model, a minute
    python benchmarks/dropin.py --quick    # fewer steps, seconds

Three scripts: Captum's tutorial for language models (ablation of a template, Shapley values, layer integrated
gradients), Inseq's README, and the seed page (a 4-bit model, integrated gradients of a target after a `generate`).
Where Captum's default is wrong with transformers 5.3 and later, the script asks it for its one-pass path. Differences
are relative to the engine's largest score. Read the ratios, not the seconds.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import captum.attr
import inseq
import rich.table
import torch
from rich.console import Console

import spanwise
import spanwise.compat.captum
import spanwise.compat.inseq

PROMPT = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"
TARGET = " painting, traveling to different countries, and volunteering at community events."
# Of a token that the model is sure of, a probability's gradient is 1 - p, of which float32 keeps few digits.
UNSURE = ("The keys to the old cabinet near the window", " was painted by a nurse.")
SLOTS = {"name": "Michael", "job": "software engineer", "city": "Austin"}
TEMPLATE = "{name} works as a {job} in {city}, Texas. In his free time, he enjoys"


def template_ablation(engine: Any, lm: spanwise.LanguageModel, steps: int) -> torch.Tensor:
    """Captum's tutorial, first part."""
    inputs = engine.TextTemplateInput(
        TEMPLATE, values=SLOTS, baselines={"name": "Anna", "job": "nurse", "city": "Rome"}
    )
    method = engine.LLMAttribution(engine.FeatureAblation(lm.model), lm.tokenizer)
    return method.attribute(inputs, target=TARGET, forward_in_tokens=False).token_attr


def template_shapley(engine: Any, lm: spanwise.LanguageModel, steps: int) -> torch.Tensor:
    """Captum's tutorial, second part."""
    inputs = engine.TextTemplateInput(TEMPLATE, values=SLOTS)
    method = engine.LLMAttribution(engine.ShapleyValues(lm.model), lm.tokenizer)
    return method.attribute(inputs, target=TARGET, forward_in_tokens=False).token_attr


def token_ablation(engine: Any, lm: spanwise.LanguageModel, steps: int) -> torch.Tensor:
    """Captum's tutorial, third part."""
    method = engine.LLMAttribution(engine.FeatureAblation(lm.model), lm.tokenizer)
    inputs = engine.TextTokenInput(PROMPT, lm.tokenizer)
    return method.attribute(inputs, target=TARGET, forward_in_tokens=False).token_attr


def seed_page(engine: Any, lm: spanwise.LanguageModel, steps: int) -> torch.Tensor:
    """Layer integrated gradients of a 4-bit model that has generated."""
    ids = lm.tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    lm.model.generate(ids, max_new_tokens=4, do_sample=False)
    method = engine.LayerIntegratedGradients(lm.model, lm.model.model.embed_tokens)
    inputs = engine.TextTokenInput(PROMPT, lm.tokenizer, skip_tokens=[1])
    return (
        engine.LLMGradientAttribution(method, lm.tokenizer).attribute(inputs, target=TARGET, n_steps=steps).token_attr
    )


def inseq_readme(method: str) -> Callable[[Any, spanwise.LanguageModel, int], torch.Tensor]:
    """Inseq's README with one of its methods."""

    def script(engine: Any, lm: spanwise.LanguageModel, steps: int) -> torch.Tensor:
        lm.model.config.bos_token_id = lm.tokenizer.eos_token_id  # plain Inseq needs one to load
        lm.model.set_attn_implementation("eager")
        model = engine.load_model(lm.model, method, tokenizer=lm.tokenizer)
        options = {"n_steps": steps} if method == "integrated_gradients" else {}
        out = model.attribute(
            UNSURE[0], UNSURE[0] + UNSURE[1], step_scores=["probability"], show_progress=False, **options
        )
        found = out[0].target_attributions
        return (found.norm(dim=-1) if found.ndim == 3 else found).nan_to_num()  # as its `show` does

    return script


CAPTUM = (captum.attr, spanwise.compat.captum)
INSEQ = (inseq, spanwise.compat.inseq)
SCRIPTS: dict[str, tuple[Any, Callable[..., torch.Tensor], dict[str, Any]]] = {
    "Captum's tutorial: template, ablation": (CAPTUM, template_ablation, {}),
    "Captum's tutorial: template, Shapley values": (CAPTUM, template_shapley, {}),
    "Captum's tutorial: tokens, ablation": (CAPTUM, token_ablation, {}),
    "Captum's tutorial: layer integrated gradients": (CAPTUM, seed_page, {}),
    "Inseq's README: integrated gradients": (INSEQ, inseq_readme("integrated_gradients"), {}),
    "Inseq's README: saliency": (INSEQ, inseq_readme("saliency"), {}),
    "Inseq's README: occlusion": (INSEQ, inseq_readme("occlusion"), {}),
    "seed page: nf4, after a generate": (CAPTUM, seed_page, {"quantization": "nf4"}),
}


def main() -> None:
    """Runs each script with both imports and prints them side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer integration steps")
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--json", type=Path, help="write the rows here")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    rows, table = [], rich.table.Table(box=None)
    for heading in ("script", "engine s", "ours s", "ratio", "difference"):
        table.add_column(heading, justify="left" if heading == "script" else "right")
    for name, (engines, script, load) in SCRIPTS.items():
        found, seconds = [], []
        for engine in engines:
            lm = spanwise.load_model("tiny", **load)
            begin = time.perf_counter()
            found.append(script(engine, lm, 4 if arguments.quick else 20).detach().float())
            seconds.append(time.perf_counter() - begin)
        apart = float((found[0] - found[1]).abs().max() / found[0].abs().max())
        rows.append({"script": name, "engine": seconds[0], "ours": seconds[1], "difference": apart})
        table.add_row(name, f"{seconds[0]:.2f}", f"{seconds[1]:.2f}", f"{seconds[0] / seconds[1]:.1f}", f"{apart:.0e}")
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
