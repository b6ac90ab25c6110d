"""Inseq's names for code that is written for Inseq: `import spanwise.compat.inseq as inseq` is the whole change.

`load_model(...).attribute(...)` returns Inseq's own `FeatureAttributionOutput`, on today's transformers, 4-bit and
dispatched models too, and leaves the model as it was. Saliency, gradient times input, integrated gradients and
occlusion of a probability, log-probability, logit or entropy go through the scorer, all target tokens from shared
forwards; the rest is Inseq's own code. The other names here are Inseq's own too.

Example:
    >>> import spanwise.compat.inseq as inseq
    >>> model = inseq.load_model("tiny", "input_x_gradient")
    >>> out = model.attribute("The keys to the cabinet", "The keys to the cabinet are", show_progress=False)
    >>> [token.token for token in out[0].target[-2:]]
    ['Ġcabinet', 'Ġare']
"""

import os
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from inseq import (
    AttributionModel,
    FeatureAttributionOutput,
    explain,
    get_version,
    list_aggregation_functions,
    list_aggregators,
    list_feature_attribution_methods,
    list_step_functions,
    list_supported_frameworks,
    merge_attributions,
    register_model_config,
    register_step_function,
    show_attributions,
    show_granular_attributions,
    show_token_attributions,
)
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from spanwise.compat.inseq_causal import CausalModel
from spanwise.compat.inseq_pairs import PairModel
from spanwise.errors import ModelError, OptionError, one_of
from spanwise.model import loading
from spanwise.model.language_model import LanguageModel

__all__ = [
    "AttributionModel",
    "FeatureAttributionOutput",
    "explain",
    "get_version",
    "list_aggregation_functions",
    "list_aggregators",
    "list_feature_attribution_methods",
    "list_step_functions",
    "list_supported_frameworks",
    "load_model",
    "merge_attributions",
    "register_model_config",
    "register_step_function",
    "show_attributions",
    "show_granular_attributions",
    "show_token_attributions",
]


def load_model(
    model: Any, attribution_method: str | None = None, framework: str = "hf_transformers", **kwargs: Any
) -> CausalModel | PairModel:
    """Returns Inseq's model of a model's name, or around one that is loaded.

    Args:
        model: A name on the model hub, a folder, "tiny" for the bundled model; a transformers model, quantized and
            dispatched ones as they are, a PEFT model around one; or a `spanwise.LanguageModel`.
        attribution_method: One of `list_feature_attribution_methods()`.
        framework: "hf_transformers".
        **kwargs: `tokenizer` (or its name), `device` (default: where a model is that is handed over; else a GPU where
            there is one), `model_kwargs` and `tokenizer_kwargs` for `from_pretrained`, and options of the method.

    Raises:
        ModelError: The model or tokenizer cannot be loaded or used.
        OptionError: Another framework.
        MethodError: The method gives wrong numbers in Inseq; the message says what to use.
    """
    one_of("framework", framework, list_supported_frameworks())
    return _load(model, attribution_method, **kwargs)


def _load(
    model: Any,
    attribution_method: str | None,
    tokenizer: Any = None,
    device: Any = None,
    model_kwargs: Mapping[str, Any] | None = None,
    tokenizer_kwargs: Mapping[str, Any] | None = None,
    **method_options: Any,
) -> CausalModel | PairModel:
    if isinstance(model, str | os.PathLike):
        lm = _loaded(os.fspath(model), tokenizer, model_kwargs or {}, tokenizer_kwargs or {})
        if device is None and torch.cuda.is_available() and lm.quantization is None and lm.device_map is None:
            device = "cuda"
    elif isinstance(model, LanguageModel):
        lm = model if tokenizer is None else LanguageModel(model.model, _tokenizer(tokenizer, tokenizer_kwargs or {}))
    else:
        if model_kwargs:
            raise OptionError("model_kwargs are for a model that is loaded by its name, but a loaded one was given.")
        plain = model.get_base_model() if hasattr(model, "get_base_model") else model  # a PEFT model's layers are in it
        name = getattr(getattr(plain, "config", None), "_name_or_path", "")
        if tokenizer is None and not name:
            raise ModelError("the model has no name to find its tokenizer by: give tokenizer=...")
        lm = LanguageModel(plain, _tokenizer(tokenizer or name, tokenizer_kwargs or {}))
    if not isinstance(lm.model, PreTrainedModel) or not isinstance(lm.tokenizer, PreTrainedTokenizerBase):
        raise ModelError(
            "Inseq takes a transformers model and tokenizer, not "
            f"{type(lm.model).__name__} and {type(lm.tokenizer).__name__}."
        )
    kind = PairModel if lm.is_encoder_decoder else CausalModel
    return kind(lm, device, attribution_method, **method_options)


def _loaded(
    name: str, tokenizer: Any, model_kwargs: Mapping[str, Any], tokenizer_kwargs: Mapping[str, Any]
) -> LanguageModel:
    if name in loading.BUNDLED:
        lm = loading.load_model(name, **model_kwargs)
        return lm if tokenizer is None else LanguageModel(lm.model, _tokenizer(tokenizer, tokenizer_kwargs), name=name)
    try:
        known = {key: model_kwargs[key] for key in ("revision", "token", "trust_remote_code") if key in model_kwargs}
        config = transformers.AutoConfig.from_pretrained(name, **known)
        pair = getattr(config, "is_encoder_decoder", False)
        kind = transformers.AutoModelForSeq2SeqLM if pair else transformers.AutoModelForCausalLM
        model = kind.from_pretrained(name, **model_kwargs)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"cannot load {name!r}: {str(error).strip()}") from error
    return LanguageModel(model, _tokenizer(tokenizer or name, tokenizer_kwargs), name=name)


def _tokenizer(tokenizer: Any, options: Mapping[str, Any]) -> Any:
    if not isinstance(tokenizer, str | os.PathLike):
        return tokenizer
    try:
        return transformers.AutoTokenizer.from_pretrained(tokenizer, **options)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"cannot load the tokenizer of {os.fspath(tokenizer)!r}: {str(error).strip()}") from error
