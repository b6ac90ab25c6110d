"""What every sanity check is given: the question of one row, the scores that answer it, and a way to ask again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.aggregation import row_scores
from spanwise.attribution import Attribution
from spanwise.errors import InputError, require
from spanwise.evaluation.agreement import rank_correlation, top_k_overlap
from spanwise.evaluation.replay import axes_of, one_row, question_of
from spanwise.evaluation.sanity.result import Status, Value
from spanwise.question import Question
from spanwise.text.layout import row_table
from spanwise.text.spans import whole_target

CHANCE = 0.95
"""A correlation counts where it is above what this share of random orders of the same scores reaches."""
_ORDERS = 2000


class NotApplicableError(Exception):
    """A check does not apply; the message says why."""


@dataclass(frozen=True)
class Finding:
    """What a check found: status, figures, a sentence, and details. See `sanity_result.Check`."""

    status: Status
    figures: Mapping[str, Value]
    summary: str
    details: Sequence[Mapping[str, Value]] = ()


@dataclass
class Work:
    """Done for all checks together: attributions, sequences forward and sequences backward."""

    attributions: int = 0
    forwards: int = 0
    backwards: int = 0


@dataclass(frozen=True)
class Case:
    """One row of a result, and the question that it answers. Used inside the model's session.

    Attributes:
        result: To be checked.
        question: Of the row alone; its rows are added up where the method is not linear.
        scores: The row's.
        repeated: The answer to the question put again, unchanged; None where it cannot be put.
        obstacle: Why not.
        top_k: How many of the strongest source tokens overlaps compare.
        seeds: Random models, and seeds of a sampled method.
        baselines: To compare; None: the usual ones.
        tick: Called with the number of attributions done.
        work: Counted here.
    """

    result: Attribution
    question: Question
    scores: Float[Tensor, " source"]
    repeated: Float[Tensor, " source"] | None
    obstacle: str
    top_k: int
    seeds: int
    baselines: tuple[str, ...] | None
    tick: Callable[[int], object] = lambda done: None
    work: Work = field(default_factory=Work)

    @property
    def count(self) -> int:
        """Source columns with a score."""
        return int((~self.scores.isnan()).sum())

    @property
    def constant(self) -> bool:
        """Whether all scores are the same, so that there is no order."""
        return len(set(self.scores[~self.scores.isnan()].tolist())) < 2

    def must_rank(self) -> None:
        """Raises where there is no order.

        Raises:
            NotApplicableError: There is one score, or all are the same.
        """
        if self.count < 2:
            raise NotApplicableError("one feature has no order.")
        if self.constant:
            raise NotApplicableError("all scores are the same: there is no ranking to compare.")

    def again(self) -> Float[Tensor, " source"]:
        """Returns the answer to the unchanged question, found before the checks began.

        Raises:
            NotApplicableError: The question cannot be put again.
        """
        if self.repeated is None:
            raise NotApplicableError(f"the attribution cannot be repeated from the result: {self.obstacle}")
        return self.repeated

    def ask(self, **changed: Any) -> Float[Tensor, " source"]:
        """Returns the answer to the question with something changed (`lm`, `seed` or `baseline`)."""
        self.again()
        return answered(replace(self.question, **changed), self.work, self.tick)[0]

    def agreement(self, other: Float[Tensor, " source"]) -> dict[str, Value]:
        """Returns how far other scores agree with the result's: rank correlations, cosine, and top-k overlap.

        A correlation is None where one of the two has no order, and the cosine where one is 0 everywhere.
        """
        here = ~self.scores.isnan()
        own, theirs = self.scores[None, here].double(), other[None, here].double()
        lengths = float(own.norm() * theirs.norm())
        return {
            "spearman": number(rank_correlation(own.float(), theirs.float())),
            "spearman_absolute": number(rank_correlation(own.float().abs(), theirs.float().abs())),
            "cosine": float((own * theirs).sum()) / lengths if lengths else None,
            "top_k_overlap": float(top_k_overlap(own.float(), theirs.float(), self.top_k)[0]),
        }

    def chance_level(self, draws: int = 1, *, either: bool = False) -> float:
        """Returns the rank correlation with the result's scores that 95 % of random orders of them stay at or below.

        Args:
            draws: Over how many random orders the correlation is averaged.
            either: Of the signed and the absolute correlation the larger one.

        Raises:
            NotApplicableError: Too few scores: even the same order is no rare accident.
        """
        level = chance_level(self.scores[~self.scores.isnan()], draws, either=either)
        if level > 1 - 1e-6:
            raise NotApplicableError(
                f"{self.count} scores have so few orders that more than 5 % of random ones agree completely; nothing "
                "can be told from a rank correlation."
            )
        return level

    def name_of(self, column: int) -> str:
        """Returns the text of a source column."""
        return self.result.source_tokens[column]

    def top(self, scores: Float[Tensor, " source"]) -> int:
        """Returns the column of the largest absolute score."""
        return int(scores.abs().nan_to_num(-1.0).argmax())


def number(value: Tensor) -> float | None:
    """Returns the only element as a number; None for NaN."""
    found = float(value)
    return None if found != found else found


def chance_level(scores: Float[Tensor, " source"], draws: int = 1, *, either: bool = False) -> float:
    """Returns what 95 % of 2,000 random orders of `scores` reach at most, as Spearman's correlation with themselves.

    The permutation null of a rank correlation: Spearman 1904; Good 2005, Permutation, Parametric and Bootstrap Tests,
    chapter 3. Always the same 2,000 orders.
    """
    require("scipy", "flow", "a rank correlation")
    from scipy import stats

    generator = torch.Generator().manual_seed(0)
    orders = torch.stack([torch.randperm(len(scores), generator=generator) for _ in range(_ORDERS * draws)])
    measures = (scores, scores.abs()) if either else (scores,)
    found = []
    for values in measures:
        ranks = torch.from_numpy(stats.rankdata(values.double().numpy()))
        ranks = ranks - ranks.mean()
        correlations = ranks[orders] @ ranks / (ranks @ ranks).clamp(min=1e-12)
        found.append(correlations.view(_ORDERS, draws).mean(1))
    null = torch.stack(found).amax(0)
    return float(null.quantile(CHANCE, interpolation="higher"))


def row_question(lm: Any, result: Attribution, row: int | None, objective: Any) -> Question:
    """Returns the question whose answer, its rows added up, is `aggregation.row_scores(result, row)`.

    For a linear method that is one row of the summed objective; else the rows of the target tokens.

    Raises:
        InputError: See `question_of`; or a feature has no score.
        OptionError: See `question_of`; or there is no such row.
    """
    question = question_of(lm, result, objective=objective)
    table = one_row(result, row)
    _check_scored(result, row)
    if result.rows == "token" and row is None:
        spans = result.spans or (whole_target(result.target_text, result.target),)
        first, last = spans[0].first_token, spans[0].last_token
        summed = axes_of(result, table).mask.any(0)
        if not question.info.linear or not torch.equal(summed, ~row_scores(result, row).isnan()):
            table = row_table("token", spans, len(result.target))[first:last]
    return replace(question, axes=axes_of(result, table))


def _check_scored(result: Attribution, row: int | None) -> None:
    """Checks that every feature has a score in the rows that `aggregation.row_scores(result, row)` reads.

    Raises:
        InputError: One has none.
    """
    first, last = (row or 0), (row or 0) + 1
    if row is None and result.rows == "token":
        span = (result.spans or (whole_target(result.target_text, result.target),))[0]
        first, last = span.first_token, span.last_token
    defined = axes_of(result).mask[first:last]
    missing = int((defined & result.scores[first:last].isnan()).any(0).sum())
    if missing:
        count = int(defined.any(0).sum())
        raise InputError(f"{missing} of {count} features have no score in this row, so they have no rank.")


def answered(
    question: Question, work: Work, tick: Callable[[int], object] = lambda done: None
) -> tuple[Float[Tensor, " source"], Float[Tensor, " target"]]:
    """Returns the scores of a question, its rows added up, and the target's own scores."""
    answer = question.answer()
    work.attributions += 1
    work.forwards += answer.counts.forwards
    work.backwards += answer.counts.backwards
    tick(1)
    rows = answer.scores
    return torch.where(rows.isnan().all(0), torch.nan, rows.nansum(0)), answer.target_scores
