r"""The strip as LaTeX: the source in `\colorbox`es, for documents that load `xcolor`."""

import math
import re

from spanwise.attribution import Attribution
from spanwise.views import colors, series
from spanwise.views.blocks import Block, blocks, source
from spanwise.views.labels import visible
from spanwise.views.running import Piece

# Signs that TeX reads as commands, and those that its fonts join to others ("--", "``", "<<") or show as others.
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": "-{}",
    ",": ",{}",
    "!": "!{}",
    "?": "?{}",
    "[": "{[}",
    "]": "{]}",
    " ": r"\ ",
    "⏎": r"\ensuremath{\hookleftarrow}",
    "⇥": r"\ensuremath{\rightarrow}",
    "…": r"\ldots{}",
    "‖": r"\ensuremath{\Vert}",
}
_HEAD = r"""% Needs \usepackage{xcolor} and, with pdfLaTeX, \usepackage[T1]{fontenc} and \usepackage{textcomp}.
% Letters beyond the document's fonts need XeLaTeX or LuaLaTeX, and a \setmainfont that has them.
"""
_LIMITS = {True: 0.66, False: 0.62}  # how far the colors go: black letters stay easy to read


def escape(text: str) -> str:
    """Returns `text` as LaTeX that prints it: nothing in it is a command, control characters are spelled out."""
    seen = re.sub(r"(?<! ) (?! |$)", "\0", visible(text).removeprefix(" "))  # a lone space between letters stays one
    seen = " " + seen if text.startswith(" ") else seen
    return "".join(_ESCAPES.get(character, character) for character in seen).replace("\0", " ")


def latex(attribution: Attribution, *, title: str | None = None) -> str:
    r"""Returns the result as LaTeX: for each span or target token the target, and below it the colored source.

    Args:
        attribution: The result. Nothing of it is left out.
        title: Above it; default: method, model and objective; "" for none.

    Returns:
        A group that can be put into a document with `\input`.
    """
    facts = attribution.provenance
    title = f"{facts.method} ({facts.engine}) of {facts.model}, objective {facts.objective}" if title is None else title
    every = blocks(attribution, context=None)
    limit = series.limit(*(block.item.scores for block in every))
    parts = [_HEAD + "\\begingroup\\setlength{\\fboxsep}{1pt}\\raggedright\\noindent"]
    if title:
        parts.append(rf"\textbf{{{escape(title)}}}\par\smallskip\noindent")
    parts += [_block(attribution, block, limit) for block in every]
    low = "0" if not facts.signed else f"$-{limit:.3g}$"
    signs = r"red positive, blue negative and underlined" if facts.signed else "scores without sign"
    note = rf"Colors: {low} to {limit:.3g} {escape(facts.unit)} ({signs}); gray: frozen or not defined."
    parts.append(rf"{{\footnotesize {note}\par}}\endgroup")
    return "\n".join(parts) + "\n"


def _block(attribution: Attribution, block: Block, limit: float) -> str:
    target = [_plain(block.before), rf"\textbf{{{_plain(block.asked)}}}", _plain(block.after)]
    signed = attribution.provenance.signed
    pieces = [_piece(piece, limit, signed) for piece in source(attribution, block.item)]
    return "\n".join(
        [
            rf"{{\footnotesize\color[gray]{{0.3}}{escape(block.name)}}}\par\noindent",
            "".join(target) + r"\par\smallskip\noindent",
            "%\n".join(pieces) + r"\par\medskip\noindent",
        ]
    )


def _plain(text: str) -> str:
    """Returns text in which a line can break at each space."""
    return escape(text).replace(r"\ ", r"\space{}")


def _piece(piece: Piece, limit: float, signed: bool) -> str:
    """Returns the boxes of a piece, one a word, the spaces before them outside, where lines break."""
    found = []
    for line in piece.text.splitlines(keepends=True):
        for word in re.findall(r" *[^ ]+| +", visible(line.removesuffix("\n"))):
            bare = word.lstrip(" ") or word
            found.append(r"\space{}" * (len(word) - len(bare)))
            found.append(r"\allowbreak{}" if ord(bare[0]) > 0x2E7F else "")
            found.append(_box(bare, piece.score, limit, signed))
        if line.endswith("\n"):
            found.append(_box("\n", piece.score, limit, signed) + r"\par\noindent{}")
    return "".join(found)


def _box(text: str, score: float, limit: float, signed: bool) -> str:
    strength = abs(score) / limit if limit and not math.isnan(score) else 0.0
    if math.isnan(score):
        return rf"{{\color[gray]{{0.45}}\strut {escape(text)}}}" if text.strip() else _plain(text)
    full = colors.strong(score, signed=signed)
    share = strength * _LIMITS[signed]
    shade = ",".join(str(round(255 + share * (part - 255))) for part in full)
    inner = escape(text)
    if signed and score < 0 and strength >= 0.1:
        inner = rf"\underline{{{inner}}}"
    return rf"\colorbox[RGB]{{{shade}}}{{\strut {inner}}}"
