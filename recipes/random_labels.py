"""Does an attribution method see what a model has learned, or only what stands in the prompt?

The second test of Adebayo et al. 2018 (arXiv:1810.03292, section 4): a model trained on the true answers, and one of
the same shape trained on the same prompts with shuffled answers, which it can only memorize. Where a method ranks a
prompt's tokens alike in both, it shows the prompt, not what was learned. Two references stand beside that figure: the
same rank correlation between two models that both learned the true answers from other random weights, and a planted
"edge detector" that scores a token by its length and never looks at the model.

Each model is asked for its own answer on prompts it was trained on, which all of them answer rightly. Absolute scores,
Spearman's correlation over the tokens of a prompt, mean over prompts with its 95 % bootstrap interval.

Hardware: one CPU core. Time: about 3 minutes; `--quick` under 2.
Expected before it was run: correlations with the shuffled model well below those between the two true ones, except for
the edge detector; they are below, but not well below.
Measured (40 of 400 training prompts of facts and profile; every model writes all of its own answers): the gap is small.
Correlation with shuffled / with true again: integrated gradients .42 / .56, LIME .39 / .51, attention .50 / .58,
saliency .70 / .76, attention rollout .77 / .83: told apart. Feature ablation .51 / .58, Shapley sampling .47 / .54,
smoothgrad .73 / .77, input x gradient .32 / .34: the interval of the difference holds 0. Token length: 1.00 / 1.00. So
most of what two such maps share is the prompt, not the learned rule, rollout, smoothgrad and saliency most of all, and
two models that learned the same rule agree no better than .5 to .8 themselves. Small models, few prompts: a difference
that 40 prompts do not show may be there.

    python recipes/random_labels.py --output random_labels.json
"""

from __future__ import annotations

import argparse
import json
import random
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import bootstrap
from tqdm import tqdm
from train_small_model import accuracy, rows_of, train
from transformers import PreTrainedTokenizerBase

import spanwise
from spanwise.aggregation import row_scores
from spanwise.evaluation.agreement import rank_correlation
from spanwise.evaluation.planted.ground_truth import Example, ground_truth
from spanwise.storage import writing

FAMILIES = ("facts", "profile")  # answers of many kinds: shuffled ones are hardly ever the true one
EDGE_DETECTOR = "token length"
FULL = {"per_family": 200, "prompts": 40, "steps": 400}
QUICK = {
    "per_family": 100,
    "prompts": 20,
    "steps": 250,
    "methods": ("saliency", "integrated_gradients", "feature_ablation", "attention", EDGE_DETECTOR),
}
METHODS = (
    "saliency",
    "input_x_gradient",
    "integrated_gradients",
    "smoothgrad",
    "feature_ablation",
    "shapley_value_sampling",
    "lime",
    "attention",
    "attention_rollout",
    EDGE_DETECTOR,
)


def shuffled(examples: Sequence[Example], seed: int) -> list[Example]:
    """Return the examples with their answers exchanged among those of the same family and the same place in it."""
    rng, groups = random.Random(seed), {}
    for number, example in enumerate(examples):
        place = example.target[: example.span_range[0]].count(",")
        groups.setdefault((example.family, place), []).append(number)
    found = list(examples)
    for numbers in groups.values():
        for number, taken in zip(numbers, rng.sample(numbers, len(numbers)), strict=True):
            found[number] = _answered(examples[number], examples[taken].span)
    return found


def _answered(example: Example, span: str) -> Example:
    start, end = example.span_range
    target = example.target[:start] + span + example.target[end:]
    return replace(example, target=target, span=span, span_range=(start, start + len(span)))


def models(
    tokenizer: PreTrainedTokenizerBase, true: Sequence[Example], false: Sequence[Example], steps: int, seed: int
) -> tuple[dict[str, spanwise.LanguageModel], dict[str, float]]:
    """Return three models and the share of their own answers that each has learned.

    "true" and "again" learned the true answers, from other random weights; "shuffled" the shuffled ones.
    """
    found, learned = {}, {}
    for name, examples, weights in (("true", true, seed), ("again", true, seed + 1), ("shuffled", false, seed)):
        rows = rows_of(tokenizer, examples)
        model = train(tokenizer, rows, steps, weights, absent=0.1, what=f"training {name}")
        found[name] = spanwise.LanguageModel(model, tokenizer, name=name)
        learned[name] = accuracy(model, rows)
    return found, learned


def scores_of(lm: spanwise.LanguageModel, example: Example, method: str) -> torch.Tensor:
    """Return the absolute score of each prompt token that has one, for the example's own answer."""
    asked = "attention" if method == EDGE_DETECTOR else method
    result = spanwise.attribute(lm, example.prompt, example.target, span=example.span_range, method=asked)
    scores = row_scores(result)
    if method == EDGE_DETECTOR:
        lengths = torch.tensor([float(len(token.text)) for token in result.source])
        scores = torch.where(scores.isnan(), scores, lengths)
    return scores[~scores.isnan()].abs()


def correlations(
    lms: Mapping[str, spanwise.LanguageModel], true: Sequence[Example], false: Sequence[Example], method: str
) -> dict[str, dict[str, float]]:
    """Return the mean rank correlation with the model "true" of "shuffled" and of "again", and their difference.

    Prompts where either has no order (every score the same) are left out.
    """
    found: dict[str, list[float]] = {"shuffled": [], "again": [], "difference": []}
    for one, other in zip(true, false, strict=True):
        ours = scores_of(lms["true"], one, method)
        shuffled, again = (
            float(rank_correlation(ours[None], scores_of(lms[name], asked, method)[None]))
            for name, asked in (("shuffled", other), ("again", one))
        )
        if shuffled == shuffled and again == again:
            for name, value in (("shuffled", shuffled), ("again", again), ("difference", again - shuffled)):
                found[name].append(value)
    return {name: interval(values) for name, values in found.items()}


def interval(values: Sequence[float]) -> dict[str, float]:
    """Return the mean and its 95 % percentile bootstrap interval over prompts."""
    found = bootstrap((values,), np.mean, n_resamples=2000, method="percentile", random_state=np.random.default_rng(0))
    low, high = (float(limit) for limit in found.confidence_interval)
    return {"mean": float(np.mean(values)), "low": low, "high": high}


def verdict(found: Mapping[str, Mapping[str, float]]) -> str:
    """Return whether models that learned the same rule agree more than one of them with one that memorized."""
    return "tells them apart" if found["difference"]["low"] > 0 else "does not tell them apart"


def run(
    *,
    per_family: int,
    prompts: int,
    steps: int,
    seed: int = 0,
    families: Sequence[str] = FAMILIES,
    methods: Sequence[str] = METHODS,
) -> dict[str, Any]:
    """Return the figures of the whole experiment, as values that JSON has.

    Args:
        per_family: Training prompts of each family.
        prompts: How many of them are attributed.
        steps: Batches of training, for each of the three models.
        seed: Of prompts, answers, weights and samples.
        families: Of the ground truth.
        methods: Names of methods, and "token length".
    """
    began = time.monotonic()
    true = ground_truth(families, held_out=False, per_family=per_family, seed=seed)
    false = shuffled(true, seed)
    lms, learned = models(spanwise.load_model("tiny").tokenizer, true, false, steps, seed)
    chosen = random.Random(seed).sample(range(len(true)), prompts)
    attributed = ([true[i] for i in chosen], [false[i] for i in chosen])
    figures = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spanwise.AttributionWarning)  # completeness gaps, told for each prompt
        for method in tqdm(methods, desc="methods", leave=False):
            found = correlations(lms, *attributed, method)
            figures[method] = found | {"verdict": verdict(found)}
    return {
        "families": list(families),
        "prompts_trained_on": len(true),
        "prompts_attributed": prompts,
        "steps": steps,
        "seed": seed,
        "answers_changed": sum(a.span != b.span for a, b in zip(true, false, strict=True)) / len(true),
        "own_answers_learned": learned,
        "methods": figures,
        "seconds": time.monotonic() - began,
    }


def show(found: Mapping[str, Any]) -> None:
    """Print the table."""
    print(
        f"{found['prompts_trained_on']} prompts of {', '.join(found['families'])}; shuffling changed "
        f"{found['answers_changed']:.0%} of the answers. Own answers learned: "
        + ", ".join(f"{name} {share:.3f}" for name, share in found["own_answers_learned"].items())
    )
    headings = ("method", "true and shuffled", "true and true again", "difference", "verdict")
    table = Table(*headings, box=None, pad_edge=False)
    for method, figures in found["methods"].items():
        parts = (figures[name] for name in ("shuffled", "again", "difference"))
        cells = [f"{part['mean']:.2f} [{part['low']:.2f}, {part['high']:.2f}]" for part in parts]
        table.add_row(method, *cells, figures["verdict"])
    Console(width=120).print(table)
    print(f"Spearman's correlation over {found['prompts_attributed']} prompts; {found['seconds']:.0f} seconds")


def main() -> None:
    """Train the three models, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer prompts, steps and methods")
    parser.add_argument("--output", type=Path, default=Path("random_labels.json"), help="where the figures go")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = run(**(QUICK if arguments.quick else FULL), seed=arguments.seed)
    with writing(arguments.output) as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    show(found)
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
