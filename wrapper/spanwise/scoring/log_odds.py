"""The logit scale: log(p / (1 - p)), exact for probabilities however near to 0 or to 1."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from spanwise.scoring.objectives import Context, Objective, logit


def log_odds(log_p: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Returns log(p / (1 - p)) of log-probabilities, in float64.

    1 - p counts as at least 1e-38, the least number that float32 has: a probability of 1 gives 87, not infinity.

    Source: log(1 - e^x) as in Mächler 2012, "Accurately computing log(1 - exp(-|a|))", equation 7.

    Example:
        >>> import torch
        >>> round(float(log_odds(torch.tensor(-1e-9))), 2)  # p = 0.999999999
        20.72
    """
    log_p = log_p.double().clamp(max=-torch.finfo(torch.float32).tiny)
    near_one = log_p > -0.6931471805599453  # p above 1/2
    other = torch.where(near_one, (-torch.expm1(log_p)).log(), torch.log1p(-log_p.exp()))
    return log_p - other


def _log_prob(outputs: object, context: Context) -> Float[Tensor, "batch target"]:
    """Returns the log-probability of each target token, -log(1 + e^-x) with x its log-odds against all other tokens.

    Where p is near 1, `logit - logsumexp` is the difference of two large numbers, of which float32 leaves nothing.
    """
    own = logit(outputs, context)
    index = context.target_ids.expand(own.shape[0], -1).unsqueeze(-1)
    others = outputs.logits.float().scatter(-1, index, -torch.inf).logsumexp(-1)  # type: ignore[attr-defined] # a model's
    return -softplus(others - own, threshold=80)


CAREFUL_LOG_PROB = Objective("log_prob", "nats", _log_prob)
"""`log_prob` with as many digits of 1 - p as of p."""
