"""One result ready to be evaluated: its question, its ranking, and the rankings it is compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from spanwise.scoring.objectives import Objective, Value

TOP = 5
"""For the top-k figure, unless another k is asked for."""


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


def checked_results(given: object) -> list[Attribution]:
    """Returns the results that were given, as a list.

    Raises:
        InputError: None, or of several methods or objectives.
    """
    results = [given] if isinstance(given, Attribution) else given
    if not isinstance(results, Sequence) or isinstance(results, str) or not results:
        raise InputError(f"evaluate() takes a result or a list of at least one, not {given!r}.")
    for each in results:
        if not isinstance(each, Attribution):
            raise InputError(f"evaluate() takes results of attribute(), not {type(each).__name__}.")
    for name in ("method", "objective"):
        different = sorted({getattr(each.provenance, name) for each in results})
        if len(different) > 1:
            raise InputError(
                f"the figures of several results are averaged, but their {name} differs: {', '.join(different)}. "
                "Evaluate each of them by itself."
            )
    return list(results)


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
        k=min(TOP, count) if k is None else k,
        draws=make_draws(count, chance),
        tokens=int(table.sum()),
        objective=result.provenance.objective,
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
    if not isinstance(frequencies, Mapping) or not all(
        isinstance(name, int) and isinstance(count, int | float) for name, count in frequencies.items()
    ):
        raise OptionError("frequencies maps token ids to how often they occur, such as {314: 20}.")
    return torch.tensor([-float(min(frequencies.get(i, 0) for i in each)) for each in tokens], dtype=torch.float64)
