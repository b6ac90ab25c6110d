"""`summarize()`: what a run says over all its rows, and how far a second run of the same rows agrees with it.

One part of a run is in memory at a time, and beside it a few numbers a row and a line a category.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from spanwise.aggregation import aggregate, row_scores
from spanwise.attribution import Attribution
from spanwise.batch.by_column import Column, check_columns
from spanwise.batch.matching import Matched, matched
from spanwise.batch.merging import Merged
from spanwise.batch.run import Entry, Run
from spanwise.batch.summarized import RunDrift, RunSummary, Summary, estimate
from spanwise.errors import InputError, at_least, require

CATEGORIES = ("kind", "role", "relative_position", "position", "token")
"""As `spanwise.aggregate` has them, in this order."""
_BOUNDED = ("token", "word", "character")
"""Features whose texts come again, so that a table of them does not grow with the run."""
_AT_ONCE = 256
"""Results that are aggregated together."""


@dataclass
class _Gathered:
    """What is known of a run so far; `strongest` and `scores` have one number a result."""

    columns: tuple[Column, ...]
    tables: dict[str, Merged] = field(default_factory=dict)
    strongest: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    scored: int = 0
    first: Attribution | None = None

    def add(self, entries: Sequence[Entry]) -> None:
        results = [entry.result for entry in entries]
        if self.first is None:
            self.first = results[0]
        level = results[0].provenance.features
        for by in CATEGORIES:
            if by != "token" or level in _BOUNDED:
                merged = self.tables.setdefault(by, Merged())
                merged.add(aggregate(results, by=by), len(results))
        for result in results:
            weights = row_scores(result).abs().double()
            total, count = float(weights.nansum()), int((~weights.isnan()).sum())
            self.strongest.append(float(weights.nan_to_num(0.0).max()) / total if total else 0.0)
            self.scores.append(total / max(count, 1))
            self.scored += count
            if result.completeness_gap is not None:
                self.gaps.append(result.completeness_gap)
        for column in self.columns:
            for entry in entries:
                column.add(entry.extra[column.name])


def summarize(
    run: Run, other: Run | None = None, *, by: str | Sequence[str] = (), top_k: int = 5, seed: int = 0
) -> Summary:
    """Returns the aggregates of a run, and where there is another run of the same rows, how far the two agree.

    Of a result with several spans the first counts, as in `spanwise.aggregate`; every result has the same weight.

    Args:
        run: Of `spanwise.open_run` or `attribute_many`.
        other: A run of the same rows with another model, precision or method; rows are matched by their number in the
            input, and have to ask for the same: prompt, target and spans.
        by: Columns of the input to tell the rows apart by, such as a category of the study: one line a value, of the
            30 most frequent ones.
        top_k: How many of the strongest source columns the overlap compares.
        seed: Of the bootstrap intervals.

    Raises:
        InputError: A run has no results yet or at all, or no row is in both.
        OptionError: `top_k` is below 1, or a run has no such column, or one with more than 10,000 values.
        DependencyError: pandas or SciPy is not installed.
        FileError: A part is damaged.

    Example:
        >>> import spanwise, tempfile
        >>> lm = spanwise.load_model("tiny")
        >>> rows = [{"prompt": f"The {noun} to the cabinet", "target": " are"} for noun in ("keys", "doors")]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = summarize(spanwise.attribute_many(lm, rows, folder, method="saliency"))
        >>> found.run.results, [line["category"] for line in found.run.tables["kind"]]
        (2, ['content'])
    """
    require("pandas", "dataframe", "summarize()")
    require("scipy", "flow", "the intervals of a summary")
    at_least("top_k", top_k, 1)
    columns = (by,) if isinstance(by, str) else tuple(dict.fromkeys(by))
    for each in (run, other):
        if each is not None:
            check_results(each)
            check_columns(each, columns)
    drift = None if other is None else _drift(run, other, top_k, seed)
    return Summary(_of_run(run, columns, seed), None if other is None else _of_run(other, columns, seed), drift)


def check_results(run: Run) -> None:
    """Checks that there is something to read in a run.

    Raises:
        InputError: There is not; the message says why.
    """
    if len(run):
        return
    if failures := run.failures:
        count = "its one row" if len(failures) == 1 else f"all {len(failures):,} rows"
        so_far = "" if run.done else " so far"
        reason = f"{count}{so_far} failed, row {failures[0].row} with: {failures[0].reason}"
    elif run.done:
        reason = "its input has no rows."
    else:
        reason = "no part is finished yet. Give the batch command again if it was ended; if it runs, wait for a part."
    raise InputError(f"the run in {run.path} has no results to summarize: {reason}")


def _of_run(run: Run, by: Sequence[str], seed: int) -> RunSummary:
    gathered, entries = _Gathered(tuple(Column(name, run.extra[name]) for name in by)), run.entries()
    while some := list(islice(entries, _AT_ONCE)):
        gathered.add(some)
    assert gathered.first is not None  # a run without results was refused
    facts = gathered.first.provenance
    return RunSummary(
        folder=str(run.path),
        method=facts.method,
        engine=facts.engine,
        model=facts.model,
        precision=facts.quantization or facts.dtype,
        objective=facts.objective,
        unit=facts.unit,
        signed=facts.signed,
        features=facts.features,
        done=run.done,
        rows=run.row_count,
        results=len(run),
        failures=len(run.failures),
        reasons=tuple(Counter(each.error for each in run.failures).most_common()),
        scored=gathered.scored,
        strongest_share=estimate(gathered.strongest, seed),
        completeness_gap=estimate(gathered.gaps, seed),
        tables={name: merged.lines() for name, merged in gathered.tables.items()},
        columns={
            column.name: column.table(gathered.strongest, gathered.scores, run.failures, seed)
            for column in gathered.columns
        },
    )


def _drift(run: Run, other: Run, top_k: int, seed: int) -> RunDrift:
    found = Matched(top_k)
    for pair in matched(run.entries(), other.entries()):
        found.add(*pair)
    if not found.count:
        raise InputError(
            f"no row is in both runs: {run.path} and {other.path} have {found.only_first} and {found.only_second} rows "
            f"that the other lacks, and {found.different} rows under one number that ask for something else."
        )
    return found.drift(seed)
