"""Long prompts by few forwards: hierarchical ablation against the full one, and contexts as a regression.

Both on the bundled model, whose effects have causes; a random model's have none to be found. It was trained on 512
tokens; for 2,048 its context is stretched, so that its answers are poor and its effects flat there: the counts are
what that row is for.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from common import Row, attributed, by_turns, difference

import spanwise
from spanwise.evaluation.agreement import top_k_overlap
from spanwise.evaluation.faithfulness.context import linear_datamodeling_score, top_k_drop

HIERARCHY = "Hierarchical ablation over full ablation"
CONTEXT = "Contexts: 32 ablations over sentences"


@dataclass(frozen=True)
class Size:
    """How many prompts of how many tokens, and forwards; prompts with sentences for the regression."""

    prompts: int
    tokens: Sequence[int]
    contexts: int


def compare(size: Size) -> list[Row]:
    """Returns the rows of both tables."""
    rows = []
    for count in size.tokens:
        prompts = 1 if count > 512 else size.prompts
        for forwards in (96,) if count > 512 else (count // 20, count // 10, count // 5):
            rows.append(_hierarchy(count, forwards, prompts))
    return rows + _contexts(size.contexts)


def _hierarchy(count: int, forwards: int, prompts: int) -> Row:
    """Several planted texts one after another; the answer is the last one's."""
    lm = spanwise.load_model("tiny")
    if count > 512:
        lm.model.config.max_position_embeddings = 2 * count
    seconds, made, recall, mass, apart = [0.0, 0.0], [0, 0], [], [], 0.0
    for prompt, target in _long(lm, count, prompts):
        ask = partial(spanwise.attribute, lm, prompt, target, rows="span", progress=False)
        few_options = {"forwards": max(16, forwards)}
        full, few = by_turns(
            [
                partial(ask, method="feature_ablation"),
                partial(ask, method="hierarchical_ablation", method_options=few_options),
            ],
            1,
            warm=False,
        )
        expected, found = attributed(full.result)[0], attributed(few.result)[0]
        recall.append(float(top_k_overlap(found[None], expected[None], k=10)))
        top = found.abs().topk(10).indices
        mass.append(float(expected[top].abs().sum() / expected.abs().topk(10).values.sum()))
        for i, each in enumerate((full, few)):
            seconds[i] += each.seconds
            made[i] += each.result.provenance.forwards
        apart = max(apart, _exact(found, expected))
    return Row(
        HIERARCHY,
        {
            "tokens": count,
            "prompts": prompts,
            "full forwards": made[0] // prompts,
            "forwards": made[1] // prompts,
            "fewer": made[0] / made[1],
            "asked": 20.0 if count > 512 else None,
            "faster": seconds[0] / seconds[1],
            "recall of the top 10": sum(recall) / prompts,
            "share of their mass": sum(mass) / prompts,
            "difference": apart,
        },
    )


def _exact(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Returns the largest difference where a feature was switched off alone: where its neighbors' scores are others."""
    alone = torch.ones(len(found), dtype=torch.bool)
    alone[1:] &= found[1:] != found[:-1]
    alone[:-1] &= found[:-1] != found[1:]
    return float((found - expected)[alone].abs().max() / expected.abs().max()) if alone.any() else 0.0


def _long(lm: spanwise.LanguageModel, count: int, prompts: int) -> list[tuple[str, str]]:
    """Returns prompts of at most that many tokens, in paragraphs, each with its target."""
    examples = spanwise.ground_truth(seed=1, per_family=60)
    random.Random(0).shuffle(examples)
    found = []
    while len(found) < prompts:
        last = examples.pop()
        text = last.prompt
        while examples:
            longer = f"{examples[-1].prompt}{examples[-1].target}\n\n{text}"
            if len(lm.tokenizer(longer)["input_ids"]) > count - 16:
                break
            examples.pop()
            text = longer
        found.append((text, last.target))
    return found


def _contexts(count: int) -> list[Row]:
    """What each method's first sentences are worth, and how well its scores foretell what the model says."""
    lm = spanwise.load_model("tiny")
    examples = [each for each in spanwise.ground_truth("retrieval", seed=2) if each.prompt.count(". ") >= 3]
    asked = {
        "context_cite, 32 ablations": ("context_cite", {}),
        "feature_ablation, deleted": ("feature_ablation", {"baseline": "delete"}),
        "feature_ablation, unknown tokens": ("feature_ablation", {}),
    }
    rows = []
    for name, (method, given) in asked.items():
        drops: dict[int, list[float]] = {1: [], 2: []}
        foretold, forwards, again = [], [], 0.0
        for each in examples[:count]:
            results = [
                spanwise.attribute(
                    lm,
                    each.prompt,
                    each.target,
                    method=method,
                    features="sentence",
                    rows="span",
                    seed=3,
                    progress=False,
                    **given,  # type: ignore[arg-type]
                )
                for _ in range(2)
            ]
            for k, found in drops.items():
                found.append(top_k_drop(lm, results[0], k))
            foretold.append(linear_datamodeling_score(lm, results[0]))
            forwards.append(results[0].provenance.forwards)
            again = max(again, difference(attributed(results[1]), attributed(results[0])))
        rows.append(
            Row(
                CONTEXT,
                {
                    "method": name,
                    "prompts": len(foretold),
                    "forwards": sum(forwards) / len(forwards),
                    "top-1 drop, nats": sum(drops[1]) / len(drops[1]),
                    "top-2 drop, nats": sum(drops[2]) / len(drops[2]),
                    "linear datamodeling score": sum(foretold) / len(foretold),
                    "difference": again,
                },
            )
        )
    return rows
