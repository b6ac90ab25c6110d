"""One result ready to be evaluated: its question, its ranking, and the rankings it is compared with."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.aggregation import row_scores
from spanwise.attribution import Attribution
from spanwise.errors import InputError, OptionError, at_least
from spanwise.evaluation.faithfulness.metrics import Measure
from spanwise.evaluation.faithfulness.orders import Ranking, along, block_boundaries, random_orders, rank
from spanwise.evaluation.faithfulness.soft import make_draws
from spanwise.evaluation.replay import one_row, question_of
from spanwise.model.language_model import LanguageModel
from spanwise.question import Question
from spanwise.scoring.contrast import Contrast
from spanwise.scoring.objectives import OBJECTIVES, Objective, Value

TOP = 5
"""For the top-k figure, unless another k is asked for."""
SAME = ("method", "engine", "objective", "features", "coverage", "baseline", "options", "signed")
"""What results must have in common so that their figures can be averaged."""


@dataclass(frozen=True)
class Case:
    """One result as it is evaluated.

    Attributes:
        question: Its row, to be asked for any subset of its features.
        rankings: The method's own, by token frequency, and random ones, each followed by its reverse.
        how: How they are measured.
        constant: All scores are equal: there is no ranking.
    """

    question: Question
    rankings: tuple[Ranking, ...]
    how: Measure
    constant: bool


def checked_results(given: object, row: int | None) -> list[Attribution]:
    """Returns the results that were given, as a list.

    Raises:
        InputError: None, the same one twice, or results that were not made alike.
    """
    results = [given] if isinstance(given, Attribution) else given
    if not isinstance(results, Sequence) or isinstance(results, str) or not results:
        raise InputError(f"evaluate() takes a result or a list of at least one, not {given!r}.")
    for each in results:
        if not isinstance(each, Attribution):
            raise InputError(f"evaluate() takes results of attribute(), not {type(each).__name__}.")
    for name in SAME:
        first = getattr(results[0].provenance, name)
        for i, each in enumerate(results):
            if (other := getattr(each.provenance, name)) != first:
                raise InputError(
                    f"the figures of several results are averaged, but their {name} differs: {first!r} in result 0, "
                    f"{other!r} in result {i}. Evaluate each kind by itself."
                )
    for i, each in enumerate(results):
        for earlier in range(i if len(results) > 1 else 0):
            if _same(results[earlier], each, row):
                raise InputError(
                    f"results {earlier} and {i} are the same: prompt, target, row and scores are equal. Each can be "
                    "given once, since intervals and verdicts count results."
                )
    return list(results)


def _same(one: Attribution, other: Attribution, row: int | None) -> bool:
    made, again = one.provenance, other.provenance
    if (one.prompt, made.prompt_ids, made.target_ids) != (other.prompt, again.prompt_ids, again.target_ids):
        return False
    scores, others = (row_scores(each, row).nan_to_num(nan=torch.inf) for each in (one, other))
    return torch.equal(one_row(one, row), one_row(other, row)) and torch.equal(scores, others)


def make_case(
    lm: LanguageModel,
    result: Attribution,
    row: int | None,
    objective: "Objective | Contrast | Value | None",
    k: int | None,
    steps: int,
    n_random: int,
    frequencies: Mapping[int, int] | None,
    seed: int,
) -> Case:
    """Returns the case of one result; the arguments are those of `evaluate`.

    Raises:
        InputError: It is of another model or tokenizer, or lacks scores.
        OptionError: There is no such row, or `k` is above the number of features.
    """
    # The method of the question is only how features are switched off: a result of any method can be evaluated.
    if not bool((~result.scores.isnan()).any()):
        raise InputError("the result has no source token with a score: nothing can be evaluated.")
    table = one_row(result, row)
    question = question_of(lm, result, objective=objective, method="feature_ablation", table=table)
    scores = row_scores(result, row)[question.axes.mask[0]].double()
    if scores.isnan().any():
        missing = int(scores.isnan().sum())
        raise InputError(f"{missing} of {len(scores)} features have no score in this row, so they have no rank.")
    count = len(scores)
    if k is not None and at_least("k", k, 1) > count:
        raise OptionError(f"k={k} was asked, but the result has only {count} features with a score.")
    chance = torch.Generator().manual_seed(seed)
    orders = random_orders(n_random, count, chance)
    how = Measure(
        boundaries=block_boundaries(count, steps),
        k=min(TOP, max(count // 2, 1)) if k is None else k,
        draws=make_draws(count, chance),
        tokens=int(table.sum()),
        objective=result.provenance.objective,
        probability=next((name for name in ("log_prob", "prob") if question.objective is OBJECTIVES[name]), ""),
        signed=result.provenance.signed,
    )
    rare = torch.argsort(_rarity(question, frequencies), descending=True, stable=True)
    rankings = (rank(scores), along(rare, scores), *(along(order, scores) for order in orders))
    return Case(question, rankings, how, constant=bool((scores == scores[0]).all()))


def _rarity(question: Question, frequencies: Mapping[int, int] | None) -> Float[Tensor, " feature"]:
    """Returns how rare each feature's rarest token is."""
    ids = [*question.encoding.prompt_ids, *question.encoding.target_ids]
    tokens = [[ids[position] for position in column.positions] for column in question.axes.feature_columns]
    if frequencies is None:
        return torch.tensor([float(max(each)) for each in tokens], dtype=torch.float64)
    if not isinstance(frequencies, Mapping):
        raise OptionError(
            f"frequencies maps token ids to how often they occur, such as {{314: 20}}; not {frequencies!r}."
        )
    for token, often in frequencies.items():
        is_id = isinstance(token, Integral) and not isinstance(token, bool)
        is_count = isinstance(often, Real) and not isinstance(often, bool) and math.isfinite(often) and often >= 0
        if not (is_id and is_count):
            raise OptionError(
                "frequencies maps token ids to how often they occur (a finite number of at least 0), such as "
                f"{{314: 20}}; not {token!r} to {often!r}."
            )
    return torch.tensor([-float(min(frequencies.get(i, 0) for i in each)) for each in tokens], dtype=torch.float64)
