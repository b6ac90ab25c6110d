"""What a family of prompts is: templates with slots, and a rule that decides the answer from some of them.

A family draws the words of its slots, and its rule reads some of them: those are the planted causes. Everything else in
a prompt is scenery. Prompts and targets are templates with `{slot}` fields, so every word's character range is known.
"""

from __future__ import annotations

from random import Random
from string import Formatter
from typing import ClassVar
from zlib import crc32

Slots = dict[str, str]
_HELD_OUT_PERCENT = 15
_SALT = "tiny model"  # another salt holds out other combinations


def render(template: str, slots: Slots) -> tuple[str, dict[str, tuple[int, int]]]:
    """Return the text of a template and the half-open character range of each of its slots."""
    text, ranges = "", {}
    for literal, field, _, _ in Formatter().parse(template):
        text += literal
        if field is not None:
            ranges[field] = (len(text), len(text) + len(slots[field]))
            text += slots[field]
    return text, ranges


class Family:
    """A kind of prompt and its planted rule. `draw` gives the slots, `answers` applies the rule to them.

    Two slots never appear in a prompt: `template`, and `asked`, the answer the example is about.
    """

    name: ClassVar[str]
    templates: ClassVar[tuple[str, ...]]
    target: ClassVar[str] = " {answer}."

    def draw(self, rng: Random) -> Slots:
        """Return a random choice of words for every slot."""
        raise NotImplementedError

    def answers(self, slots: Slots) -> dict[str, str]:
        """Return what the rule puts into the target's decided slots."""
        raise NotImplementedError

    def causes(self, slots: Slots) -> tuple[str, ...]:
        """Return the slots that the asked answer depends on."""
        raise NotImplementedError

    def foils(self, slots: Slots) -> tuple[str, ...]:
        """Return other answers of the same category."""
        raise NotImplementedError

    def swap(self, slot: str, slots: Slots, rng: Random) -> Slots | None:
        """Return the slots with the word of one slot exchanged for another of its category; None if it has none."""
        raise NotImplementedError

    def combination(self, slots: Slots) -> tuple[str, ...]:
        """Return the words whose meeting in one template is either trained on or held out."""
        raise NotImplementedError

    def held_out(self, slots: Slots) -> bool:
        """Return whether this template x combination is kept out of the corpus."""
        return self.kept_out(slots["template"], *self.combination(slots))

    def kept_out(self, template: str, *combination: str) -> bool:
        """Return whether these words are kept out of the corpus in this template."""
        key = "|".join((_SALT, self.name, template, *combination))
        return crc32(key.encode()) % 100 < _HELD_OUT_PERCENT
