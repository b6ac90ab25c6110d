"""The parts of a rendered prompt: which characters are a message's content and which the chat template wrote.

A template is a program, so where a content ends up cannot be read off it. It is found out: the contents are rendered
once more with marks (characters of a private Unicode plane) around them. If that rendering without its marks is the
real one, the marks changed nothing, and they tell the places:

    contents        "user"                 "Hi "
    real            <s>user: user</s>      <s>user: Hi</s>             a template that trims
    marked          <s>user: ‹user›</s>    <s>user: ‹Hi ›</s>          the second one differs without marks as well,
    marked inside                          <s>user: ‹Hi›</s>           so the marks move behind the white space
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from spanwise.errors import InputError

Characters: TypeAlias = tuple[int, int]
Render: TypeAlias = Callable[[Sequence[str]], str | None]


@dataclass(frozen=True)
class Part:
    """Characters [start, end) of a rendered prompt.

    Attributes:
        start: The first character.
        end: One past the last.
        role: The message's role; "template" for what the template wrote, a system prompt of its own included.
        kind: What the characters are.
        message: Which message; None for the template.
    """

    start: int
    end: int
    role: str
    kind: Literal["content", "template"]
    message: int | None = None


@dataclass(frozen=True)
class Place:
    """Where the rendering shows a content: spans of its characters; none where the template leaves it out.

    Attributes:
        spans: In order. Several where the template took a part out of the middle, or shows the content twice.
        whole: Nothing but white space at the edges is missing.
        verbatim: The characters are the content's own; False where the template rewrites them (as JSON, say).
    """

    spans: tuple[Characters, ...]
    whole: bool = True
    verbatim: bool = True


def locate(render: Render, texts: Sequence[str], plain: str) -> tuple[Place | None, ...]:
    """Returns for each text where the rendering shows it; None where that cannot be said for certain.

    Args:
        render: Returns the rendering with other texts in place of these, or None where it fails.
        texts: The contents.
        plain: The real rendering, `render(texts)`.

    >>> def turns(texts):
    ...     return "".join(f"<user>{text.strip()}</user>" for text in texts)
    >>> [place.spans for place in locate(turns, ["user", " hi "], turns(["user", " hi "]))]
    [((6, 10),), ((23, 25),)]
    """
    prober = _Prober(render, texts, plain)
    # All at once, with and without the white space at their edges; then one by one where that fails.
    marked = [(0, len(text)) for text in texts]
    probed = prober.probe({i: [piece] for i, piece in enumerate(marked) if texts[i]})
    if probed is None:
        marked = [_core(text) for text in texts]
        probed = prober.probe({i: [piece] for i, piece in enumerate(marked) if texts[i].strip()}) or {}
    places: list[Place | None] = []
    for index, text in enumerate(texts):
        spans = probed.get((index, 0))
        if not text:
            places.append(Place(()))
        elif spans and prober.verbatim(spans, text[slice(*marked[index])]):
            places.append(Place(tuple(prober.widened(index, marked[index], spans))))
        else:
            places.append(prober.find(index))
    return tuple(places)


Probed: TypeAlias = dict[tuple[int, int], list[Characters]]
"""For each marked (text, piece): its spans in the real rendering. A piece whose marks came apart is not in it."""


class _Prober:
    def __init__(self, render: Render, texts: Sequence[str], plain: str) -> None:
        self.render, self.texts, self.plain = render, texts, plain
        self.first_mark = _unused_plane([plain, *texts])

    def verbatim(self, spans: Iterable[Characters], text: str) -> bool:
        return all(self.plain[start:end] == text for start, end in spans)

    def find(self, index: int) -> Place | None:
        """Returns where one text is: whole, then in pieces, then rewritten."""
        text = self.texts[index]
        if not text.strip():
            return Place(tuple(self._spans(index, (0, len(text))) or ()))  # nowhere: the template trims it away
        core = _core(text)
        spans = self._spans(index, core)
        if spans == []:
            return Place((), whole=False)
        if spans and self.verbatim(spans, text[slice(*core)]):
            return Place(tuple(self.widened(index, core, spans)))
        return self._in_pieces(index) or (Place(tuple(spans), verbatim=False) if spans else None)

    def widened(self, index: int, core: Characters, spans: list[Characters]) -> list[Characters]:
        """Returns the spans with the white space at the content's edges, as much of it as the template keeps."""
        (start, end), length = core, len(self.texts[index])
        for outer in range(start):
            wider = self._spans(index, (outer, end))
            if wider and self.verbatim(wider, self.texts[index][outer:end]):
                start, spans = outer, wider
                break
        for outer in range(length, end, -1):
            wider = self._spans(index, (start, outer))
            if wider and self.verbatim(wider, self.texts[index][start:outer]):
                return wider
        return spans

    def _spans(self, index: int, piece: Characters) -> list[Characters] | None:
        probed = self.probe({index: [piece]})
        return probed.get((index, 0)) if probed is not None else None

    def _in_pieces(self, index: int) -> Place | None:
        """Returns the place of a text of which the template shows only parts, marking what is between its tags."""
        text = self.texts[index]
        pieces = _between_tags(text)
        probed = self.probe({index: pieces}) if pieces else None
        if probed is None or any((index, number) not in probed for number in range(len(pieces))):
            return None
        found = sorted((span, number) for number in range(len(pieces)) for span in probed[index, number])
        if not found:
            return Place((), whole=False)
        if any(not self.verbatim([span], text[slice(*pieces[number])]) for span, number in found):
            return None
        return self._joined(text, pieces, found)

    def _joined(self, text: str, pieces: Sequence[Characters], found: Sequence[tuple[Characters, int]]) -> Place:
        """Returns the pieces, joined where the tags between them are in the rendering too."""
        runs: list[tuple[int, int, int, int]] = []  # start and end in the rendering, first and last piece
        for (start, end), number in found:
            if runs and runs[-1][3] == number - 1:
                before = runs[-1]
                if self.plain[before[1] : start] == text[pieces[number - 1][1] : pieces[number][0]]:
                    runs[-1] = (before[0], end, before[2], number)
                    continue
            runs.append((start, end, number, number))
        spans, whole = [], True
        for start, end, first, last in runs:
            head, tail = text[: pieces[first][0]], text[pieces[last][1] :]
            begins = first == 0 and head.strip() != "" and self.plain[:start].endswith(head)
            ends = last == len(pieces) - 1 and tail.strip() != "" and self.plain.startswith(tail, end)
            whole &= first == 0 and last == len(pieces) - 1 and (begins or not head.strip())
            whole &= ends or not tail.strip()
            spans.append((start - len(head) * begins, end + len(tail) * ends))
        return Place(tuple(spans), whole=whole)

    def probe(self, pieces: Mapping[int, Sequence[Characters]]) -> Probed | None:
        """Returns where the marked pieces of texts are, or None where the marks change the rendering."""
        keys = [(index, piece) for index, of_text in pieces.items() for piece in range(len(of_text))]
        numbers = {key: number for number, key in enumerate(keys)}
        if 2 * len(numbers) > _PLANE:
            return None
        texts = list(self.texts)
        for index, of_text in pieces.items():
            for piece in reversed(range(len(of_text))):
                start, end = of_text[piece]
                mark = self.first_mark + 2 * numbers[index, piece]
                marked = chr(mark) + texts[index][start:end] + chr(mark + 1)
                texts[index] = texts[index][:start] + marked + texts[index][end:]
        rendered = self.render(texts)
        return self._read(rendered, numbers) if rendered is not None else None

    def _read(self, rendered: str, numbers: Mapping[tuple[int, int], int]) -> Probed | None:
        opened: dict[int, int] = {}
        apart: set[int] = set()
        spans: dict[int, list[Characters]] = {number: [] for number in numbers.values()}
        at = 0
        for character in rendered:
            number, closing = divmod(ord(character) - self.first_mark, 2)
            if number not in spans:
                if not self.plain.startswith(character, at):
                    return None
                at += 1
            elif closing and number in opened:
                spans[number].append((opened.pop(number), at))
            elif not closing and number not in opened:
                opened[number] = at
            else:
                apart.add(number)
        if at != len(self.plain):
            return None
        apart |= opened.keys()
        return {key: spans[number] for key, number in numbers.items() if number not in apart}


_PLANE = 0xFFFE
_TAG = re.compile(r"<[^<>\n]{1,60}>|\[/?[A-Z_]{1,30}\]")


def _core(text: str) -> Characters:
    """Returns the characters of a text without the white space at its edges."""
    start = len(text) - len(text.lstrip())
    return start, max(start, len(text.rstrip()))


def _between_tags(text: str) -> list[Characters]:
    """Returns what is between tags such as <think>, on which templates cut, without white space at the edges."""
    edges = [0, *(edge for tag in _TAG.finditer(text) for edge in tag.span()), len(text)]
    pieces = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        inner = text[start:end].strip()
        if inner:
            start += text[start:end].index(inner)
            pieces.append((start, start + len(inner)))
    return pieces


def _unused_plane(texts: Iterable[str]) -> int:
    """Returns the first character of a private plane that none of the texts uses."""
    used = {ord(character) >> 16 for text in texts for character in text}
    for plane in (0x10, 0xF):
        if plane not in used:
            return plane << 16
    raise InputError("the messages use characters of both private Unicode planes, so none is left to mark them with.")
