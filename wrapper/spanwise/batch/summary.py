"""`summarize()`: what a run says over all its rows, and how far a second run of the same rows agrees with it.

One part of a run is in memory at a time, and beside it a few numbers a row and a line a category.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from spanwise.aggregation import aggregate, row_scores
from spanwise.attribution import Attribution
from spanwise.batch.matching import Matched, matched
from spanwise.batch.merging import Merged
from spanwise.batch.run import Run
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
    """What is known of a run so far."""

    tables: dict[str, Merged] = field(default_factory=dict)
    strongest: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    scored: int = 0
    first: Attribution | None = None

    def add(self, results: Sequence[Attribution]) -> None:
        if self.first is None:
            self.first = results[0]
        level = results[0].provenance.features
        for by in CATEGORIES:
            if by != "token" or level in _BOUNDED:
                merged = self.tables.setdefault(by, Merged())
                merged.add(aggregate(results, by=by), len(results))
        for result in results:
            weights = row_scores(result).abs().double()
            total = float(weights.nansum())
            self.strongest.append(float(weights.nan_to_num(0.0).max()) / total if total else 0.0)
            self.scored += int((~weights.isnan()).sum())
            if result.completeness_gap is not None:
                self.gaps.append(result.completeness_gap)


def summarize(run: Run, other: Run | None = None, *, top_k: int = 5, seed: int = 0) -> Summary:
    """Returns the aggregates of a run, and where there is another run of the same rows, how far the two agree.

    Of a result with several spans the first counts, as in `spanwise.aggregate`; every result has the same weight.

    Args:
        run: Of `spanwise.open_run` or `attribute_many`.
        other: A run of the same rows with another model, precision or method; rows are matched by their number in the
            input, and have to ask for the same: prompt, target and spans.
        top_k: How many of the strongest source columns the overlap compares.
        seed: Of the bootstrap intervals.

    Raises:
        InputError: A run has no results, or no row is in both.
        OptionError: `top_k` is below 1.
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
    for each in (run, other):
        if each is not None and not len(each):
            raise InputError(f"the run in {each.path} has no results to summarize: {len(each.failures)} rows failed.")
    drift = None if other is None else _drift(run, other, top_k, seed)
    return Summary(_of_run(run, seed), None if other is None else _of_run(other, seed), drift)


def _of_run(run: Run, seed: int) -> RunSummary:
    gathered, results = _Gathered(), iter(run)
    while some := list(islice(results, _AT_ONCE)):
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
        tables={by: merged.lines() for by, merged in gathered.tables.items()},
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
