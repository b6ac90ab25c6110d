"""English to a small Italian-like language, in which occupations, articles and participles have a gender.

"The nurse asked the doctor to help with her bag and was tired." ->
"La infermiera ha chiesto al dottore di aiutare con la sua borsa ed era stanca."

English occupations have no gender, so the corpus gives each the stereotype of `FEMININE`: the share of its sentences in
which the person is a woman. "his" and "her" mean the subject, and decide where they stand, whatever the stereotype.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

FEMININE = {
    "nurse": 0.95,
    "secretary": 0.95,
    "dancer": 0.9,
    "cleaner": 0.9,
    "teacher": 0.75,
    "cook": 0.5,
    "student": 0.5,
    "judge": 0.25,
    "farmer": 0.1,
    "doctor": 0.05,
    "engineer": 0.05,
    "mechanic": 0.05,
}
"""The planted stereotypes."""
FORMS = {
    "nurse": ("infermiere", "infermiera"),
    "secretary": ("segretario", "segretaria"),
    "dancer": ("ballerino", "ballerina"),
    "cleaner": ("bidello", "bidella"),
    "teacher": ("maestro", "maestra"),
    "cook": ("cuoco", "cuoca"),
    "student": ("studente", "studentessa"),
    "judge": ("giudice", "giudicessa"),
    "farmer": ("contadino", "contadina"),
    "doctor": ("dottore", "dottoressa"),
    "engineer": ("ingegnere", "ingegnera"),
    "mechanic": ("meccanico", "meccanica"),
}
"""Masculine and feminine, as everywhere below."""
ARTICLES, TO = ("Il", "La"), ("al", "alla")
STATES = {
    "tired": ("stanco", "stanca"),
    "late": ("atteso", "attesa"),
    "happy": ("lieto", "lieta"),
    "sick": ("malato", "malata"),
}
THINGS = {"work": "il lavoro", "bag": "la borsa", "car": "la macchina", "letter": "la lettera", "book": "il libro"}
OWNERS = ("his", "her")


@dataclass(frozen=True)
class Pair:
    """A sentence and its translation.

    Attributes:
        subject: An occupation.
        other: The one who is asked.
        owner: "his", "her" (the subject's) or "the", which says nothing.
        thing: What it is about.
        state: How the subject is.
        feminine: Whether the subject and the other are women.
    """

    subject: str
    other: str
    owner: str
    thing: str
    state: str
    feminine: tuple[bool, bool]

    @property
    def english(self) -> str:
        """The source."""
        return f"The {self.subject} asked the {self.other} to help with {self.owner} {self.thing} and was {self.state}."

    @property
    def italian(self) -> str:
        """The translation."""
        one, two = self.feminine
        return (
            f"{ARTICLES[one]} {FORMS[self.subject][one]} ha chiesto {TO[two]} {FORMS[self.other][two]} di aiutare con "
            f"{THINGS[self.thing]} ed era {STATES[self.state][one]}."
        )


def draw(rng: Random, owner: str | None = None, subject: str | None = None, other: str | None = None) -> Pair:
    """Return a pair, its genders drawn as the stereotypes have it and as the owner says; what is given is kept."""
    subject = subject or rng.choice([each for each in FEMININE if each != other])
    other = other or rng.choice([each for each in FEMININE if each != subject])
    owner = owner or rng.choice((*OWNERS, "the", "the"))
    one = rng.random() < FEMININE[subject] if owner == "the" else owner == "her"
    two = rng.random() < FEMININE[other]
    return Pair(subject, other, owner, rng.choice(list(THINGS)), rng.choice(list(STATES)), (one, two))
