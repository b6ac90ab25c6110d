"""Prompts in which features that are off are replaced by other text, and tokenized again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from spanwise.attribution import Token
from spanwise.errors import InputError, OptionError
from spanwise.text.columns import places
from spanwise.text.composing import Composed
from spanwise.text.encoding import Encoding, encode_prompt
from spanwise.text.parts import Characters


@dataclass(frozen=True)
class Rewriting:
    """What "off" means where it is another text.

    Attributes:
        tokenizer: The model's.
        write: From the features that are on, one a feature, to the prompt.
        closing: Ids behind the prompt that are not of its text: a decoder's first token.
    """

    tokenizer: Any
    write: Callable[[Sequence[bool]], str]
    closing: tuple[int, ...]
    _known: dict[tuple[bool, ...], tuple[int, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def ids(self, on: tuple[bool, ...]) -> tuple[int, ...]:
        """Returns the ids of the prompt with only these features on; of one setting always the same.

        Raises:
            InputError: Nothing is left of the prompt.
        """
        if on not in self._known:
            self._known[on] = self._written(on)
        return self._known[on]

    def _written(self, on: tuple[bool, ...]) -> tuple[int, ...]:
        text = self.write(on)
        if not text:
            raise InputError("the replaced features leave an empty prompt: give a text that is not empty for them.")
        return (*(token.id for token in encode_prompt(self.tokenizer, text)), *self.closing)


def replacing(
    tokenizer: Any,
    replacement: Callable[[str], str],
    composed: Composed,
    encoding: Encoding,
    features: Sequence[Token],
    closing: tuple[int, ...],
) -> Rewriting:
    """Returns the rewriting that replaces the characters of features, without white space at their edges.

    Args:
        tokenizer: The model's.
        replacement: From a feature's characters to the text in their place; called once for each setting.
        composed: The prompt.
        encoding: Its tokens.
        features: The columns that are features.
        closing: See `Rewriting`.
    """
    text = composed.text
    of_place: dict[Characters, list[int]] = {}
    for i, feature in enumerate(features):
        for place in places(feature, encoding.prompt_tokens, text):
            if place[0] == place[1] and not feature.text:
                raise OptionError(
                    f"a baseline of other text needs features with text, but the token [{feature.id}] has none: leave "
                    "frozen='none' out."
                )
            of_place.setdefault(place, []).append(i)  # several where tokens share a character

    def write(on: Sequence[bool]) -> str:
        pieces, at = [], 0
        for (start, end), own in sorted(of_place.items()):
            part = text[start:end]
            new = part if all(on[i] for i in own) else replacement(part)
            if not isinstance(new, str):
                raise OptionError(f"the baseline function gave {new!r} for {part!r}, but a text is needed.")
            pieces += [text[at:start], new]
            at = end
        return "".join((*pieces, text[at:]))

    return Rewriting(tokenizer, write, closing)


def filling(tokenizer: Any, composed: Composed, groups: Sequence[int], closing: tuple[int, ...]) -> Rewriting:
    """Returns the rewriting that fills a template's slots with their baselines.

    Args:
        tokenizer: The model's.
        composed: A prompt from a template.
        groups: Which slot each feature is.
        closing: See `Rewriting`.
    """
    template = composed.template
    assert template is not None, "only a prompt from a template is filled"

    def write(on: Sequence[bool]) -> str:
        off = {composed.names[group] for group, there in zip(groups, on, strict=True) if not there}
        return template.fill([name for name in composed.names if name not in off])

    return Rewriting(tokenizer, write, closing)
