"""The colors of the views: blue, near white and red (ColorBrewer RdBu, safe for color-blind readers), and purple."""

Rgb = tuple[int, int, int]

POSITIVE: Rgb = (178, 24, 43)
NEGATIVE: Rgb = (33, 102, 172)
UNSIGNED: Rgb = (84, 39, 143)
POSITIVE_MIDDLE: Rgb = (214, 96, 77)
NEGATIVE_MIDDLE: Rgb = (67, 147, 195)
UNSIGNED_MIDDLE: Rgb = (144, 123, 191)
FROZEN: Rgb = (216, 216, 216)
HATCH: Rgb = (160, 160, 160)

DIVERGING_MAP = "RdBu_r"
SEQUENTIAL_MAP = "Purples"


def hexadecimal(color: Rgb) -> str:
    """Returns the color as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def strong(score: float, *, signed: bool) -> Rgb:
    """Returns the full color of a score's sign."""
    if not signed:
        return UNSIGNED
    return POSITIVE if score >= 0 else NEGATIVE


def middle(score: float, *, signed: bool) -> Rgb:
    """Returns the lighter color of a score's sign, readable as text on a dark and on a light terminal."""
    if not signed:
        return UNSIGNED_MIDDLE
    return POSITIVE_MIDDLE if score >= 0 else NEGATIVE_MIDDLE


def shade(score: float, part: float, *, signed: bool) -> Rgb:
    """Returns the color of the score's sign between the lighter one, at `part` 0, and the full one, at 1."""
    ends = zip(middle(score, signed=signed), strong(score, signed=signed), strict=True)
    red, green, blue = (round(low + part * (high - low)) for low, high in ends)
    return red, green, blue


def ink(background: Rgb) -> Rgb:
    """Returns black or white, whichever is easier to read on `background`."""
    luminance = 0.299 * background[0] + 0.587 * background[1] + 0.114 * background[2]
    return (0, 0, 0) if luminance > 140 else (255, 255, 255)
