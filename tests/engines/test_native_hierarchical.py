"""Hierarchical ablation: exact where it looked, even where it did not, and never more forwards than announced.

Scores agree with feature_ablation within 1e-5: the same inputs, in other batches.
"""

import itertools
import random
from types import SimpleNamespace

import pytest
import torch
from conftest import make_model, make_tokenizer
from test_closed_forms import Additive, AdditiveConfig

import spanwise
from spanwise.engines.native_hierarchical import _MOST_PARTS, Group, Search, grow
from spanwise.errors import OptionError
from spanwise.scoring.scorer import Scorer
from spanwise.text.composing import compose
from spanwise.text.encoding import encode
from spanwise.text.layout import make_axes
from spanwise.text.levels import NESTED, nested_levels

FACTS = [
    "Laura likes black. Nora likes white. Linda likes blue.",
    "Simon likes green. Michael likes red. The keys are on the table.",
    "In his free time, Anna enjoys painting. The old door is new.",
    "Laura likes",
]
PROMPT, TARGET = "\n\n".join(FACTS), " black."


@pytest.fixture(scope="module")
def tiny() -> spanwise.LanguageModel:
    return spanwise.load_model("tiny")


def ask(lm: spanwise.LanguageModel, prompt: str = PROMPT, **asked: object) -> spanwise.Attribution:
    return spanwise.attribute(
        lm, prompt, TARGET, **{"span": "black", "method": "hierarchical_ablation", "progress": False, **asked}
    )


@pytest.mark.parametrize("features", ["token", "word", "sentence", "paragraph"])
def test_with_enough_forwards_it_is_feature_ablation(tiny: spanwise.LanguageModel, features: str) -> None:
    found, expected = ask(tiny, features=features), ask(tiny, features=features, method="feature_ablation")
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=0, equal_nan=True)
    assert found.provenance.forwards == expected.provenance.forwards


@pytest.mark.parametrize("expand", [1, 3])
@pytest.mark.parametrize("rows", ["span", "token"])
def test_scores_are_those_of_the_smallest_group_that_was_tried(
    tiny: spanwise.LanguageModel, rows: str, expand: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[torch.Tensor] = []
    scores = Scorer.scores
    monkeypatch.setattr(Scorer, "scores", lambda self, gates: tried.append(gates.clone()) or scores(self, gates))
    options = {"forwards": 30, "expand": expand}
    asked = {"span": None, "rows": "token"} if rows == "token" else {}
    found = ask(tiny, method_options=options, **asked)
    gates = torch.cat(tried)
    monkeypatch.undo()
    free = ~found.scores.isnan().any(0)
    count = int(free.sum())
    assert 30 < count == gates.shape[1]
    assert found.provenance.forwards <= 31 and len(gates) <= 31
    off = gates == 0
    groups = {tuple(row.nonzero().flatten().tolist()) for row in off if row.any()}
    for one, other in itertools.combinations(groups, 2):  # a tree
        assert not set(one) & set(other) or set(one) < set(other) or set(other) < set(one)
    alone = ask(tiny, method="feature_ablation", **asked).scores[:, free]
    effects = {group: effect_of(tiny, found, group) for group in groups if len(group) > 1}
    singles = 0
    for feature in range(count):
        around = min((group for group in groups if feature in group), key=len)
        singles += len(around) == 1
        expected = alone[:, feature] if len(around) == 1 else effects[around] / len(around)
        torch.testing.assert_close(found.scores[:, free][:, feature], expected, atol=1e-5, rtol=0)
    assert 4 < singles < count
    if rows == "span":  # the tokens that matter most were found
        best, expected = (set(scores.abs().topk(5).indices.tolist()) for scores in (found.scores[0, free], alone[0]))
        assert best == expected


def effect_of(lm: spanwise.LanguageModel, result: spanwise.Attribution, group: tuple[int, ...]) -> torch.Tensor:
    """The drop of each row when these tokens are the unknown one, by plain forwards."""
    made = result.provenance
    changed = [lm.tokenizer.unk_token_id if i in group else id_ for i, id_ in enumerate(made.prompt_ids)]
    target, count = torch.tensor(made.target_ids), len(made.prompt_ids)
    with torch.no_grad():
        ids = torch.tensor([[*made.prompt_ids, *target], [*changed, *target]])
        logits = lm.model(ids, use_cache=False).logits[:, count - 1 : -1].log_softmax(-1)
    drop = logits[0, range(len(target)), target] - logits[1, range(len(target)), target]
    return drop if result.rows == "token" else drop[:1]


def test_twenty_times_fewer_forwards_and_the_same_top_ten() -> None:
    """2,048 tokens, of which 10 matter: all are found, and exactly. The model is additive, so nothing cancels out."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Additive(AdditiveConfig()).eval()
    lm = spanwise.LanguageModel(model, make_tokenizer())
    with torch.no_grad():
        model.embed.weight.zero_()
        for letter in "QX":
            model.embed.weight[lm.tokenizer.encode(letter)[0]] = model.direction / model.direction.norm() ** 2
    draw = random.Random(1)
    letters = [draw.choice("abcdfgjk") for _ in range(2048)]
    sentence = 16
    for at in range(0, 2048, sentence):  # "b c d ... f."
        letters[at + sentence - 1] = "."
    for at in (700, 701, 702, 703, 704, 1500, 1501, 1502, 1503, 1504):
        letters[at] = draw.choice("QX")
    prompt = "".join(letters[at] + ("" if letters[at + 1 : at + 2] == ["."] else " ") for at in range(2048))
    prompt = prompt.strip()
    asked = {"rows": "span", "objective": "logit", "baseline": "zero", "progress": False}
    found = spanwise.attribute(lm, prompt, " on", method="hierarchical_ablation", **asked)
    count = len(found.provenance.prompt_ids)
    assert count >= 2048 and count + 1 >= 20 * found.provenance.forwards
    best = found.scores[0, :count].topk(10)
    assert {found.source[place].text.strip() for place in best.indices.tolist()} <= {"Q", "X"}
    effect = torch.full((10,), float(len(found.target)))  # of each on every target token, by the model's definition
    torch.testing.assert_close(best.values, effect, atol=1e-3, rtol=0)  # sums of 2,048 in float32
    assert float(found.scores[0, :count].abs().sum()) == pytest.approx(float(effect.sum()), abs=1e-2)


def test_rows_share_their_forwards(tiny: spanwise.LanguageModel) -> None:
    one = ask(tiny, method_options={"forwards": 24})
    both = ask(tiny, span=["black", "."], method_options={"forwards": 24})
    assert both.provenance.forwards <= 25 and one.provenance.forwards <= 25
    assert both.scores.shape[0] == 2


def test_the_row_with_the_largest_effect_decides(unchecked_types: None) -> None:
    """Feature 3 moves the first row by 1, feature 60 the second by -5: with forwards for one of 8 groups, that one."""
    effects = torch.zeros(64, 2)
    effects[3, 0], effects[60, 1] = 1.0, -5.0
    scorer = SimpleNamespace(feature_count=64, row_count=2, scores=lambda gates: gates @ effects)
    search = Search(scorer, left=20)
    search.run(grow(range(64), []))
    assert search.left == 20 - 8 - 8
    assert float(search.scores[1, 60]) == -5.0 and search.scores[1].count_nonzero() == 1
    assert search.scores[0, :8].tolist() == [1 / 8] * 8 and search.scores[0].count_nonzero() == 8


def test_more_at_a_time_takes_fewer_calls(tiny: spanwise.LanguageModel) -> None:
    calls = [ask(tiny, method_options={"forwards": 30, "expand": n}).provenance.calls for n in (1, 8)]
    assert calls[1] < calls[0]


def test_the_generated_prefix_and_a_contrast(lm: spanwise.LanguageModel) -> None:
    lm = spanwise.LanguageModel(make_model("qwen2"), make_tokenizer())
    prompt, target = "The keys to the cabinet. In Austin, Texas, he enjoys painting", " traveling to Paris."
    for more in ({"span": "Paris", "prefix": "attributed"}, {"span": "Paris", "objective": spanwise.contrast("Texas")}):
        found = spanwise.attribute(
            lm, prompt, target, method="hierarchical_ablation", method_options={"forwards": 16}, **more
        )
        assert found.scores[0].isfinite().sum() > 16 and found.provenance.forwards <= 17 * 2


def test_levels_are_nested() -> None:
    lm_tokenizer = make_tokenizer()
    composed = compose(lm_tokenizer, PROMPT)
    encoding = encode(lm_tokenizer, PROMPT, TARGET)
    axes = make_axes(encoding, composed, spanwise.methods.find_method("feature_ablation"), prefix="attributed")
    levels = nested_levels(axes, encoding, composed)
    assert levels.shape == (len(NESTED), axes.feature_count)
    prefix = sum(token.role == "prefix" for token in axes.feature_columns)
    assert levels[0].unique(return_counts=True)[1].tolist() == [axes.feature_count - prefix, prefix]
    assert int(levels[1].max()) + 1 == 4 + 1 and int(levels[2].max()) + 1 == 9 + 1
    for coarse, fine in itertools.pairwise(levels.tolist()):
        assert len(set(zip(coarse, fine, strict=True))) == len(set(fine))
    for level, wholes in ((1, FACTS), (2, [part for fact in FACTS for part in _sentences(fact)])):
        for number, whole in enumerate(wholes):
            inside = [axes.feature_columns[i].text for i in (levels[level] == number).nonzero().flatten().tolist()]
            assert "".join(inside).strip() == whole


def _sentences(text: str) -> list[str]:
    return [part if part.endswith(".") or part == "Laura likes" else f"{part}." for part in text.split(". ")]


def test_messages_are_a_level() -> None:
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "The keys are on the table. Texas is old."},
    ]
    tokenizer = make_tokenizer()
    template = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
    lm = spanwise.LanguageModel(make_model("qwen2"), tokenizer)
    tokenizer.chat_template = template
    try:
        composed = compose(tokenizer, None, messages=messages)
        encoding = encode(tokenizer, composed.text, TARGET)
        axes = make_axes(encoding, composed, spanwise.methods.find_method("feature_ablation"))
        levels = nested_levels(axes, encoding, composed)
        found = spanwise.attribute(
            lm, messages=messages, target=TARGET, method="hierarchical_ablation", method_options={"forwards": 16}
        )
    finally:
        tokenizer.chat_template = None
    of_message = [token.message for token in axes.feature_columns]
    assert levels[0].tolist() == [message - min(of_message) for message in of_message] and max(levels[0]) == 1
    assert int(levels[2].max()) + 1 == 3
    assert found.provenance.forwards <= 17


@pytest.mark.parametrize("count", [1, 2, 16, 17, 40, 257, 2048, 5000])
def test_groups_have_few_parts_and_lose_nothing(count: int) -> None:
    draw = random.Random(count)
    cuts = sorted(draw.choices(range(count), k=count // 20))
    sentence = [sum(cut <= i for cut in cuts) for i in range(count)]
    for levels in ([], [[0] * count, sentence]):
        tree = grow(range(count), levels)
        assert tree.features == tuple(range(count))
        waiting = [tree]
        while waiting:
            group: Group = waiting.pop()
            assert len(group.parts) != 1 and len(group.parts) <= _MOST_PARTS
            assert bool(group.parts) == (len(group.features) > 1)
            if group.parts:
                assert tuple(each for part in group.parts for each in part.features) == group.features
            waiting += group.parts


def test_options_are_checked(tiny: spanwise.LanguageModel) -> None:
    with pytest.raises(OptionError, match="option forwards must be an integer of at least 16, not 8"):
        ask(tiny, method_options={"forwards": 8})
    with pytest.raises(OptionError, match="option expand must be an integer of at least 1, not 0"):
        ask(tiny, method_options={"expand": 0})


def test_asked_again_from_its_result_it_is_the_same(tiny: spanwise.LanguageModel) -> None:
    from spanwise.evaluation.replay import question_of

    result = ask(tiny, method_options={"forwards": 20})
    with tiny.session():
        again = question_of(tiny, result).answer()
    torch.testing.assert_close(again.scores, result.scores, atol=1e-6, rtol=0, equal_nan=True)
