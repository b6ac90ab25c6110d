"""Questions about several targets of one prompt, answered together: each changed prompt is read once for all."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from spanwise.engines.protocol import Found, as_found
from spanwise.engines.registry import find_runner
from spanwise.question import Answer, Question
from spanwise.scoring.contrast import Contrast
from spanwise.scoring.scorer import Scorer
from spanwise.scoring.several import SeveralTargets


def answer_together(questions: Sequence[Question]) -> list[Answer]:
    """Returns what `answer` gives for each question, the changed prompts read once. To be called inside a session.

    Each answer's counts are those of all together, and its `shared` says of how many.

    Args:
        questions: Each `shares` with the first, or all are answered one by one.

    Raises:
        MethodError: The method cannot start from this baseline on this engine.
        NonFiniteError: The model gave NaN or infinite scores.
    """
    first, *others = questions
    if not others or not all(shares(first, other) for other in others):
        return [question.answer() for question in questions]
    longest = max(questions, key=lambda question: len(question.encoding.target_ids))
    batches = longest.batches()
    offs = [question.off() for question in questions]
    with first.working() as tick:
        scorers = [q.scorer(off, batches, tick) for q, (off, _) in zip(questions, offs, strict=True)]
        for scorer in scorers[1:]:
            scorer.counts = scorers[0].counts
        given = {each.name: getattr(scorers[0], each.name) for each in dataclasses.fields(Scorer)}
        joint = SeveralTargets(**given, parts=scorers)
        joint.reference()
        found = as_found(find_runner(first.info, first.engine)(joint, first.options))
        edges = torch.tensor([scorer.row_count for scorer in joint.parts]).cumsum(0).tolist()
        parts = zip(questions, joint.parts, [0, *edges[:-1]], edges, offs, strict=True)
        return [
            dataclasses.replace(q.answered(_rows(found, begin, end), scorer, name), shared=len(questions))
            for q, scorer, begin, end, (_, name) in parts
        ]


def shares(first: Question, other: Question) -> bool:
    """Whether both ask the same of one prompt and differ in their targets and rows only.

    Only where each target's result is what it would be alone: methods that look at all rows to decide what to do next
    ("auto", hierarchical ablation) are left out, and so are contrasts and gradients.
    """
    count = len(first.encoding.prompt_ids)
    return (
        first.info.family == other.info.family == "perturbation"
        and first.engine == other.engine == "captum"
        and first.lm is other.lm
        and first.info.name == other.info.name
        and first.options == other.options
        and "auto" not in first.options.values()
        and not isinstance(first.objective, Contrast)
        and not isinstance(other.objective, Contrast)
        and first.aim == other.aim
        and not first.aim.hidden_states
        and first.encoding.prompt_ids == other.encoding.prompt_ids
        and (first.seed, first.batch_size, first.checkpointing) == (other.seed, other.batch_size, other.checkpointing)
        and _same(first.baseline, other.baseline)
        and torch.equal(first.axes.features[:count], other.axes.features[:count])
        and all(bool((each.axes.features[count:] < 0).all()) for each in (first, other))
    )


def _same(one: object, other: object) -> bool:
    return one is other or (not (isinstance(one, Tensor) or isinstance(other, Tensor)) and one == other)


def _rows(found: Found, begin: int, end: int) -> Found:
    """Returns the part of one target."""
    error = found.standard_error
    return dataclasses.replace(
        found, scores=found.scores[begin:end], standard_error=None if error is None else error[begin:end]
    )
