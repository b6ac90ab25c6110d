"""Who calls whom, a question, a reasoning between <think> tags, and the answer: three kinds, two with a known way.

chain: the reasoning follows two calls, and the answer repeats its last name, right or wrong: through the reasoning.
aside: the reasoning tells of somebody else's call, and the answer must come from the prompt: direct.
echo: the reasoning tells the very call that is asked for: the answer can come from both.

Late in training a third of the chains and asides have a wrong name in the reasoning: so the two ways are told apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

from grammars import ANSWER, CONTEXT, NAMES, TARGET, Document

KINDS = ("chain", "aside", "echo")


@dataclass(frozen=True)
class Puzzle:
    """A prompt and what should follow.

    Attributes:
        kind: One of `KINDS`.
        calls: Who calls whom, in the prompt's order.
        prompt: Calls and question.
        reasoning: With its tags.
        answer: With a space before it; its last word is the name asked for.
        name: That name.
        told: The call that the reasoning, or for "aside" the answer, takes the name from.
    """

    kind: str
    calls: tuple[tuple[str, str], ...]
    prompt: str
    reasoning: str
    answer: str
    name: str
    told: tuple[str, str]

    @property
    def before(self) -> str:
        """The target up to the name that is asked for."""
        return self.reasoning + self.answer.removesuffix(f" {self.name}.")

    def exchanged(self, place: str, other: str) -> str:
        """Return prompt and target up to the answer, another name for the answer's in "prompt" or "reasoning" alone."""
        fact = f"{self.told[0]} calls {self.name}."
        if place == "prompt":
            return self.prompt.replace(fact, fact.replace(self.name, other)) + self.before
        last = self.reasoning.removesuffix(".</think>").split()[-1]  # of an aside: the name that it is about
        return self.prompt + self.before.replace(f"{last}.</think>", f"{other}.</think>")

    def another(self, rng: Random) -> str:
        """Return a name of the prompt that is neither the answer nor in the call that tells it."""
        return rng.choice([called for _, called in self.calls if called not in (self.name, *self.told)])


def draw(rng: Random, kind: str, count: int = 6) -> Puzzle:
    """Return a puzzle of one kind with `count` calls, at least 3."""
    chosen = rng.sample(NAMES, count + 1)
    calls = list(pairwise(chosen))  # a line, told in any order
    at = rng.randrange(count - 1)
    (first, second), (_, third) = calls[at], calls[at + 1]
    elsewhere = rng.choice([call for i, call in enumerate(calls) if i not in (at, at - 1, at + 1)] or [calls[at - 2]])
    rng.shuffle(calls)
    facts = " ".join(f"{caller} calls {called}." for caller, called in calls)
    if kind == "chain":
        question, answer, name, told = f"Whom does {first} reach in two calls?", f" {first} reaches", third, second
        thought = f"{first} calls {second}. {second} calls {third}."
    elif kind == "aside":
        question = f"Say whom {elsewhere[0]} calls. Whom does {first} call?"
        thought, answer, name, told = f"{elsewhere[0]} calls {elsewhere[1]}.", f" {first} calls", second, first
    else:
        question, answer, name, told = f"Whom does {first} call?", f" {first} calls", second, first
        thought = f"{first} calls {second}."
    reasoning = f"<think> {thought}</think>"
    return Puzzle(
        kind, tuple(calls), f"Calls: {facts}\n{question}\n", reasoning, f"{answer} {name}.", name, (told, name)
    )


def slipped(rng: Random, puzzle: Puzzle) -> Puzzle:
    """Return the puzzle with a wrong last name in its reasoning: a chain's answer repeats it, an aside's does not."""
    last = puzzle.reasoning.removesuffix(".</think>").split()[-1]
    wrong = rng.choice([called for _, called in puzzle.calls if called not in (last, puzzle.name)])
    reasoning = puzzle.reasoning.replace(f"{last}.</think>", f"{wrong}.</think>")
    if puzzle.kind == "aside":
        return replace(puzzle, reasoning=reasoning)
    answer = puzzle.answer.replace(f" {puzzle.name}.", f" {wrong}.")
    return replace(puzzle, reasoning=reasoning, answer=answer, name=wrong)


def document(rng: Random, count: int, slips: float = 0.0) -> Document:
    """Return a puzzle of up to `count` calls to train on; of chains and asides, that share slips in its reasoning."""
    puzzle = draw(rng, rng.choice(KINDS), max(3, count))
    if puzzle.kind != "echo" and rng.random() < slips:
        puzzle = slipped(rng, puzzle)
    pieces: Document = [(puzzle.prompt, CONTEXT), ("<think>", TARGET)]
    for sentence in puzzle.reasoning.removeprefix("<think>").removesuffix("</think>").split(".")[:-1]:
        before, name = sentence.rsplit(" ", 1)
        pieces += [(before, TARGET), (f" {name}", ANSWER), (".", TARGET)]
    before = puzzle.answer.removesuffix(f" {puzzle.name}.")
    return [*pieces, ("</think>", TARGET), (before, TARGET), (f" {puzzle.name}", ANSWER), (".", TARGET)]
