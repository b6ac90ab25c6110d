"""Of `factual_recall.py`: what the model answers, and what it answers when a word is exchanged."""

from __future__ import annotations

from random import Random

from common import log_probs
from grammars.facts import ANSWERS, Fact

import spanwise


def answer(lm: spanwise.LanguageModel, prompt: str) -> str:
    """Return which capital or language the model likes best behind the prompt."""
    found = log_probs(lm, prompt, [f" {choice}" for choice in ANSWERS])
    return ANSWERS[found.index(max(found))]


def intervened(lm: spanwise.LanguageModel, fact: Fact, rng: Random) -> dict[str, dict[str, str]]:
    """Return for each exchanged word the prompt, the model's answer, and the right one."""
    return {
        word: {"prompt": changed.prompt, "answer": answer(lm, changed.prompt), "expected": changed.truth}
        for word, changed in fact.exchanged(rng).items()
    }
