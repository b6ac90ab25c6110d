"""`Matched`: two runs row by row, and how far they agree where they answer the same question."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nsmallest

import torch
from torch import Tensor

from spanwise.attribution import Attribution
from spanwise.batch.run import Entry
from spanwise.batch.summarized import Estimate, RunDrift, estimate

_LOWEST = 5
"""Rows that are named because they agree least."""
_AGREES = 1 - 1e-6
"""A rank correlation from here on is 1."""
_BINS = 20


def matched(one: Iterator[Entry], other: Iterator[Entry]) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Yields the results of both runs by row, None where one has no result. Both are in the order of their rows."""
    left, right = next(one, None), next(other, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.row < right.row):
            yield left, None
            left = next(one, None)
        elif left is None or right.row < left.row:
            yield None, right
            right = next(other, None)
        else:
            yield left, right
            left, right = next(one, None), next(other, None)


@dataclass(frozen=True)
class _Pair:
    """A row of both runs."""

    row: int
    spearman: float
    overlap: float
    change: float


class Matched:
    """Rows of two runs, one after the other.

    Args:
        top_k: How many of the strongest source columns the overlap compares; fewer where a row has fewer.
    """

    def __init__(self, top_k: int) -> None:
        self.top_k = top_k
        self.only_first = self.only_second = self.different = 0
        self._pairs: list[_Pair] = []

    @property
    def count(self) -> int:
        """Rows that both runs answer."""
        return len(self._pairs)

    def add(self, one: Entry | None, other: Entry | None) -> None:
        """Takes the results of one row, None where a run has none."""
        if one is None or other is None:
            self.only_second += one is None
            self.only_first += other is None
        elif not _same_question(one.result, other.result):
            self.different += 1
        else:
            self._pairs.append(self._pair(one.row, one.result, other.result))

    def _pair(self, row: int, one: Attribution, other: Attribution) -> _Pair:
        from spanwise.evaluation.agreement import rank_correlation, top_k_overlap

        ours, theirs = _rows(one), _rows(other)
        if not (one.provenance.signed and other.provenance.signed):
            ours, theirs = ours.abs(), theirs.abs()
        fewest = int((~ours.isnan()).sum(1).min())
        overlap = float(top_k_overlap(ours, theirs, min(self.top_k, fewest)).mean()) if fewest else math.nan
        both = {one.provenance.objective, other.provenance.objective} == {"log_prob"}
        change = float((other.target_scores - one.target_scores)[_chosen(one)].sum()) if both else math.nan
        return _Pair(row, float(rank_correlation(ours, theirs).nanmean()), overlap, change)

    def drift(self, seed: int) -> RunDrift:
        """Returns means and bootstrap intervals over the rows that both answer."""
        ordered = [each for each in self._pairs if each.spearman == each.spearman]
        differing = [each for each in ordered if each.spearman < _AGREES]
        counts = torch.histc(torch.tensor([each.spearman for each in ordered]), _BINS, -1.0, 1.0)
        return RunDrift(
            matched=len(self._pairs),
            only_first=self.only_first,
            only_second=self.only_second,
            different=self.different,
            top_k=self.top_k,
            spearman=self._mean("spearman", seed),
            overlap=self._mean("overlap", seed),
            log_prob_change=self._mean("change", seed),
            lowest=tuple(
                (each.row, each.spearman) for each in nsmallest(_LOWEST, differing, key=lambda pair: pair.spearman)
            ),
            histogram=tuple(int(count) for count in counts),
        )

    def _mean(self, name: str, seed: int) -> Estimate | None:
        values = [getattr(pair, name) for pair in self._pairs]
        return estimate([value for value in values if value == value], seed)


def _same_question(one: Attribution, other: Attribution) -> bool:
    facts = [
        (
            each.prompt,
            each.target_text,
            each.source_tokens,
            each.target_tokens,
            each.rows,
            [(span.first_token, span.last_token) for span in each.spans],
        )
        for each in (one, other)
    ]
    return facts[0] == facts[1] and torch.equal(one.scores.isnan(), other.scores.isnan())


def _rows(result: Attribution) -> Tensor:
    """Returns the rows that were asked for: where rows are tokens, those of the spans."""
    return result.scores if result.rows == "span" else result.scores[_chosen(result)]


def _chosen(result: Attribution) -> Tensor:
    """Returns which target tokens were asked about."""
    chosen = torch.full((len(result.target),), not result.spans)
    for span in result.spans:
        chosen[span.first_token : span.last_token] = True
    return chosen
