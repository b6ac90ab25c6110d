"""Words with two meanings, one of nature and one made by people; a place word anywhere before decides.

"Ann went to the river. Ben took the lamp. Then they saw the bank. It was" -> " muddy", and with "office": " closed".
The same place may speak for either meaning: the field's bat is made, the field's mouse is not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from grammars import ANSWER, CONTEXT, NAMES, TARGET, Document

WORDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bank": (("river", "canoe", "valley", "rapids"), ("office", "cashier", "loan", "market")),
    "bat": (("cave", "attic", "barn", "night"), ("stadium", "pitch", "field", "coach")),
    "crane": (("lake", "marsh", "reeds", "valley"), ("harbor", "tower", "cement", "crew")),
    "seal": (("shore", "iceberg", "rocks", "beach"), ("envelope", "letter", "office", "contract")),
    "mouse": (("field", "barn", "cheese", "attic"), ("screen", "desk", "keyboard", "laptop")),
    "bark": (("forest", "trunk", "oak", "night"), ("sailor", "harbor", "mast", "crew")),
    "spring": (("mountain", "rocks", "stream", "forest"), ("mattress", "watch", "sofa", "trap")),
    "horn": (("rhino", "goat", "antelope", "field"), ("bus", "band", "concert", "stadium")),
}
"""Word: the places that speak for nature, those that speak for people."""
SENSES = ("natural", "made")
ENDINGS = (("muddy", "wild", "alive", "wet"), ("expensive", "broken", "heavy", "rented"))
THINGS = ("lamp", "book", "coat", "map", "bottle", "camera", "basket", "rope")
PLACES = tuple(dict.fromkeys(place for pair in WORDS.values() for places in pair for place in places))


@dataclass(frozen=True)
class Story:
    """A text up to the adjective.

    Attributes:
        prompt: The text, to the word before the adjective.
        word: The one with two meanings.
        place: What decides.
        made: Whether it is the meaning made by people.
    """

    prompt: str
    word: str
    place: str
    made: bool

    def kind_of(self, start: int, end: int) -> str:
        """Return what the word is in which the characters [start, end) of the prompt lie."""
        found = [each[0] for each in re.finditer(r"\w+", self.prompt) if each.start() < end and start < each.end()]
        if not found:
            return "punctuation"
        own = {self.word: "two-meaning word", self.place: "deciding place"}
        kinds = {"other place": PLACES, "thing": THINGS, "frame": ("Then", "they", "saw", "the", "It", "was")}
        return own.get(found[0]) or next((kind for kind, words in kinds.items() if found[0] in words), "rest")


def draw(rng: Random) -> Story:
    """Return a story with one deciding place, in one of two positions, and another place that says nothing about it."""
    word, made = rng.choice(list(WORDS)), rng.random() < 0.5
    place = rng.choice(WORDS[word][made])
    silent = rng.choice([other for other in PLACES if not any(other in places for places in WORDS[word])])
    first, second = rng.sample(NAMES, 2)
    frames, places = ["{} talked about the {}.", f"{{}} took the {rng.choice(THINGS)} from the {{}}."], [place, silent]
    rng.shuffle(frames)
    rng.shuffle(places)
    sentences = [
        frame.format(*pair) for frame, pair in zip(frames, zip((first, second), places, strict=True), strict=True)
    ]
    return Story(f"{' '.join(sentences)} Then they saw the {word}. It was", word, place, made)


def document(rng: Random) -> Document:
    """Return a story to train on, with an adjective of its meaning."""
    story = draw(rng)
    return [(story.prompt, CONTEXT), (f" {rng.choice(ENDINGS[story.made])}", ANSWER), (".", TARGET)]
