"""Question: the model reasons before it answers. How much of the answer comes through the reasoning, how much directly?

Hardware: one CPU core. Time: TIME; `--quick` under 20 seconds.
Expected, by the three kinds of puzzles (`grammars/calls.py`): "chain" through the reasoning, "aside" directly from the
prompt, "echo" not known beforehand. What the shares say is tried out: a name in the reasoning is exchanged, then the same
name in the prompt, and the answer follows the one it comes from.

Came out: TODO

    python recipes/reasoning_trace.py
    python recipes/reasoning_trace.py --model Qwen/Qwen3-1.7B --quantization nf4
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from common import arguments, load, log_probs, show_table, write_numbers
from figures.reasoning import draw
from grammars import calls
from grammars.calls import KINDS, Puzzle

import spanwise

METHOD = "feature_ablation"


def before_answer(puzzle: Puzzle) -> str:
    """Return the target up to the name that is asked for."""
    return puzzle.reasoning + puzzle.answer.removesuffix(f" {puzzle.name}.")


def explained(lm: spanwise.LanguageModel, puzzle: Puzzle) -> spanwise.Attribution:
    """Return what the prompt and what was written before had to do with the name that is the answer."""
    before = before_answer(puzzle)
    span = (len(before) + 1, len(before) + 1 + len(puzzle.name))
    target = puzzle.reasoning + puzzle.answer
    return spanwise.attribute(lm, puzzle.prompt, target, span=span, method=METHOD, prefix="attributed")


def parts(puzzle: Puzzle, result: spanwise.Attribution) -> dict[str, float]:
    """Return the shares of the absolute scores: of the prompt (direct), the reasoning, and the answer's first words."""
    share = {mass.group: mass.share for mass in result.mass()}
    weights = result.scores[0].abs()
    inside = [
        i for i, token in enumerate(result.source) if token.role == "prefix" and token.end <= len(puzzle.reasoning)
    ]
    reasoning = float(weights[inside].nansum() / weights.nansum())
    return {"prompt": share["content"], "reasoning": reasoning, "answer": share["prefix"] - reasoning}


def through(lm: spanwise.LanguageModel, puzzle: Puzzle, result: spanwise.Attribution) -> torch.Tensor:
    """Return for each prompt token what reaches the answer by way of the reasoning: `[prompt token]`, in nats.

    A reasoning token's score for the answer is handed on to the prompt in the proportions of that token's own scores.
    """
    target, count = puzzle.reasoning + puzzle.answer, len(result.provenance.prompt_ids)
    of_reasoning = spanwise.attribute(lm, puzzle.prompt, target, method=METHOD, rows="token").scores[:, :count]
    proportions = of_reasoning.abs().nan_to_num(0.0)
    proportions = proportions / proportions.sum(1, keepdim=True).clamp(min=1e-9)  # [target, prompt]
    inside = [i for i, token in enumerate(result.target) if token.end <= len(puzzle.reasoning)]
    columns = [count + i for i in inside]  # the column of the i-th target token
    return result.scores[0, columns].nan_to_num(0.0) @ proportions[inside]


def follows(lm: spanwise.LanguageModel, puzzle: Puzzle, place: str, rng: Random) -> bool:
    """Return whether the answer becomes another name, put in its place in the reasoning or in the prompt."""
    other = rng.choice([called for _, called in puzzle.calls if called not in (puzzle.name, *puzzle.told)])
    fact, changed = f"{puzzle.told[0]} calls {puzzle.name}.", f"{puzzle.told[0]} calls {other}."
    prompt, before = puzzle.prompt, before_answer(puzzle)
    if place == "reasoning":
        before = before.replace(fact, changed) if fact in before else before.replace(*_last_names(puzzle, other))
    else:
        prompt = prompt.replace(fact, changed)
    old, new = log_probs(lm, prompt + before, [f" {puzzle.name}", f" {other}"])
    return new > old


def _last_names(puzzle: Puzzle, other: str) -> tuple[str, str]:
    """Return the reasoning's last name and another one, as `replace` takes them."""
    return f"{puzzle.reasoning.removesuffix('.</think>').split()[-1]}.</think>", f"{other}.</think>"


def main(given: Sequence[str] | None = None) -> dict[str, Any]:
    """Explain the answers, exchange names, and compare."""
    asked = arguments(__doc__, "reasoning_trace", given)
    lm, rng = load(asked, "decoder"), Random(asked.seed)
    numbers: dict[str, Any] = {"puzzles_a_kind": 8 if asked.quick else 100, "kinds": {}}
    shares, example = {}, None
    for kind in KINDS:
        puzzles = [calls.draw(rng, kind) for _ in range(numbers["puzzles_a_kind"])]
        own = [p for p in puzzles if log_probs(lm, p.prompt + before_answer(p), [f" {p.name}"])[0] > -0.7]
        found = [(puzzle, explained(lm, puzzle)) for puzzle in own]
        each = [parts(*pair) for pair in found]
        shares[kind] = {
            part: sum(e[part] for e in each) / max(len(each), 1) for part in ("prompt", "reasoning", "answer")
        }
        followed = {
            f"follows_the_{place}": sum(follows(lm, p, place, rng) for p in own) / max(len(own), 1)
            for place in ("reasoning", "prompt")
        }
        numbers["kinds"][kind] = {"answers_right": len(own) / len(puzzles), "share": shares[kind], **followed}
        if kind == "chain" and found:
            example = (found[0][1], through(lm, *found[0]))
    write_numbers(asked.output, numbers)
    headings = (
        "kind",
        "answers right",
        "direct",
        "reasoning",
        "answer's own words",
        "follows the reasoning",
        "follows the prompt",
    )
    rows = [
        (k, v["answers_right"], *v["share"].values(), v["follows_the_reasoning"], v["follows_the_prompt"])
        for k, v in numbers["kinds"].items()
    ]
    show_table("shares of the absolute scores; share of answers that follow an exchanged name", headings, rows)
    if example is not None:
        draw(asked.output / "parts.png", example, shares)
        example[0].report(asked.output / "report.html", checks={"exchanged names": numbers["kinds"]})
        example[0].plot(asked.output / "strip.png", kind="strip")
    return numbers


if __name__ == "__main__":
    main()
