"""A model's shape without its weights: on torch's meta device, from the config alone."""

import os
from typing import Any

import torch
import transformers

from spanwise.errors import ModelError
from spanwise.model.notices import notices_dropped


def read_config(
    name_or_path: str | os.PathLike[str], *, revision: str | None = None, trust_remote_code: bool = False
) -> Any:
    """Returns a model's config; nothing else of it is read or downloaded.

    Args:
        name_or_path: A name on the hub, or a folder with a config.json.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Run code that comes with the model.

    Raises:
        ModelError: There is none, or transformers does not know it.
    """
    try:
        return transformers.AutoConfig.from_pretrained(
            os.fspath(name_or_path), revision=revision, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # a config's own checks raise what their author chose
        raise ModelError(f"cannot read the config of {os.fspath(name_or_path)!r}: {str(error).strip()}") from error


def model_class(config: Any) -> Any:
    """Returns the class that loads a model with this config: causal, or encoder-decoder."""
    if getattr(config, "is_encoder_decoder", False):
        return transformers.AutoModelForSeq2SeqLM
    return transformers.AutoModelForCausalLM


def meta_model(config: Any, *, trust_remote_code: bool = False) -> Any:
    """Returns the model on the meta device, with its weights tied: names, shapes and types, and no memory.

    Raises:
        ModelError: transformers has no language model for this config.
    """
    try:
        with torch.device("meta"), notices_dropped():
            model = model_class(config).from_config(config, trust_remote_code=trust_remote_code)
            model.tie_weights()
    except ValueError as error:
        told = str(error).strip().split("Model type should be one of")[0].strip()
        raise ModelError(f"there is no language model for {type(config).__name__}: {told}") from error
    except Exception as error:  # sizes that do not go together fail wherever the model first uses them
        raise ModelError(f"no model can be made of this {type(config).__name__}: {str(error).strip()}") from error
    return model
