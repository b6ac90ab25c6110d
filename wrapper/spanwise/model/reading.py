"""Prompt and target as ids that the model reads; the target generated where none is given."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from spanwise.errors import InputError, LengthError
from spanwise.model.generation import DEFAULTS, generate
from spanwise.model.language_model import LanguageModel
from spanwise.text.encoding import Encoding, encode, encode_for_decoder, encode_prompt


def read(
    lm: LanguageModel,
    prompt: str,
    target: str | Sequence[int] | Tensor | None,
    *,
    strict_boundary: bool = False,
    generation_options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Encoding:
    """Returns prompt and target as tokens; the arguments are those of `spanwise.attribute`.

    Raises:
        InputError: Empty prompt or target, or ids that the vocabulary does not have.
        LengthError: More tokens than the model's context holds.
        BoundaryError: A token straddles prompt and target, under `strict_boundary`.
    """
    start = lm.decoder_start
    if target is None:
        prompt_ids = [token.id for token in encode_prompt(lm.tokenizer, prompt)]
        check_length(lm, len(prompt_ids), 1)
        _check_room(lm, len(prompt_ids), generation_options or {})
        target = generate(lm, prompt_ids, generation_options or {}, seed)
    elif isinstance(target, Tensor):
        target = _ids_of(target)
    if start is None:
        encoding = encode(lm.tokenizer, prompt, target, strict_boundary=strict_boundary)
    else:
        encoding = encode_for_decoder(lm.tokenizer, prompt, target, start)
    check_length(lm, len(encoding.prompt_ids), len(encoding.target_ids))
    return encoding


def _ids_of(target: Tensor) -> list[int]:
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise InputError(f"the target must be token ids, which are integers, not a tensor of {target.dtype}.")
    if target.numel() != target.shape[-1:].numel():
        raise InputError(f"the target must be one sequence of ids, not a tensor of shape {list(target.shape)}.")
    return [int(id_) for id_ in target.flatten()]


def _check_room(lm: LanguageModel, prompt_count: int, options: Mapping[str, Any]) -> None:
    asked = {**DEFAULTS, **options}.get("max_new_tokens")
    if lm.context_length is None or "generation_config" in options or not isinstance(asked, int):
        return
    room = lm.context_length - (0 if lm.is_encoder_decoder else prompt_count - 1)
    if asked > room:
        raise LengthError(
            f"{asked} tokens are to be generated after a prompt of {prompt_count}, but the model's context of "
            f"{lm.context_length} tokens has room for {room}: "
            f"generation_options={{'max_new_tokens': {room}}}, or a shorter prompt."
        )


def check_length(lm: LanguageModel, prompt_count: int, target_count: int) -> None:
    """Checks that prompt and target fit into the model's context.

    Raises:
        LengthError: They do not.
    """
    limit = lm.context_length
    used = max(prompt_count, target_count) if lm.is_encoder_decoder else prompt_count + target_count - 1
    if limit is not None and used > limit:
        raise LengthError(
            f"the prompt has {prompt_count} tokens and the target {target_count}; "
            f"{'one of them' if lm.is_encoder_decoder else 'together'} more than the model's context of {limit} tokens."
        )
