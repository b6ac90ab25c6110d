"""Words, sentences and paragraphs of a text, as spans of its characters.

Words follow the Unicode rules for word boundaries (UAX #29): contractions ("don't") and numbers ("3.14") are one word,
combining marks and emoji sequences stay whole. Scripts written without spaces (Chinese, Japanese, Thai, Lao, Khmer,
Burmese) have no boundaries in those rules; their words come from the dictionaries of ICU. Sentences come from
sentencex, which knows abbreviations and the closing marks of many scripts. Nothing is downloaded.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Literal, TypeAlias

from spanwise.errors import InputError, one_of, require

Level: TypeAlias = Literal["word", "sentence", "paragraph"]
LEVELS: tuple[Level, ...] = ("word", "sentence", "paragraph")

_WITHOUT_SPACES = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"


def segments(text: str, level: Level) -> tuple[tuple[int, int], ...]:
    r"""Returns the words, sentences or paragraphs of a text as spans [start, end) of its characters.

    The spans are in order and do not overlap. Every character that is not white space is in exactly one of them, and
    none begins or ends with white space.

    Args:
        text: Any text.
        level: "word": a punctuation mark is a segment of its own, a run of the same mark ("...") is one. "sentence":
            a line break inside a paragraph ends no sentence, since texts are wrapped; a blank line does.
            "paragraph": blocks with blank lines between them.

    Raises:
        OptionError: There is no such level.
        InputError: The text holds half of a surrogate pair, which no encoding can write.
        DependencyError: Sentences, or words of a script without spaces, and the package that finds them is missing.

    >>> text = "Don't pay 3.14... now."
    >>> [text[start:end] for start, end in segments(text, "word")]
    ["Don't", 'pay', '3.14', '...', 'now', '.']
    >>> text = "Dr. Smith left. He met J. R. Jones.\n\nThe end"
    >>> [text[start:end] for start, end in segments(text, "sentence")]
    ['Dr. Smith left.', 'He met J. R. Jones.', 'The end']
    >>> segments(text, "paragraph")
    ((0, 35), (37, 44))
    """
    one_of("level", level, LEVELS)
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise InputError(
            f"the text cannot be cut: character {exc.start} ({text[exc.start]!r}) is half of a surrogate pair."
        ) from exc
    cut = {"word": _words, "sentence": _sentences, "paragraph": _paragraphs}[level]
    return tuple(_trimmed(text, cut(text)))


def _trimmed(text: str, pieces: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Gives the spans of pieces that add up to the text, without the white space at their edges."""
    end = 0
    for piece in pieces:
        start, end = end, end + len(piece)
        inner = text[start:end].strip()
        if inner:
            start += text[start:end].index(inner)
            yield start, start + len(inner)
    assert end == len(text), "the pieces must add up to the text"


def _words(text: str) -> Iterator[str]:
    """Gives the pieces between word boundaries, runs of one punctuation mark joined."""
    run = ""
    for piece in _between_boundaries(text):
        if run and run == piece * len(run) and _is_mark(piece):
            run += piece
            continue
        if run:
            yield run
        run = piece
    if run:
        yield run


def _between_boundaries(text: str) -> Iterator[str]:
    boundaries, without_spaces = _patterns()
    if without_spaces.search(text):
        require("icu4py", "segments", "cutting a text written without spaces into words")
        from icu4py.breakers import WordBreaker

        # The texts, not WordBreaker.segments(): its offsets count UTF-16 units (icu4py 1.2). The locale does not
        # choose the dictionary; the script does.
        yield from WordBreaker(text, "en")
        return
    at = 0
    for match in boundaries.finditer(text):
        if match.start() > at:
            yield text[at : match.start()]
            at = match.start()
    yield text[at:]


@cache
def _patterns() -> tuple[Any, Any]:
    import regex

    return regex.compile(r"(?w)\b"), regex.compile(_WITHOUT_SPACES)  # w: the boundaries of UAX #29


def _is_mark(piece: str) -> bool:
    """Tells punctuation and the symbols that are typed in runs ("===", "$$") from emoji, each of which is a word."""
    return len(piece) == 1 and (
        unicodedata.category(piece)[0] == "P" or unicodedata.category(piece) in ("Sm", "Sc", "Sk")
    )


def _sentences(text: str) -> Iterator[str]:
    require("sentencex", "segments", "cutting a text into sentences")
    import sentencex

    for paragraph in _paragraphs(text):
        # sentencex 1.0 panics at some white space outside ASCII ("B\xa0."); only lengths are used here.
        yield from sentencex.segment("en", "".join(" " if c.isspace() and c not in "\r\n\t" else c for c in paragraph))


def _paragraphs(text: str) -> Iterator[str]:
    import re

    at = 0
    for blank in re.finditer(r"\n\s*\n|\u2029", text):
        yield text[at : blank.end()]
        at = blank.end()
    yield text[at:]
