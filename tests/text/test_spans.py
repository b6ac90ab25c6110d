import re

import pytest
from conftest import make_tokenizer
from hypothesis import given
from hypothesis import strategies as st

import spanwise
from spanwise.attribution import Span
from spanwise.errors import OptionError, SpanError
from spanwise.text.encoding import encode
from spanwise.text.spans import resolve_spans

TEXT = " painting, traveling to different countries, and painting."


def resolve(span: object, text: str = TEXT, occurrence: object = None) -> tuple[Span, ...]:
    return resolve_spans(span, text, encode(make_tokenizer(), "He enjoys", text).target_tokens, occurrence)


def test_text_regex_characters_and_tokens_point_at_the_same() -> None:
    by_text = resolve("different countries")[0]
    assert (by_text.start, by_text.end) == (24, 43)
    assert resolve(re.compile(r"different \w+")) == (by_text,)
    assert resolve((24, 43)) == (by_text,)
    whole = resolve(spanwise.tokens(by_text.first_token, by_text.last_token))[0]
    assert (whole.first_token, whole.last_token) == (by_text.first_token, by_text.last_token)


def test_several_spans_keep_their_order() -> None:
    assert [span.text for span in resolve(["countries", "traveling"])] == ["countries", "traveling"]
    assert [span.text for span in resolve([(1, 9), "traveling"])] == ["painting", "traveling"]


def test_occurrence() -> None:
    with pytest.raises(SpanError, match=r"2 times \(at characters 1, 49\).*occurrence=0 to 1"):
        resolve("painting")
    assert resolve("painting", occurrence=1)[0].start == 49
    assert resolve("painting", occurrence=-2)[0].start == 1
    assert len(resolve("painting", occurrence="all")) == 2
    with pytest.raises(SpanError, match="there 2 times"):
        resolve("painting", occurrence=2)
    with pytest.raises(OptionError, match="occurrence must be"):
        resolve("painting", occurrence="first")


@pytest.mark.usefixtures("unchecked_types")
def test_not_there() -> None:
    with pytest.raises(SpanError, match=r"'difference countries' is not in the target ' painting.*Nearest match: 'dif"):
        resolve("difference countries")
    with pytest.raises(SpanError, match=r"\[0, 99\) were asked.*\[0, 58\)"):
        resolve((0, 99))
    with pytest.raises(SpanError, match=r"tokens\(3, 400\) was asked, but the target has \d+ tokens"):
        resolve(spanwise.tokens(3, 400))
    with pytest.raises(SpanError, match="empty text"):
        resolve("")
    with pytest.raises(SpanError, match="empty list"):
        resolve([])
    with pytest.raises(OptionError, match="a span is a text"):
        resolve([3.5])
    with pytest.raises(OptionError, match="is empty"):
        spanwise.tokens(3, 3)


def test_a_span_that_cuts_a_token_says_so() -> None:
    span = resolve("ravelin")[0]
    assert "begins inside the token" in span.note
    assert resolve("traveling")[0].note == ""  # a leading space is no cut


@given(st.text(min_size=1, max_size=40).filter(str.strip), st.data())
def test_the_tokens_of_a_span_cover_its_characters(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    tokens = encode(make_tokenizer(), "x", text).target_tokens
    span = resolve_spans((start, end), text, tokens)[0]
    covered = {i for token in tokens[span.first_token : span.last_token] for i in range(token.start, token.end)}
    assert set(range(start, end)) <= covered
