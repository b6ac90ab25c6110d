"""`assert_attributed`: a span must rest on one part of the source, and not on another."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from spanwise.attribution import Attribution
from spanwise.errors import InputError, OptionError, one_of
from spanwise.errors import at_least as integer_of_at_least
from spanwise.testing.message import Check, Direction, message
from spanwise.testing.parts import Part, find_parts, find_row, shown
from spanwise.text.spans import SpanLike

AT_LEAST, AT_MOST = 0.5, 0.1
"""What is asked for where no number is given: more than all else together, and next to nothing."""


def assert_attributed(
    result: Attribution,
    to: SpanLike | Sequence[SpanLike] | None = None,
    *,
    not_to: SpanLike | Sequence[SpanLike] | None = None,
    span: str | int | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    rank: int | None = None,
    min_score: float | None = None,
    direction: Direction = "for",
) -> None:
    """Checks that a span of the target rests on a part of the source, and not on another.

    A share is the sum of a part's scores above 0, divided by that of all columns: what speaks against the span counts
    for nothing. Frozen columns count nowhere.

    Args:
        result: Of any method. One row is checked.
        to: What the span must rest on: the name of a feature ("document 2", a template's slot), or a place in the
            prompt: literal text or a compiled regex (every place), (start, end) characters, `spanwise.tokens(a, b)` or
            `spanwise.role("user")`. Several: their shares are added up.
        not_to: What it must not rest on.
        span: Which row, by the span's text or by number; needed where the result has several.
        at_least: Share that `to` must have, above 0 to 1. Default: 0.5, where no `rank` is given.
        at_most: Share that `not_to` may have, 0 to below 1. Default: 0.1.
        rank: Each of `to` must have one of the `rank` strongest columns; 1: the strongest. Equal scores share a place.
        min_score: What the counted scores of `to` must add up to, in the unit of the result (nats for log_prob). Where
            two documents say the same, ablating one changes almost nothing, and a share of almost nothing is chance.
        direction: "for": scores above 0 count; "against": those below 0; "both": absolute scores.

    Raises:
        AssertionError: It does not hold. The message says what was asked and found, and lists the strongest columns.
        SpanError: There is no such feature, place or span.
        InputError: A part has no scores (frozen), is only a piece of a feature, or is in both `to` and `not_to`.
        OptionError: A number out of range, nothing to check, or a direction that a method without signs does not have.

    Example:
        >>> import spanwise
        >>> lm = spanwise.load_model("tiny")
        >>> notes = spanwise.documents(["The red box holds keys.", "The blue box holds coins."])
        >>> asked = {"span": "coins", "method": "feature_ablation", "features": notes}
        >>> result = spanwise.attribute(lm, "The blue box holds", " coins", **asked)
        >>> spanwise.testing.assert_attributed(result, to="document 2", not_to="document 1", at_least=0.9)
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    _check_arguments(result, to, not_to, at_least, at_most, rank, min_score, direction)
    label, scores = find_row(result, span)
    wanted, unwanted = find_parts(result, to, scores), find_parts(result, not_to, scores)
    both = {i for part in wanted for i in part.columns} & {i for part in unwanted for i in part.columns}
    if both:
        raise InputError(f"to= and not_to= share {shown(result.source[min(both)])}: each column is in one at most.")
    weights = _weights(scores, direction)
    checks = []
    if wanted and (at_least is not None or rank is None):
        checks.append(_least(wanted, weights, AT_LEAST if at_least is None else at_least))
    if rank is not None:
        checks += [_rank(part, weights, rank) for part in wanted]
    if min_score is not None:
        checks.append(_score(wanted, weights, min_score, result.provenance.unit))
    if unwanted:
        checks.append(_most(unwanted, weights, AT_MOST if at_most is None else at_most))
    if not all(check.holds for check in checks):
        raise AssertionError(message(result, label, scores, weights, wanted, unwanted, checks, direction))


def _check_arguments(
    result: object,
    to: object,
    not_to: object,
    least: float | None,
    most: float | None,
    rank: int | None,
    score: float | None,
    direction: str,
) -> None:
    if not isinstance(result, Attribution):
        raise InputError(f"assert_attributed() takes a result of attribute(), not {type(result).__name__}.")
    if to is None and not_to is None:
        raise OptionError("nothing to check: to= or not_to= is needed.")
    for name, given, needs in (
        ("at_least", least, to),
        ("rank", rank, to),
        ("min_score", score, to),
        ("at_most", most, not_to),
    ):
        if given is not None and needs is None:
            raise OptionError(
                f"{name}={given!r} is about {'not_to' if name == 'at_most' else 'to'}=, which is missing."
            )
    if least is not None and not 0 < _number("at_least", least) <= 1:
        raise OptionError(f"at_least is a share above 0 and up to 1, not {least!r}.")
    if most is not None and not 0 <= _number("at_most", most) < 1:
        raise OptionError(f"at_most is a share from 0 to below 1, not {most!r}.")
    if score is not None and not 0 < _number("min_score", score) < float("inf"):
        raise OptionError(f"min_score is a number above 0, not {score!r}.")
    if rank is not None:
        integer_of_at_least("rank", rank, 1)
    one_of("direction", direction, ("for", "against", "both"))
    if direction == "against" and not result.provenance.signed:
        raise OptionError(f"direction='against' was asked, but the scores of {result.provenance.method} have no sign.")


def _number(name: str, given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise OptionError(f"{name} is a number, such as 0.5, not {given!r}.")
    return given


def _weights(scores: Float[Tensor, " source"], direction: Direction) -> list[float]:
    """Returns how much each column counts; 0 where it has no score."""
    values = scores.double().nan_to_num(0.0)
    counted = {"for": values.clamp(min=0), "against": (-values).clamp(min=0), "both": values.abs()}[direction]
    return counted.tolist()


def _share(parts: Sequence[Part], weights: Sequence[float]) -> float:
    total = sum(weights)
    return _sum(parts, weights) / total if total else 0.0


def _sum(parts: Sequence[Part], weights: Sequence[float]) -> float:
    return sum(weights[i] for i in {i for part in parts for i in part.columns})


def _labels(parts: Sequence[Part]) -> str:
    names = " and ".join(part.label for part in parts)
    return f"{names} {'has' if len(parts) == 1 else 'together have'}"


def _least(parts: Sequence[Part], weights: Sequence[float], least: float) -> Check:
    share = _share(parts, weights)
    return Check(f"{_labels(parts)} at least {least:.1%}", f"{share:.1%}", share >= least)


def _most(parts: Sequence[Part], weights: Sequence[float], most: float) -> Check:
    share = _share(parts, weights)
    return Check(f"{_labels(parts)} at most {most:.1%}", f"{share:.1%}", share <= most)


def _score(parts: Sequence[Part], weights: Sequence[float], least: float, unit: str) -> Check:
    found = _sum(parts, weights)
    return Check(f"{_labels(parts)} at least {least:.4g} {unit}", f"{found:.4g}", found >= least)


def _rank(part: Part, weights: Sequence[float], rank: int) -> Check:
    best = max(weights[i] for i in part.columns)
    place = 1 + sum(weight > best for weight in weights)
    wanted = "the strongest column" if rank == 1 else f"one of the {rank} strongest columns"
    return Check(f"{part.label} has {wanted}", f"place {place}" if best else "no weight", bool(best) and place <= rank)
