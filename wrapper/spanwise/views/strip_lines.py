"""Running text set in lines: words wrapped to a width, right-to-left words in their order, a box a token.

A text is cut into fragments (a token, or a word of one), those that no line break may part make a word, and words make
lines. A fragment is drawn on its own, so that a viewer with other fonts keeps it on its box; letters that join across
tokens (Arabic, Indic scripts, combining marks) are drawn together, and their boxes end where the letters do.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from spanwise.views.fonts import drawable, is_complex
from spanwise.views.labels import visible
from spanwise.views.running import Piece

Measure = Callable[[str], float]
"""Width of a text in inches."""

_CJK = "\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef"
_WORD = re.compile(rf"\s{{,8}}(?:[{_CJK}]|[^\s{_CJK}]+)|\s{{1,8}}")
_IDEOGRAPH = re.compile(f"[{_CJK}]")
_CLOSING, _OPENING = "、。，．・：；？！」』）】〉》〕ー", "「『（【〈《〔"
_RIGHT = ("R", "AL")
_JOINER = "\u200d"  # a prefix is measured with its last letter still joined
_RIGHT_MARK = "\u200f"  # so that viewers set the signs at the ends of a right-to-left word on the right side


@dataclass(frozen=True)
class Fragment:
    """Text of one token without a line break in it.

    Attributes:
        text: As it is drawn, with the space before it.
        score: NaN where not defined.
        index: The source token; -1 where none covers it.
    """

    text: str
    score: float = math.nan
    index: int = -1


@dataclass(frozen=True)
class Box:
    """Where a fragment lies on its line: from `start` to `end`, inches from the left."""

    start: float
    end: float
    fragment: Fragment


@dataclass(frozen=True)
class Run:
    """Text that is drawn together, `start` inches from the left."""

    start: float
    text: str
    defined: bool


@dataclass
class Line:
    """A line of text."""

    boxes: list[Box] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)


def set_lines(pieces: Sequence[Piece], width: float, measure: Measure) -> list[Line]:
    """Returns the pieces as lines at most `width` inches wide."""
    lines = []
    for paragraph in _paragraphs(pieces):
        rightward = _direction("".join(fragment.text for fragment in paragraph)) == "R"
        words = [part for word in _words(paragraph) for part in _cut(word, width, measure)]
        for row in _rows(words, width, measure):
            lines.append(_place(row, width, measure, rightward))
    return lines


def _paragraphs(pieces: Sequence[Piece]) -> list[list[Fragment]]:
    """Returns the fragments of each line that the text itself breaks; the sign for the break stays at its end."""
    paragraphs: list[list[Fragment]] = [[]]
    for piece in pieces:
        for part in piece.text.splitlines(keepends=True) or [""]:
            ends = part.endswith("\n")
            for word in _WORD.findall(drawable(visible(part))):
                paragraphs[-1].append(Fragment(word, piece.score, piece.index))
            if ends:
                paragraphs.append([])
    return [paragraph for paragraph in paragraphs if paragraph]


def _words(fragments: Sequence[Fragment]) -> list[list[Fragment]]:
    words: list[list[Fragment]] = []
    for fragment in fragments:
        if words and not _may_break(words[-1][-1].text, fragment.text):
            words[-1].append(fragment)
        else:
            words.append([fragment])
    return words


def _may_break(before: str, after: str) -> bool:
    if after[0].isspace() or before[-1].isspace():
        return True
    if after[0] in _CLOSING or before[-1] in _OPENING:
        return False
    return bool(_IDEOGRAPH.match(before[-1]) or _IDEOGRAPH.match(after[0]))


def _cut(word: list[Fragment], width: float, measure: Measure) -> list[list[Fragment]]:
    """Returns a word that is wider than a line as parts that are not."""
    if _word_width(_bare(word), measure) <= width:
        return [word]
    parts: list[list[Fragment]] = [[]]
    used = 0.0
    for fragment in word:
        for letter in re.findall(r"\s*.[\u0300-\u036f\u200c\u200d]*", fragment.text, flags=re.DOTALL):
            wide = measure(letter)
            if used + wide > width and parts[-1]:
                parts.append([])
                used = 0.0
            last = parts[-1][-1] if parts[-1] else None
            if last is not None and last.index == fragment.index:
                parts[-1][-1] = Fragment(last.text + letter, fragment.score, fragment.index)
            else:
                parts[-1].append(Fragment(letter, fragment.score, fragment.index))
            used += wide
    return parts


def _bare(word: list[Fragment]) -> list[Fragment]:
    """Returns a word without the space before it, which no line begins with; the first line of a paragraph may."""
    bare = replace(word[0], text=word[0].text.lstrip())
    return [bare, *word[1:]] if bare.text else word[1:]


def _rows(words: Sequence[list[Fragment]], width: float, measure: Measure) -> list[list[list[Fragment]]]:
    rows: list[list[list[Fragment]]] = [[]]
    used = 0.0
    for word in words:
        wide = _word_width(word, measure)
        if used + wide > width:
            word = _bare(word)
            rows.append([])
            used, wide = 0.0, _word_width(word, measure)
        if any(fragment.text for fragment in word):
            rows[-1].append(word)
            used += wide
    return [row for row in rows if row]


def _place(row: list[list[Fragment]], width: float, measure: Measure, rightward: bool) -> Line:
    line = Line()
    units = [unit for word in row for unit in _units(word)]
    total = sum(_unit_width(unit, measure) for unit in units)
    at = max(width - total, 0.0) if rightward else 0.0
    for unit, turned in _visual_order(units, rightward):
        wide = _unit_width(unit, measure)
        _place_unit(line, unit, (at, at + wide), turned, measure)
        at += wide
    line.boxes = _joined(line.boxes)
    return line


def _joined(boxes: Sequence[Box]) -> list[Box]:
    """Returns the boxes with those put together in which a token goes on without a gap."""
    found: list[Box] = []
    for box in boxes:
        last = found[-1] if found else None
        if last is not None and last.fragment.index == box.fragment.index and abs(last.end - box.start) < 0.01:
            found[-1] = Box(last.start, box.end, replace(box.fragment, text=last.fragment.text + box.fragment.text))
        else:
            found.append(box)
    return found


def _visual_order(units: list[list[Fragment]], rightward: bool) -> list[tuple[list[Fragment], bool]]:
    """Returns the units from left to right, and whether each runs to the left.

    Two levels of the Unicode bidirectional algorithm (UAX 9): units of the other direction than the paragraph keep
    theirs among themselves, a number goes with the letters before it, a sign with its neighbours where they agree,
    else with the paragraph.
    """
    base = "R" if rightward else "L"
    kinds = [_direction("".join(fragment.text for fragment in unit)) for unit in units]
    strong = [
        next((other for other in reversed(kinds[:i]) if other in ("L", "R")), base) if kind == "N" else kind
        for i, kind in enumerate(kinds)
    ]
    order: list[tuple[list[Fragment], bool]] = []
    same: list[tuple[list[Fragment], bool]] = []
    for i, unit in enumerate(units):
        before = next((other for other in reversed(strong[:i]) if other), base)
        after = next((other for other in strong[i + 1 :] if other), base)
        direction = strong[i] or (before if before == after else base)
        if direction == base:
            order += [*reversed(same), (unit, direction == "R")]
            same = []
        else:
            same.append((unit, direction == "R"))
    order += reversed(same)
    return order[::-1] if rightward else order


def _direction(text: str) -> str:
    """Returns "L" or "R" for the first letter that has a direction, "N" for a number, "" for signs."""
    found = ""
    for character in text:
        kind = unicodedata.bidirectional(character)
        if kind == "L" or kind in _RIGHT:
            return "L" if kind == "L" else "R"
        found = found or ("N" if kind in ("EN", "AN") else "")
    return found


def _units(word: Sequence[Fragment]) -> list[list[Fragment]]:
    """Returns the fragments of a word, those together whose letters depend on each other's shape."""
    units: list[list[Fragment]] = []
    for fragment in word:
        if units and _join(units[-1][-1].text[-1], fragment.text[0]):
            units[-1].append(fragment)
        else:
            units.append([fragment])
    return units


def _join(before: str, after: str) -> bool:
    if unicodedata.combining(after) or unicodedata.category(after) in ("Mn", "Mc"):
        return True
    return all(is_complex(each) or unicodedata.combining(each) or each == _JOINER for each in (before, after))


def _word_width(word: Sequence[Fragment], measure: Measure) -> float:
    return sum(_unit_width(unit, measure) for unit in _units(word))


def _unit_width(unit: Sequence[Fragment], measure: Measure) -> float:
    return measure("".join(fragment.text for fragment in unit))


def _place_unit(
    line: Line, unit: Sequence[Fragment], ends: tuple[float, float], turned: bool, measure: Measure
) -> None:
    """Adds the text between `ends`, and a box for each fragment; from the right where it is `turned`."""
    start, end = ends
    read, edges = "", [0.0]
    for fragment in unit[:-1]:
        read += fragment.text
        joined = read + _JOINER if unicodedata.bidirectional(read[-1]) == "AL" else read
        edges.append(min(max(measure(joined), edges[-1]), end - start))
    edges.append(end - start)
    for fragment, low, high in zip(unit, edges, edges[1:], strict=False):
        low = min(low + _before(fragment.text, measure), high)
        line.boxes.append(Box(end - high, end - low, fragment) if turned else Box(start + low, start + high, fragment))
    whole = "".join(fragment.text for fragment in unit)
    bare = whole.strip()  # files do not keep outer spaces
    if not bare:
        return
    outer = whole[len(whole.rstrip()) :] if turned else whole[: len(whole) - len(whole.lstrip())]
    if turned and not (bare[0].isalpha() and bare[-1].isalpha()) and _direction(bare) == "R":
        bare = f"{_RIGHT_MARK}{bare}{_RIGHT_MARK}"
    defined = any(not math.isnan(fragment.score) for fragment in unit)
    line.runs.append(Run(start + (measure(outer) if outer else 0.0), bare, defined))


def _before(text: str, measure: Measure) -> float:
    """Returns how much of the space before a fragment is left white, so that words stand apart."""
    space = text[: len(text) - len(text.lstrip())]
    return 0.7 * measure(space) if space else 0.0
