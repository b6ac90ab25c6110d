"""From a comparison, evaluations and sanity checks to the lines of the checklist. Nothing is computed here."""

from collections.abc import Mapping
from itertools import combinations
from types import MappingProxyType

from spanwise.evaluation.checklist.result import Entry
from spanwise.evaluation.comparison.chance import smallest_p
from spanwise.evaluation.comparison.comparison import Comparison
from spanwise.evaluation.comparison.pairs import Pair, agree
from spanwise.evaluation.comparison.sentences import LEVEL
from spanwise.evaluation.faithfulness.evaluation import HEADLINE, Evaluation, Line
from spanwise.evaluation.faithfulness.intervals import ALPHA
from spanwise.evaluation.faithfulness.metrics import METRICS
from spanwise.evaluation.sanity.attention import MOVED
from spanwise.evaluation.sanity.inputs import LOW
from spanwise.evaluation.sanity.layers import KEPT, LEAST
from spanwise.evaluation.sanity.result import Check, Status
from spanwise.methods import METHODS
from spanwise.scoring.checks import GAP_WARNING

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "random_model": "random model",
        "beats_random": "perturbation against random rankings",
        "agreement": "agreement of three independent methods",
        "baselines": "other baselines",
        "completeness": "completeness",
        "seeds": "other seeds",
        "input_invariance": "input invariance",
        "attention": "attention counterfactual",
        "repeats": "repeats",
    }
)
SANITY: Mapping[str, str] = MappingProxyType(
    {
        "random_model": "model_randomization",
        "baselines": "baseline_sensitivity",
        "completeness": "completeness",
        "seeds": "seed_stability",
        "input_invariance": "input_invariance",
        "attention": "attention_counterfactual",
        "repeats": "repeat",
    }
)
"""Which of `sanity`'s checks a line is."""
THRESHOLDS: Mapping[str, str] = MappingProxyType(
    {
        "random_model": "mean rank correlation with the attribution on models whose weights were drawn again: pass "
        f"where it is no higher than 95 % of random orders reach, fail from {KEPT}, warn between; not applicable to "
        f"fewer than {LEAST} scores (Adebayo et al. 2018)",
        "beats_random": "NAOPC (or AOPC) higher than that of random rankings, one-sided p by rank at most "
        f"{ALPHA:g}, for each way to remove (Edin et al. 2024)",
        "agreement": "methods of three families, each two of which agree: Spearman above 0, Holm-corrected permutation "
        f"p < {LEVEL:g}",
        "baselines": f"the lowest rank correlation over other baselines: fail below {LOW}; else pass where it is "
        "higher than 95 % of random orders reach, warn where it is not (Sturmfels et al. 2020)",
        "completeness": f"scores miss at most {GAP_WARNING:.0%} of the objective's change (Sundararajan et al. 2017)",
        "seeds": "the lowest rank correlation of two seeds, as for baselines, and one source token is on top with "
        "every seed (after Visani et al. 2020)",
        "input_invariance": "a shift of all embeddings that the model takes back changes the scores by no more than is "
        "allowed, in parts of their length (Kindermans et al. 2017)",
        "attention": "permuted attention weights move the next-token probabilities by a median total variation of at "
        f"least {MOVED:g} (Jain & Wallace 2019)",
        "repeats": "made again, the scores are the same up to rounding",
    }
)
_FIGURES: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "random_model": (("correlation {:.2f}", "correlation_kept"), ("chance {:.2f}", "chance_level")),
        "baselines": (("lowest {:.2f}", "lowest_spearman"), ("chance {:.2f}", "chance_level")),
        "completeness": (("gap {:.2%}", "completeness_gap"),),
        "seeds": (
            ("lowest {:.2f}", "lowest_spearman"),
            ("chance {:.2f}", "chance_level"),
            ("tokens on top: {}", "top_tokens"),
        ),
        "input_invariance": (("change {:.2g}", "relative_change"), ("allowed {:.2g}", "allowed")),
        "attention": (("moved {:.2f}", "median_distance"),),
        "repeats": (("change {:.1g}", "relative_change"), ("allowed {:.2g}", "allowed")),
    }
)


def sanity_entry(name: str, method: str, check: Check) -> Entry:
    """Returns the line of one of `sanity`'s checks."""
    parts = []
    for form, figure in _FIGURES[name]:
        value = check.figures.get(figure)
        if value is not None:
            parts.append(form.format(value))
    figure = ", ".join(parts) or ("" if check.status == "not applicable" else "no order")
    return Entry(name, method, check.status, figure, check.summary)


def missing_entry(name: str, method: str, reason: str) -> Entry:
    """Returns the line of a check that could not be made."""
    return Entry(name, method, "not applicable", "", reason)


def faithful_entry(method: str, found: Evaluation) -> Entry:
    """Returns whether the method beats random rankings: under every way to remove, or only some ("warn")."""
    summary = " ".join(found.sentences)
    if found.constant and found.features[0] > 1:
        return Entry("beats_random", method, "fail", "no ranking", summary)
    lines = [line for removed in found.removed if (line := _head(found, removed)) is not None]
    if not lines:
        return missing_entry("beats_random", method, summary)
    status: Status = "pass" if all(line.beats_random for line in lines) else "fail"
    worse = any(line.found is not None and line.found.against_random == "worse" for line in lines)
    if status == "fail" and any(line.beats_random for line in lines) and not worse:
        status = "warn"
    return Entry("beats_random", method, status, "; ".join(_told(line, found.n_random) for line in lines), summary)


def _head(found: Evaluation, removed: str) -> Line | None:
    """Returns the figure that decides for one way to remove."""
    lines = [found.line(metric, removed) for metric in HEADLINE]
    return next((line for line in lines if line.found is not None and line.found.against_random is not None), None)


def _told(line: Line, count: int) -> str:
    found = line.found
    assert found is not None
    name = METRICS[line.metric].title
    return f"{line.removed}: {name} {found.value:.2f}, random {found.random:.2f}, beat {found.beaten} of {count}"


def agreement_entry(method: str, found: Comparison) -> Entry:
    """Returns whether the method and two of other families agree with each other."""
    families = {name: METHODS[result.provenance.method].family for name, result in found.results.items()}
    there_are = sorted(set(families.values()))
    if len(there_are) < 3:
        reason = (
            f"it needs methods of three families (gradient, perturbation, attention): {' and '.join(there_are)} ran."
        )
        return missing_entry("agreement", method, reason)
    if smallest_p(found.permutations, exact=found.exact) * len(found.pairs) >= LEVEL:
        reason = (
            f"with {found.permutations} orders no corrected p-value of {len(found.pairs)} pairs can be below {LEVEL:g}."
        )
        return missing_entry("agreement", method, reason)
    linked = [set(pair) for pair in agree(found.pairs, LEVEL)]
    for two in combinations([name for name in found.names if families[name] != families[method]], 2):
        trio = (method, *two)
        if len({families[name] for name in trio}) == 3 and all({*pair} in linked for pair in combinations(trio, 2)):
            pairs = [found.pair(one, other) for one, other in combinations(trio, 2)]
            told = ", ".join(f"{pair.one} ~ {pair.other} {_correlation(pair)}" for pair in pairs)
            figure = f"with {two[0]} and {two[1]}"
            return Entry(
                "agreement", method, "pass", figure, f"Each two of three families agree beyond chance: {told}."
            )
    near = [_nearest(method, family, families, found) for family in there_are if family != families[method]]
    figure = ", ".join(f"{name} {_correlation(found.pair(method, name))}" for name in near)
    told = f"There are no two methods of the other families such that all three agree; the nearest are {figure}."
    return Entry("agreement", method, "fail", figure, told)


def _nearest(method: str, family: str, families: Mapping[str, str], found: Comparison) -> str:
    def nearness(name: str) -> float:
        value = found.pair(method, name).spearman
        return -2.0 if value is None else value  # no order: further than any

    return max((name for name in found.names if families[name] == family and name != method), key=nearness)


def _correlation(pair: Pair) -> str:
    if pair.spearman is None or pair.spearman_holm is None:
        return "no order"
    return f"{pair.spearman:.2f} (p {pair.spearman_holm:.2g})"
