"""Prompt and target as ids that the model reads; the target generated where none is given."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from spanwise.errors import LengthError
from spanwise.model.generation import generate
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
        _check_length(lm, len(prompt_ids), 1)
        target = generate(lm, prompt_ids, generation_options or {}, seed)
    elif isinstance(target, Tensor):
        target = [int(id_) for id_ in target.flatten()]
    if start is None:
        encoding = encode(lm.tokenizer, prompt, target, strict_boundary=strict_boundary)
    else:
        encoding = encode_for_decoder(lm.tokenizer, prompt, target, start)
    _check_length(lm, len(encoding.prompt_ids), len(encoding.target_ids))
    return encoding


def _check_length(lm: LanguageModel, prompt_count: int, target_count: int) -> None:
    limit = lm.context_length
    used = max(prompt_count, target_count) if lm.is_encoder_decoder else prompt_count + target_count - 1
    if limit is not None and used > limit:
        raise LengthError(
            f"the prompt has {prompt_count} tokens and the target {target_count}; "
            f"{'one of them' if lm.is_encoder_decoder else 'together'} more than the model's context of {limit} tokens."
        )
