"""Facts of the bundled corpus as questions: a country's capital or language, asked in two ways, and exchanged words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from spanwise.evaluation.planted.vocabulary import COUNTRIES, NAMES

TEMPLATES = ("The {relation} of {subject} is called", "{name} wrote down the {relation} of {subject}:")
RELATIONS = ("capital", "language")
WORDS = ("subject", "relation", "another word")
ANSWERS = sorted({fact for row in COUNTRIES.values() for fact in row[: len(RELATIONS)]})
"""Every capital and every language."""


@dataclass(frozen=True)
class Fact:
    """A question and its answer.

    Attributes:
        template: One of `TEMPLATES`.
        relation: One of `RELATIONS`.
        subject: A country.
        name: Of a bystander, who does not matter.
    """

    template: str
    relation: str
    subject: str
    name: str = ""

    @property
    def prompt(self) -> str:
        """The text up to the answer."""
        return self.template.format(relation=self.relation, subject=self.subject, name=self.name)

    @property
    def truth(self) -> str:
        """The right answer."""
        return COUNTRIES[self.subject][RELATIONS.index(self.relation)]

    def kind_of(self, word: str) -> str:
        """Return what a word of the prompt is: one of `WORDS`."""
        return {self.subject: "subject", self.relation: "relation"}.get(word.strip(" .,:?"), "another word")

    def exchanged(self, rng: Random) -> dict[str, Fact]:
        """Return the question with the subject, the relation, and a word that should not matter exchanged."""
        others = [country for country in COUNTRIES if country != self.subject]
        changed = {
            "subject": replace(self, subject=rng.choice(others)),
            "relation": replace(self, relation=RELATIONS[1 - RELATIONS.index(self.relation)]),
        }
        if "{name}" in self.template:
            changed["another word"] = replace(self, name=rng.choice([name for name in NAMES if name != self.name]))
        return changed


def questions(rng: Random) -> list[Fact]:
    """Return every question once, in random order behind the one of the capital of France."""
    every = [
        Fact(template, relation, subject, rng.choice(NAMES))
        for subject in COUNTRIES
        for relation in RELATIONS
        for template in TEMPLATES
    ]
    rng.shuffle(every)
    first = Fact(TEMPLATES[0], "capital", "France")
    return [first, *[fact for fact in every if fact.prompt != first.prompt]]
