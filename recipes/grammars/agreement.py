"""Subject, preposition, distractor, verb: "The key to the cabinets is", with the errors that people make.

Two sources of error are planted. After "to", "of" and "behind" a plural distractor makes the verb plural in 80 % of the
sentences. And subjects whose form hides their number ("news", "mice") get the wrong verb in 65 %, whatever stands
between. Everything else is wrong in 2 to 20 %.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from zlib import crc32

import spanwise
from grammars import ANSWER, CONTEXT, TARGET, Document
from spanwise.text.prompts import Template

NOUNS = {
    **{noun: noun + "s" for noun in "key cabinet picture car dog cat tree letter book garden road lamp door".split()},
    "box": "boxes",
    "bus": "buses",
    "dish": "dishes",
}
HIDDEN = {"news": "singular", "lens": "singular", "mice": "plural", "geese": "plural", "oxen": "plural"}
PREPOSITIONS = ("to", "of", "behind", "near", "with", "beside")
LURES = PREPOSITIONS[:3]
"""Behind these a plural distractor usually takes the verb with it."""
_ENDINGS = ("old", "new", "clean", "here", "green", "small")
VERBS = {"singular": "is", "plural": "are"}
OTHER = {"singular": "plural", "plural": "singular"}


@dataclass(frozen=True)
class Sentence:
    """A sentence up to its verb.

    Attributes:
        subject: The noun that should decide the verb.
        number: Its number: "singular" or "plural".
        preposition: What stands between.
        distractor: The noun next to the verb.
        distractor_number: Its number.
    """

    subject: str
    number: str
    preposition: str
    distractor: str
    distractor_number: str

    @property
    def prompt(self) -> str:
        """The text up to the verb."""
        return f"The {self.subject} {self.preposition} the {self.distractor}"

    @property
    def mismatched(self) -> bool:
        """Whether subject and distractor differ in number."""
        return self.number != self.distractor_number

    def swapped(self, rng: Random | None = None) -> Sentence:
        """Return the sentence with a distractor of the other number: the same noun, or with `rng` another one."""
        number = OTHER[self.distractor_number]
        own = next(noun for noun, plural in NOUNS.items() if self.distractor in (noun, plural))
        noun = own if rng is None else rng.choice([each for each in NOUNS if each != own])
        return replace(self, distractor=noun if number == "singular" else NOUNS[noun], distractor_number=number)

    def exchangeable(self) -> Template:
        """Return the sentence as a template: without it, each word is the one that would not mislead.

        The subject: one whose form shows its number; the preposition: "near"; the distractor: in the other number.
        """
        plain = "key" if self.number == "singular" else "keys"
        misleads = {"preposition": "near", "subject": plain, "distractor": self.swapped().distractor}
        words = {name: getattr(self, name) for name in misleads}
        return spanwise.template("The {subject} {preposition} the {distractor}", baselines=misleads, **words)


def draw(rng: Random, held_out: bool | None = None) -> Sentence:
    """Return a sentence: any, or one of the fifth of combinations that training does not see (True), or not (False)."""
    while True:
        if rng.random() < 0.2:
            subject, number = rng.choice(list(HIDDEN.items()))
        else:
            number = rng.choice(("singular", "plural"))
            noun = rng.choice(list(NOUNS))
            subject = noun if number == "singular" else NOUNS[noun]
        distractor_number = rng.choice(("singular", "plural"))
        noun = rng.choice([noun for noun in NOUNS if subject not in (noun, NOUNS[noun])])
        distractor = noun if distractor_number == "singular" else NOUNS[noun]
        sentence = Sentence(subject, number, rng.choice(PREPOSITIONS), distractor, distractor_number)
        kept_out = crc32(sentence.prompt.encode()) % 5 == 0
        if held_out is None or kept_out == held_out:
            return sentence


def error_rate(sentence: Sentence) -> float:
    """Return the planted probability of the wrong verb."""
    lured = sentence.mismatched and sentence.distractor_number == "plural" and sentence.preposition in LURES
    by_distractor = 0.8 if lured else 0.2 if sentence.mismatched else 0.02
    return max(by_distractor, 0.65 if sentence.subject in HIDDEN else 0.0)


def document(rng: Random) -> Document:
    """Return a sentence to train on, its verb wrong at the planted rate."""
    sentence = draw(rng, held_out=False)
    wrong = rng.random() < error_rate(sentence)
    verb = VERBS[OTHER[sentence.number] if wrong else sentence.number]
    if rng.random() < 0.15 and sentence.subject not in HIDDEN:  # without a distractor the verb is always right
        return [(f"The {sentence.subject}", CONTEXT), (f" {VERBS[sentence.number]}", ANSWER), (" old.", TARGET)]
    return [(sentence.prompt, CONTEXT), (f" {verb}", ANSWER), (f" {rng.choice(_ENDINGS)}.", TARGET)]
