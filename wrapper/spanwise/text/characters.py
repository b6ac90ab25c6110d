"""Which characters each token has: a tokenizer's offsets mended, and those of ids that were generated."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

SPACE_MARKS = "▁Ġ"  # how sentencepiece and byte-level vocabularies write a space
CUT = "\ufffd"  # what bytes that are no whole character decode to


def mended_offsets(text: str, pieces: Sequence[str], spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the offsets with three things set right that tokenizers report wrongly.

    A space mark that the tokenizer put before a text claims the text's first character too: it has no characters. Where
    the mark is a part of the token, trimmed offsets leave that character out. Bytes of several characters in a row
    (byte fallback of unigram models) each claim all of them: each has its own.
    """
    mended: list[tuple[int, int]] = []
    while len(mended) < len(spans):
        first = len(mended)
        start, end = spans[first]
        several = end - start > 1 and pieces[first].startswith("<0x")
        run = _bytes_in_a_row(pieces, spans, first) if several else b""
        if run and run == text[start:end].encode():
            mended += [(at, at + 1) for at in range(start, end) for _ in text[at].encode()]
            continue
        after = spans[first + 1] if first + 1 < len(spans) else (0, 0)
        if pieces[first] and not pieces[first].strip(SPACE_MARKS) and start == after[0] < after[1]:
            end = start
        elif pieces[first][:1] == "Ġ" and mended and mended[-1][1] == start - 1 and not text[start - 1].isspace():
            start -= 1
        mended.append((start, end))
    return mended


def _bytes_in_a_row(pieces: Sequence[str], spans: Sequence[tuple[int, int]], first: int) -> bytes:
    run = bytearray()
    for at in range(first, len(pieces)):
        if spans[at] != spans[first] or not re.fullmatch("<0x[0-9A-F]{2}>", pieces[at]):
            break
        run.append(int(pieces[at][3:5], 16))
    return bytes(run)


def filled_offsets(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the offsets in order, with every character that is not white space in one.

    What the tokenizer composed with the character before it, or dropped (accents, control characters), belongs to the
    tokens of that character. A token without characters (BOS) stands where it comes.
    """
    filled: list[tuple[int, int]] = []
    at = 0
    for start, end in [*spans, (len(text), len(text))]:
        gap = text[at:start]
        if gap.strip() and at:
            behind = at + len(gap.rstrip())
            filled = [
                (behind if at == first else first, behind) if last == at else (first, last) for first, last in filled
            ]
            at = behind
        elif gap.strip() and end > start:
            start = at + len(gap) - len(gap.lstrip())
        filled.append((start, end) if start < end else (at, at))
        at = max(at, end)
    return filled[:-1]


def decode_with_spans(tokenizer: Any, before: list[int], ids: list[int]) -> tuple[str, list[tuple[int, int]]]:
    """Returns the text of ids that follow `before`, and the characters of each.

    Ids are decoded behind others, since some tokenizers drop a space at the beginning of a text. Tokens that hold only
    a part of a character's bytes all get that character, and those of an unfinished one its sign, CUT.
    """
    text, window = "", before
    spans: list[tuple[int, int]] = []
    while len(spans) < len(ids):
        grown = _until_whole(tokenizer, window, ids[len(spans) : len(spans) + 64])
        group = ids[len(spans) : len(spans) + len(grown)]
        if grown == [""] and text.endswith(CUT):  # one more byte of the character that is cut
            spans.append((len(text) - 1, len(text)))
            window = window + group
        else:
            spans += [(len(text) + start, len(text) + end) for start, end in _shares(grown)]
            text, window = text + grown[-1], group
    return text, spans


def _until_whole(tokenizer: Any, window: list[int], ids: list[int]) -> list[str]:
    """Returns what one id adds to the text, two ids, ... until no character is cut that the next ids would finish."""

    def decoded(part: list[int]) -> str:
        return str(tokenizer.decode(part, clean_up_tokenization_spaces=False))

    base = decoded(window)

    def added(count: int) -> str:
        whole = decoded(window + ids[:count])
        # Byte fallback decodes a row of bytes as a whole or not at all.
        return whole[len(base) :] if whole.startswith(base) else decoded(ids[:count])

    grown = [added(1)]
    while grown[-1].endswith(CUT):
        ahead = [added(count) for count in range(len(grown) + 1, min(len(grown) + 3, len(ids)) + 1)]  # of 4 bytes
        steps = enumerate(zip([grown[-1], *ahead], ahead, strict=False), 1)
        finished = next((count for count, (text, longer) in steps if not longer.startswith(text)), 0)
        if not finished:
            break
        grown += ahead[:finished]
    return grown


def _shares(grown: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yields the characters that each of a group of ids has a part of."""
    at = 0
    for text in grown:
        cut = (i for i, (one, other) in enumerate(zip(text, grown[-1], strict=False)) if one != other)
        whole = next(cut, min(len(text), len(grown[-1])))
        end = min(whole + (whole < len(text)), len(grown[-1]))
        yield (at if at < end else max(end - 1, 0)), end
        at = whole
