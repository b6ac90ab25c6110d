"""What an embedding becomes when its feature is off."""

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.errors import OptionError
from spanwise.model.language_model import LanguageModel

NAMES = ("zero", "pad", "mean")


def default_baseline(lm: LanguageModel, preferred: str) -> str:
    """Returns a method's default baseline, or "zero" where it is a token that the vocabulary does not have."""
    if preferred.startswith("token:") and not lm.has_token(preferred.removeprefix("token:")):
        return "zero"
    return preferred


def baseline_embeddings(
    lm: LanguageModel, baseline: str | Float[Tensor, "..."], length: int
) -> tuple[Float[Tensor, "source hidden"], str]:
    """Returns the baseline for every source position, in float32, and its name for the provenance.

    Args:
        lm: The model.
        baseline: "zero", "pad", "mean" (of the embedding matrix), "token:TEXT", or embeddings of shape
            [hidden], [source, hidden] or [1, source, hidden].
        length: Source positions.

    Raises:
        OptionError: An unknown name, a token that is not one, a model without a pad token, or a wrong shape.
    """
    hidden = lm.hidden_size
    if isinstance(baseline, Tensor):
        return _from_tensor(baseline, lm, length, hidden), f"tensor{list(baseline.shape)}"
    if not isinstance(baseline, str):
        raise OptionError(f"baseline must be a name or a tensor, not {type(baseline).__name__}.")
    if baseline == "zero":
        row = torch.zeros(hidden, device=lm.device)
    elif baseline == "mean":
        ids = torch.arange(len(lm.tokenizer), device=lm.device)
        row = sum_of_embeddings(lm, ids) / len(ids)
    elif baseline == "pad" or (baseline.startswith("token:") and baseline != "token:"):
        row = sum_of_embeddings(lm, torch.tensor([_token_id(lm, baseline)], device=lm.device))
    else:
        raise OptionError(
            f"unknown baseline {baseline!r}. Allowed: {', '.join(NAMES)}, token:TEXT (token:<unk>, say), or a tensor."
        )
    return row.expand(length, hidden), baseline


def sum_of_embeddings(lm: LanguageModel, ids: Tensor) -> Float[Tensor, " hidden"]:
    """Returns the sum of the embeddings of `ids`, in float32, as the layer gives them (scaled, if it does)."""
    with torch.no_grad():
        parts = [lm.embedding(part[None])[0].float().sum(0) for part in ids.split(8192)]
    return torch.stack(parts).sum(0)


def _token_id(lm: LanguageModel, baseline: str) -> int:
    if baseline == "pad":
        if lm.tokenizer.pad_token_id is None:
            raise OptionError(
                "baseline='pad' was asked, but the tokenizer has no pad token; 'token:TEXT' names another."
            )
        return int(lm.tokenizer.pad_token_id)
    return lm.token_id(baseline.removeprefix("token:"))


def _from_tensor(tensor: Tensor, lm: LanguageModel, length: int, hidden: int) -> Tensor:
    shape = tuple(tensor.shape)
    if shape == (1, length, hidden):
        tensor = tensor[0]
    elif shape == (hidden,):
        tensor = tensor.expand(length, hidden)
    elif shape != (length, hidden):
        raise OptionError(
            f"the baseline tensor has shape {list(shape)}; allowed: [{hidden}], [{length}, {hidden}] or "
            f"[1, {length}, {hidden}] (source positions x hidden)."
        )
    return tensor.detach().to(device=lm.device, dtype=torch.float32)
