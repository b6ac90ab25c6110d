"""Question: the model writes "The key to the cabinets are". When it errs, is the distractor ("cabinets") to blame?

Hardware: one CPU core. Time: TIME; `--quick` under 20 seconds.
Expected: an attribution that contrasts the wrong verb with the right one puts the most on the distractor where the
distractor is the cause, and on the subject where the subject's form is ("The news near the lamp are"). Which one is
the cause is tried out: the distractor's number is swapped, and if the right verb wins then, the distractor did it.

Came out: TODO

    python recipes/agreement_error.py
    python recipes/agreement_error.py --model Qwen/Qwen2.5-1.5B-Instruct --quantization nf4
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from common import arguments, gaps_expected, load, log_probs, show_table, write_numbers
from figures.agreement import draw
from grammars import agreement
from grammars.agreement import OTHER, VERBS, Sentence

import spanwise

METHODS = ("feature_ablation", "shapley_values", "integrated_gradients", "input_x_gradient", "attention_rollout")
WORDS = ("The", "subject", "preposition", "the", "distractor")


def preference(lm: spanwise.LanguageModel, sentence: Sentence) -> float:
    """Return by how much (nats) the wrong verb is preferred to the right one; above 0, the model errs."""
    wrong, right = log_probs(lm, sentence.prompt, [f" {VERBS[OTHER[sentence.number]]}", f" {VERBS[sentence.number]}"])
    return wrong - right


def explained(lm: spanwise.LanguageModel, sentence: Sentence, method: str) -> spanwise.Attribution:
    """Return what each word had to do with the wrong verb instead of the right one."""
    wrong, right = (f" {VERBS[number]}" for number in (OTHER[sentence.number], sentence.number))
    aim = {} if method == "attention_rollout" else {"objective": spanwise.contrast(right)}  # attention has no aim
    options = {"features": "word"} if method in METHODS[:2] else {}
    result = spanwise.attribute(lm, sentence.prompt, wrong, span=wrong.strip(), method=method, **aim, **options)
    return result if options else result.by("word")


def scored(lm: spanwise.LanguageModel, errors: Sequence[dict[str, Any]], method: str) -> list[spanwise.Attribution]:
    """Return the explanations of all errors, and note for each the word that is blamed and the distractor's score."""
    results = [explained(lm, error["sentence"], method) for error in errors]
    for error, result in zip(errors, results, strict=True):
        scores = result.scores[0].nan_to_num(float("-inf"))
        error[method] = {"blamed": WORDS[int(scores.argmax())], "distractor": float(scores[4])}
    return results


def agrees(errors: Sequence[dict[str, Any]], method: str) -> dict[str, float]:
    """Return how often the word that is blamed and the swap say the same, by what the swap says."""
    hits = {True: [], False: []}
    for error in errors:
        hits[error["by_distractor"]].append((error[method]["blamed"] == "distractor") == error["by_distractor"])
    every = hits[True] + hits[False]
    named = {"all": every, "distractor": hits[True], "something else": hits[False]}
    return {name: sum(found) / len(found) if found else float("nan") for name, found in named.items()}


def main(given: Sequence[str] | None = None) -> dict[str, Any]:
    """Find the model's errors, blame a word for each, swap the distractor, and compare."""
    asked = arguments(__doc__, "agreement_error", given)
    lm, rng = load(asked, "decoder"), Random(asked.seed)
    sentences = [agreement.draw(rng, held_out=True) for _ in range(120 if asked.quick else 600)]
    errors: list[dict[str, Any]] = []
    for sentence in sentences:
        if (lead := preference(lm, sentence)) > 0:
            after = preference(lm, sentence.swapped())
            errors.append({"sentence": sentence, "by_distractor": after <= 0, "lead": lead, "fall": lead - after})
    with gaps_expected():
        results = {method: scored(lm, errors, method) for method in METHODS}
    found = {
        "sentences": len(sentences),
        "errors": len(errors),
        "errors_by_distractor": sum(error["by_distractor"] for error in errors),
        "agreement_with_swap": {method: agrees(errors, method) for method in METHODS},
        "cases": [error | {"sentence": error["sentence"].prompt} for error in errors],
    }
    write_numbers(asked.output, found)
    headings = ("method", "all", "distractor at fault", "something else at fault")
    title = f"{len(errors)} errors in {len(sentences)} sentences; share in which blame and swap agree"
    show_table(title, headings, [(name, *shares.values()) for name, shares in found["agreement_with_swap"].items()])
    if errors:
        draw(asked.output / "distractor.png", errors, METHODS[:3])
        worst = max(range(len(errors)), key=lambda i: errors[i]["lead"] if errors[i]["by_distractor"] else -1)
        results["feature_ablation"][worst].report(
            asked.output / "report.html", checks={"all errors": found["agreement_with_swap"]}
        )
    return found


if __name__ == "__main__":
    main()
