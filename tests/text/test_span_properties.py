"""Random texts, characters and ids on every kind of tokenizer.

Rules: nothing but our own errors is raised; tokens are in order and their texts are their characters; ids that were
given come back; the tokens of any range of characters cover it, but for white space that the tokenizer drops.
"""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizer_kinds import MAKERS, make

from spanwise.attribution import Token
from spanwise.errors import InputError, SpanError
from spanwise.text.encoding import Encoding, encode
from spanwise.text.spans import resolve_spans

TRICKY = st.sampled_from(
    [*" \t\n.aE3é😀👩日ﬁ…▁Ġ", "\u0301", "\u200d", "\ufe0f", "\ufffd", "\x00", "\u1112", "\u1161", "<s>"]
)
TEXTS = st.lists(st.characters() | TRICKY | TRICKY, min_size=1, max_size=16).map("".join)
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
every_kind = pytest.mark.parametrize("name", MAKERS)


def check(tokens: tuple[Token, ...], text: str) -> None:
    last = (0, 0)
    for token in tokens:
        assert token.text == text[token.start : token.end]
        assert last[0] <= token.start <= token.end and last[1] <= token.end
        last = (token.start, token.end)
    covered = {i for token in tokens for i in range(token.start, token.end)}
    if covered:  # else the tokenizer drops the whole text, control characters, say
        assert all(i in covered for i, character in enumerate(text) if not character.isspace())


def check_range(encoding: Encoding, data: st.DataObject) -> None:
    text, tokens = encoding.target_text, encoding.target_tokens
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    try:
        (span,) = resolve_spans((start, end), text, tokens)
    except SpanError:
        assert text[start:end].isspace()
        return
    inside = tokens[span.first_token : span.last_token]
    covered = {i for token in inside for i in range(token.start, token.end)}
    assert (span.start, span.end) == (start, end)
    assert all(i in covered for i in range(start, end) if not text[i].isspace())
    outside = [*tokens[: span.first_token], *tokens[span.last_token :]]
    assert not any(token.start < end and token.end > start for token in outside)


@every_kind
@few
@given(prompt=TEXTS, target=TEXTS, data=st.data())
@example(prompt="e", target="\u0301", data=None)
@example(prompt="\ud800", target="a", data=None)
def test_texts(name: str, prompt: str, target: str, data: st.DataObject | None) -> None:
    try:
        encoding = encode(make(name), prompt, target)
    except InputError:
        return
    check(encoding.prompt_tokens, prompt)
    check(encoding.target_tokens, target)
    if data is not None:
        check_range(encoding, data)


@every_kind
@few
@given(data=st.data())
def test_ids(name: str, data: st.DataObject) -> None:
    tokenizer = make(name)
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), min_size=1, max_size=16))
    encoding = encode(tokenizer, data.draw(st.sampled_from(["the city is", "日本", "x "])), ids)
    assert encoding.target_ids == tuple(ids)
    check(encoding.target_tokens, encoding.target_text)
    if encoding.target_text:
        check_range(encoding, data)
