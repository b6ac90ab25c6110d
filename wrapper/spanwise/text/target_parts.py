"""The target cut into parts: one row each."""

import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from spanwise.attribution import Span
from spanwise.errors import OptionError
from spanwise.text.encoding import Encoding
from spanwise.text.segments import segments
from spanwise.text.spans import SpanLike, resolve_spans

TargetFeatures: TypeAlias = str | Sequence[SpanLike]
"""A level, or spans as `span=` takes them."""

LEVELS = ("word", "phrase", "sentence")
_MARK = re.compile(r"[^\w\s]+")


def target_parts(
    asked: TargetFeatures, spans: Sequence[Span], encoding: Encoding, occurrence: int | str | None = None
) -> tuple[Span, ...]:
    """Returns the parts of the target, or of the spans asked for, as spans of their own.

    Args:
        asked: "word" (punctuation left out), "phrase" (what stands between punctuation marks), "sentence", or spans.
        spans: What is cut; none: the whole target.
        encoding: Prompt and target.
        occurrence: For spans that are there several times.

    Raises:
        OptionError: No such level.
        SpanError: A span that was given is not in the target.
    """
    text, tokens = encoding.target_text, encoding.target_tokens
    if not isinstance(asked, str):
        return resolve_spans(asked, text, tokens, occurrence)
    if asked not in LEVELS:
        raise OptionError(f"target_features must be one of {', '.join(LEVELS)}, or spans, not {asked!r}.")
    kept = []
    for begin, stop in _stretches(encoding):
        part = text[begin:stop]
        cut = _phrases(part) if asked == "phrase" else segments(part, "word" if asked == "word" else "sentence")
        words = [(start, end) for start, end in cut if asked == "sentence" or not _MARK.fullmatch(part[start:end])]
        kept += [(begin + start, begin + end) for start, end in words]
    if spans:
        kept = [
            (max(start, span.start), min(end, span.end))
            for span in spans
            for start, end in kept
            if start < span.end and end > span.start
        ]
    return resolve_spans(kept, text, tokens)


def _stretches(encoding: Encoding) -> Iterable[tuple[int, int]]:
    """Gives the characters between the target's special tokens, such as the one that ends it."""
    begin = 0
    for token in encoding.target_tokens:
        if token.special and token.start < token.end:
            yield begin, token.start
            begin = token.end
    yield begin, len(encoding.target_text)


def _phrases(text: str) -> Iterable[tuple[int, int]]:
    """Gives the runs of words without a punctuation mark between them."""
    begin: int | None = None
    end = 0
    for start, stop in segments(text, "word"):
        if _MARK.fullmatch(text[start:stop]):
            if begin is not None:
                yield begin, end
            begin = None
        else:
            begin, end = start if begin is None else begin, stop
    if begin is not None:
        yield begin, end
