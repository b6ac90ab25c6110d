"""What `evaluate` measures: one readable table of figures, and each of them from values of the objective.

Nothing here knows a model. A subset of features that are kept has a value; a ranking asks for the values of some
subsets (`asked`), and `figures` makes the numbers of them. "Most important first" is by the signed score: a feature
that speaks against the target comes last. Where scores have no sign, it is by how large they are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spanwise.evaluation.faithfulness.orders import Bounds, Ranking, aopc, leading, taken
from spanwise.evaluation.faithfulness.soft import Draws, soft_subsets

BINS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Shares of the features that ERASER removes or keeps; of each, rounded up, at least one feature."""
ODDS_BINS = (0.1, 0.2)
_LEAST = 1e-7  # of 1 - p: float32 knows no probability between this and 1

Values = Mapping[str, Float[Tensor, " subset"]]


@dataclass(frozen=True)
class Metric:
    """One figure.

    Attributes:
        name: As lines, JSON and tables name it.
        title: In words.
        better: "higher" or "lower".
        unit: Of the number; "objective" stands for that of the objective.
        probability: It needs the row's probability, and so the objective log_prob or prob.
        definition: One sentence.
        source: The paper.
    """

    name: str
    title: str
    better: str
    unit: str
    probability: bool
    definition: str
    source: str


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        row[0]: Metric(*row)
        for row in (
            (
                "naopc",
                "NAOPC",
                "higher",
                "share",
                False,
                "Normalized AOPC: `aopc` between the lowest (0) and the highest (1) of any order of the same features.",
                "Edin et al. 2024, arXiv:2408.08137",
            ),
            (
                "naopc_lerf",
                "NAOPC, least first",
                "lower",
                "share",
                False,
                "`aopc_lerf` between the same bounds.",
                "Edin et al. 2024, arXiv:2408.08137",
            ),
            (
                "aopc",
                "AOPC",
                "higher",
                "objective",
                False,
                "Mean drop of the objective, the most important features removed first: at the input minus `deletion`.",
                "Samek et al. 2017, arXiv:1509.06321, equation 12",
            ),
            (
                "aopc_lerf",
                "AOPC, least first",
                "lower",
                "objective",
                False,
                "The same, the least important features removed first.",
                "Samek et al. 2017, arXiv:1509.06321",
            ),
            (
                "deletion",
                "deletion area",
                "lower",
                "objective",
                False,
                "Mean of the objective over the curve from nothing removed to everything, the most important first.",
                "Petsiuk et al. 2018, arXiv:1806.07421",
            ),
            (
                "insertion",
                "insertion area",
                "higher",
                "objective",
                False,
                "Mean of the objective from everything removed to nothing removed, the most important put back first.",
                "Petsiuk et al. 2018, arXiv:1806.07421",
            ),
            (
                "comprehensiveness",
                "comprehensiveness",
                "higher",
                "probability",
                True,
                "p(input) - p(without the top 1, 5, 10, 20, 50 %), mean of the five.",
                "DeYoung et al. 2020, arXiv:1911.03429, section 4",
            ),
            (
                "sufficiency",
                "sufficiency",
                "lower",
                "probability",
                True,
                "p(input) - p(only the top 1, 5, 10, 20, 50 %), mean of the five.",
                "DeYoung et al. 2020, arXiv:1911.03429, section 4",
            ),
            (
                "log_odds",
                "log-odds drop",
                "higher",
                "nats",
                True,
                "Drop of log(p / (1 - p)) when the top 10 and 20 % are removed, mean of the two.",
                "Shrikumar et al. 2017, arXiv:1704.02685",
            ),
            (
                "top_k",
                "log p drop, top k",
                "higher",
                "nats a token",
                True,
                "Drop of log p when the top k features are removed.",
                "Chen et al. 2020, arXiv:2004.02015",
            ),
            (
                "soft_nc",
                "Soft-NC",
                "higher",
                "share",
                True,
                "max(0, p(input) - p(X')), over what removing everything takes; X' loses features at random, the "
                "important ones more often, half of them for every method.",
                "Zhao & Aletras 2023, arXiv:2305.10496; equal retention: arXiv:2601.03089",
            ),
            (
                "soft_ns",
                "Soft-NS",
                "higher",
                "share",
                True,
                "1 - max(0, p(input) - p(X')) over the same, at least 0; X' keeps features at random, the important "
                "ones more often, half of them for every method.",
                "Zhao & Aletras 2023, arXiv:2305.10496; equal retention: arXiv:2601.03089",
            ),
            (
                "ablation_correlation",
                "ablation, Spearman",
                "higher",
                "Spearman",
                False,
                "Rank correlation of the scores with what the objective loses when one feature alone is removed; of "
                "scores without sign, with the size of that change.",
                "Spearman 1904; as in Jain & Wallace 2019, arXiv:1902.10186",
            ),
        )
    }
)


@dataclass(frozen=True)
class Measure:
    """How rankings of one input are measured.

    Attributes:
        boundaries: How many features are removed at each point of a curve, from 0 to all.
        k: For `top_k`.
        draws: What Soft-NC and Soft-NS draw, the same for every ranking.
        tokens: Target tokens of the row.
        objective: Its name.
        probability: "log_prob" or "prob" where the objective is that built-in one, from which probabilities follow; a
            function of such a name is none.
        signed: Scores have a sign.
    """

    boundaries: Sequence[int]
    k: int
    draws: Draws
    tokens: int
    objective: str
    probability: str = ""
    signed: bool = True

    @property
    def has_probability(self) -> bool:
        """Whether the row's probability follows from the objective."""
        return self.probability in ("log_prob", "prob")


def asked(ranking: Ranking, how: Measure) -> dict[str, Bool[Tensor, "subset feature"]]:
    """Returns the subsets of kept features whose values `figures` needs, by what they are for.

    "deletion" and "lerf" run from nothing removed to everything.
    """
    order, count = ranking.order, len(ranking.order)
    reverse = order.flip(0)
    found = {"deletion": ~leading(order, how.boundaries), "lerf": ~leading(reverse, how.boundaries)}
    if how.has_probability:
        bins = [taken(part, count) for part in BINS]
        found["comprehensiveness"] = ~leading(order, bins)
        found["sufficiency"] = leading(order, bins)
        found["log_odds"] = ~leading(order, [taken(part, count) for part in ODDS_BINS])
        found["top_k"] = ~leading(order, [how.k])
        found["soft_nc"] = soft_subsets(ranking.scores, how.draws, keep_important=False)
        found["soft_ns"] = soft_subsets(ranking.scores, how.draws, keep_important=True)
    return found


def figures(values: Values, how: Measure, bounds: Bounds) -> dict[str, float | None]:
    """Returns every figure but the correlation; None where `reasons` has one.

    Args:
        values: Of the subsets that `asked` names.
        how: As given to `asked`.
        bounds: Lowest and highest AOPC of any order.
    """
    most, least = aopc(values["deletion"]), aopc(values["lerf"])
    found: dict[str, float | None] = {
        "naopc": bounds.place(most),
        "naopc_lerf": bounds.place(least),
        "aopc": most,
        "aopc_lerf": least,
        "deletion": float(values["deletion"].mean()),
        "insertion": float(values["lerf"].mean()),
    }
    return found | (_of_probability(values, how) if how.has_probability else {})


def log_probability(values: Float[Tensor, "*any"], how: Measure) -> Float[Tensor, "*any"]:
    """Returns the log-probability of the row, a token of its target: for a single token exactly log p.

    Of log_prob (a sum over tokens) it is the mean, so that p is the geometric mean of the tokens' probabilities; of
    prob (a sum, too) it is the logarithm of the mean probability.
    """
    mean = values / how.tokens
    return mean if how.probability == "log_prob" else mean.clamp(min=1e-38).log()


def reasons(values: Values, how: Measure, bounds: Bounds) -> dict[str, str]:
    """Returns why figures cannot be had, by their names. The same for every ranking of an input."""
    told: dict[str, str] = {}
    if bounds.upper == bounds.lower:
        why = "every order of the features gives the same AOPC"
        told |= {"naopc": why, "naopc_lerf": why}
    if not how.has_probability:
        why = f"the objective {how.objective} gives no probability; log_prob and prob do"
        return told | {name: why for name, metric in METRICS.items() if metric.probability}
    p = log_probability(values["deletion"], how).exp()
    if p[0] <= p[-1]:
        why = "removing everything does not lower the probability"
        told |= {"soft_nc": why, "soft_ns": why}
    return told


def log_odds(log_p: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Returns log(p / (1 - p)), finite: 1 - p counts as at least 1e-7."""
    log_p = log_p.double().clamp(max=math.log1p(-_LEAST))
    return log_p - (-torch.expm1(log_p)).log()


def _of_probability(values: Values, how: Measure) -> dict[str, float | None]:
    log_p = {name: log_probability(value, how).double() for name, value in values.items()}
    full, p = log_p["deletion"][0], {name: value.exp() for name, value in log_p.items()}
    whole, nothing = p["deletion"][0], p["deletion"][-1]
    lost = float(whole - nothing)  # what 1 - sufficiency of an empty rationale is in the paper
    soft_c = float((whole - p["soft_nc"]).clamp(min=0).mean())
    soft_s = float((lost - (whole - p["soft_ns"]).clamp(min=0)).clamp(min=0).mean())
    return {
        "comprehensiveness": float((whole - p["comprehensiveness"]).mean()),
        "sufficiency": float((whole - p["sufficiency"]).mean()),
        "log_odds": float((log_odds(full) - log_odds(log_p["log_odds"])).mean()),
        "top_k": float(full - log_p["top_k"][0]),
        "soft_nc": soft_c / lost if lost > 0 else None,
        "soft_ns": soft_s / lost if lost > 0 else None,
    }
