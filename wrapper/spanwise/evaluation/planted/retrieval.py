"""The retrieval family: the last sentence repeats the beginning of an earlier one, and the answer is that one's end."""
# ruff: noqa: D102  (the methods' contract is written once, at `Family`)

from __future__ import annotations

from random import Random
from typing import ClassVar

from spanwise.evaluation.planted import vocabulary as words
from spanwise.evaluation.planted.grammar import Family, Slots

STATEMENTS = {
    "The {} box holds": (words.COLORS, tuple(words.NOUNS.values())),
    "{} sells": (words.NAMES, tuple(words.NOUNS.values())),
    "{} moved to": (words.NAMES, tuple(words.CITIES)),
    "The {} wants": (tuple(words.OCCUPATIONS), tuple(words.NOUNS.values())),
    "{} comes from": (words.NAMES, tuple(words.COUNTRIES)),
    "{} likes": (words.NAMES, words.COLORS),
}
"""The beginning of a statement, the words that may be its key, the words that may be its value."""
_FILLERS = ("", "It was a quiet day. ", "Nobody else was there. ")


def _template(beginning: str, statements: int, filler: str) -> str:
    stated = [beginning.format(f"{{key{i}}}") + f" {{value{i}}}. " for i in range(statements)]
    return "".join(stated) + filler + beginning.format("{query}")


class Retrieval(Family):
    """The query's key picks a statement, and that statement's value is the answer."""

    name = "retrieval"
    _by_template: ClassVar = {
        _template(beginning, statements, filler): (beginning, statements)
        for beginning in STATEMENTS
        for statements in (2, 3, 4)
        for filler in _FILLERS
    }
    templates = tuple(_by_template)

    def draw(self, rng: Random) -> Slots:
        template = rng.choice(self.templates)
        beginning, statements = self._by_template[template]
        keys, values = (rng.sample(pool, statements) for pool in STATEMENTS[beginning])
        slots = {f"key{i}": key for i, key in enumerate(keys)} | {f"value{i}": value for i, value in enumerate(values)}
        return slots | {"query": rng.choice(keys), "template": template, "asked": "answer"}

    def _chosen(self, slots: Slots) -> int:
        return next(i for i in range(self._by_template[slots["template"]][1]) if slots[f"key{i}"] == slots["query"])

    def answers(self, slots: Slots) -> dict[str, str]:
        return {"answer": slots[f"value{self._chosen(slots)}"]}

    def causes(self, slots: Slots) -> tuple[str, ...]:
        chosen = self._chosen(slots)
        return (f"key{chosen}", f"value{chosen}", "query")

    def foils(self, slots: Slots) -> tuple[str, ...]:
        return tuple(
            word for slot, word in slots.items() if slot[:5] == "value" and word != self.answers(slots)["answer"]
        )

    def swap(self, slot: str, slots: Slots, rng: Random) -> Slots | None:
        beginning, statements = self._by_template[slots["template"]]
        keys = [slots[f"key{i}"] for i in range(statements)]
        if slot == "query":
            return slots | {slot: rng.choice([key for key in keys if key != slots["query"]])}
        if slot == f"key{self._chosen(slots)}":  # exchange it for another statement's: one key must match the query
            other = rng.choice([f"key{i}" for i in range(statements) if f"key{i}" != slot])
            return slots | {slot: slots[other], other: slots[slot]}
        pool = STATEMENTS[beginning][slot.startswith("value")]
        return slots | {slot: rng.choice([word for word in pool if word not in slots.values()])}

    def combination(self, slots: Slots) -> tuple[str, ...]:
        return (slots["query"], self.answers(slots)["answer"])

    def held_out(self, slots: Slots) -> bool:
        # By the statement's beginning: a prompt of two statements can be the end of one of three.
        return self.kept_out(self._by_template[slots["template"]][0], *self.combination(slots))
