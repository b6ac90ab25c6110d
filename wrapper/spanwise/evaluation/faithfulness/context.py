"""ContextCite's two figures for an attribution: what its top k features are worth, and how well its scores foretell.

Both compare a result of any method with what the model says of the same span when features are removed. They need its
probability, so the result's objective must be log_prob.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spanwise.aggregation import row_scores
from spanwise.attribution import Attribution
from spanwise.errors import InputError, OptionError, at_least
from spanwise.evaluation.agreement import rank_correlation
from spanwise.evaluation.faithfulness.orders import leading, rank
from spanwise.evaluation.faithfulness.removal import Remembered
from spanwise.evaluation.replay import check_scores, one_row, question_of
from spanwise.model.language_model import LanguageModel
from spanwise.scoring.baselines import BaselineLike, make_baseline
from spanwise.scoring.batching import choose_batches
from spanwise.scoring.log_odds import log_odds


def top_k_drop(
    lm: LanguageModel, result: Attribution, k: int, *, row: int | None = None, removed: BaselineLike = "delete"
) -> float:
    """Returns the drop of the span's log-probability, in nats, when the `k` features of highest score are removed.

    Args:
        lm: The model that the result is of.
        result: Of any method, with the objective log_prob.
        k: Features.
        row: Which one; None: the only one, or the first span.
        removed: What a removed feature becomes, as `attribute` takes `baseline`; the paper leaves it out.

    Raises:
        OptionError: There is no such row, or the result has fewer than `k` features.
        InputError: Another objective, or another model.
        MethodError: The features cannot be removed that way.

    Source: Cohen-Wang et al. 2024, arXiv:2409.00729, section 4, "top-k log-probability drop".
    """
    scores = _scores(result, row)
    if at_least("k", k, 1) > len(scores):
        raise OptionError(f"k={k} was asked, but the result has only {len(scores)} features with a score.")
    with _value(lm, result, row, removed) as value:
        full, without = value(~leading(rank(scores).order, [0, k])).tolist()
    return float(full - without)


def linear_datamodeling_score(
    lm: LanguageModel,
    result: Attribution,
    *,
    n_masks: int = 64,
    row: int | None = None,
    removed: BaselineLike = "delete",
    seed: int = 0,
) -> float:
    """Returns the rank correlation, -1 to 1, of the scores' forecast with the span's log-odds over random removals.

    Each feature stays with probability 1/2; the forecast of a mask is the sum of the scores of what stays. Masks under
    which nothing is left are drawn again. A method that samples should have another seed. NaN where all scores are
    equal.

    Args:
        lm: The model that the result is of.
        result: Of any method, with the objective log_prob.
        n_masks: Random masks.
        row: Which one; None: the only one, or the first span.
        removed: What a removed feature becomes, as `attribute` takes `baseline`; the paper leaves it out.
        seed: Of the masks.

    Raises:
        OptionError: There is no such row.
        InputError: Another objective, or another model.
        MethodError: The features cannot be removed that way.

    Source: Cohen-Wang et al. 2024, arXiv:2409.00729, section 4; Park et al. 2023, arXiv:2303.14186, definition 2.3.
    """
    scores = _scores(result, row)
    chance = torch.Generator().manual_seed(seed)
    masks = torch.rand(at_least("n_masks", n_masks, 2), len(scores), generator=chance) < 0.5
    while not masks.any(1).all():
        masks[~masks.any(1)] = torch.rand(int((~masks.any(1)).sum()), len(scores), generator=chance) < 0.5
    with _value(lm, result, row, removed) as value:
        return forecast_correlation(scores, masks, log_odds(value(masks)))


def forecast_correlation(
    scores: Float[Tensor, " feature"], masks: Bool[Tensor, "mask feature"], values: Float[Tensor, " mask"]
) -> float:
    """Returns Spearman's rank correlation of `values` with the sum of each mask's scores.

    Example:
        >>> import torch
        >>> masks = torch.tensor([[True, False], [False, True], [True, True]])
        >>> forecast_correlation(torch.tensor([2.0, 1.0]), masks, torch.tensor([0.2, 0.1, 0.9]))
        1.0
    """
    forecast = masks.double() @ scores.double()
    return float(rank_correlation(forecast[None], values.double()[None]))


def _scores(result: Attribution, row: int | None) -> Float[Tensor, " feature"]:
    if result.provenance.objective != "log_prob":
        raise InputError(
            f"these figures need the probability of the span: the result's objective is {result.provenance.objective}, "
            "log_prob is needed."
        )
    scores = row_scores(result, row)
    return scores[~scores.isnan()].double()


@contextmanager
def _value(lm: LanguageModel, result: Attribution, row: int | None, removed: BaselineLike) -> Iterator[Remembered]:
    """Gives the row's log-probability under any subset of its features, with the digits that log-odds need."""
    table = one_row(result, row)
    question = replace(question_of(lm, result, method="context_cite", table=table), baseline=removed)
    with lm.session():
        off, _ = make_baseline(lm, removed, question.info, question.encoding, question.composed, question.axes)
        lengths = len(question.axes.features), len(question.encoding.target_ids)
        batches = choose_batches(lm, "auto", *lengths, gradients=False, rows=1, per_position=False)
        scorer = question.scorer(off, batches)
        check_scores(lm, result, scorer.reference())
        yield Remembered(scorer)
