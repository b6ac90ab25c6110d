"""Several targets behind one prompt: the same values as each target alone, with the prompt read once."""

import dataclasses

import pytest
import torch
from conftest import PROMPT

import spanwise
from spanwise.evaluation.replay import question_of
from spanwise.scoring.baselines import make_baseline
from spanwise.scoring.batching import Batches
from spanwise.scoring.scorer import Scorer
from spanwise.scoring.several import SeveralTargets

TARGETS = (" painting, traveling.", " a", " different countries and a software engineer")

pytestmark = pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")


def made(lm: spanwise.LanguageModel, baseline: str, rows: str, size: int) -> tuple[SeveralTargets, list[Scorer]]:
    """The joint scorer, and each target's own."""
    alone: list[list[Scorer]] = []
    for _ in range(2):  # the joint one must not share anything with those it is compared with
        scorers = []
        for target in TARGETS:
            asked = spanwise.attribute(lm, PROMPT, target, method="feature_ablation", rows=rows, baseline=baseline)
            question = question_of(lm, asked)
            q = question
            off, _ = make_baseline(lm, baseline, q.info, q.encoding, q.composed, q.axes)
            scorers.append(question.scorer(off, Batches(size)))
        alone.append(scorers)
    first = alone[0][0]
    given = {each.name: getattr(first, each.name) for each in dataclasses.fields(Scorer)}
    return SeveralTargets(**given, parts=alone[0]), alone[1]


@pytest.mark.parametrize(("baseline", "rows"), [("pad", "token"), ("mask", "span")])
def test_values_are_those_of_each_target_alone(any_lm: spanwise.LanguageModel, baseline: str, rows: str) -> None:
    with any_lm.session():
        joint, alone = made(any_lm, baseline, rows, 3)
        torch.manual_seed(0)
        gates = (torch.rand(9, joint.feature_count) > 0.5).float()
        gates[2] = 1
        gates[4, :-2] = 1
        assert torch.equal(joint.reference(), alone[0].reference())
        expected = torch.cat([(scorer.reference(), scorer.scores(gates))[1] for scorer in alone], dim=1)
        found = joint.scores(gates)
        assert joint.row_count == expected.shape[1]
        # attention over the same keys, added up in blocks of other sizes
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_prompt_is_read_once(lm: spanwise.LanguageModel) -> None:
    with lm.session():
        joint, alone = made(lm, "pad", "span", 64)
        gates = 1 - torch.eye(joint.feature_count)
        joint.reference()
        for scorer in alone:
            scorer.reference()
        read = []
        for work in (lambda: joint.scores(gates), lambda: [scorer.scores(gates) for scorer in alone]):
            handle = lm.embedding.register_forward_hook(lambda m, a, out: read.append(out.shape[0] * out.shape[1]))
            work()
            handle.remove()
            read.append(-1)
        end = read.index(-1)
        together, apart = sum(read[:end]), sum(read[end + 1 : -1])
        assert together < 0.6 * apart, (together, apart)
