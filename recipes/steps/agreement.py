"""Of `agreement_error.py`: which errors the model makes, and whose fault they are, tried out."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from common import log_probs
from grammars.agreement import OTHER, VERBS, Sentence

import spanwise


def preference(lm: spanwise.LanguageModel, sentence: Sentence) -> float:
    """Return by how much (nats) the wrong verb is preferred to the right one; above 0, the model errs."""
    wrong, right = log_probs(lm, sentence.prompt, [f" {VERBS[OTHER[sentence.number]]}", f" {VERBS[sentence.number]}"])
    return wrong - right


def errors_of(lm: spanwise.LanguageModel, sentences: Sequence[Sentence], rng: Random) -> list[dict[str, Any]]:
    """Return the sentences whose wrong verb is preferred, and how far it falls with another noun as distractor."""
    errors = []
    for sentence in sentences:
        if (lead := preference(lm, sentence)) > 0:
            after = preference(lm, sentence.swapped(rng))
            errors.append({"sentence": sentence, "by_distractor": after <= 0, "lead": lead, "fall": lead - after})
    return errors


def agrees(errors: Sequence[dict[str, Any]], method: str) -> dict[str, float]:
    """Return how often blame and trial say the same, of all words and of the nouns, by what the trial says."""
    found = {}
    for among in ("all words", "nouns"):
        for guilty, name in ((True, "distractor"), (False, "subject")):
            kept = [each for each in errors if each["by_distractor"] == guilty]
            hits = [(each[method][among] == "distractor") == guilty for each in kept]
            found[f"{among}: {name}"] = sum(hits) / len(hits) if hits else float("nan")
    return found
