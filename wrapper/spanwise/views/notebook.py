"""A result as a notebook shows it: one piece of HTML without scripts, for JupyterLab, VS Code and Colab.

The compact view of the report: the source colored by score, the color scale with its unit, the strongest tokens. Styles
stand on the elements, all text is escaped, and the card brings its own background, so that it reads the same on the
dark and the light themes of notebooks.
"""

import html as markup
import math
from collections.abc import Sequence

from spanwise.attribution import Attribution
from spanwise.views import colors, series, windows
from spanwise.views.labels import label, visible
from spanwise.views.report_data import check_together, labels
from spanwise.views.running import pieces
from spanwise.views.series import Series

BLOCKS, METHODS, TOP = 4, 8, 5  # spans or rows shown, results shown, strongest tokens listed
WINDOW, WINDOWS = 60, 4  # source tokens in a window, and windows shown of one block
CONTEXT = 100  # characters of the target on each side of the span

_CARD = (
    "background:#fff;color:#1b1e24;border:1px solid #d9dce2;border-radius:8px;padding:12px 16px;max-width:900px;"
    "font:14px/1.6 system-ui,-apple-system,'Segoe UI','Noto Sans',sans-serif"
)
_QUIET = "color:#59606c;font-size:12px"
_RUNNING = "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:plaintext;margin:2px 0 6px"
_HATCH = "color:#59606c;background:repeating-linear-gradient(135deg,#fff 0 4px,#d9dce2 4px 5px)"
_BAR = "width:220px;height:10px;margin-top:4px;border:1px solid #d9dce2"
_CELL = "text-align:left;padding:1px 14px 1px 0;border:0;background:none;color:inherit"


def html(results: Attribution | Sequence[Attribution]) -> str:
    """Returns a result, or several of one question, as HTML for a notebook.

    Args:
        results: One result, or one a method.

    Raises:
        InputError: The results do not answer one question.
    """
    several = [results] if isinstance(results, Attribution) else list(results)
    check_together(several)
    blocks = [
        _block(result, name if len(several) > 1 else "")
        for result, name in zip(several[:METHODS], labels(several), strict=False)
    ]
    left = len(several) - METHODS
    more = [_told(f"{left} more {'result' if left == 1 else 'results'} not shown")] if left > 0 else []
    return f'<div style="{_CARD}">{"".join([*blocks, *more])}</div>'


def _block(result: Attribution, name: str) -> str:
    """Returns one result: a line of facts, then for each span the target, the colored source and the strongest."""
    everything = series.by_span(result)
    weights = [sum(series.weights(item.scores)) for item in everything]
    kept = windows.choose(weights, 1, BLOCKS)
    limit = series.limit(*(item.scores for item in everything))
    made = result.provenance
    about = f"{name or made.method} ({made.engine}) of {made.model} ({made.quantization or made.dtype})"
    parts = [f'<div style="font-weight:600">{_text(about)}</div>']
    for index in (window.start for window in kept):
        item = everything[index]
        beside = _scale(result, limit) if index == kept[-1].start else ""
        parts += [_target(result, item), _source(result, item, limit)]
        parts.append(f'<div style="display:flex;flex-wrap:wrap;gap:4px 40px">{_strongest(result, item)}{beside}</div>')
    note = windows.left_out(f"{everything[0].name}s", kept, weights)
    gap = result.completeness_gap
    complete = f"completeness gap {gap:.2%}" if gap is not None else "no completeness promised"
    parts.append(_told(" · ".join(filter(None, [f"baseline {made.baseline or 'none'}", complete, note]))))
    return f'<div style="margin:0 0 8px">{"".join(parts)}</div>'


def _target(result: Attribution, item: Series) -> str:
    whole = result.target_text
    first, last = max(item.start - CONTEXT, 0), item.end + CONTEXT
    before = ("…" if first else "") + whole[first : item.start]
    after = whole[item.end : last] + ("…" if last < len(whole) else "")
    asked = f'<b style="background:#ffe08a;color:#1b1e24">{_text(whole[item.start : item.end] or item.text)}</b>'
    rows = f" ({item.reduction})" if item.reduction else ""
    return (
        f'<div dir="auto" style="{_RUNNING}">{_quiet(f"{item.name}{rows}: ")}{_text(before)}{asked}{_text(after)}</div>'
    )


def _source(result: Attribution, item: Series, limit: float) -> str:
    count = series.drawn_columns(result)
    weights = series.weights(item.scores[:count])
    shown = windows.choose(weights, WINDOW, WINDOWS)
    inside = {i for window in shown for i in window}
    parts: list[str] = []
    generated = hidden = False
    for piece in pieces(result, item, count):
        if piece.index >= 0 and piece.index not in inside:
            hidden = True
            continue
        if hidden:
            parts.append(_quiet(" … "))
            hidden = False
        if piece.index >= 0 and result.source[piece.index].role == "prefix" and not generated:
            parts.append("<b> ‖ </b>")
            generated = True
        style = _style(piece.score, limit, result.provenance.signed) if piece.index >= 0 else ""
        title = f' title="{piece.score:+.4g}"' if not math.isnan(piece.score) else ""
        text = _text(piece.text).replace("⏎", "⏎\n")
        parts.append(f'<span style="{style}"{title}>{text}</span>' if style else text)
    note = windows.left_out("source tokens", shown, weights)
    text = "".join(parts) + (_quiet(" …") if hidden else "")
    return f'<div dir="auto" style="{_RUNNING};font-size:15px">{text}</div>' + (_told(note) if note else "")


def _style(score: float, limit: float, signed: bool) -> str:
    """Returns the style of a piece: its color and the ink that reads on it; hatched where no score is defined."""
    if math.isnan(score):
        return _HATCH
    color = _color(score, limit, signed)
    return f"background:{colors.hexadecimal(color)};color:{colors.hexadecimal(_ink(color))};border-radius:2px"


def _color(score: float, limit: float, signed: bool) -> colors.Rgb:
    """Returns white at 0, the lighter color of the sign in the middle, the full color at `limit`."""
    part = abs(score) / limit if limit else 0.0
    if part > 0.5:
        return colors.shade(score, 2 * part - 1, signed=signed)
    red, green, blue = (round(255 + 2 * part * (end - 255)) for end in colors.middle(score, signed=signed))
    return red, green, blue


def _ink(color: colors.Rgb) -> colors.Rgb:
    """Returns black or white, whichever has the higher contrast (WCAG relative luminance): at least 4.5 to 1."""
    parts = (each / 255 for each in color)
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return (0, 0, 0) if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else (255, 255, 255)


def _strongest(result: Attribution, item: Series) -> str:
    scores = item.scores.tolist()
    order = sorted((i for i, score in enumerate(scores) if score == score), key=lambda i: -abs(scores[i]))
    if not order:
        return _told("no score is defined")
    sign = "+" if result.provenance.signed else ""
    lines = "".join(
        f'<tr style="background:none"><td style="{_CELL};font-variant-numeric:tabular-nums">{scores[i]:{sign}.4g}</td>'
        f'<td style="{_CELL};{_QUIET}">{i}</td>'
        f'<td style="{_CELL};font-weight:600"><bdi>{_text(label(result.source_tokens[i], 40))}</bdi></td></tr>'
        for i in order[:TOP]
    )
    return f'<table style="border-collapse:collapse;margin:0 0 6px;font-size:13px">{lines}</table>'


def _scale(result: Attribution, limit: float) -> str:
    """Returns the color scale, zero in the middle where scores are signed, with its unit."""
    made = result.provenance
    steps = range(-4, 5) if made.signed else range(9)
    most = 4 if made.signed else 8
    stops = ",".join(colors.hexadecimal(_color(step, most, made.signed)) for step in steps)
    ends = [f"{-limit:.3g}", "0", f"+{limit:.3g}"] if made.signed else ["0", f"{limit:.3g}"]
    ticks = "".join(f"<span>{end}</span>" for end in ends)
    reduction = "" if made.reduction == "sum" else f", {made.reduction}"
    told = _told(f"{made.objective}, {made.unit}{reduction}; hatched: no score, frozen or not defined")
    return (
        f'<div><div style="{_BAR};background:linear-gradient(to right,{stops})"></div>'
        f'<div style="width:222px;display:flex;justify-content:space-between;font-size:12px">{ticks}</div>{told}</div>'
    )


def _text(text: str) -> str:
    return markup.escape(visible(text))


def _quiet(text: str) -> str:
    return f'<span style="{_QUIET}">{_text(text)}</span>'


def _told(text: str) -> str:
    return f'<div style="{_QUIET}">{_text(text)}</div>'
