"""Generating a target when none is given."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from spanwise.errors import InputError, OptionError
from spanwise.model.language_model import LanguageModel
from spanwise.model.seeding import seeded

DEFAULTS: Mapping[str, Any] = {"max_new_tokens": 25, "do_sample": False}


def told(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of a generation as values that JSON has, for the provenance."""
    used = dict(options) if "generation_config" in options else {**DEFAULTS, **options}
    return {name: _plain(value) for name, value in used.items()}


def _plain(value: Any) -> Any:
    if hasattr(value, "to_diff_dict"):
        value = value.to_diff_dict()
    try:
        return json.loads(json.dumps(value))
    except TypeError:
        return repr(value)


def generate(lm: LanguageModel, prompt_ids: Sequence[int], options: Mapping[str, Any], seed: int) -> tuple[int, ...]:
    """Returns the ids that the model generates after a prompt, its end-of-text token included.

    Args:
        lm: The model, inside its session.
        prompt_ids: Ids of the prompt.
        options: For the model's `generate`, over `DEFAULTS` (greedy, 25 tokens).
        seed: For sampling.

    Raises:
        OptionError: `generate` does not take the options.
        InputError: Nothing was generated.
    """
    ids = torch.tensor([list(prompt_ids)], device=lm.device)
    arguments = dict(options) if "generation_config" in options else {**DEFAULTS, **options}
    if "num_return_sequences" in options or "return_dict_in_generate" in options:
        raise OptionError("one target is attributed: num_return_sequences and return_dict_in_generate are not allowed.")
    if arguments.get("pad_token_id") is None and lm.tokenizer.pad_token_id is None:
        arguments["pad_token_id"] = lm.tokenizer.eos_token_id
    try:
        with torch.no_grad(), seeded(seed):
            output = lm.model.generate(  # type: ignore[operator] # a transformers model has it
                input_ids=ids, attention_mask=torch.ones_like(ids), **arguments
            )
    except (ValueError, TypeError) as error:
        raise OptionError(f"generation_options {dict(options)} were refused: {error}") from error
    begin = 1 if lm.is_encoder_decoder else len(prompt_ids)  # a decoder's output begins with its start token
    generated = tuple(int(id_) for id_ in output[0, begin:])
    if not generated:
        raise InputError("the model generated nothing after this prompt; give the target as text.")
    return generated
