"""Prompts whose causes are known: the tokens that decide the bundled tiny model's answer were planted.

The same families write the corpus that the model is trained on (`corpus.py`), so ground truth and training cannot
disagree. A held-out example is a template x combination that the corpus never contains; each of its words occurs there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from spanwise.errors import OptionError, at_least, one_of
from spanwise.evaluation.planted.families import Agreement, Facts, Profile, Pronoun
from spanwise.evaluation.planted.grammar import Family, Slots, render
from spanwise.evaluation.planted.retrieval import Retrieval

FAMILIES: dict[str, Family] = {
    family.name: family for family in (Facts(), Agreement(), Profile(), Retrieval(), Pronoun())
}


@dataclass(frozen=True)
class Swap:
    """A prompt in which one word was exchanged for another of its category, and what the rule then answers.

    `changed` is that word's range in the original prompt. Where a statement's key in the retrieval family is swapped,
    the statement that held the new key takes the old one.
    """

    prompt: str
    span: str
    changed: tuple[int, int]
    is_cause: bool


@dataclass(frozen=True)
class Example:
    """A prompt, its target, and the planted truth about one span of that target. Ranges are half-open, in characters.

    `target` begins with a space and follows `prompt` as it is; in a chat it is the assistant's message, space included.
    `span` is the part of the target that `causes`, ranges in the prompt, decide. `foils` would fit in its place but
    are wrong here. `swaps` exchange each word in turn: a cause's swap changes the answer, any other leaves it.
    """

    family: str
    prompt: str
    target: str
    span: str
    span_range: tuple[int, int]
    causes: tuple[tuple[int, int], ...]
    foils: tuple[str, ...]
    held_out: bool
    swaps: tuple[Swap, ...] = ()


def example(family: Family, slots: Slots, rng: Random) -> Example:
    """Return the example that a family makes of these slots; `rng` picks the words swapped in."""
    asked, answers = slots["asked"], family.answers(slots)
    prompt, places = render(slots["template"], slots)
    target, target_places = render(family.target, slots | answers)
    causes, swaps = family.causes(slots), []
    for slot, place in places.items():
        swapped = family.swap(slot, slots, rng)
        if swapped is not None:
            text = render(slots["template"], swapped)[0]
            swaps.append(Swap(text, family.answers(swapped)[asked], place, slot in causes))
    return Example(
        family=family.name,
        prompt=prompt,
        target=target,
        span=answers[asked],
        span_range=target_places[asked],
        causes=tuple(sorted(places[cause] for cause in causes)),
        foils=family.foils(slots),
        held_out=family.held_out(slots),
        swaps=tuple(swaps),
    )


def ground_truth(
    families: str | Sequence[str] | None = None,
    *,
    held_out: bool | None = True,
    per_family: int = 100,
    seed: int = 0,
) -> list[Example]:
    """Return distinct prompts with planted causes, `per_family` of each family.

    Args:
        families: Names out of "facts", "agreement", "profile", "retrieval", "pronoun"; None takes all.
        held_out: True keeps to combinations the tiny model never saw, False to those in its corpus, None takes both.
        per_family: The number of examples of each family.
        seed: The same seed gives the same examples, whatever families are asked for beside each other.

    Raises:
        OptionError: On an unknown family, or more examples than a family has.

    Examples:
        >>> truth = ground_truth("profile", per_family=1)[0]
        >>> truth.target[slice(*truth.span_range)] == truth.span
        True
    """
    names = list(FAMILIES) if families is None else [families] if isinstance(families, str) else list(families)
    at_least("per_family", per_family, 1)
    examples: list[Example] = []
    for name in names:
        family = FAMILIES[one_of("ground-truth family", name, FAMILIES)]
        examples += _draw(family, held_out, per_family, Random(f"{seed}/{name}"))
    return examples


def _draw(family: Family, held_out: bool | None, count: int, rng: Random) -> list[Example]:
    found: dict[tuple[str, str], Example] = {}
    misses = 0  # draws in a row that brought nothing new; the family is exhausted long before they are this many
    while len(found) < count and misses < 400:
        slots = family.draw(rng)
        key = (render(slots["template"], slots)[0], slots["asked"])
        if key in found or (held_out is not None and family.held_out(slots) is not held_out):
            misses += 1
            continue
        found[key], misses = example(family, slots, rng), 0
    if len(found) < count:
        raise OptionError(f'per_family={count}: the family "{family.name}" gave only {len(found)} different prompts')
    return list(found.values())
