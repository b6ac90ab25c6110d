"""Fonts for token text: those installed of a list that covers most scripts, and a box for what none of them has."""

from functools import cache

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

BOX = "□"
# DejaVu Sans comes with matplotlib. The others draw CJK, Indic and Arabic scripts and emoji; color emoji fonts hold
# bitmaps, which matplotlib cannot draw, so they are not here.
FAMILIES = (
    "DejaVu Sans",
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "Source Han Sans JP"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "IPAGothic", "NanumGothic"),
    *("Hiragino Sans", "Hiragino Sans GB", "PingFang SC", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Microsoft YaHei", "Yu Gothic", "MS Gothic", "SimHei", "Malgun Gothic", "Nirmala UI", "Segoe UI"),
    *("Noto Sans", "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Thai"),
    *("Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Symbols", "Noto Sans Symbols 2"),
    *("Noto Emoji", "Symbola", "Segoe UI Symbol", "Segoe UI Emoji"),
)


@cache
def installed() -> tuple[str, ...]:
    """Returns the families of the list that this machine has."""
    names = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(family for family in FAMILIES if family in names)


@cache
def _drawn() -> frozenset[int]:
    characters: set[int] = set()
    for family in installed():
        path = font_manager.findfont(font_manager.FontProperties(family=[family]), fallback_to_default=False)
        characters.update(FT2Font(path).get_charmap())
    return frozenset(characters)


def drawable(text: str) -> str:
    """Returns `text` with a box for each character that no installed font has, joiners left out."""
    kept = (character for character in text if character not in "\u200c\u200d\ufe0e\ufe0f")
    return "".join(character if ord(character) in _drawn() else BOX for character in kept)
