"""Several targets of one prompt answered together: what each gets alone, from fewer positions read."""

import dataclasses

import pytest
import torch
from conftest import PROMPT, few

import spanwise
from spanwise.evaluation.replay import question_of
from spanwise.question import Question
from spanwise.together import answer_together, shares

TARGETS = (" painting, traveling.", " a", " different countries and a software engineer")

pytestmark = pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")


def asked(lm: spanwise.LanguageModel, targets: tuple[str, ...] = TARGETS, **given: object) -> list:
    return [spanwise.attribute(lm, PROMPT, target, **given) for target in targets]  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", ["auto", "span"])
@pytest.mark.parametrize("method", ["feature_ablation", "shapley_value_sampling", "kernel_shap", "lime"])
def test_each_gets_what_it_gets_alone(lm: spanwise.LanguageModel, method: str, rows: str) -> None:
    alone = asked(lm, method=method, rows=rows, method_options=few(method), seed=3)
    with lm.session():
        answers = answer_together([question_of(lm, result) for result in alone])
    for result, answer in zip(alone, answers, strict=True):
        assert answer.shared == 3
        assert torch.equal(result.scores.isnan(), answer.scores.isnan())
        # attention over the same keys in blocks of other sizes; KernelSHAP's regression makes 1e-6 into 1e-4
        close = 1e-3 if method == "kernel_shap" else 1e-4 if method == "lime" else 1e-5
        torch.testing.assert_close(answer.scores.nan_to_num(), result.scores.nan_to_num(), atol=close, rtol=1e-5)
        torch.testing.assert_close(answer.target_scores, result.target_scores)
        if result.standard_error is not None:
            assert answer.standard_error is not None
            torch.testing.assert_close(
                answer.standard_error, result.standard_error, atol=close, rtol=1e-3, equal_nan=True
            )


def test_the_prompt_is_read_once(lm: spanwise.LanguageModel) -> None:
    alone = asked(lm, method="feature_ablation")
    with lm.session():
        together = answer_together([question_of(lm, result) for result in alone])
    # each changed prompt, and one unchanged forward a target
    assert together[0].counts.forwards == alone[0].provenance.forwards + 2
    assert together[0].counts.forwards < sum(result.provenance.forwards for result in alone) / 2


def test_what_cannot_be_shared_is_answered_alone(lm: spanwise.LanguageModel) -> None:
    questions = [
        question_of(lm, result) for result in asked(lm, method="integrated_gradients", method_options={"n_steps": 2})
    ]
    assert not shares(questions[0], questions[1])
    with lm.session():
        answers = answer_together(questions)
        for question, answer in zip(questions, answers, strict=True):
            assert answer.shared == 1
            torch.testing.assert_close(answer.scores, question.answer().scores, equal_nan=True, atol=0, rtol=0)


@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"batch_size": 2}, {"baseline": "zero"}, {"options": {"n_samples": 5}}, {"checkpointing": True}],
)
def test_another_question_is_not_shared(lm: spanwise.LanguageModel, change: dict) -> None:
    first, other = (
        question_of(lm, result)
        for result in asked(lm, TARGETS[:2], method="shapley_value_sampling", method_options={"n_samples": 2})
    )
    assert shares(first, other)
    assert not shares(first, dataclasses.replace(other, **change))


def test_another_prompt_and_an_attributed_prefix_are_not_shared(lm: spanwise.LanguageModel) -> None:
    first, other = (question_of(lm, result) for result in asked(lm, TARGETS[:2], method="feature_ablation"))
    longer = spanwise.attribute(lm, PROMPT + " and", TARGETS[0], method="feature_ablation")
    inside = spanwise.attribute(lm, PROMPT, TARGETS[0], method="feature_ablation", prefix="attributed")
    different: list[Question] = [question_of(lm, longer), question_of(lm, inside)]
    assert shares(first, other)
    assert not any(shares(first, each) or shares(each, first) for each in different)
