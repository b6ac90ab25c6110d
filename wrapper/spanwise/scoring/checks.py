"""Is the result what the method promises? Completeness, and numbers that are numbers."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spanwise.errors import NonFiniteError
from spanwise.methods import LIMITS, MethodInfo
from spanwise.model.language_model import LanguageModel
from spanwise.scoring.scorer import Scorer

_NONE: Mapping[str, Any] = MappingProxyType({})

GAP_WARNING = 0.05
"""The completeness gap above which a result warns."""


def completeness_gap(scorer: Scorer, scores: Float[Tensor, "row source"]) -> float:
    """Returns the share of the objective's change, baseline to input, that the scores do not account for.

    Sum over rows of |sum of scores - change|, divided by the sum of |changes|.
    """
    return gap_of(scores, change_of(scorer))


def change_of(scorer: Scorer) -> Float[Tensor, " row"]:
    """Returns how much each row's objective changes from the baseline to the input, by two forwards at most."""
    ends = torch.tensor([[1.0], [0.0]]).expand(2, scorer.feature_count)
    on, off = scorer.scores(ends).float().cpu()
    return on - off


def gap_of(scores: Float[Tensor, "row source"], change: Float[Tensor, " row"]) -> float:
    """Returns the completeness gap of scores that should add up to `change`."""
    missing = (scores.nansum(1) - change).abs().sum()
    return float(missing / change.abs().sum().clamp(min=torch.finfo(torch.float32).tiny))


def gap_note(
    lm: LanguageModel, info: MethodInfo, gap: float, baseline: str | None, options: Mapping[str, Any] = _NONE
) -> str:
    """Returns a sentence on a large completeness gap: its likely cause, and the cure; `options` are the method's."""
    note = (
        f"the completeness gap is {gap:.1%}: the scores of {info.name} do not add up to the change of the objective "
        f"from the baseline {baseline!r} to the input. "
    )
    if baseline == "zero" and lm.uses_rms_norm and info.family == "gradient":
        return note + (
            "Likely cause: RMSNorm does not see scale, so the path from a zero embedding is a step at its beginning, "
            "which no n_steps resolves. Use another baseline, such as 'unk' or 'token:.'."
        )
    for option, what in (("factor", "midpoints"), ("n_steps", "steps"), ("n_samples", "samples")):
        if option in info.options:
            option = LIMITS[option] if options.get(option) == "auto" else option
            return note + (
                f"Likely cause: too few {what}. Use method_options={{{option!r}: ...}} with a larger number."
            )
    return note + "Likely cause: the model's precision."


def check_finite(
    lm: LanguageModel,
    target_scores: Float[Tensor, " target"],
    scores: Float[Tensor, "row source"],
    mask: Bool[Tensor, "row source"],
) -> None:
    """Checks that every score that is defined is a finite number.

    Raises:
        NonFiniteError: One is not; the message names the dtype and quantization, and what to try.
    """
    if target_scores.isfinite().all() and scores[mask].isfinite().all():
        return
    where = "the attribution scores" if target_scores.isfinite().all() else "the target's own scores"
    kind = f"dtype {str(lm.dtype).removeprefix('torch.')}, quantization {lm.quantization or 'none'}"
    raise NonFiniteError(
        f"{where} hold NaN or infinite values ({kind}). float16 overflows above 65,504: load the model with "
        "dtype='bfloat16' or 'float32', or a 4-bit model with compute_dtype='float32'; else try another baseline."
    )
