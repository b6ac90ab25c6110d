"""Question: the model writes "The key to the cabinets are". When it errs, is the distractor ("cabinets") to blame?

Hardware: one CPU core. Time: 30 seconds; `--quick` under 20 seconds.
Expected: an attribution that contrasts the wrong verb with the right one puts the most on the distractor where the
distractor is the cause, and on the subject where the subject's form is ("The news near the lamp are"). Which one is
the cause is tried out: another noun of the other number takes the distractor's place, and if the right verb wins then,
the distractor did it.

Came out, 124 errors in 400 sentences, 45 by the distractor. Words exchanged for ones that do not mislead: of the two
nouns the right one is blamed in .98 of the errors by the distractor and in all others; of all words the distractor is
first in .58 only, because the preposition gets as much, and rightly: the planted error happens after some alone. With
`<unk>` as baseline feature ablation names the distractor in .91 of its errors, but of the nouns blames it in .85 of
the others too: an unknown noun is not a noun of the other number. Integrated gradients do the same (.42 and .87).
Attention rollout never puts the distractor first.

    python recipes/agreement_error.py
    python recipes/agreement_error.py --model Qwen/Qwen2.5-1.5B-Instruct --quantization nf4
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from common import arguments, gaps_expected, load, run, show_table, write_numbers
from figures.agreement import draw
from grammars import agreement
from grammars.agreement import OTHER, VERBS, Sentence
from steps.agreement import agrees, errors_of

import spanwise

EXCHANGED = "shapley_values, exchanged"
METHODS = (EXCHANGED, "feature_ablation", "integrated_gradients", "input_x_gradient", "attention_rollout")
WORDS = ("The", "subject", "preposition", "the", "distractor")


def explained(lm: spanwise.LanguageModel, sentence: Sentence, method: str) -> spanwise.Attribution:
    """Return what each word had to do with the wrong verb instead of the right one."""
    wrong, right = (f" {VERBS[number]}" for number in (OTHER[sentence.number], sentence.number))
    asked: dict[str, Any] = {"span": wrong.strip(), "method": method.partition(",")[0]}
    if method != "attention_rollout":  # attention has no aim
        asked["objective"] = spanwise.contrast(right)
    if method == EXCHANGED:
        return spanwise.attribute(lm, None, wrong, features=sentence.exchangeable(), **asked)
    return spanwise.attribute(lm, sentence.prompt, wrong, **asked)


def blamed(sentence: Sentence, result: spanwise.Attribution) -> dict[str, Any]:
    """Return the distractor's score, and the most blamed of all words and of the two nouns."""
    if result.provenance.features == "token":
        result = result.by("word")
    columns = [token.name or WORDS[len(result.prompt[: token.start].split())] for token in result.source]
    pairs = zip(columns, result.scores[0].tolist(), strict=True)
    scores = {name: score for name, score in pairs if score == score}  # what the template fixes has none
    nouns = {name: scores[name] for name in ("subject", "distractor")}
    return {
        "distractor": scores["distractor"],
        "all words": max(scores, key=scores.get),
        "nouns": max(nouns, key=nouns.get),
    }


def main(given: Sequence[str] | None = None) -> dict[str, Any]:
    """Find the model's errors, blame a word for each, exchange the distractor, and compare."""
    asked = arguments(__doc__, "agreement_error", given)
    lm, rng = load(asked, "decoder"), Random(asked.seed)
    sentences = [agreement.draw(rng, held_out=True) for _ in range(80 if asked.quick else 400)]
    errors = errors_of(lm, sentences, rng)
    results: dict[str, list[spanwise.Attribution]] = {}
    with gaps_expected():
        for method in METHODS:
            results[method] = [explained(lm, error["sentence"], method) for error in errors]
            for error, result in zip(errors, results[method], strict=True):
                error[method] = blamed(error["sentence"], result)
    found = {
        "sentences": len(sentences),
        "errors": len(errors),
        "errors_by_distractor": sum(error["by_distractor"] for error in errors),
        "agreement": {method: agrees(errors, method) for method in METHODS},
        "cases": [error | {"sentence": error["sentence"].prompt} for error in errors],
    }
    write_numbers(asked.output, found)
    title = f"{len(errors)} errors in {len(sentences)} sentences, {found['errors_by_distractor']} by the distractor"
    headings = ("method", *found["agreement"][EXCHANGED])
    rows = [(name, *shares.values()) for name, shares in found["agreement"].items()]
    checks = {
        "all errors": show_table(f"{title}; share in which blame and trial agree, by who is at fault", headings, rows)
    }
    if errors:
        draw(asked.output / "distractor.png", errors, METHODS[:3])
        worst = max(range(len(errors)), key=lambda i: errors[i]["lead"] if errors[i]["by_distractor"] else -1)
        results[EXCHANGED][worst].report(asked.output / "report.html", checks=checks)
    return found


if __name__ == "__main__":
    run(main)
