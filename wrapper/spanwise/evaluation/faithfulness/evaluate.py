"""`evaluate()`: is an attribution faithful to its model, and more so than a random ranking?"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.asking import check_kinds
from spanwise.attribution import Attribution
from spanwise.errors import OptionError, at_least, require
from spanwise.evaluation.agreement import rank_correlation
from spanwise.evaluation.faithfulness.case import Case, checked_results, make_case
from spanwise.evaluation.faithfulness.evaluation import Curve, Evaluation, Line
from spanwise.evaluation.faithfulness.intervals import LEVEL, compare_one, compare_several
from spanwise.evaluation.faithfulness.metrics import METRICS, asked, figures, reasons
from spanwise.evaluation.faithfulness.orders import Bounds, aopc, find_bounds, search_work
from spanwise.evaluation.faithfulness.removal import Remembered, checked_removals, choose_removals
from spanwise.evaluation.replay import check_scores
from spanwise.model.language_model import LanguageModel
from spanwise.progress import progress_bar
from spanwise.scoring.contrast import Contrast
from spanwise.scoring.objectives import Objective, Value

_OWN, _FREQUENCY, _RANDOM = 0, 1, 2  # places among the rankings of a case; the random ones are all that follow


@dataclass(frozen=True)
class _Found:
    """What one case gave under one way to remove: the figures of each ranking, its curves, and why some are missing."""

    figures: tuple[dict[str, float | None], ...]
    deletion: Float[Tensor, "ranking point"]
    lerf: Float[Tensor, "ranking point"]
    bounds: Bounds
    reasons: dict[str, str]


def evaluate(
    lm: LanguageModel,
    result: Attribution | Sequence[Attribution],
    *,
    row: int | None = None,
    removed: str | Sequence[str] | None = None,
    objective: "Objective | Contrast | Value | None" = None,
    k: int | None = None,
    steps: int = 10,
    n_random: int = 20,
    frequencies: Mapping[int, int] | None = None,
    batch_size: int | Literal["auto"] = "auto",
    seed: int = 0,
    progress: bool | None = None,
) -> Evaluation:
    """Returns how faithful an attribution is, each figure beside random rankings and a token-frequency ranking.

    The figures are those of `spanwise.evaluation.faithfulness.metrics.METRICS`. Features are removed in blocks, the
    most important first, and least first; "important" is the signed score. Both baselines have the method's own
    scores, dealt out in another order: at random (each order and its reverse), and the rarest token first.

    Args:
        lm: The model that the result is of.
        result: Made by `attribute`, or loaded; or several that were made alike (method, engine, options, baseline,
            objective, features), whose figures are averaged. Six or more for a verdict.
        row: Of `scores`; None: the first span, or the whole target, as in `Attribution.top`.
        removed: What removing a feature means, one or several of "unk", "pad", "mean", "zero", "token:TEXT" (another
            embedding in its place), "delete" and "mask". None: two of them, "unk" (or "pad", or "mean", where the
            tokenizer has none) and "delete" (or "mask", or an embedding, where that cannot be had).
        objective: As it was given to `attribute`; needed where its name does not say it (a contrast, say).
        k: How many features the top-k figure removes; None: 5, or half of them where there are fewer than 10.
        steps: Blocks of a curve at most.
        n_random: Random rankings, an even number of at least 4; for a verdict on one result at least 20.
        frequencies: How often each token id occurs; an id that is missing occurs never. None: ids are taken to run from
            frequent to rare, as they do in BPE and SentencePiece vocabularies.
        batch_size: Sequences a forward; "auto": as many as are of use and fit.
        seed: Of the random rankings, and of the draws of Soft-NC and Soft-NS.
        progress: None: a bar on a terminal, after two seconds; True: anywhere; False: never.

    Raises:
        InputError: The result is of another model or tokenizer, or has no source token with a score; or results that
            were not made alike, or one twice.
        OptionError: An unknown way to remove, `k` above the number of features, or another value out of range.
        MethodError: A way to remove that was asked for cannot be had with these features.
        NonFiniteError: The model gives NaN or infinite scores for a part of its input.
        DependencyError: SciPy is not installed.

    Example:
        >>> import spanwise
        >>> lm = spanwise.load_model("tiny")
        >>> result = spanwise.attribute(lm, "The keys to the cabinet", " are on", method="feature_ablation", span="are")
        >>> found = evaluate(lm, result, removed="unk")
        >>> round(found.line("ablation_correlation").found.value, 3)  # the method is that ablation
        1.0
    """
    require("scipy", "flow", "evaluate()")
    began, ways = time.perf_counter(), checked_removals(removed)
    check_kinds(None, None, None, seed, progress, False)
    results = checked_results(result, row)
    at_least("steps", steps, 2)
    if at_least("n_random", n_random, 4) % 2:
        raise OptionError(f"n_random must be even, since each random ranking comes with its reverse; not {n_random}.")
    cases = [make_case(lm, each, row, objective, k, steps, n_random, frequencies, seed) for each in results]
    with lm.session():
        values, notes = choose_removals([case.question for case in cases], ways, batch_size)
        opened = [value for several in values.values() for value in several]
        for each, value in zip(results, opened, strict=False):
            check_scores(lm, each, value.scorer.reference())
        with progress_bar(len(values) * sum(map(_work, cases)), "evaluate", progress, unit=" sequences") as tick:
            for value in opened:
                value.scorer.tick = tick
            found = {
                name: [_measured(case, value) for case, value in zip(cases, several, strict=True)]
                for name, several in values.items()
            }
    made = results[0].provenance
    return Evaluation(
        lines=tuple(_line(name, metric, cases, several) for name, several in found.items() for metric in METRICS),
        curves=tuple(
            _curve(name, i, case, each)
            for name, several in found.items()
            for i, (case, each) in enumerate(zip(cases, several, strict=True))
        ),
        removed=tuple(found),
        method=made.method,
        model=made.model,
        objective=made.objective,
        unit=cases[0].question.aim.unit,
        results=len(results),
        features=tuple(case.question.axes.feature_count for case in cases),
        constant=tuple(i for i, case in enumerate(cases) if case.constant),
        k=tuple(case.how.k for case in cases),
        n_random=n_random,
        frequency_source="frequencies=" if frequencies is not None else "the order of token ids",
        notes=(*notes, *_notes(results, cases, tuple(found)), *_limits(found)),
        calls=sum(value.scorer.counts.calls for value in opened),
        sequences=sum(value.scorer.counts.forwards for value in opened),
        seconds=time.perf_counter() - began,
        seed=seed,
    )


def _measured(case: Case, value: Remembered) -> _Found:
    """Returns the figures of every ranking under one way to remove."""
    how, count = case.how, len(case.rankings[_OWN].order)
    needed = [asked(ranking, how) for ranking in case.rankings]
    flat = [subsets for each in needed for subsets in each.values()]
    values = value(torch.cat([*flat, ~torch.eye(count, dtype=torch.bool)]))
    *parts, alone = values.split([*(len(each) for each in flat), count])
    each_of = iter(parts)
    found = [{name: next(each_of) for name in each} for each in needed]
    effects = found[_OWN]["deletion"][0] - alone
    seen = [order for each in case.rankings for order in (each.order, each.order.flip(0))]
    bounds = find_bounds(value, count, how.boundaries, seen)
    scores = torch.stack([ranking.scores for ranking in case.rankings])
    correlations = rank_correlation(scores, (effects if how.signed else effects.abs()).expand(len(scores), -1))
    return _Found(
        figures=tuple(
            figures(each, how, bounds) | {"ablation_correlation": None if rho != rho else rho}
            for each, rho in zip(found, correlations.tolist(), strict=True)
        ),
        deletion=torch.stack([each["deletion"] for each in found]),
        lerf=torch.stack([each["lerf"] for each in found]),
        bounds=bounds,
        reasons=reasons(found[_OWN], how, bounds)
        | ({"ablation_correlation": "scores or effects are all equal"} if correlations.isnan().any() else {}),
    )


def _line(removed: str, metric: str, cases: Sequence[Case], found: Sequence[_Found]) -> Line:
    """Returns one figure, over the results that have it; those that rank nothing count only where all do."""
    ranked = [not case.constant for case in cases]
    used = [each for each, ranks in zip(found, ranked, strict=True) if ranks or not any(ranked)]
    kept = [each for each in used if metric not in each.reasons]
    reason = next((each.reasons[metric] for each in found if metric in each.reasons), "")
    if not kept or (len(found) > 1 and len(kept) < 2):
        return Line(removed, metric, None, len(kept), reason or "fewer than two of the results rank anything")
    own, rare, *chance = (
        [float(each.figures[i][metric] or 0.0) for each in kept] for i in range(len(cases[0].rankings))
    )
    higher = METRICS[metric].better == "higher"
    if len(found) == 1:
        single = [each[0] for each in chance]
        count = cases[0].question.axes.feature_count
        compared = compare_one(own[0], single, rare[0], higher=higher, ranked=any(ranked), features=count)
    else:
        means = [fmean(each) for each in zip(*chance, strict=True)]
        compared = compare_several(own, means, rare, higher=higher, ranked=any(ranked))
    return Line(removed, metric, compared, len(kept), reason)


def _curve(removed: str, index: int, case: Case, found: _Found) -> Curve:
    told: dict[str, tuple[float, ...]] = {}
    for name, curves in (("deletion", found.deletion), ("insertion", found.lerf.flip(1))):
        chance = curves[_RANDOM:]
        low, high = chance.quantile(torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2]).to(chance), dim=0)
        kinds = {"": curves[_OWN], "frequency_": curves[_FREQUENCY], "random_": chance.mean(0)}
        told |= {f"{kind}{name}": tuple(curve.tolist()) for kind, curve in kinds.items()}
        told |= {f"random_{name}_low": tuple(low.tolist()), f"random_{name}_high": tuple(high.tolist())}
    count = case.how.boundaries[-1]
    return Curve(
        removed=removed,
        result=index,
        share=tuple(each / count for each in case.how.boundaries),
        put_in=tuple((count - each) / count for each in reversed(case.how.boundaries)),
        search=found.bounds.search,
        beam_width=found.bounds.width,
        lowest_aopc=found.bounds.lower,
        highest_aopc=found.bounds.upper,
        **told,
    )


def _work(case: Case) -> int:
    """Returns about how many sequences a way to remove takes, for the progress bar."""
    subsets = [each for ranking in case.rankings for each in asked(ranking, case.how).values()]
    return len(torch.cat(subsets).unique(dim=0)) + search_work(len(case.rankings[_OWN].order), case.how.boundaries)


def _notes(results: Sequence[Attribution], cases: Sequence[Case], removed: Sequence[str]) -> list[str]:
    """Returns what a reader should know."""
    made, found = results[0].provenance, []  # the others were made alike
    if made.baseline in removed:
        found.append(
            f"the scores were made with baseline={made.baseline!r}: removed={made.baseline!r} asks the method's own "
            "question again, and another way to remove is the harder test"
        )
    if not made.signed:
        found.append("scores without sign rank what speaks against the target high, too")
    one = [len(case.rankings[_OWN].order) == 1 for case in cases]
    if single := [str(i) for i, alone in enumerate(one) if alone]:
        found.append(f"{_named('the result', single, cases)}: one feature has no order, so nothing is ranked")
    if constant := [str(i) for i, case in enumerate(cases) if case.constant and not one[i]]:
        which = _named("the scores", constant, cases)
        found.append(f"{which} are all equal and rank nothing: their order is that of the source, and arbitrary")
    return found


def _named(what: str, numbers: Sequence[str], cases: Sequence[Case]) -> str:
    of = "" if what == "the result" else f"{what} of "
    return what if len(cases) == 1 else f"{of}result {', '.join(numbers)}"


def _limits(found: Mapping[str, Sequence[_Found]]) -> list[str]:
    """Returns where no order was found beyond the method's own, so that its NAOPC says little."""
    told = []
    for removed, several in found.items():
        reached = [str(i) for i, each in enumerate(several) if each.bounds.reached_by(aopc(each.deletion[_OWN]))]
        if reached:
            which = "" if len(several) == 1 else f" for result {', '.join(reached)}"
            told.append(
                f"removed={removed!r}: the search found no order beyond the method's own{which}, which is the bound "
                "itself; a longer search could, so this NAOPC is a limit"
            )
    return told
