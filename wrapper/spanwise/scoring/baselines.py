"""What an embedding becomes when its feature is off."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.errors import OptionError
from spanwise.model.language_model import LanguageModel

NAMES = ("unk", "zero", "pad", "mean")
_SPECIAL = {"pad": "pad_token_id", "unk": "unk_token_id"}
REMOVALS = ("mask", "delete")
"""Off means not there: hidden by the attention mask, or left out so that the positions close up."""


def default_baseline(lm: LanguageModel, preferred: Sequence[str]) -> str:
    """Returns the first of the preferred baselines that the tokenizer has.

    An unknown token that also begins, ends or pads texts (GPT-2's) stands for that, and does not count.
    """
    own = lm.tokenizer
    shared = (own.bos_token_id, own.eos_token_id, own.pad_token_id, None)
    for name in preferred:
        if name == "unk":
            if own.unk_token_id not in shared:
                return name
        elif not name.startswith("token:") or lm.has_token(name.removeprefix("token:")):
            return name
    raise AssertionError(f"no default baseline among {preferred} can be had from any tokenizer")


def baseline_embeddings(
    lm: LanguageModel, baseline: str | Float[Tensor, "..."], length: int
) -> tuple[Float[Tensor, "source hidden"] | str, str]:
    """Returns the baseline for every source position, in float32, and its name for the provenance.

    A removal ("mask", "delete") has no embeddings and comes back as its name.

    Args:
        lm: The model.
        baseline: "unk", "pad" or "token:TEXT" (tokens), "zero", "mean" (of the embedding matrix), "mask", "delete", or
            embeddings of shape [hidden], [source, hidden] or [1, source, hidden].
        length: Source positions.

    Raises:
        OptionError: An unknown name, a token that is not one, a model without a pad token, or a wrong shape.
    """
    hidden = lm.hidden_size
    if isinstance(baseline, Tensor):
        return _from_tensor(baseline, lm, length, hidden), f"tensor{list(baseline.shape)}"
    if not isinstance(baseline, str):
        raise OptionError(f"baseline must be a name or a tensor, not {type(baseline).__name__}.")
    if baseline in REMOVALS:
        return baseline, baseline
    if baseline == "zero":
        row = torch.zeros(hidden, device=lm.device)
    elif baseline == "mean":
        ids = torch.arange(len(lm.tokenizer), device=lm.device)
        row = sum_of_embeddings(lm, ids) / len(ids)
    elif baseline in _SPECIAL or (baseline.startswith("token:") and baseline != "token:"):
        row = sum_of_embeddings(lm, torch.tensor([_token_id(lm, baseline)], device=lm.device))
    else:
        raise OptionError(
            f"unknown baseline {baseline!r}. Allowed: {', '.join(NAMES + REMOVALS)}, token:TEXT (token:<unk>, say), "
            "or a tensor."
        )
    return row.expand(length, hidden), baseline


def sum_of_embeddings(lm: LanguageModel, ids: Tensor) -> Float[Tensor, " hidden"]:
    """Returns the sum of the embeddings of `ids`, in float32, as the layer gives them (scaled, if it does)."""
    with torch.no_grad():
        parts = [lm.embedding(part[None])[0].float().sum(0) for part in ids.split(8192)]
    return torch.stack(parts).sum(0)


def _token_id(lm: LanguageModel, baseline: str) -> int:
    if baseline in _SPECIAL:
        found = getattr(lm.tokenizer, _SPECIAL[baseline])
        if found is None:
            raise OptionError(
                f"baseline={baseline!r} was asked, but the tokenizer has no such token; 'token:TEXT' names another."
            )
        return int(found)
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
    if not tensor.isfinite().all():
        raise OptionError("the baseline tensor holds NaN or infinite values.")
    return tensor.detach().to(device=lm.device, dtype=torch.float32)
