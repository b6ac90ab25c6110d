"""Fonts for token text: those installed of a list that covers most scripts, and a substitute for what none of them has.

matplotlib 3.11 shapes text itself (libraqm): Arabic letters join, Indic signs stand where they belong, right-to-left
text runs that way. An older matplotlib draws such letters one by one, and figures say so.
"""

import unicodedata
from functools import cache
from pathlib import Path

from matplotlib import font_manager, ft2font
from matplotlib.ft2font import FT2Font

BOX = "□"
JOINERS, SELECTORS = "\u200c\u200d", "\ufe0e\ufe0f"
# DejaVu Sans comes with matplotlib. The others draw CJK, Indic and Arabic scripts and emoji; color emoji fonts hold
# bitmaps, which matplotlib cannot draw, so they are not here.
FAMILIES = (
    "DejaVu Sans",
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "Source Han Sans JP"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "IPAGothic", "NanumGothic"),
    *("Hiragino Sans", "Hiragino Sans GB", "PingFang SC", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Microsoft YaHei", "Yu Gothic", "MS Gothic", "SimHei", "Malgun Gothic", "Nirmala UI", "Segoe UI"),
    *("Noto Sans", "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Thai"),
    *("Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Gujarati", "Noto Sans Gurmukhi", "Noto Sans Telugu"),
    *("Noto Sans Kannada", "Noto Sans Malayalam", "Noto Sans Oriya", "Noto Sans Sinhala", "Noto Sans Lao"),
    *("Noto Sans Khmer", "Noto Sans Myanmar", "Noto Sans Georgian", "Noto Sans Armenian", "Noto Sans Ethiopic"),
    *("Noto Sans Symbols", "Noto Sans Symbols 2", "Noto Sans Symbols2", "Noto Sans Math"),
    *("Noto Emoji", "Symbola", "Segoe UI Symbol", "Segoe UI Emoji"),
)
# Han characters look different in Japanese and Korean; the text shows which it is.
_REGIONS = (("\u3040", "\u30ff", (" JP", "Yu Gothic")), ("\uac00", "\ud7a3", (" KR", "Malgun Gothic")))
_KOREAN = ("Noto Sans CJK KR",)
_INDIC = (0x0900, 0x1FFF)  # Devanagari to Balinese and beyond; Georgian and Greek in between lose nothing


@cache
def _complete() -> None:
    """Tells matplotlib of our fonts that were installed after it wrote down its list of fonts."""
    known = {font.fname for font in font_manager.fontManager.ttflist}
    stems = tuple({family.replace(" ", "").removesuffix(suffix) for family in FAMILIES for suffix in ("SC", "JP")})
    for path in sorted(font_manager.findSystemFonts()):
        stem = Path(path).stem
        plain, _, weight = stem.partition("-")
        if path not in known and weight in ("", "Regular", "VF") and plain in stems:
            try:
                font_manager.fontManager.addfont(path)
            except (OSError, RuntimeError):
                continue  # a file that FreeType cannot read draws nothing


@cache
def installed() -> tuple[str, ...]:
    """Returns the families of the list that this machine has."""
    _complete()
    names = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(family for family in (*FAMILIES, *_KOREAN) if family in names)


def families(text: str = "") -> list[str]:
    """Returns the families that draw `text`, in the order in which to look; "": all of them.

    Each costs time for every label, so that those without a character of the text are left out. Japanese text asks for
    Japanese shapes of Han characters first, Korean for Korean ones.
    """
    found = list(installed())
    for first, last, endings in _REGIONS:
        if any(first <= character <= last for character in text):
            found.sort(key=lambda name: (name != "DejaVu Sans", not name.endswith(endings)))
            break
    missing, needed = {ord(character) for character in text}, found[:1]
    for family in found:
        if not text or missing & _charmap(family):
            needed += [family] * (family not in needed)
            missing -= _charmap(family)
    return needed


@cache
def _charmap(family: str) -> frozenset[int]:
    path = font_manager.findfont(font_manager.FontProperties(family=[family]), fallback_to_default=False)
    return frozenset(FT2Font(path).get_charmap())


@cache
def _drawn() -> frozenset[int]:
    return frozenset().union(*(_charmap(family) for family in installed()))


def shapes() -> bool:
    """Returns whether this matplotlib joins Arabic letters and orders right-to-left text."""
    return hasattr(ft2font, "__libraqm_version__")


def is_complex(character: str) -> bool:
    """Returns whether a character's shape depends on its neighbours: Arabic, Indic and South-East Asian letters."""
    return unicodedata.bidirectional(character) == "AL" or _INDIC[0] <= ord(character) < _INDIC[1]


def drawable(text: str) -> str:
    """Returns `text` with a substitute for each character that no installed font has.

    An emoji becomes its Unicode name, ⟨rocket⟩, anything else a box. Joiners stay only between letters that they
    shape.
    """
    kept = ""
    for character in text:
        if character in SELECTORS or (character in JOINERS and not (shapes() and kept and is_complex(kept[-1]))):
            continue
        kept += character if ord(character) in _drawn() else _substitute(character)
    return kept


def _substitute(character: str) -> str:
    name = unicodedata.name(character, "")
    if ord(character) >= 0x1F000 and unicodedata.category(character) == "So" and name:
        return f"⟨{name.lower()}⟩"
    return "" if 0x1F3FB <= ord(character) <= 0x1F3FF else BOX  # a skin color alone has no picture
