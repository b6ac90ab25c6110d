"""Texts as the ids that the model reads and wrote, for Inseq, which passes texts and tokenizes them again."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from spanwise.errors import AttributionWarning, InputError, LengthError
from spanwise.model.language_model import LanguageModel
from spanwise.text.characters import decode_with_spans


class MismatchError(InputError, AssertionError):
    """A generated text does not begin with its input text; Inseq raises an AssertionError."""


class Texts:
    """Tokenizes, generates, and remembers which ids a generated text has.

    Args:
        lm: The model.
    """

    def __init__(self, lm: LanguageModel) -> None:
        self._lm = lm
        ids = (getattr(lm.model.config, "bos_token_id", None), lm.tokenizer.bos_token_id)
        self.bos_id: int | None = next((each for each in ids if isinstance(each, int)), None)
        self.bos: str | None = None if self.bos_id is None else lm.tokenizer.convert_ids_to_tokens(self.bos_id)
        self._known: dict[str, list[int]] = {}

    def ids(self, text: str, *, special: bool = True) -> list[int]:
        """Returns the ids of a text: those the model wrote, or the tokenizer's without a second BOS.

        Raises:
            LengthError: More than the model's context holds; Inseq cuts the text there.
        """
        found = self._known.get(text)
        if found is None:
            found = list(self._lm.tokenizer(text, add_special_tokens=special)["input_ids"])
            if len(found) > 1 and found[0] == found[1] == self.bos_id:
                found = found[1:]
        limit = self._lm.context_length
        if limit is not None and len(found) > limit:
            raise LengthError(f"the text has {len(found)} tokens, more than the model's context of {limit}: {text!r}.")
        return found

    def checked(self, texts: Sequence[str]) -> list[str]:
        """Returns the input texts, BOS in place of an empty one.

        Raises:
            InputError: No text, or an empty one and no BOS token.
        """
        if not texts or not all(isinstance(text, str) for text in texts):
            raise InputError(f"input_texts is a text or a list of texts, at least one, not {list(texts)!r}.")
        if not all(texts) and self.bos is None:
            raise InputError("an input text is empty, and the model has no BOS token to begin with.")
        return [text or str(self.bos) for text in texts]

    def checked_targets(self, texts: Sequence[str], targets: Sequence[str], *, special: bool) -> list[str]:
        """Returns the generated texts, with a warning where a token straddles input and continuation.

        Raises:
            MismatchError: One of them does not begin with its input text, or does not go on.
        """
        checked = []
        for text, target in zip(texts, targets, strict=True):
            if text == self.bos and not target.startswith(text):
                target = text + target
            if not target.startswith(text):
                raise MismatchError(
                    "Forced generations of decoder-only models must start with the input texts: the input is "
                    f"{text!r}, the generated text {target!r}."
                )
            head, whole = self.ids(text, special=special), self.ids(target, special=special)
            if len(whole) <= len(head):
                raise MismatchError(f"the generated text {target!r} has no token beyond the input {text!r}.")
            if whole[: len(head)] != head:
                warnings.warn(
                    f"a token straddles the end of the input text {text[-40:]!r}: Inseq tokenizes input and "
                    f"continuation together, and counts tokens from {len(head)} on as generated.",
                    AttributionWarning,
                    stacklevel=6,
                )
            checked.append(target)
        return checked

    def written(self, texts: Sequence[str], size: int, options: Mapping[str, Any], *, special: bool) -> list[str]:
        """Returns what the model makes of the texts, input included; `ids` then knows its ids.

        Special tokens that it wrote are kept where there is one text and left out where there are several, as in Inseq.

        Raises:
            InputError: Nothing was written.
        """
        prompts = [self.ids(text, special=special) for text in texts]
        found: list[str] = []
        for first in range(0, len(prompts), size):
            part = prompts[first : first + size]
            for text, prompt, new in zip(texts[first:], part, self._generated(part, options), strict=False):
                if len(texts) > 1 or not special:
                    new = [id_ for id_ in new if id_ not in self._lm.tokenizer.all_special_ids]
                if not new:
                    raise InputError(f"the model wrote nothing after {text!r}; give the generated text.")
                whole = text + decode_with_spans(self._lm.tokenizer, prompt, new)[0]
                self._known[whole] = [*prompt, *new]
                found.append(whole)
        return found

    def forget(self) -> None:
        """Forgets the ids of what was written."""
        self._known.clear()

    def _generated(self, prompts: Sequence[list[int]], options: Mapping[str, Any]) -> list[list[int]]:
        """Returns what the model writes after each, up to the first end-of-sequence token."""
        tokenizer, model = self._lm.tokenizer, self._lm.model
        pad = next((id_ for id_ in (tokenizer.pad_token_id, tokenizer.eos_token_id) if id_ is not None), 0)
        length = max(len(prompt) for prompt in prompts)
        ids = torch.tensor([[pad] * (length - len(each)) + each for each in prompts], device=self._lm.device)
        mask = torch.tensor([[0] * (length - len(each)) + [1] * len(each) for each in prompts], device=self._lm.device)
        with torch.no_grad():
            output: Any = model.generate(  # type: ignore[operator] # a transformers model has it
                **{"input_ids": ids, "attention_mask": mask, "pad_token_id": pad, **options}
            )
        rows = (output if isinstance(output, Tensor) else output.sequences)[:, length:].tolist()
        ends = options.get("eos_token_id", getattr(model.generation_config, "eos_token_id", None))
        ends = [ends] if isinstance(ends, int) else list(ends or ())
        return [row[: next((i + 1 for i, id_ in enumerate(row) if id_ in ends), len(row))] for row in rows]
