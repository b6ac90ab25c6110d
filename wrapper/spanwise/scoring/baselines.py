"""What an embedding becomes when its feature is off."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.errors import MethodError, OptionError
from spanwise.methods import MethodInfo
from spanwise.model.language_model import LanguageModel
from spanwise.text.columns import touches
from spanwise.text.composing import Composed
from spanwise.text.encoding import Encoding
from spanwise.text.layout import Axes
from spanwise.text.rewriting import Rewriting, filling, replacing

BaselineLike: TypeAlias = str | Tensor | Callable[[str], str]
"""A name, embeddings, or a sampler: from the text of a feature to the text in its place."""

NAMES = ("unk", "zero", "pad", "mean")
_SPECIAL = {"pad": "pad_token_id", "unk": "unk_token_id"}
REMOVALS = ("mask", "delete")
"""Off means not there: hidden by the attention mask, or left out so that the positions close up."""


def make_baseline(
    lm: LanguageModel, asked: BaselineLike | None, info: MethodInfo, encoding: Encoding, composed: Composed, axes: Axes
) -> tuple[Tensor | str | Rewriting, str]:
    """Returns what a feature becomes when it is off, and its name for the provenance.

    Args:
        lm: The model.
        asked: As `spanwise.attribute` takes it; None: the template's own, or the method's first choice.
        info: The method.
        encoding: Prompt and target.
        composed: How the prompt came about.
        axes: What the features are.

    Raises:
        OptionError: An unknown name, a token that is not one, a model without a pad token, or a wrong shape.
        MethodError: The method needs embeddings, or the generated prefix is attributed and would change its length.
    """
    closing = () if lm.decoder_start is None else (lm.decoder_start,)
    if asked is None and composed.template is not None and info.family == "perturbation":
        _check_removal("a baseline of other text", info, axes)
        _check_slots(composed, encoding, axes)
        return filling(lm.tokenizer, composed, axes.groups, closing), "template"
    if asked is None:
        asked = default_baseline(lm, info.baselines)
    if callable(asked) or (isinstance(asked, str) and asked.startswith("text:")):
        _check_removal("a baseline of other text", info, axes)
        name = asked if isinstance(asked, str) else f"sampler {getattr(asked, '__name__', type(asked).__name__)}"
        other = (lambda part: name.removeprefix("text:")) if isinstance(asked, str) else asked
        return replacing(lm.tokenizer, other, composed, encoding, axes.feature_columns, closing), name
    found, name = baseline_embeddings(lm, asked, len(axes.features))
    if isinstance(found, str):
        _check_removal(f"baseline={found!r}", info, axes)
    return found, name


def _check_slots(composed: Composed, encoding: Encoding, axes: Axes) -> None:
    for group, column in zip(axes.groups, axes.feature_columns, strict=True):
        whole = {i for i, token in enumerate(encoding.prompt_tokens) if touches(token, composed.groups[group])}
        if not whole <= set(column.positions):
            raise OptionError(
                f"source= holds only a part of the slot {composed.names[group]!r}, which its baseline replaces as a "
                "whole: select the whole slot, or name another baseline."
            )


def _check_removal(what: str, info: MethodInfo, axes: Axes) -> None:
    if info.family != "perturbation":
        raise MethodError(f"{info.name} needs embeddings to start from; {what} is for perturbation methods.")
    if "mask" not in what and any(token.role == "prefix" for token in axes.feature_columns):
        raise MethodError(f"{what} needs prefix='fixed': a target token needs its place to be predicted from.")


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
        raise OptionError(f"baseline must be a name, a tensor or a function, not {type(baseline).__name__}.")
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
            "text:TEXT, a function from a feature's text to another text, or a tensor."
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
