"""Held-out prompts for the benchmark, after a check that their planted causes cause the model's own answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from spanwise.evaluation.planted.ground_truth import Example
from spanwise.model.forward import forward
from spanwise.model.language_model import LanguageModel
from spanwise.model.reading import read
from spanwise.text.encoding import Encoding

_BATCH = 64


@dataclass(frozen=True)
class Case:
    """A prompt whose causes were seen to be causes.

    Attributes:
        example: The prompt, the target and the planted truth.
        ids: Of the prompt's tokens that get a score: all but the special ones.
        causes: Which of them overlap a planted cause.
    """

    example: Example
    ids: tuple[int, ...]
    causes: Bool[Tensor, " source"]


@dataclass(frozen=True)
class Checked:
    """What the check found in one family at one precision.

    Attributes:
        precision: Of the weights.
        family: Of the ground truth.
        asked: Prompts.
        wrong: Of these, dropped since the model's own answer is another.
        without_effect: Dropped since the swap of some planted cause does not bring the answer that the rule then gives.
        kept: The rest.
        other_swaps: Swaps of words that are no causes, in the prompts kept.
        other_changes: How many of those change the answer, which no cause explains.
    """

    precision: str
    family: str
    asked: int
    wrong: int
    without_effect: int
    kept: int
    other_swaps: int
    other_changes: int


def checked_cases(lm: LanguageModel, examples: Sequence[Example], precision: str) -> tuple[list[Case], list[Checked]]:
    """Returns the prompts that stay, and what was found, family by family.

    A prompt stays if the model's own greedy answer is the planted one, and if the swap of each of its planted causes
    for another word turns the greedy answer into the one that the rule gives for the other word. Swaps of other words
    are counted, and drop nothing.

    Args:
        lm: The model.
        examples: With the swaps to try.
        precision: The name that goes into the counts.
    """
    swaps = [(example, swap) for example in examples for swap in example.swaps]
    answered = dict(zip(examples, answers(lm, [(e, e.prompt, e.span) for e in examples]), strict=True))
    followed = dict(zip(swaps, answers(lm, [(e, swap.prompt, swap.span) for e, swap in swaps]), strict=True))

    def effective(example: Example) -> bool:
        causes = [swap for swap in example.swaps if swap.is_cause]
        reached = {swap.changed for swap in causes if followed[example, swap]}
        return set(example.causes) == reached and len(reached) == len(causes)

    kept, counts = [], []
    for family in dict.fromkeys(example.family for example in examples):
        asked = [example for example in examples if example.family == family]
        right = [example for example in asked if answered[example]]
        stay = [example for example in right if effective(example)]
        others = [followed[e, swap] for e in stay for swap in e.swaps if not swap.is_cause]
        kept += [_case(lm, example) for example in stay]
        counts.append(
            Checked(
                precision=precision,
                family=family,
                asked=len(asked),
                wrong=len(asked) - len(right),
                without_effect=len(right) - len(stay),
                kept=len(stay),
                other_swaps=len(others),
                other_changes=others.count(False),  # such a swap leaves the answer, so another one is a change
            )
        )
    return kept, counts


def answers(lm: LanguageModel, asked: Sequence[tuple[Example, str, str]]) -> list[bool]:
    """Returns for each example with another prompt and span whether the model's greedy answer is that span.

    The target before the span is given. Greedy decoding writes the span exactly where each of its tokens is the model's
    first choice after the ones before, which one forward of prompt and target tells.
    """
    found: list[bool] = []
    encodings = [_encoded(lm, example, prompt, span) for example, prompt, span in asked]
    with lm.session(), torch.no_grad():
        for start in range(0, len(encodings), _BATCH):
            found += _greedy(lm, encodings[start : start + _BATCH])
    return found


_Asked = tuple[Encoding, list[int]]
"""Prompt and target, and which target tokens overlap the span."""


def _encoded(lm: LanguageModel, example: Example, prompt: str, span: str) -> _Asked:
    first, last = example.span_range[0], example.span_range[0] + len(span)
    encoding = read(lm, prompt, example.target[:first] + span + example.target[example.span_range[1] :])
    return encoding, [i for i, t in enumerate(encoding.target_tokens) if t.start < last and t.end > first]


def _greedy(lm: LanguageModel, asked: Sequence[_Asked]) -> list[bool]:
    rows = [torch.tensor([*encoding.prompt_ids, *encoding.target_ids]) for encoding, _ in asked]
    ids = pad_sequence(rows, batch_first=True).to(lm.device)  # [batch, token]; padding is behind: nothing sees it
    outputs, _ = forward(lm, ids, ids.shape[1])
    choices = outputs.logits.argmax(-1).cpu()
    verdicts = []
    for row, chosen, (encoding, inside) in zip(rows, choices, asked, strict=True):
        places = torch.tensor([len(encoding.prompt_ids) + i for i in inside])
        verdicts.append(bool((row[places] == chosen[places - 1]).all()))
    return verdicts


def _case(lm: LanguageModel, example: Example) -> Case:
    tokens = [token for token in read(lm, example.prompt, example.target).prompt_tokens if not token.special]
    causes = [any(t.start < end and t.end > start for start, end in example.causes) for t in tokens]
    return Case(example, tuple(token.id for token in tokens), torch.tensor(causes))
