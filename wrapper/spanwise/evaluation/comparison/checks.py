"""Do results compare? The same model, question, rows and columns; and names that tell them apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.attribution import Attribution
from spanwise.errors import InputError, OptionError, at_least
from spanwise.methods import METHODS

_TOP_K = 5
_MODEL = ("model", "revision", "quantization", "dtype", "compute_dtype")
_QUESTION = ("orientation", "normalization", "coverage", "features")


def checked_results(results: Sequence[Attribution] | Mapping[str, Attribution]) -> dict[str, Attribution]:
    """Returns the results by name, after checking that they compare.

    Raises:
        InputError: Fewer than two, or results that do not compare; the message names both and what differs.
        OptionError: Two of the same name.
    """
    named = _named(results)
    for name, result in named.items():
        if not isinstance(result, Attribution):
            raise InputError(f"results are Attributions, but {name!r} is {type(result).__name__}.")
    if len(named) < 2:
        raise InputError(f"a comparison needs at least two results; given: {len(named)}.")
    (first_name, first), *others = named.items()
    for name, result in others:
        difference = _difference(first, result)
        if difference:
            raise InputError(f"the results {first_name!r} and {name!r} do not compare: {difference}.")
    if first.scores.isnan().all(1).any():
        raise InputError("the results do not compare: a row has no source token with a score.")
    return named


def choose_top_k(scores: Float[Tensor, "row source"], asked: int | None) -> int:
    """Returns the asked number of strongest source tokens, or the default.

    Raises:
        OptionError: A row has fewer scores, or it is below 1.
    """
    there_are = int((~scores.isnan()).sum(1).min())
    if asked is None:
        return min(_TOP_K, max(there_are // 2, 1))
    if at_least("top_k", asked, 1) > there_are:
        raise OptionError(f"top_k={asked} was asked, but only {there_are} source tokens have scores.")
    return asked


def _named(results: Any) -> dict[str, Attribution]:
    if isinstance(results, Mapping):
        return dict(results)
    if not isinstance(results, Sequence) or not all(isinstance(result, Attribution) for result in results):
        raise InputError(
            f"results are given as a list of Attributions or a mapping from names to them, not {results!r}."
        )
    methods = [result.provenance.method for result in results]
    named: dict[str, Attribution] = {}
    for result, method in zip(results, methods, strict=True):
        name = method if methods.count(method) == 1 else f"{method}@{result.provenance.engine}"
        if name in named:
            raise OptionError(f"two results are of {name}: give a mapping from names that tell them apart.")
        named[name] = result
    return named


def _difference(one: Attribution, other: Attribution) -> str:
    """Returns what keeps two results from being compared, or ""."""
    first, second = one.provenance, other.provenance
    for field in _MODEL + _QUESTION:
        values = getattr(first, field), getattr(second, field)
        if values[0] != values[1]:
            return f"their {field} is {values[0]!r} and {values[1]!r}"
    objectives = first.objective, second.objective
    if objectives[0] != objectives[1] and all(map(_reads_objective, (one, other))):
        return f"their objective is {objectives[0]!r} and {objectives[1]!r}"
    if (one.prompt, first.prompt_ids) != (other.prompt, second.prompt_ids):
        return f"their prompts are {_cut(one.prompt)!r} and {_cut(other.prompt)!r}, or were tokenized otherwise"
    if (one.target_text, first.target_ids) != (other.target_text, second.target_ids):
        return (
            f"their targets are {_cut(one.target_text)!r} and {_cut(other.target_text)!r}, or were tokenized otherwise"
        )
    if (one.rows, one.scores.shape) != (other.rows, other.scores.shape) or one.spans != other.spans:
        return f"their rows are {one.row_labels} ({one.rows}) and {other.row_labels} ({other.rows})"
    if [token.positions for token in one.source] != [token.positions for token in other.source]:
        return "their source columns stand for other positions"
    if not torch.equal(one.scores.isnan(), other.scores.isnan()):
        return "they have scores in other places (frozen=, source= or prefix= was another)"
    return ""


def _reads_objective(result: Attribution) -> bool:
    info = METHODS.get(result.provenance.method)
    return info is None or info.reads_objective


def _cut(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"
