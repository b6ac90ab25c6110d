"""Words, sentences and paragraphs.

Rules, at every level and for any text: spans are in order, do not overlap, hold every character that is not white
space, and begin and end with such a character.
"""

import builtins
import importlib.util
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spanwise.errors import DependencyError, InputError, OptionError
from spanwise.text.segments import LEVELS, Level, segments

# Any character, and often those that segmenters treat in a way of their own.
TRICKY = st.sampled_from(
    [*" \t\n\r.!?…'\"’。」「,:_3aBéJß😀👩", "\u200d", "\u0301", "\ufe0f", "\xa0", "\x85", "\u2029"]
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | TRICKY | TRICKY, max_size=60)


def cut(text: str, level: Level) -> list[str]:
    return [text[start:end] for start, end in segments(text, level)]


@pytest.mark.parametrize("level", LEVELS)
@given(text=TEXTS)
@example(text="")
@example(text=" \n ")
@example(text="B\xa0.")  # stops sentencex, handed over as it is
@example(text="a\r\n\r\n\u3000b\x1c\u2029c")
def test_the_rules(text: str, level: Level) -> None:
    spans = segments(text, level)
    at = 0
    for start, end in spans:
        assert at <= start < end
        assert not text[at:start].strip()
        assert text[start:end] == text[start:end].strip()
        at = end
    assert not text[at:].strip()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't think", ["I", "don't", "think"]),
        ("the engineer’s 3.14, 1,000", ["the", "engineer’s", "3.14", ",", "1,000"]),
        ("Wait... what?!", ["Wait", "...", "what", "?", "!"]),
        ("== C++ ==", ["==", "C", "++", "=="]),
        ("well-known (“naïve”)", ["well", "-", "known", "(", "“", "naïve", "”", ")"]),
        ("👩‍👩‍👧 🇫🇷🇩🇪 😀😀 👍🏽", ["👩‍👩‍👧", "🇫🇷", "🇩🇪", "😀", "😀", "👍🏽"]),
        ("e\u0301migre\u0301  x", ["e\u0301migre\u0301", "x"]),
        ("राम घर गया।", ["राम", "घर", "गया", "।"]),
        ("ماذا تفعل؟", ["ماذا", "تفعل", "؟"]),
        ("안녕하세요 세계", ["안녕하세요", "세계"]),
        ("我今天去北京。", ["我", "今天", "去", "北京", "。"]),
        ("私は日本語を勉強", ["私", "は", "日本語", "を", "勉強"]),
        ("ฉันรักภาษาไทย", ["ฉัน", "รัก", "ภาษา", "ไทย"]),
        ("😀 北京 don't 😀", ["😀", "北京", "don't", "😀"]),  # offsets count characters, not UTF-16 units
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert cut(text, "word") == words


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            "Dr. Smith went to Washington. He met J. R. Jones, e.g. at 3.5 p.m. on Monday.",
            ["Dr. Smith went to Washington.", "He met J. R. Jones, e.g. at 3.5 p.m. on Monday."],
        ),
        ('"Stop!" he said. "Why?" She left...  Then', ['"Stop!" he said.', '"Why?"', "She left...", "Then"]),
        ("It is\nwrapped. Two\n\n Three. ", ["It is\nwrapped.", "Two", "Three."]),
        ("你好。我是学生。", ["你好。", "我是学生。"]),
        ("東京です！「はい。」と言った。", ["東京です！", "「はい。」", "と言った。"]),
        ("राम घर गया। वह सो गया।", ["राम घर गया।", "वह सो गया।"]),
        ("ماذا تفعل؟ أنا بخير.", ["ماذا تفعل؟", "أنا بخير."]),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert cut(text, "sentence") == sentences


def test_paragraphs() -> None:
    text = "\n\n  One.\nStill one.\r\n \t\r\nTwo\u2029Three\n\n\n"
    assert cut(text, "paragraph") == ["One.\nStill one.", "Two", "Three"]


@pytest.mark.usefixtures("unchecked_types")
def test_bad_input() -> None:
    with pytest.raises(
        OptionError, match=r"unknown level 'words'. Did you mean 'word'\? Allowed: word, sentence, para"
    ):
        segments("a", "words")
    with pytest.raises(InputError, match=r"character 1 \('\\ud800'\) is half of a surrogate pair"):
        segments("a\ud800", "word")


def test_a_missing_package_is_named_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    find, import_ = importlib.util.find_spec, builtins.__import__
    missing = ("icu4py", "sentencex")

    def without(name: str, *rest: Any, **options: Any) -> Any:
        assert name.split(".")[0] not in missing
        return import_(name, *rest, **options)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else find(name))
    monkeypatch.setattr(builtins, "__import__", without)
    assert cut("Don't go.", "word") == ["Don't", "go", "."]
    with pytest.raises(DependencyError, match=r"without spaces into words needs .*'icu4py'.*spanwise\[segments\]"):
        segments("北京", "word")
    with pytest.raises(DependencyError, match=r"into sentences needs .*'sentencex'.*spanwise\[segments\]"):
        segments("One. Two.", "sentence")
