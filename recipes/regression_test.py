"""Question: can a product's test say that an answer must rely on document 2, and not on the greeting?

Hardware: one CPU core. Time: 7 seconds, mostly imports; `--quick` is the same.
Expected: the check holds for the prompt as released and for a greeting that is worded otherwise. It fails, with a
table, where the answer is right for another reason: document 2 was lost, and the greeting happens to say the same.

Came out: the answer is " coins" as released and after all four changes, so a test of the answer sees nothing; the check
of the reason fails where document 2 was lost, with 99.9 % on the greeting. Not expected: where two places say the same,
each alone is enough, ablation finds .001 to .014 nats anywhere (3.3 as released), and shares of that are chance. So a
check asks for nats too (`min_score`). It then fails for a harmless copy of document 2 as well: an attribution test says
that the reason has changed, and somebody must look whether that is bad.

    pytest recipes/regression_test.py                  # the check as a test suite would have it
    python recipes/regression_test.py                  # what it says of four changes to the prompt
    python recipes/regression_test.py --model Qwen/Qwen2.5-1.5B-Instruct --quantization nf4
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common import arguments, complaint, load, run, show_table, write_numbers, written
from figures.reasons import draw

import spanwise
from spanwise.testing import assert_attributed

TEMPLATE = "{documents}\n{prompt}"
QUESTION, ANSWER, TELLS = "The blue box holds", " coins", "Hello Anna. The blue box holds coins."
RELEASED = {
    "greeting": "Hello and welcome, Anna.",
    "document 1": "The red box holds keys.",
    "document 2": "The blue box holds coins.",
    "document 3": "The green box holds lamps.",
}
"""What the product puts before the question."""
CHANGES: dict[str, Mapping[str, str]] = {
    "as released": {},
    "another greeting": {"greeting": "It was a quiet day."},
    "document 2 lost, greeting says it": {"greeting": TELLS, "document 2": "Nobody else was there."},
    "greeting says it too": {"greeting": TELLS},
    "document 2 in two documents": {"document 3": "The blue box holds coins."},
}
"""What somebody changes later."""
CHECKS = ("answer", "reason")


def explained(lm: spanwise.LanguageModel, parts: Mapping[str, str], method: str) -> spanwise.Attribution:
    """Return what the greeting and each document had to do with the answer."""
    features = spanwise.documents(list(parts.values()), names=list(parts), separator="\n", template=TEMPLATE)
    asked = {"span": ANSWER.strip(), "method": method, "features": features, "source": list(parts.values())}
    return spanwise.attribute(lm, QUESTION, ANSWER, **asked)


def check_answer(lm: spanwise.LanguageModel, parts: Mapping[str, str]) -> None:
    """Check what the model writes: all that a test without attribution can see."""
    prompt = TEMPLATE.format(documents="\n".join(parts.values()), prompt=QUESTION)
    assert written(lm, prompt, 8).startswith(ANSWER), "the answer is another one"


def check_reason(result: spanwise.Attribution) -> None:
    """Check why: the answer must rely on document 2, and not on the greeting."""
    assert_attributed(result, to="document 2", not_to="greeting", at_least=0.8, at_most=0.1, min_score=1.0)


def test_the_answer_relies_on_document_2() -> None:
    """What a product's test suite would have."""
    lm = spanwise.load_model("tiny")
    check_answer(lm, RELEASED)
    check_reason(explained(lm, RELEASED, "feature_ablation"))


def main(given: Sequence[str] | None = None) -> dict[str, Any]:
    """Try the checks on each change, and show the table of those that fail."""
    asked = arguments(__doc__, "regression_test", given)
    lm = load(asked)
    found, results = {}, {}
    for name, change in CHANGES.items():
        parts = RELEASED | change
        result = results[name] = explained(lm, parts, "feature_ablation")
        scores = {token.name: float(s) for token, s in zip(result.source, result.scores[0], strict=True) if token.name}
        found[name] = {
            "answer": complaint(check_answer, lm, parts),
            "reason": complaint(check_reason, result),
            "scores": scores,
        }
        if found[name]["reason"]:
            print(f"{name}:\n{found[name]['reason']}\n")
    write_numbers(asked.output, found)
    rows = [(name, *("fails" if each[what] else "holds" for what in CHECKS)) for name, each in found.items()]
    checks = {"after each change": show_table("the checks", ("change", *CHECKS), rows)}
    draw(asked.output / "reasons.png", found)
    results["as released"].report(asked.output / "report.html", checks=checks)
    return found


if __name__ == "__main__":
    run(main)
