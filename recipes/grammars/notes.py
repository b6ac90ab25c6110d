"""Notes about people, a question about some of them, and an answer of one sentence a person, copied from their note."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from grammars import ANSWER, CONTEXT, NAMES, TARGET, Document

CITIES = tuple(
    "Paris Rome Oslo Berlin Madrid Lima Cairo Delhi Tokyo Seoul Athens Vienna Prague Dublin Lisbon Warsaw Boston "
    "Dallas Havana Nairobi Lagos Hanoi Sydney Bern Riga Sofia Kyiv Quito Accra Tunis".split()
)
DRINKS = tuple("tea coffee milk juice water cocoa cider beer wine soda lemonade punch broth syrup mead sake".split())
GAMES = tuple("chess tennis golf poker football hockey darts rugby bridge checkers polo squash bingo dominoes".split())
RELATIONS = {"lives in": CITIES, "drinks": DRINKS, "plays": GAMES}
QUESTIONS = {"lives in": "Where do {} live?", "drinks": "What do {} drink?", "plays": "What do {} play?"}
HEAD, SEPARATOR = "Notes:\n- ", "\n- "
TEMPLATE = HEAD + "{documents}\n{prompt}"
"""As `spanwise.documents(texts, separator=SEPARATOR, template=TEMPLATE)` takes it."""


@dataclass(frozen=True)
class Case:
    """Notes, a question and its answer.

    Attributes:
        notes: One text a person, two sentences each.
        question: About some of the persons.
        answer: One sentence a person, in the question's order, with a space before it.
        sources: For each sentence of the answer, the index of the note that says it.
        values: The word of each sentence that only the note can tell.
    """

    notes: tuple[str, ...]
    question: str
    answer: str
    sources: tuple[int, ...]
    values: tuple[str, ...]


def listed(names: Sequence[str]) -> str:
    """Return "Ann, Tom and Eve"."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def draw(rng: Random, count: int = 12, asked: int = 3) -> Case:
    """Return `count` notes and a question about `asked` persons of them."""
    names = rng.sample(NAMES, count)
    relations = rng.sample(list(RELATIONS), 2)
    values = {
        relation: rng.sample(RELATIONS[relation], count)
        if count <= len(RELATIONS[relation])
        else rng.choices(RELATIONS[relation], k=count)
        for relation in relations
    }
    told = [[f"{name} {relation} {values[relation][i]}." for relation in relations] for i, name in enumerate(names)]
    for sentences in told:
        rng.shuffle(sentences)
    relation, chosen = rng.choice(relations), rng.sample(range(count), asked)
    answer = "".join(f" {names[i]} {relation} {values[relation][i]}." for i in chosen)
    question = QUESTIONS[relation].format(listed([names[i] for i in chosen]))
    found = tuple(values[relation][i] for i in chosen)
    return Case(tuple(" ".join(sentences) for sentences in told), question, answer, tuple(chosen), found)


def document(rng: Random, count: int) -> Document:
    """Return a case of up to `count` notes to train on."""
    case = draw(rng, count, rng.randint(1, min(4, count)))
    pieces: Document = [(f"{HEAD}{SEPARATOR.join(case.notes)}\n{case.question}", CONTEXT)]
    for sentence, value in zip(case.answer.split(".")[:-1], case.values, strict=True):
        pieces += [(sentence.removesuffix(" " + value), TARGET), (f" {value}", ANSWER), (".", TARGET)]
    return pieces
