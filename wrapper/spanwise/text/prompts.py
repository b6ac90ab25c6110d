"""Prompts put together from parts: templates with named slots, and documents before a question."""

import string
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from spanwise.errors import InputError, OptionError
from spanwise.text.parts import Characters

Sampler: TypeAlias = Callable[[], Mapping[str, str]]
Choices: TypeAlias = Mapping[str | tuple[str, ...], Sequence[str | tuple[str, ...]]]


@dataclass(frozen=True)
class Template:
    """A text with named slots, what fills them, and what stands there when a slot is off. `template` makes it.

    Attributes:
        text: The text, with its slots in braces.
        values: What fills each slot.
        baselines: What stands in a slot that is off: a text for all, a text for each, or a function that draws them.
            A slot that it does not name stays empty.
    """

    text: str
    values: Mapping[str, str]
    baselines: str | Mapping[str, str] | Sampler = ""

    @property
    def prompt(self) -> str:
        """The text with every slot filled."""
        return "".join(piece for piece, _ in self._filled(self.values))

    @property
    def slots(self) -> dict[str, tuple[Characters, ...]]:
        """The characters [start, end) of each slot in `prompt`, in order; several where the slot is repeated."""
        spans: dict[str, tuple[Characters, ...]] = {}
        at = 0
        for piece, slot in self._filled(self.values):
            if slot is not None:
                spans[slot] = (*spans.get(slot, ()), (at, at + len(piece)))
            at += len(piece)
        return spans

    def fill(self, on: Mapping[str, bool] | Collection[str], baselines: Mapping[str, str] | None = None) -> str:
        """Returns the text with some slots filled and the baselines in the others.

        Args:
            on: The slots that are filled, or for each slot whether it is.
            baselines: What to put into the others; default: drawn now.

        Raises:
            OptionError: A slot that the text does not have.
        """
        kept = {slot for slot, is_on in on.items() if is_on} if isinstance(on, Mapping) else set(on)
        self._check("on", on)
        drawn = self.draw() if baselines is None else baselines
        self._check("baselines", drawn)
        texts = {slot: value if slot in kept else drawn.get(slot, "") for slot, value in self.values.items()}
        return "".join(piece for piece, _ in self._filled(texts))

    def draw(self) -> dict[str, str]:
        """Returns what stands in each slot that is off; drawn anew at each call where the baselines are a function.

        Raises:
            OptionError: The function gave a slot that the text does not have, or something other than a text.
        """
        if isinstance(self.baselines, str):
            return dict.fromkeys(self.values, self.baselines)
        drawn = self.baselines() if callable(self.baselines) else self.baselines
        if not isinstance(drawn, Mapping):
            raise OptionError(f"baselines must give a mapping from slots to texts, not {drawn!r}.")
        self._check("baselines", drawn)
        _check_texts("the baseline of the slot", drawn)
        return {slot: drawn.get(slot, "") for slot in self.values}

    def _check(self, what: str, named: Collection[str]) -> None:
        unknown = [slot for slot in named if slot not in self.values]
        if unknown:
            raise OptionError(
                f"{what} names {', '.join(map(repr, unknown))}; the slots are {', '.join(map(repr, self.values))}."
            )

    def _filled(self, values: Mapping[str, str]) -> list[tuple[str, str | None]]:
        """Returns the pieces of the filled text, each with its slot or None."""
        pieces: list[tuple[str, str | None]] = []
        for literal, slot in _parsed(self.text):
            pieces.append((literal, None))
            if slot is not None:
                pieces.append((values[slot], slot))
        return pieces


def template(text: str, /, baselines: str | Mapping[str, str] | Sampler | None = None, **values: str) -> Template:
    """Returns a prompt with named slots, each of which is one feature.

    Args:
        text: The prompt, with a name in braces for each slot and {{ }} for a brace. A slot may stand in several places.
        baselines: What stands in a slot that is off: a text for all slots, a mapping from slots to texts, or a function
            that draws such a mapping, as `product_baselines` makes. A slot without one is left empty.
        **values: What fills each slot.

    Raises:
        OptionError: A slot without a value, a value without a slot, an empty value, or braces with more than a name.

    >>> prompt = template("{name} lives in {city}. {name} likes", name="Dave", city="Palm Coast", baselines="someone")
    >>> prompt.prompt
    'Dave lives in Palm Coast. Dave likes'
    >>> prompt.slots
    {'name': ((0, 4), (26, 30)), 'city': ((14, 24),)}
    >>> prompt.fill({"city"})
    'someone lives in Palm Coast. someone likes'
    """
    slots = [slot for _, slot in _parsed(text) if slot is not None]
    if not slots:
        raise OptionError(f"the template {text!r} has no slots: write a name in braces where a value goes.")
    if "baselines" in slots:
        raise OptionError("a slot cannot be called 'baselines', which is an argument: give it another name.")
    missing = [slot for slot in dict.fromkeys(slots) if slot not in values]
    unused = [slot for slot in values if slot not in slots]
    if missing or unused:
        raise OptionError(
            f"the slots of the template are {', '.join(map(repr, dict.fromkeys(slots)))}; "
            f"without a value: {', '.join(map(repr, missing)) or 'none'}; "
            f"values without a slot: {', '.join(map(repr, unused)) or 'none'}."
        )
    _check_texts("the value of the slot", values)
    empty = [slot for slot, value in values.items() if not value]
    if empty:
        raise OptionError(f"the value of the slot {empty[0]!r} is empty, so there is nothing to attribute to.")
    made = Template(text, {slot: values[slot] for slot in dict.fromkeys(slots)}, "" if baselines is None else baselines)
    if not callable(made.baselines):
        made.draw()
    return made


def product_baselines(choices: Choices, /, *, generator: np.random.Generator | None = None) -> Sampler:
    """Returns a function that draws a text for each slot, independently of the others, as Captum's `ProductBaselines`.

    Args:
        choices: For each slot the texts to draw from. A tuple of slots is drawn together, from tuples of texts.
        generator: Where the draws come from; default: numpy's global generator, which a run's seed sets.

    Raises:
        OptionError: Nothing to draw from, a slot twice, or tuples of another length than their slots.

    >>> draw = product_baselines({"name": ["Ann"], ("city", "state"): [("Austin", "Texas")]})
    >>> draw()
    {'name': 'Ann', 'city': 'Austin', 'state': 'Texas'}
    """
    if not isinstance(choices, Mapping) or not choices:
        raise OptionError(f"product_baselines takes a mapping from slots to lists of texts, not {choices!r}.")
    tables: list[list[dict[str, str]]] = [_table(key, drawn_from) for key, drawn_from in choices.items()]
    slots = [slot for table in tables for slot in table[0]]
    twice = sorted({slot for slot in slots if slots.count(slot) > 1})
    if twice:
        raise OptionError(f"product_baselines has the slot {twice[0]!r} twice: each is drawn once.")

    def draw() -> dict[str, str]:
        drawn: dict[str, str] = {}
        for table in tables:
            drawn |= table[int(np.random.randint(len(table)) if generator is None else generator.integers(len(table)))]
        return drawn

    return draw


def _table(key: str | tuple[str, ...], drawn_from: Sequence[str | tuple[str, ...]]) -> list[dict[str, str]]:
    slots = key if isinstance(key, tuple) else (key,)
    if isinstance(drawn_from, str) or not drawn_from:
        raise OptionError(f"product_baselines needs a list of at least one choice for {key!r}, not {drawn_from!r}.")
    table = []
    for choice in drawn_from:
        texts = choice if isinstance(key, tuple) else (choice,)
        if not isinstance(texts, tuple) or len(texts) != len(slots) or not all(isinstance(text, str) for text in texts):
            wanted = f"a tuple of {len(slots)} texts" if isinstance(key, tuple) else "a text"
            raise OptionError(f"product_baselines needs {wanted} for {key!r}, not {choice!r}.")
        table.append({slot: str(text) for slot, text in zip(slots, texts, strict=True)})
    return table


@dataclass(frozen=True)
class BuiltPrompt:
    """A prompt made of documents and a question.

    Attributes:
        text: The whole prompt.
        spans: The characters [start, end) of each document.
        names: What each document is called.
        question: The characters of the user's own prompt.
    """

    text: str
    spans: tuple[Characters, ...]
    names: tuple[str, ...]
    question: Characters


@dataclass(frozen=True)
class Documents:
    """Documents that stand in the prompt, each of them one feature. `documents` makes it."""

    texts: tuple[str, ...]
    names: tuple[str, ...]
    separator: str = "\n\n"
    template: str = "{documents}\n\n{prompt}"

    def build(self, prompt: str) -> BuiltPrompt:
        """Returns the whole prompt for the user's own.

        Raises:
            InputError: The prompt is empty.
        """
        if not isinstance(prompt, str) or not prompt:
            raise InputError(f"the prompt must be a text that is not empty, not {prompt!r}.")
        text, spans, question = "", [], (0, 0)
        for literal, slot in _parsed(self.template):
            text += literal
            if slot == "prompt":
                question = (len(text), len(text) + len(prompt))
                text += prompt
            elif slot == "documents":
                for number, document in enumerate(self.texts):
                    text += self.separator if number else ""
                    spans.append((len(text), len(text) + len(document)))
                    text += document
        return BuiltPrompt(text, tuple(spans), self.names, question)


def documents(
    texts: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    separator: str = "\n\n",
    template: str = "{documents}\n\n{prompt}",
) -> Documents:
    r"""Returns documents to be put before a prompt, each of them one feature.

    Args:
        texts: The documents; put into the prompt as they are.
        names: What they are called in results; default: "document 1", "document 2", ...
        separator: Between two documents.
        template: The whole prompt; `{documents}` and `{prompt}` once each, {{ }} for a brace.

    Raises:
        InputError: No documents, or an empty one.
        OptionError: Names of another number or the same twice, or a template without the two fields.

    >>> built = documents(["Ann has {1}.", "Tom has 2."], names=["a.txt", "b.txt"]).build("Who has 2?")
    >>> built.text
    'Ann has {1}.\n\nTom has 2.\n\nWho has 2?'
    >>> built.spans, built.question
    (((0, 12), (14, 24)), (26, 36))
    """
    if isinstance(texts, str) or not isinstance(texts, Sequence) or not texts:
        raise InputError(f"documents must be a list of at least one text, not {texts!r}.")
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"document {number} of {len(texts)} must be a text that is not empty, not {text!r}.")
    called = [f"document {number}" for number in range(1, len(texts) + 1)] if names is None else list(names)
    if len(called) != len(texts) or len(set(called)) != len(called):
        raise OptionError(f"{len(texts)} documents need as many different names, not {called!r}.")
    fields = sorted(slot for _, slot in _parsed(template) if slot is not None)
    if fields != ["documents", "prompt"]:
        raise OptionError(f"the template must have {{documents}} and {{prompt}} once each, not {template!r}.")
    return Documents(tuple(texts), tuple(called), separator, template)


def _parsed(text: str) -> list[tuple[str, str | None]]:
    """Returns the literal pieces of a format text, each with the name of the field behind it or None.

    Raises:
        OptionError: Braces that do not match or hold more than a name.
    """
    try:
        fields = list(string.Formatter().parse(text))
    except ValueError as exc:
        raise OptionError(f"the template {text!r} cannot be read: {exc}. Write {{{{ and }}}} for braces.") from exc
    for _, field, spec, conversion in fields:
        if field is not None and (not field.isidentifier() or spec or conversion):
            written = field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            raise OptionError(
                f"the template has {{{written}}}, but a slot is a name and nothing else: no number, attribute, index, "
                "conversion or format. Write {{ and }} for braces."
            )
    return [(literal, field) for literal, field, _, _ in fields]


def _check_texts(what: str, texts: Mapping[str, object]) -> None:
    for slot, text in texts.items():
        if not isinstance(text, str):
            raise OptionError(f"{what} {slot!r} must be a text, not {text!r}.")
