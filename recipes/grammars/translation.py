"""English to a small Italian-like language, in which occupations, articles and participles have a gender.

"The nurse asked the doctor to help with her bag and was tired." ->
"La infermiera ha chiesto al dottore di aiutare con la sua borsa ed era stanca."

English occupations have no gender, so the corpus gives each the stereotype of `FEMININE`: the share of its sentences in
which the person is a woman. "his" and "her" mean the subject, and decide where they stand, whatever the stereotype.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
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

    def spans(self, target: str) -> list[tuple[int, int]]:
        """Return the characters of both articles and the participle in a translation; fewer where it lacks them."""
        wanted = (ARTICLES, TO, STATES[self.state])
        found = (re.search(rf"(?<!\w)({'|'.join(forms)})(?!\w)", target) for forms in wanted)
        return [each.span() for each in found if each]

    def kind_of(self, form: int, text: str) -> str:
        """Return what a source word is to a form: its person's occupation, the other's, the owner or another word."""
        own, other = (self.other, self.subject) if form == 1 else (self.subject, self.other)
        kinds = {own: "own occupation", other: "other occupation", self.owner: "his/her/the"}
        return kinds.get(text.strip(), "other words")

    def exchanged(self, form: int, kind: str, rng: Random) -> Pair | None:
        """Return the sentence with that word exchanged for one of the opposite gender; None where it has none."""
        if kind == "his/her/the":
            return None if self.owner == "the" else replace(self, owner={"his": "her", "her": "his"}[self.owner])
        if kind == "other words":
            return None
        which = "other" if (form == 1) == (kind == "own occupation") else "subject"
        female = FEMININE[getattr(self, which)] > 0.5
        choices = [o for o, share in FEMININE.items() if (share < 0.2) == female and (share > 0.8) != female]
        return replace(self, **{which: rng.choice([o for o in choices if o not in (self.subject, self.other)])})


def draw(rng: Random, owner: str | None = None, subject: str | None = None, other: str | None = None) -> Pair:
    """Return a pair, its genders drawn as the stereotypes have it and as the owner says; what is given is kept."""
    subject = subject or rng.choice([each for each in FEMININE if each != other])
    other = other or rng.choice([each for each in FEMININE if each != subject])
    owner = owner or rng.choice((*OWNERS, "the", "the"))
    one = rng.random() < FEMININE[subject] if owner == "the" else owner == "her"
    two = rng.random() < FEMININE[other]
    return Pair(subject, other, owner, rng.choice(list(THINGS)), rng.choice(list(STATES)), (one, two))


def stereotyped(rng: Random, cue: bool, count: int) -> list[Pair]:
    """Return sentences about two occupations with a strong stereotype; a cue goes against the subject's."""
    strong = [name for name, share in FEMININE.items() if not 0.2 < share < 0.8]
    pairs = []
    for _ in range(count):
        subject, other = rng.sample(strong, 2)
        owner = ("his" if FEMININE[subject] > 0.5 else "her") if cue else "the"
        pairs.append(draw(rng, owner=owner, subject=subject, other=other))
    return pairs
