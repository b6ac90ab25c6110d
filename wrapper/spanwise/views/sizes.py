"""How large a figure is, and its letters: as much as it needs, a width in inches, or a column of a paper."""

from dataclasses import dataclass

from spanwise.errors import OptionError

LEAST_LETTERS = 6.0  # points; what journals ask of the smallest letters
NAMED = {"column": 3.5, "page": 7.2}  # inches: one column of a two-column paper, and both with the gap
BOUNDS = (2.0, 12.0)  # inches: the widths that can be asked for


@dataclass(frozen=True)
class Paper:
    """What a figure may fill.

    Attributes:
        width: Inches; the largest, or what was asked for.
        height: Inches, the largest.
        fixed: The figure is as wide as `width`, not narrower.
        headline: Letters of the title, points.
        text: Letters of the tokens, points.
        small: Letters of headings, ticks and notes, points.
        column: The least width of a source token, inches.
        widest: The largest width of a source token, inches.
        dpi: Dots per inch at which text is measured; letters may snap to whole dots.
    """

    width: float = 12.0
    height: float = 16.0
    fixed: bool = False
    headline: float = 9.5
    text: float = 8.0
    small: float = 7.0
    column: float = 0.24
    widest: float = 0.5
    dpi: float = 288.0

    @property
    def narrowest(self) -> float:
        """The least width of a page, inches."""
        return self.width if self.fixed else 6.0

    @property
    def row_label(self) -> float:
        """The widest label beside a panel, inches."""
        return min(1.5, max(0.25 * self.width, 0.6))

    @property
    def column_label(self) -> float:
        """The longest upright label below a panel, inches."""
        return min(0.9, max(0.2 * self.width, 0.6))

    def columns(self, left: float, most: int, margin: float) -> int:
        """Returns how many source tokens fit beside each other, `left` inches from the border, `most` at most."""
        if not self.fixed:
            return most
        return min(max(int((self.width - left - margin) / self.column), 1), most)


WIDE = Paper()


def check_width(asked: object) -> float | None:
    """Returns a width in inches, None where the figure is as wide as it needs.

    Raises:
        OptionError: Neither a name nor a number within `BOUNDS`.
    """
    low, high = BOUNDS
    if asked is None:
        return None
    if isinstance(asked, str) and asked in NAMED:
        return NAMED[asked]
    if isinstance(asked, int | float) and not isinstance(asked, bool) and low <= asked <= high:
        return float(asked)
    names = ", ".join(f'"{name}" ({inches} inches)' for name, inches in NAMED.items())
    raise OptionError(
        f"width must be inches from {low:g} to {high:g}, {names}, or None for as wide as needed, not {asked!r}."
    )


def paper(asked: float | str | None) -> Paper:
    """Returns the paper of a width that was asked for; narrow ones get smaller letters, none below 6 points.

    Raises:
        OptionError: See `check_width`.
    """
    width = check_width(asked)
    if width is None:
        return WIDE
    shrink = min(max(width / 6.0, 0.8), 1.0)
    headline, text, small = (max(size * shrink, LEAST_LETTERS) for size in (9.5, 8.0, 7.0))
    height = min(max(9.5, width * 4 / 3), WIDE.height)  # a printed page is no higher than 9.5 inches
    return Paper(width, height, True, headline, text, small, text * 1.35 / 72, 0.6)
