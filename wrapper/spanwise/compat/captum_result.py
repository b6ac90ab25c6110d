"""Captum's result, with plots of every dtype and no repeated token lost."""

import copy
from typing import Any

import captum.attr
import torch
from captum.attr import InterpretableInput
from captum.attr._core.llm_attr import _clean_up_pretty_token, _convert_ids_to_pretty_tokens
from torch import Tensor

from spanwise.text.characters import decode_with_spans


class LLMAttributionResult(captum.attr.LLMAttributionResult):
    """Scores for the whole target, and for each of its tokens; as Captum has it."""

    def __init__(
        self,
        *,
        input_tokens: list[str],
        output_tokens: list[str],
        seq_attr: Any,
        token_attr: Any = None,
        output_probs: Any = None,
        inp: InterpretableInput | None = None,
    ) -> None:
        super().__init__(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            seq_attr=seq_attr,
            token_attr=token_attr,
            output_probs=output_probs,
            inp=inp,
        )

    @property
    def seq_attr_dict(self) -> dict[str, float]:
        """The scores for the whole target by token, one entry a token.

        Captum keeps the last of several equal tokens. Here the first has its name, and the others are numbered:
        "the", "the (2)", "the (3)".
        """
        found: dict[str, float] = {}
        for token, score in zip(self.input_tokens, self.seq_attr.tolist(), strict=True):
            name, count = token, 1
            while name in found:
                count += 1
                name = f"{token} ({count})"
            found[name] = score
        return found

    def plot_token_attr(self, show: bool = False) -> Any:
        """Plots the scores of each target token as a heatmap.

        Args:
            show: Show the plot and return None; else return figure and axes.

        Raises:
            ValueError: The method gave scores for the whole target only.
        """
        return captum.attr.LLMAttributionResult.plot_token_attr(self._plottable(), show)

    def plot_seq_attr(self, show: bool = False) -> Any:
        """Plots the scores for the whole target as bars.

        Args:
            show: Show the plot and return None; else return figure and axes.
        """
        return captum.attr.LLMAttributionResult.plot_seq_attr(self._plottable(), show)

    def _plottable(self) -> "LLMAttributionResult":
        """Returns a copy in float32 on the CPU: numpy knows no bfloat16."""
        twin = copy.copy(self)
        twin.seq_attr = self.seq_attr.detach().float().cpu()
        twin.token_attr = None if self.token_attr is None else self.token_attr.detach().float().cpu()
        return twin


def token_labels(ids: Tensor, tokenizer: Any) -> list[str]:
    """Returns what a result calls each target token: Captum's name for it, where Captum finds one.

    It looks for the ids in the tokens of their own text, and fails where that is tokenized otherwise, as generated ids
    may be.
    """
    listed = ids.tolist()
    try:
        text = tokenizer.decode(ids)
        if list(tokenizer(text, add_special_tokens=False)["input_ids"]) == listed:
            return _convert_ids_to_pretty_tokens(ids, tokenizer)
        text, spans = decode_with_spans(tokenizer, [], listed)
    except (NotImplementedError, TypeError, IndexError):  # no offsets, or not a tokenizer of transformers
        return [_clean_up_pretty_token(str(tokenizer.decode(torch.tensor([id_])))) for id_ in listed]
    labels, end = [], 0
    for first, last in spans:
        labels.append(_clean_up_pretty_token(text[first:last]) + (" [OVERLAP]" if first < end else ""))
        end = max(end, last)
    return labels
