"""What is computed once and used again: keys and values before the first change, and a changed prompt for many targets.

"Without" is the same call with the keeping switched off, or one call a target.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from common import Row, attributed, by_turns, difference, prompt_of, target_of

import spanwise
from spanwise.evaluation.replay import question_of
from spanwise.question import Question
from spanwise.together import answer_together

TITLE = "With what was computed once, and without"


@dataclass(frozen=True)
class Size:
    """Tokens of the long prompt, of its attributed end, of the prompt that is walked through, and of targets."""

    long: int
    end: int
    walked: int
    target: int
    steps: int = 4


def compare(lm: spanwise.LanguageModel, size: Size, turns: int) -> list[Row]:
    """Returns a row a comparison."""
    end = {"source": spanwise.tokens(size.long - size.end, size.long)}
    return [
        _kept(lm, size, turns, f"the last {size.end} of {size.long} tokens", "feature_ablation", size.long, 5, **end),
        _kept(
            lm,
            size,
            turns,
            f"the last {size.end} of {size.long} tokens",
            "integrated_gradients",
            size.long,
            5,
            method_options={"n_steps": size.steps},
            **end,
        ),
        _kept(lm, size, turns, f"all of {size.walked} tokens", "feature_ablation", size.walked, 1.6),
        _spans(lm, size, turns),
        _targets(lm, size, turns),
    ]


def _kept(
    lm: spanwise.LanguageModel, size: Size, turns: int, what: str, method: str, count: int, asked: float, **given: Any
) -> Row:
    prompt, target = prompt_of(count), target_of(size.target)

    def work(keep: bool) -> Callable[[], spanwise.Attribution]:
        def attribute() -> spanwise.Attribution:
            off = mock.patch.object(Question, "_repeats_a_beginning", lambda self: False)
            with nullcontext() if keep else off:
                return spanwise.attribute(
                    lm, prompt, target, method=method, rows="span", baseline="pad", progress=False, **given
                )

        return attribute

    without, kept = by_turns([work(False), work(True)], turns, warm=False)
    apart = difference(attributed(kept.result), attributed(without.result))
    return _row(f"{method}, {what}", without.seconds, kept.seconds, asked, without.gib, kept.gib, apart)


def _spans(lm: spanwise.LanguageModel, size: Size, turns: int) -> Row:
    """Several spans of one target, in one call and one by one."""
    prompt, target = prompt_of(size.walked // 2), target_of(size.target)
    spans = [spanwise.tokens(k, k + 1) for k in range(0, size.target, max(1, size.target // 4))]

    def one(span: Any) -> spanwise.Attribution:
        return spanwise.attribute(
            lm, prompt, target, span=span, method="feature_ablation", rows="span", baseline="pad", progress=False
        )

    apart, together = by_turns(
        [lambda: torch.cat([attributed(one(span)) for span in spans]), lambda: one(spans)], turns, warm=False
    )
    found = difference(attributed(together.result), apart.result)
    what = f"feature_ablation, {len(spans)} spans of one target, {size.walked // 2} tokens"
    return _row(what, apart.seconds, together.seconds, None, apart.gib, together.gib, found)


def _row(
    work: str, without: float, seconds: float, asked: float | None, gib_without: float, gib: float, apart: float
) -> Row:
    return Row(
        TITLE,
        {
            "work": work,
            "without s": without,
            "with s": seconds,
            "ratio": without / seconds,
            "asked": asked,
            "without GiB": gib_without,
            "with GiB": gib,
            "difference": apart,
        },
    )


def _targets(lm: spanwise.LanguageModel, size: Size, turns: int) -> Row:
    """Several targets of one prompt, together and one by one."""
    prompt = prompt_of(size.walked)
    targets = [target_of(size.target, seed) for seed in range(4)]

    def alone() -> list[spanwise.Attribution]:
        return [
            spanwise.attribute(
                lm, prompt, target, method="feature_ablation", rows="span", baseline="pad", progress=False
            )
            for target in targets
        ]

    questions = [question_of(lm, result) for result in alone()]

    def together() -> torch.Tensor:
        with lm.session():
            return torch.cat([answer.scores for answer in answer_together(questions)])

    apart, joint = by_turns([lambda: torch.cat([each.scores for each in alone()]), together], turns, warm=False)
    kept = ~apart.result.isnan()
    found = difference(joint.result[kept], apart.result[kept])
    what = f"feature_ablation, {len(targets)} targets of one prompt, {size.walked} tokens"
    return _row(what, apart.seconds, joint.seconds, None, apart.gib, joint.gib, found)
