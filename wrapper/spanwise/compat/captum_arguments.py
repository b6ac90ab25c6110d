"""What Captum's classes for language models are given, checked, and the model held still for them."""

import functools
import inspect
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from torch import Tensor

from spanwise.errors import AttributionWarning, InputError, ModelError
from spanwise.model.language_model import LanguageModel

_FED_TWICE_FROM = (5, 3)
"""The release of transformers from which Captum's cached path feeds the whole sequence again at each target token."""


class CaptumInputError(InputError, AssertionError):
    """What Captum refuses with an AssertionError."""


class CaptumTypeError(InputError, TypeError):
    """What Captum refuses with a TypeError."""


def language_model(model: Any, tokenizer: Any) -> LanguageModel | None:
    """Returns the model as ours, or None where it has not the shape of a causal model of transformers."""
    needed = ("get_input_embeddings", "get_output_embeddings", "config", "generate")
    if not all(hasattr(model, name) for name in needed) or not hasattr(model.config, "get_text_config"):
        return None
    try:
        lm = LanguageModel(model, tokenizer)
    except ModelError:
        return None
    return None if lm.is_encoder_decoder else lm


@contextmanager
def held(lm: LanguageModel | None) -> Iterator[None]:
    """Holds the model still; says so where 4-bit weights had to be unpacked."""
    if lm is None:
        yield
        return
    with lm.session() as note:
        if note:
            warnings.warn(note, AttributionWarning, stacklevel=4)
        yield


def check_method(name: str, attr_method: object, supported: tuple[type, ...]) -> None:
    """Checks that the algorithm is one that the class runs.

    Raises:
        CaptumInputError: It is not.
    """
    if not isinstance(attr_method, supported):
        allowed = ", ".join(each.__name__ for each in supported)
        raise CaptumInputError(f"{name} does not support {type(attr_method)}; it takes one of {allowed}.")


def check_keywords(method: Any, given: Sequence[str]) -> None:
    """Checks that the algorithm's `attribute` takes these keywords.

    Raises:
        CaptumTypeError: It does not.
    """
    known = inspect.signature(method.attribute).parameters
    allowed = [name for name in known if name not in ("inputs", "additional_forward_args", "kwargs")]
    for name in given:
        if name not in allowed:
            raise CaptumTypeError(
                f"{type(method).__name__} got an unexpected keyword argument {name!r}; it takes {', '.join(allowed)}."
            )


def target_tokens(attribution: Any, inp: Any, target: Any, gen_args: Any, skip_tokens: Any) -> Tensor:
    """Returns the ids of the target, generated where there is none.

    Args:
        attribution: One of Captum's classes for language models.
        inp: The prompt.
        target: A text, which is encoded for itself, ids, or None.
        gen_args: For the model's `generate`.
        skip_tokens: Ids, or texts of tokens, that are taken out of the target, as Captum did up to 0.8.

    Raises:
        CaptumInputError: An input of another kind, both target and `gen_args`, or a target without a token.
        CaptumTypeError: The target is neither text nor ids.
    """
    name = type(attribution).__name__
    if not isinstance(inp, attribution.SUPPORTED_INPUTS):
        allowed = ", ".join(each.__name__ for each in attribution.SUPPORTED_INPUTS)
        raise CaptumInputError(f"{name} does not support input type {type(inp)}; it takes one of {allowed}.")
    if target is None and not callable(getattr(attribution.model, "generate", None)):
        raise CaptumInputError(
            "The model does not have recognizable generate function. Target must be given for attribution."
        )
    if target is not None and gen_args is not None:
        raise CaptumInputError("gen_args must be None when target is given: nothing is generated.")
    if not (target is None or isinstance(target, str | Tensor)):
        raise CaptumTypeError(
            f"target must either be str or Tensor (or None, to generate it), but the type of target is {type(target)}."
        )
    ids = attribution._get_target_tokens(inp, target, gen_args=gen_args)
    if ids.ndim != 1:
        raise CaptumInputError(f"target must be a 1D tensor of token ids, not one of shape {list(ids.shape)}.")
    ids = _without(ids, skip_tokens, attribution.tokenizer)
    if not len(ids):
        raise CaptumInputError("the target has no token, so there is nothing to attribute.")
    return ids


def _without(ids: Tensor, skip_tokens: Any, tokenizer: Any) -> Tensor:
    if not skip_tokens:
        return ids
    texts = isinstance(skip_tokens[0], str)
    skipped = tokenizer.convert_tokens_to_ids(list(skip_tokens)) if texts else list(skip_tokens)
    return ids[~torch.isin(ids, torch.tensor(skipped, device=ids.device))]


def is_fed_twice() -> bool:
    """Whether Captum's cached path is wrong with this transformers."""
    major, minor = transformers.__version__.split(".")[:2]
    return (int(major), int(minor)) >= _FED_TWICE_FROM


FED_TWICE = (
    "its cached path (use_cached_outputs=True, forward_in_tokens=True) feeds the whole sequence again at each target "
    f"token since transformers {'.'.join(map(str, _FED_TWICE_FROM))}, so its scores are wrong after the first one. "
    "Here one forward scores every target token, as Captum does with forward_in_tokens=False"
)
TARGET_REPEATED = (
    "with LayerGradientShap and several samples it repeats each target token before it picks one, so it scores other "
    "tokens than those of the target after the first one. Here each row is its own token's"
)


@functools.cache
def tell_once(reason: str) -> None:
    """Warns, once a process, that Captum's own default gives other numbers, and why."""
    warnings.warn(
        f"these scores differ from Captum's own default: {reason}. This is said once.",
        AttributionWarning,
        stacklevel=3,
    )
