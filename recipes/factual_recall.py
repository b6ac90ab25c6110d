"""Question: the model completes "The capital of France is called" with " Paris". Which words are to thank?

Hardware: one CPU core. Time: 30 seconds; `--quick` 10 seconds.
Expected: the relation ("capital") and the subject ("France"), and nothing else. Checked by intervention: with Italy
for France the answer is Rome, with "language" for "capital" it is French; exchanging any other word leaves it.

Came out (the bundled model knows 96 of 96 facts): the answer follows the subject and the relation every time, and never
a bystander's name. Feature ablation says so beforehand: subject and relation are the two strongest words of every
prompt, with 73 and 27 % of the scores above 0. Integrated gradients have both on top in 96 % of the prompts, Shapley
sampling in 74 %, but give a third of the scores to words that no intervention has shown to matter. Input x gradient has
both on top in 27 %: it sees the subject and misses the relation. "The capital of France is" without "called" is no
question to the bundled model, which writes "called"; a larger one answers either.

    python recipes/factual_recall.py
    python recipes/factual_recall.py --model Qwen/Qwen2.5-1.5B-Instruct --quantization nf4
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from common import arguments, gaps_expected, load, run, show_table, write_numbers
from figures.facts import draw
from grammars.facts import WORDS, Fact, questions
from steps.facts import answer, intervened

import spanwise
from spanwise.errors import ModelError

METHODS = ("feature_ablation", "shapley_value_sampling", "integrated_gradients", "input_x_gradient")


def explained(lm: spanwise.LanguageModel, fact: Fact, method: str, seed: int) -> spanwise.Attribution:
    """Return what each word had to do with the right answer."""
    asked: dict[str, Any] = {"span": fact.truth, "method": method, "seed": seed}
    if method in METHODS[:2]:  # what is switched off is a word; gradients of its tokens are added up
        return spanwise.attribute(lm, fact.prompt, f" {fact.truth}", features="word", **asked)
    return spanwise.attribute(lm, fact.prompt, f" {fact.truth}", **asked).by("word")


def blamed(fact: Fact, result: spanwise.Attribution) -> dict[str, Any]:
    """Return the share of the scores above 0 of each kind of word, and whether subject and relation are on top."""
    above = result.scores[0].nan_to_num(0.0).clamp(min=0)
    shares = dict.fromkeys(WORDS, 0.0)
    for token, score in zip(result.source, above.tolist(), strict=True):
        shares[fact.kind_of(token.text)] += score / (float(above.sum()) or 1.0)
    strongest = {fact.kind_of(result.source[int(i)].text) for i in above.topk(2).indices}
    return {"shares": shares, "both_on_top": strongest == {"subject", "relation"}}


def summary(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means over facts: shares a method, and how often an intervention does what it should."""
    found: dict[str, Any] = {"methods": {}, "followed": {}}
    for method in METHODS:
        own = [fact["methods"][method] for fact in facts]
        found["methods"][method] = {word: sum(each["shares"][word] for each in own) / len(own) for word in WORDS}
        found["methods"][method]["both on top"] = sum(each["both_on_top"] for each in own) / len(own)
    for word in WORDS:
        if cases := [fact["after"][word] for fact in facts if word in fact["after"]]:
            found["followed"][word] = sum(case["answer"] == case["expected"] for case in cases) / len(cases)
    return found


def main(given: Sequence[str] | None = None) -> dict[str, Any]:
    """Explain facts that the model knows, exchange each word, and see whether the answer follows."""
    asked = arguments(__doc__, "factual_recall", given)
    lm, rng = load(asked), Random(asked.seed)
    every = questions(rng)[: 12 if asked.quick else None]
    facts = []
    with gaps_expected():
        examples = [explained(lm, every[0], method, asked.seed) for method in METHODS]
        for fact in every:
            if answer(lm, fact.prompt) == fact.truth:
                after = intervened(lm, fact, rng)
                methods = {method: blamed(fact, explained(lm, fact, method, asked.seed)) for method in METHODS}
                facts.append({"prompt": fact.prompt, "answer": fact.truth, "after": after, "methods": methods})
    if not facts:
        raise ModelError(f"{lm.name} knows none of {len(every)} facts, so there is nothing to explain.")
    found = {"asked": len(every), "known": len(facts), **summary(facts), "facts": facts}
    write_numbers(asked.output, found)
    title = f"{len(facts)} of {len(every)} facts are known; shares of the scores above 0"
    rows = [(method, *values.values()) for method, values in found["methods"].items()]
    checks = {title: show_table(title, ("method", *WORDS, "both on top"), rows)}
    title = "the answer is the right one afterwards"
    checks[title] = show_table(title, ("exchanged", "share"), list(found["followed"].items()))
    draw(asked.output / "shares.png", found["methods"], len(facts))
    examples[0].plot(asked.output / "paris.png", kind="strip")
    examples[0].report(asked.output / "report.html", others=examples[1:], checks=checks)
    return found


if __name__ == "__main__":
    run(main)
