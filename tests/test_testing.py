"""`spanwise.testing`: what holds passes, what does not fails with a table, a wrong question is refused."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import spanwise
from spanwise.errors import InputError, OptionError, SpanError
from spanwise.testing import assert_attributed
from spanwise.text.prompts import Documents

NOTES = ("Hello and welcome, Anna.", "The red box holds keys.", "The blue box holds coins.")
NAMES = ("greeting", "document 1", "document 2")


def notes() -> Documents:
    return spanwise.documents(NOTES, names=NAMES)


@pytest.fixture(scope="module")
def lm() -> spanwise.LanguageModel:
    return spanwise.load_model("tiny")


@pytest.fixture(scope="module")
def documents(lm: spanwise.LanguageModel) -> spanwise.Attribution:
    """Scores -1 for the greeting, 3 for document 1 and 6 for document 2; a second span with 0 for all."""
    asked = {"span": ["coins", "."], "method": "feature_ablation", "features": notes()}
    made = spanwise.attribute(lm, "The blue box holds", " coins.", **asked)
    scores = torch.full_like(made.scores, torch.nan)
    columns = [made.source_tokens.index(name) for name in NAMES]
    scores[:, columns] = torch.tensor([[-1.0, 3.0, 6.0], [0.0, 0.0, 0.0]])
    return replace(made, scores=scores, span_scores=scores)


@pytest.fixture(scope="module")
def tokens(lm: spanwise.LanguageModel) -> spanwise.Attribution:
    """One row a token; the first token scores 1, the second -2, the third 5, others 0.5."""
    made = spanwise.attribute(lm, "The keys to the keys", " are on", method="feature_ablation")
    scores = torch.full_like(made.scores, torch.nan)
    scores[:, :5] = torch.tensor([1.0, -2.0, 5.0, 0.5, 0.5])
    return replace(made, scores=scores)


def test_the_bundled_model_relies_on_its_document(lm: spanwise.LanguageModel) -> None:
    asked = {"span": "coins", "method": "feature_ablation", "features": notes()}
    result = spanwise.attribute(lm, "The blue box holds", " coins", **asked)
    assert_attributed(result, to="document 2", not_to=["greeting", "document 1"], at_least=0.9, rank=1)
    with pytest.raises(AssertionError):
        assert_attributed(result, to="document 1")
    with pytest.raises(AssertionError):
        assert_attributed(result, not_to="document 2")


def test_shares_are_of_the_scores_above_zero(documents: spanwise.Attribution) -> None:
    first = {"span": "coins"}
    assert_attributed(documents, to="document 2", at_least=6 / 9, **first)
    assert_attributed(documents, to=["document 1", "document 2"], at_least=1.0, **first)
    assert_attributed(documents, to="document 1", not_to="greeting", at_least=3 / 9, at_most=0.0, **first)
    for least in (0.67, 0.9):
        with pytest.raises(AssertionError, match=re.escape("66.7%")):
            assert_attributed(documents, to="document 2", at_least=least, **first)


def test_the_defaults_are_more_than_all_else_and_next_to_nothing(documents: spanwise.Attribution) -> None:
    assert_attributed(documents, to="document 2", span=0)
    with pytest.raises(AssertionError, match=r"'document 1' has at least 50\.0%  33\.3%"):
        assert_attributed(documents, to="document 1", span=0)
    with pytest.raises(AssertionError, match=r"'document 1' has at most 10\.0%  33\.3%"):
        assert_attributed(documents, not_to="document 1", span=0)


def test_rank_is_the_place_of_the_best_column(tokens: spanwise.Attribution) -> None:
    assert_attributed(tokens, to="to", rank=1)
    assert_attributed(tokens, to=["to", "The"], rank=2)
    assert_attributed(tokens, to="The keys to", rank=1)  # one of its columns is the strongest
    with pytest.raises(AssertionError, match="place 2"):
        assert_attributed(tokens, to=["to", "The"], rank=1)
    with pytest.raises(AssertionError, match="no weight"):
        assert_attributed(tokens, to=spanwise.tokens(1, 2), rank=5)  # below 0


def test_rank_and_share_both_count_where_both_are_asked(tokens: spanwise.Attribution) -> None:
    with pytest.raises(AssertionError, match=r"NO  'to' has at least 80.0%(.|\n)*ok  'to' has the strongest column"):
        assert_attributed(tokens, to="to", rank=1, at_least=0.8)


def test_a_score_can_be_asked_for(documents: spanwise.Attribution) -> None:
    assert_attributed(documents, to="document 2", span=0, min_score=6.0)
    assert_attributed(documents, to=["document 2", "document 1", "greeting"], span=0, min_score=9.0)
    with pytest.raises(AssertionError, match=r"NO  'document 2' has at least 6\.1 nats  6\n"):
        assert_attributed(documents, to="document 2", span=0, min_score=6.1)


def test_directions(tokens: spanwise.Attribution) -> None:
    second = spanwise.tokens(1, 2)
    assert_attributed(tokens, to=second, at_least=1.0, direction="against")
    assert_attributed(tokens, to=second, at_least=2 / 9, direction="both")
    assert_attributed(tokens, not_to=second, at_most=0.0)
    with pytest.raises(AssertionError):
        assert_attributed(tokens, to=second, at_least=0.25, direction="both")


def test_parts_of_the_prompt(tokens: spanwise.Attribution) -> None:
    for part, share in (
        ("keys", 0.5 / 7),  # both places: -2 and 0.5
        (re.compile("T.e"), 1 / 7),
        ((0, 8), 1 / 7),
        (spanwise.tokens(2, 5), 6 / 7),
        (spanwise.role("prompt"), 1.0),
        ([(0, 3), "to"], 6 / 7),
    ):
        assert_attributed(tokens, to=part, at_least=share - 1e-6)
        with pytest.raises(AssertionError):
            assert_attributed(tokens, not_to=part, at_most=share - 1e-6)


def test_a_row_without_scores_above_zero_rests_on_nothing(documents: spanwise.Attribution) -> None:
    with pytest.raises(AssertionError, match="no score is above 0"):
        assert_attributed(documents, to="document 2", span=".")
    assert_attributed(documents, not_to="document 2", span=".")


def test_token_rows_of_a_span_are_added(tokens: spanwise.Attribution, lm: spanwise.LanguageModel) -> None:
    asked = {"method": "feature_ablation", "rows": "token", "span": ["are", "on"]}
    made = spanwise.attribute(lm, "The keys to the keys", " are on", **asked)
    result = replace(made, scores=tokens.scores, span_scores=torch.full_like(made.span_scores, torch.nan))
    assert_attributed(result, to="to", span="on", at_least=5 / 7 - 1e-6)
    only_first = replace(result, scores=torch.stack([tokens.scores[0], -tokens.scores[1]]))
    assert_attributed(only_first, to="to", span=0)
    with pytest.raises(AssertionError):
        assert_attributed(only_first, to="to", span=1)


def test_what_a_failure_says(documents: spanwise.Attribution) -> None:
    with pytest.raises(AssertionError) as failed:
        assert_attributed(documents, to="document 1", not_to="greeting", span="coins", rank=1)
    assert str(failed.value).splitlines() == [
        "'coins': what was asked of its attribution does not hold.",
        "",
        "      asked                                  found",
        "  NO  'document 1' has the strongest column  place 2",
        "  ok  'greeting' has at most 10.0%           0.0%",
        "",
        "     share      score",
        "     66.7%    +6.0000  ########################  'document 2' 'The blue box holds coin…'",
        " >   33.3%    +3.0000  ############              'document 1' 'The red box holds keys.'",
        " !    0.0%    -1.0000                            'greeting' 'Hello and welcome, Anna.'",
        "",
        "> must have it, ! must not; share of the 9 nats above 0",
        "feature_ablation (captum) of tiny float32, objective log_prob",
    ]


def test_user_text_cannot_break_the_message(tokens: spanwise.Attribution) -> None:
    evil = replace(tokens.source[2], text="\x1b[31m to\nE   assert False")
    with pytest.raises(AssertionError) as failed:
        assert_attributed(replace(tokens, source=(*tokens.source[:2], evil, *tokens.source[3:])), to="The")
    assert "\x1b" not in str(failed.value) and "\nE   assert" not in str(failed.value)


def test_long_results_are_cut(lm: spanwise.LanguageModel) -> None:
    prompt = "The keys near the old cabinet of my sister and the lamps of my brother in the small house of my friend"
    result = spanwise.attribute(lm, prompt, " are", method="saliency", span="are")
    with pytest.raises(AssertionError) as failed:
        assert_attributed(result, to="friend", at_least=1.0)
    lines = str(failed.value).splitlines()
    assert len(lines) < 20 and max(map(len, lines)) <= 120
    assert re.search(r"\d+ more$", lines[-4])


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({}, OptionError, "to= or not_to= is needed"),
        ({"to": "greeting", "at_least": 0}, OptionError, "above 0 and up to 1"),
        ({"to": "greeting", "at_least": "0.5"}, OptionError, "such as 0.5"),
        ({"to": "greeting", "rank": 0}, OptionError, "rank must be an integer of at least 1"),
        ({"to": "greeting", "min_score": -1.0}, OptionError, "above 0, not -1.0"),
        ({"not_to": "greeting", "at_most": 1.0}, OptionError, "from 0 to below 1"),
        ({"not_to": "greeting", "at_least": 0.5}, OptionError, "about to="),
        ({"to": "greeting", "at_most": 0.5}, OptionError, "about not_to="),
        ({"to": "greeting", "direction": "up"}, OptionError, "unknown direction"),
        ({"to": []}, OptionError, "empty list"),
        ({"to": 3.5}, OptionError, "not 3.5"),
        ({"to": "greeting", "span": None}, OptionError, "2 spans: say which"),
        ({"to": "greeting", "span": "keys"}, SpanError, "0: 'coins', 1: '.'"),
        ({"to": "greeting", "span": 2}, SpanError, "span 2 was asked"),
        ({"to": "document 9"}, SpanError, "The features are 'greeting', 'document 1', 'document 2'"),
        ({"to": spanwise.role("user")}, SpanError, "no column's role; there are: prefix, prompt"),
        ({"to": spanwise.tokens(90, 95)}, SpanError, "outside"),
        ({"to": "blue"}, InputError, "only a piece of 'document 2'"),
        ({"to": spanwise.tokens(0, 1)}, InputError, "only a piece of 'greeting'"),
        ({"to": (len("\n\n".join(NOTES)) + 2, len("\n\n".join(NOTES)) + 5)}, InputError, "has no score"),
        ({"to": "greeting", "not_to": ["document 1", "greeting"]}, InputError, "share 'greeting'"),
    ],
)
def test_wrong_questions_are_refused(
    documents: spanwise.Attribution, unchecked_types: None, given: dict, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=re.escape(says)):
        assert_attributed(documents, **({"span": 0} | given))


def test_no_result_and_no_sign(lm: spanwise.LanguageModel, unchecked_types: None) -> None:
    with pytest.raises(InputError, match="takes a result"):
        assert_attributed([1.0], to="The")
    unsigned = spanwise.attribute(lm, "The keys", " are", method="saliency")
    with pytest.raises(OptionError, match="saliency have no sign"):
        assert_attributed(unsigned, to="The", direction="against")
    with pytest.raises(SpanError, match="without span="):
        assert_attributed(unsigned, to="The", span="are")


def test_pytest_shows_the_line_of_the_test_and_not_ours(documents: spanwise.Attribution) -> None:
    with pytest.raises(AssertionError) as failed:
        assert_attributed(documents, to="document 1", span="coins")
    shown = failed.traceback.filter(failed)  # what pytest leaves of it, by `__tracebackhide__`
    assert not any(Path(str(entry.path)).match("spanwise/testing/*.py") for entry in shown)
    assert Path(str(shown[0].path)) == Path(__file__)
