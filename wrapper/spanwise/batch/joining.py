"""Questions that go together: about one prompt and target, or about several targets of one prompt."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from spanwise.question import Question


def same_prompt(question: Question) -> tuple[Any, ...]:
    """Returns what two questions must share for one set of forwards to answer both."""
    encoding, axes = question.encoding, question.axes
    return encoding.prompt_ids, encoding.target_ids, tuple(axes.features.tolist())


def together(questions: Sequence[Question]) -> Question:
    """Returns one question with the rows of several about the same prompt and target."""
    first = questions[0]
    if len(questions) == 1:
        return first
    table = torch.cat([each.axes.table for each in questions])
    mask = torch.cat([each.axes.mask for each in questions])
    return replace(first, axes=replace(first.axes, table=table, mask=mask))
