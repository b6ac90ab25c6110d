"""ContextCite: which parts of a context a sparse linear model of the target's log-odds needs.

Cohen-Wang et al. 2024, arXiv:2409.00729, section 3. For features 1 .. d:

1. Draw masks v, each feature on or off with probability 1/2.
2. Take the logit-scaled probability of the target under each: g(v) = log p(v) - log(1 - p(v)), p of the whole span.
3. Fit g(v) = w . v + b by a Lasso; the scores are the weights w. As in the authors' code the columns of the masks are
   standardized, and g is divided by the number of the target's tokens, so that one penalty serves targets of any
   length; both are undone in the weights.

The standard error of a score is its spread over fits to masks drawn again from the masks (Efron 1979,
doi:10.1214/aos/1176344552, section 7).
"""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spanwise.engines.protocol import Found, Runner
from spanwise.errors import MethodError, OptionError
from spanwise.scoring.log_odds import log_odds
from spanwise.scoring.scorer import Scorer

_MOST_DRAWS = 1000
_ITERATIONS = 10_000
_RESAMPLES = 50


def context_cite(scorer: Scorer, options: Mapping[str, Any]) -> Found:
    """Weights of a Lasso on the log-odds of each row, over the same random masks; each mask is forward once.

    Raises:
        MethodError: There is one feature only, or nothing of the prompt could ever be left out.
        OptionError: The Lasso does not settle under so small a penalty.
    """
    if scorer.feature_count < 2:
        raise MethodError("context_cite needs at least 2 features; feature_ablation gives the exact effect of one.")
    masks = draw_masks(options["n_ablations"], scorer.feature_count, all_off=_may_be_empty(scorer))
    distinct, of_mask = masks.unique(dim=0, return_inverse=True)
    found = log_odds(scorer.scores(distinct.float()).cpu())[of_mask]  # [mask, row]
    rows = list(zip(found.T, scorer.rows.sum(1).tolist(), strict=True))
    alpha = options["alpha"]
    return Found(
        torch.stack([linear_surrogate(masks, values, tokens, alpha)[0] for values, tokens in rows]),
        torch.stack([standard_errors(masks, values, tokens, alpha) for values, tokens in rows]),
    )


RUNNERS: dict[str, Runner] = {"context_cite": context_cite}


def draw_masks(count: int, features: int, *, all_off: bool = True) -> Bool[Tensor, "mask feature"]:
    """Returns random masks from torch's global generator: each feature on (True) with probability 1/2.

    Args:
        count: Masks; they may repeat.
        features: Features of a mask.
        all_off: Whether a mask may have every feature off; else such a mask is drawn again.
    """
    masks = torch.rand(count, features) < 0.5
    for _ in range(_MOST_DRAWS):
        empty = ~masks.any(1)
        if all_off or not empty.any():
            return masks
        masks[empty] = torch.rand(int(empty.sum()), features) < 0.5
    raise AssertionError("no mask with a feature on was drawn")


def linear_surrogate(
    masks: Bool[Tensor, "mask feature"], values: Float[Tensor, " mask"], tokens: int, alpha: float
) -> tuple[Float[Tensor, " feature"], float]:
    """Returns weights and intercept of the linear model `values` = masks . weights + intercept.

    Args:
        masks: Which features were on.
        values: The log-odds under each.
        tokens: Target tokens that they are of; the penalty is on log-odds a token.
        alpha: Weight of the Lasso penalty, on standardized columns; 0: least squares.

    Raises:
        OptionError: The Lasso does not settle.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return _fit(masks, values, tokens, alpha)
        except ConvergenceWarning as exc:
            raise OptionError(
                f"the Lasso of context_cite did not settle in {_ITERATIONS:,} rounds with alpha={alpha:g}, "
                f"{masks.shape[0]} ablations and {masks.shape[1]} features: raise alpha or n_ablations."
            ) from exc


def standard_errors(
    masks: Bool[Tensor, "mask feature"], values: Float[Tensor, " mask"], tokens: int, alpha: float
) -> Float[Tensor, " feature"]:
    """Returns the standard error of each weight of `linear_surrogate`, which has the same arguments.

    The draws are the same in every call, and touch no random generator but their own.
    """
    from sklearn.exceptions import ConvergenceWarning

    chance = torch.Generator().manual_seed(0)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(_RESAMPLES):
            drawn = torch.randint(len(masks), (len(masks),), generator=chance)
            found.append(_fit(masks[drawn], values[drawn], tokens, alpha)[0])
    return torch.stack(found).std(0)


def _fit(
    masks: Bool[Tensor, "mask feature"], values: Float[Tensor, " mask"], tokens: int, alpha: float
) -> tuple[Float[Tensor, " feature"], float]:
    from sklearn.linear_model import Lasso, LinearRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    columns = scaler.fit_transform(masks.double().numpy())
    model = Lasso(alpha=alpha, max_iter=_ITERATIONS) if alpha else LinearRegression()
    model.fit(columns, values.double().numpy() / tokens)
    weights = model.coef_ / scaler.scale_
    intercept = model.intercept_ - weights @ scaler.mean_
    return torch.from_numpy(weights * tokens), float(intercept * tokens)


def _may_be_empty(scorer: Scorer) -> bool:
    """Whether every feature may be off: not where off means not there, and nothing else of the prompt is left."""
    prompt = scorer.features[: scorer.encoder_length or len(scorer.prompt_ids)]
    return isinstance(scorer.baseline, Tensor) or bool((prompt < 0).any())
