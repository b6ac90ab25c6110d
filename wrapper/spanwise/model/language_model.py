"""`LanguageModel`: a model and its tokenizer, held still while they are attributed."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import nn

from spanwise.errors import ModelError, OptionError
from spanwise.model import backward, four_bit, quantization, saving
from spanwise.model.kept import kept
from spanwise.model.notices import notices_dropped


class LanguageModel:
    """A causal language model and its tokenizer, with what attribution needs to know of them.

    Args:
        model: A transformers language model, causal or encoder-decoder; quantized and dispatched ones as they are.
        tokenizer: Its tokenizer.
        name: What the provenance calls it; default: the name in the model's config.

    Raises:
        ModelError: The model is not a language model, or the tokenizer is missing.

    Example:
        >>> import spanwise
        >>> lm = spanwise.load_model("tiny")
        >>> lm
        LanguageModel('tiny', Qwen2ForCausalLM, float32 on cpu)
    """

    def __init__(
        self, model: nn.Module, tokenizer: Any, *, name: str | None = None, revision: str | None = None
    ) -> None:
        if (
            not isinstance(model, nn.Module)
            or not hasattr(model, "get_input_embeddings")
            or not hasattr(model, "config")
        ):
            raise ModelError(f"a transformers language model is needed, not {type(model).__name__}.")
        if tokenizer is None or not callable(tokenizer):
            raise ModelError(f"a transformers tokenizer is needed, not {tokenizer!r}.")
        self.model = model
        self.tokenizer = tokenizer
        self.name = name or getattr(model.config, "_name_or_path", "") or type(model).__name__
        self.revision = revision or getattr(model.config, "_commit_hash", None)
        self.notes: list[str] = []

    @classmethod
    def from_pipeline(cls, pipe: Any) -> "LanguageModel":
        """Returns the model and the tokenizer of a transformers pipeline, as they are.

        Raises:
            ModelError: It is no pipeline with a model and a tokenizer.

        Example:
            >>> import spanwise, transformers
            >>> lm = spanwise.load_model("tiny")
            >>> pipe = transformers.pipeline("text-generation", model=lm.model, tokenizer=lm.tokenizer)
            >>> spanwise.LanguageModel.from_pipeline(pipe).architecture
            'Qwen2ForCausalLM'
        """
        model, tokenizer = getattr(pipe, "model", None), getattr(pipe, "tokenizer", None)
        if not hasattr(pipe, "task") or model is None or tokenizer is None:
            raise ModelError(f"a transformers pipeline with a model and a tokenizer is needed, not {pipe!r}.")
        return cls(model, tokenizer)

    def __repr__(self) -> str:
        kind = self.quantization or str(self.dtype).removeprefix("torch.")
        return f"LanguageModel({self.name!r}, {self.architecture}, {kind} on {self.device})"

    @property
    def architecture(self) -> str:
        """The model's class name."""
        return type(self.model).__name__

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether an encoder reads the prompt and a decoder writes the target."""
        return bool(getattr(self.model.config, "is_encoder_decoder", False))

    @property
    def decoder_start(self) -> int | None:
        """Id of the token that a decoder begins with; None for a causal model.

        Raises:
            ModelError: An encoder-decoder model whose config does not say.
        """
        if not self.is_encoder_decoder:
            return None
        for config in (self.model.generation_config, self.model.config):
            found = getattr(config, "decoder_start_token_id", None)
            if found is not None:
                return int(found)
        raise ModelError(f"{self.architecture} has no decoder_start_token_id in its config, which its decoder needs.")

    @property
    def embedding(self) -> nn.Module:
        """The layer that turns token ids into embeddings; the encoder's where there are two."""
        return self.embeddings[0]

    @property
    def embeddings(self) -> tuple[nn.Module, ...]:
        """The embedding layers: one, or the encoder's and the decoder's (which may be the same)."""
        if not self.is_encoder_decoder:
            return (self.model.get_input_embeddings(),)  # type: ignore[operator] # checked in __init__
        both = (self.model.get_encoder(), self.model.get_decoder())  # type: ignore[operator]
        return tuple(part.get_input_embeddings() for part in both)

    @cached_property
    def device(self) -> torch.device:
        """Where the embedding layer computes, and so where inputs go."""
        hook = getattr(self.embedding, "_hf_hook", None)
        for each in getattr(hook, "hooks", (hook,)):
            execution = getattr(each, "execution_device", None)
            if execution is not None:
                return torch.device(execution)
        return next(self.embedding.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the embeddings, and of the activations that follow."""
        return next(self.embedding.parameters()).dtype

    @property
    def hidden_size(self) -> int:
        """Width of an embedding."""
        return int(self.model.config.get_text_config().hidden_size)  # type: ignore[union-attr, operator]

    @property
    def quantization(self) -> str | None:
        """One of "nf4", "fp4", "int8", another method's name ("gptq", "torchao", ...), or None."""
        values = quantization.stored(self.model.config)
        return None if values is None else quantization.name_of(values)

    @property
    def compute_dtype(self) -> str | None:
        """The type in which 4-bit layers multiply, or None."""
        values = quantization.stored(self.model.config) or {}
        return str(values["bnb_4bit_compute_dtype"]) if values.get("load_in_4bit") else None

    @cached_property
    def no_backward(self) -> str | None:
        """Why gradient methods cannot be used with this model's quantized layers, or None."""
        return backward.no_backward(self.model, self.dtype)

    @property
    def device_map(self) -> dict[str, str] | None:
        """Which module is where, for a dispatched model."""
        found = getattr(self.model, "hf_device_map", None)
        return {str(module): str(device) for module, device in found.items()} if found else None

    @property
    def facts(self) -> dict[str, Any]:
        """What the provenance tells of the model."""
        return {
            "model": self.name,
            "architecture": self.architecture,
            "revision": self.revision,
            "quantization": self.quantization,
            "dtype": str(self.dtype).removeprefix("torch."),
            "compute_dtype": self.compute_dtype,
            "device_map": self.device_map,
        }

    @property
    def context_length(self) -> int | None:
        """The most tokens the model was made for, or None where its config does not say."""
        config = self.model.config.get_text_config()  # type: ignore[union-attr, operator]
        for name in ("max_position_embeddings", "n_positions"):
            if isinstance(value := getattr(config, name, None), int):
                return value
        return None

    @property
    def uses_rms_norm(self) -> bool:
        """Whether the model normalizes by RMSNorm, which does not see the scale of its input."""
        return any("RMSNorm" in type(module).__name__ for module in self.model.modules())

    @contextmanager
    def session(self) -> Iterator[str]:
        """Holds the model still: `eval()`, frozen parameters, exact 4-bit weights. All put back afterwards.

        Gives a warning where 4-bit weights had to be unpacked, which is not put back; else "".

        Raises:
            QuantizationError: The 4-bit weights were changed by an earlier run and cannot be restored.
        """
        with ExitStack() as stack:
            warning = stack.enter_context(four_bit.exact_weights(self.model))
            notes = [warning]
            if self.quantization == "int8":
                notes.append("int8 layers round their inputs too: to float16, then to 8 bits")
            self.notes += [note for note in notes if note and note not in self.notes]
            stack.enter_context(kept(self.model))
            self.model.eval()
            self.model.requires_grad_(False)
            stack.enter_context(notices_dropped())
            yield warning

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes model and tokenizer to a new folder, from which `load_model` gives the same scores.

        A quantized model is saved as it is. Nothing is left behind where it fails.

        Raises:
            FileError: The folder exists and is not empty, or cannot be written (no room, read-only).
            ModelError: transformers cannot save this model.
            QuantizationError: The 4-bit weights were changed by an earlier run and cannot be restored.

        Example:
            >>> import spanwise, tempfile
            >>> with tempfile.TemporaryDirectory() as place:
            ...     spanwise.load_model("tiny").save(f"{place}/copy")
            ...     spanwise.load_model(f"{place}/copy").architecture
            'Qwen2ForCausalLM'
        """
        with four_bit.exact_weights(self.model):
            saving.save(self.model, self.tokenizer, folder)

    def has_token(self, token: str) -> bool:
        """Whether `token` is one token of the vocabulary, as it stands there or as text."""
        return token in self.tokenizer.get_vocab() or len(self.tokenizer.encode(token, add_special_tokens=False)) == 1

    def token_id(self, token: str) -> int:
        """Returns the id of one token, given as it stands in the vocabulary or as text.

        Raises:
            OptionError: The text is not one token.
        """
        known = self.tokenizer.get_vocab()
        if token in known:
            return int(known[token])
        ids = self.tokenizer.encode(token, add_special_tokens=False)
        if len(ids) != 1:
            raise OptionError(f"{token!r} is {len(ids)} tokens of this vocabulary, where exactly one is needed.")
        return int(ids[0])
