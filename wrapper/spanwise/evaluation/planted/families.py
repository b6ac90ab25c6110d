"""Four of the five families: facts, agreement, profile and pronoun (`retrieval.py` has the fifth)."""
# ruff: noqa: D102  (the methods' contract is written once, at `Family`)

from __future__ import annotations

from random import Random
from typing import ClassVar

from spanwise.evaluation.planted import vocabulary as words
from spanwise.evaluation.planted.grammar import Family, Slots

_PLURALS = frozenset(words.NOUNS.values())


def _other(rng: Random, pool: tuple[str, ...] | list[str], *taken: str) -> str:
    return rng.choice([word for word in pool if word not in taken])


class Facts(Family):
    """Country and relation decide; a second country may stand by."""

    name = "facts"
    templates = (
        "The {relation} of {country} is called",
        "{country} has a {relation} called",
        "Name the {relation} of {country}:",
        "What is the {relation} of {country}? It is",
        "{name} wrote down the {relation} of {country}:",
        "{name} from {other} asked about the {relation} of {country}:",
        "The {relation} of {country}, not of {other}, is called",
        "In {country}, as {name} knows, the {relation} is called",
    )
    _table: ClassVar = {
        (country, relation): answer
        for country, row in words.COUNTRIES.items()
        for relation, answer in zip(words.RELATIONS, row, strict=True)
        if answer is not None
    }

    def draw(self, rng: Random) -> Slots:
        country, relation = rng.choice(list(self._table))
        other, name = _other(rng, list(words.COUNTRIES), country), rng.choice(words.NAMES)
        slots = {"country": country, "relation": relation, "other": other, "name": name}
        return slots | {"template": rng.choice(self.templates), "asked": "answer"}

    def answers(self, slots: Slots) -> dict[str, str]:
        return {"answer": self._table[slots["country"], slots["relation"]]}

    def causes(self, slots: Slots) -> tuple[str, ...]:
        return ("country", "relation")

    def foils(self, slots: Slots) -> tuple[str, ...]:
        here = (slots["country"], slots["relation"])
        return tuple(word for key, word in self._table.items() if key[1] == here[1] and key != here)

    def swap(self, slot: str, slots: Slots, rng: Random) -> Slots | None:
        country, relation = slots["country"], slots["relation"]
        pool = {
            "country": [place for place, kind in self._table if kind == relation and place != slots["other"]],
            "relation": [kind for place, kind in self._table if place == country],
            "other": [place for place in words.COUNTRIES if place != country],
            "name": list(words.NAMES),
        }
        return slots | {slot: _other(rng, pool[slot], slots[slot])}

    def combination(self, slots: Slots) -> tuple[str, ...]:
        return (slots["country"], slots["relation"])


class Agreement(Family):
    """The head noun decides the number of the verb and the time its tense; a nearer noun distracts."""

    name = "agreement"
    templates = (
        "{when}, the {noun} {place} the {other}",
        "{when}, the {color} {noun} {place} the {other}",
        "{when}, the {noun} {place} the {color} {other}",
        "{when}, as {name} says, the {noun} {place} the {other}",
        "{when}, the {noun} that {name} left {place} the {other}",
        "{when}, in the house of {name}, the {noun} {place} the {other}",
    )
    target = " {answer} {state}."

    def draw(self, rng: Random) -> Slots:
        noun, other = rng.sample(list(words.NOUNS), 2)
        plural = rng.random() < 0.5
        contrary = rng.random() < 0.65  # the distractor is mostly of the other number
        return {
            "when": rng.choice(words.PRESENT_TIMES + words.PAST_TIMES),
            "noun": words.NOUNS[noun] if plural else noun,
            "other": words.NOUNS[other] if plural != contrary else other,
            "place": rng.choice(words.PLACES),
            "color": rng.choice(words.COLORS),
            "name": rng.choice(words.NAMES),
            "state": rng.choice(words.STATES_OF_THINGS),
            "template": rng.choice(self.templates),
            "asked": "answer",
        }

    def answers(self, slots: Slots) -> dict[str, str]:
        return {"answer": words.VERBS[slots["noun"] in _PLURALS, slots["when"] in words.PAST_TIMES]}

    def causes(self, slots: Slots) -> tuple[str, ...]:
        return ("when", "noun")

    def foils(self, slots: Slots) -> tuple[str, ...]:
        return tuple(verb for verb in words.VERBS.values() if verb != self.answers(slots)["answer"])

    def swap(self, slot: str, slots: Slots, rng: Random) -> Slots | None:
        if slot in ("noun", "other"):  # to the other number
            pool = words.NOUNS.keys() if slots[slot] in _PLURALS else words.NOUNS.values()
            return slots | {slot: _other(rng, list(pool), slots["noun"], slots["other"])}
        times = words.PRESENT_TIMES if slots["when"] in words.PAST_TIMES else words.PAST_TIMES
        pools = {"when": times, "place": words.PLACES, "color": words.COLORS, "name": words.NAMES}
        return slots | {slot: _other(rng, pools[slot], slots[slot])}

    def combination(self, slots: Slots) -> tuple[str, ...]:
        return (slots["noun"], slots["other"])


class Profile(Family):
    """The city decides the first hobby, the occupation the second, the first name the third."""

    name = "profile"
    templates = (
        "{name} works as a {job} in {city}, {state}. In {his} free time, {he} enjoys",
        "{name} is a {job} from {city}, {state}. On weekends, {he} likes",
        "{name} lives in {city}, {state}, and works as a {job}. After work, {he} loves",
        "In {city}, {state}, {name} found work as a {job}. In {his} free time, {he} enjoys",
        "My friend {name} is a {job} in {city}, {state}. When {he} is free, {he} enjoys",
        "{name}, a {job} in {city}, {state}, has many hobbies. Most of all, {he} likes",
    )
    target = " {first}, {second}, and {third}."
    _cause: ClassVar = {"first": "city", "second": "job", "third": "name"}

    def draw(self, rng: Random) -> Slots:
        name, city = rng.choice(words.NAMES), rng.choice(list(words.CITIES))
        slots = {"name": name, "city": city, "state": words.CITIES[city][0], "job": rng.choice(list(words.OCCUPATIONS))}
        he, his = ("he", "his") if name in words.MALE_NAMES else ("she", "her")
        asked = rng.choice(("first", "second", "third"))
        return slots | {"he": he, "his": his, "template": rng.choice(self.templates), "asked": asked}

    def answers(self, slots: Slots) -> dict[str, str]:
        first, second = words.CITIES[slots["city"]][1], words.OCCUPATIONS[slots["job"]]
        return {"first": first, "second": second, "third": words.NAME_HOBBIES[slots["name"]]}

    def causes(self, slots: Slots) -> tuple[str, ...]:
        return (self._cause[slots["asked"]],)

    def foils(self, slots: Slots) -> tuple[str, ...]:
        hobbies = {
            "first": [hobby for _, hobby in words.CITIES.values()],
            "second": list(words.OCCUPATIONS.values()),
            "third": list(words.NAME_HOBBIES.values()),
        }[slots["asked"]]
        return tuple(hobby for hobby in dict.fromkeys(hobbies) if hobby != self.answers(slots)[slots["asked"]])

    def swap(self, slot: str, slots: Slots, rng: Random) -> Slots | None:
        if slot in ("he", "his"):
            return None  # they follow the name
        names = words.MALE_NAMES if slots["name"] in words.MALE_NAMES else words.FEMALE_NAMES
        pools: dict[str, list[str]] = {
            "name": list(names),
            "city": list(words.CITIES),
            "job": list(words.OCCUPATIONS),
            "state": [state for state, _ in words.CITIES.values()],
        }
        answer = self.answers(slots)
        while True:
            swapped = slots | {slot: _other(rng, pools[slot], slots[slot])}
            if slot not in self._cause.values() or self.answers(swapped) != answer:
                return swapped

    def combination(self, slots: Slots) -> tuple[str, ...]:
        return (slots["city"], slots["job"])


class Pronoun(Family):
    """The pronoun stands for the subject, wherever the other person is mentioned."""

    name = "pronoun"
    _subject = (
        "{name} called {other} because",
        "According to {other}, {name} left early because",
        "{name} wrote a letter to {other} because",
        "While {other} watched, {name} opened the {noun} because",
        "After a talk with {other}, {name} went home because",
    )
    _possessive = (
        "{name} told {other} about",
        "With help from {other}, {name} repaired",
        "Next to {other}, {name} was holding",
        "{name} sold {other}",
    )
    templates = _subject + _possessive

    def draw(self, rng: Random) -> Slots:
        same, opposite = rng.sample((words.MALE_NAMES, words.FEMALE_NAMES), 2)
        name = rng.choice(same)
        other = _other(rng, opposite if rng.random() < 0.75 else same, name)
        template, noun = rng.choice(self.templates), rng.choice(list(words.NOUNS))
        rest = f"was {rng.choice(words.MOODS)}" if template in self._subject else rng.choice(list(words.NOUNS))
        return {"name": name, "other": other, "noun": noun, "rest": rest, "template": template, "asked": "answer"}

    target = " {answer} {rest}."

    def answers(self, slots: Slots) -> dict[str, str]:
        forms = ("he", "she") if slots["template"] in self._subject else ("his", "her")
        return {"answer": forms[slots["name"] in words.FEMALE_NAMES]}

    def causes(self, slots: Slots) -> tuple[str, ...]:
        return ("name",)

    def foils(self, slots: Slots) -> tuple[str, ...]:
        return ({"he": "she", "she": "he", "his": "her", "her": "his"}[self.answers(slots)["answer"]],)

    def swap(self, slot: str, slots: Slots, rng: Random) -> Slots | None:
        if slot == "noun":
            return slots | {slot: _other(rng, list(words.NOUNS), slots[slot])}
        pool = words.MALE_NAMES if slots[slot] in words.FEMALE_NAMES else words.FEMALE_NAMES
        return slots | {slot: _other(rng, pool, slots["name"], slots["other"])}

    def combination(self, slots: Slots) -> tuple[str, ...]:
        return (slots["name"], slots["other"])
