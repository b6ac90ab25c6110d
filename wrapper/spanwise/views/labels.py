"""Token text made visible: white space and control characters shown, long texts cut, wide characters counted."""

import unicodedata

# Marks that a label shows for white space. Zero-width joiners and variation selectors shape their neighbours and have
# no picture of their own.
_MARKS = {"\n": "⏎", "\t": "⇥"}
_JOINERS = "\u200c\u200d\ufe0e\ufe0f"
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def visible(text: str) -> str:
    r"""Returns `text` with what would not be seen, or would steer a terminal, spelled out: `⏎`, `⇥`, `\x1b`.

    Joiners stay where there is something to join; a text of joiners alone is spelled out.
    """
    alone = all(character in _JOINERS for character in text)
    return "".join(_mark(character, spell_joiners=alone) for character in text)


def _mark(character: str, *, spell_joiners: bool) -> str:
    if character in _MARKS:
        return _MARKS[character]
    hidden = unicodedata.category(character) in _HIDDEN
    if character in _JOINERS:
        hidden = spell_joiners
    if not hidden:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def cells(text: str) -> int:
    """Returns the width of `text` in columns of a terminal: 2 for a wide character, 0 for a combining one."""
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if unicodedata.combining(character) or character in _JOINERS:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shorten(text: str, width: int) -> str:
    """Returns `text`, cut to at most `width` columns with an ellipsis at the cut."""
    if cells(text) <= width:
        return text
    kept, used = "", 0
    for character in text:
        used += _cells(character)
        if used > width - 1:
            break
        kept += character
    return kept + "…"


def label(text: str, width: int = 14) -> str:
    """Returns `text` as one short line: outer spaces as `·`, newlines as `⏎`, cut to `width` columns."""
    inner = text.strip(" ")
    before = len(text) - len(text.lstrip(" "))
    after = len(text) - len(inner) - before
    return shorten("·" * before + visible(inner) + "·" * after, width)
