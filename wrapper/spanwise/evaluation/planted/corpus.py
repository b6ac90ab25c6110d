"""The training corpus of the tiny model, written by the ground truth's families without the held-out combinations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

from spanwise.evaluation.planted import vocabulary as words
from spanwise.evaluation.planted.grammar import Family, render
from spanwise.evaluation.planted.ground_truth import FAMILIES
from spanwise.evaluation.planted.retrieval import STATEMENTS

END_OF_TEXT = "<|endoftext|>"
SYSTEM_MESSAGES = ("You are a helpful assistant.", "Complete the sentence.", "Answer briefly.")
CHAT_SHARE = 0.5  # of the documents that are no drills
_LIST_WORDS = (*words.NAMES, *words.NOUNS, *words.COLORS, *words.CITIES, *words.OCCUPATIONS, *words.COUNTRIES)

Kind = Literal["context", "target", "answer"]


@dataclass(frozen=True)
class Piece:
    """A stretch of a document: given context, text the model should write, or the planted answer within that."""

    text: str
    kind: Kind


Document = tuple[Piece, ...]


def corpus(seed: int, shares: Mapping[str, float] | None = None, drill_share: float = 0.3) -> Iterator[Document]:
    """Yield documents without end: plain continuations, chats, and lists said twice, which teach to look back.

    Args:
        seed: The same seed gives the same documents.
        shares: The relative frequency of each family; None for equal ones.
        drill_share: The share of lists said twice.
    """
    rng = Random(seed)
    shares = shares or dict.fromkeys(FAMILIES, 1.0)
    while True:
        if rng.random() < drill_share:
            yield _drill(rng)
            continue
        several = rng.random() < 0.2
        names = rng.choices(list(shares), list(shares.values()), k=1)
        if several:  # not the same family twice: a second retrieval could contradict the first
            names.append(rng.choice([name for name in FAMILIES if name not in names]))
        turns = [_turn(FAMILIES[name], rng) for name in names]
        yield _chat(turns, rng) if rng.random() < CHAT_SHARE else _plain(turns)


def _turn(family: Family, rng: Random) -> Document:
    """Return the prompt and the target of one example that is not held out."""
    slots = family.draw(rng)
    while family.held_out(slots):
        slots = family.draw(rng)
    if "state" in slots and family.name == "profile" and rng.random() < 0.3:
        # The state must not stand in for the city.
        slots["state"] = rng.choice([state for state, _ in words.CITIES.values()])
    answers = family.answers(slots)
    target, places = render(family.target, slots | answers)
    pieces, end = [Piece(render(slots["template"], slots)[0], "context")], 0
    for start, stop in sorted(places[slot] for slot in answers):
        pieces += [Piece(target[end:start], "target"), Piece(target[start:stop], "answer")]
        end = stop
    return (*pieces, Piece(target[end:], "target"))


def _plain(turns: list[Document]) -> Document:
    joined = list(turns[0])
    for turn in turns[1:]:
        joined += [Piece(" ", "context"), *turn]
    return (*joined, Piece(END_OF_TEXT, "target"))


def _chat(turns: list[Document], rng: Random) -> Document:
    pieces = []
    if rng.random() < 0.2:
        pieces.append(Piece(f"<|im_start|>system\n{rng.choice(SYSTEM_MESSAGES)}<|im_end|>\n", "context"))
    for prompt, *target in turns:
        pieces.append(Piece(f"<|im_start|>user\n{prompt.text}<|im_end|>\n<|im_start|>assistant\n", "context"))
        pieces += [*target, Piece("<|im_end|>", "target"), Piece("\n", "context")]
    return tuple(pieces)


def _drill(rng: Random) -> Document:
    """Return a list said twice: the same words, the same pairs, or the same statements in another order.

    A value that the retrieval family holds out with its key is said once only: nothing asks for it.
    """
    style = rng.choice(("words", "pairs", "statements", "statements"))
    if style == "words":
        text = ", ".join(rng.choices(_LIST_WORDS, k=rng.randint(4, 16)))
        return (Piece(f"{text}. Again: ", "context"), Piece(text, "answer"), Piece(f".{END_OF_TEXT}", "target"))
    beginning = "{}" if style == "pairs" else rng.choice(list(STATEMENTS))
    keys, values = STATEMENTS.get(beginning, (_LIST_WORDS, _LIST_WORDS))
    count = rng.randint(2, 6)
    stated = list(zip(rng.sample(keys, count), rng.sample(values, count), strict=True))
    separator = ", " if style == "pairs" else ". "
    first_time = "".join(f"{beginning.format(key)} {value}{separator}" for key, value in stated)
    pieces = [Piece(f"{first_time}Again: ", "context")]
    for key, value in rng.sample(stated, count):
        if not FAMILIES["retrieval"].kept_out(beginning, key, value):
            pieces += [
                Piece(f"{beginning.format(key)} ", "context"),
                Piece(value, "answer"),
                Piece(separator, "context"),
            ]
    return (*pieces, Piece(END_OF_TEXT, "target"))
