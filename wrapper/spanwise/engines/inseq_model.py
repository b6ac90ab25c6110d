"""Our loaded model as Inseq's, for the length of one attribution; the user's objects stay as they are."""

import copy
import inspect
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from inseq.data import BatchEmbedding, DecoderOnlyBatch
from inseq.models.huggingface_model import HuggingfaceDecoderOnlyModel
from inseq.models.model_config import ModelConfig
from inseq.utils import find_block_stack
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from spanwise.errors import MethodError
from spanwise.model.kept import kept
from spanwise.model.language_model import LanguageModel

_NEEDED_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_ATTENTION_NAMES = ("self_attn", "attn", "attention", "self_attention")


class LoadedModel(HuggingfaceDecoderOnlyModel):
    """Inseq's model around one that is already loaded.

    It never moves the model (Inseq's own does, and refuses "cuda:0"), leaves `.grad` and `training` alone, and takes
    float32 embeddings whatever the model computes in, so that the methods' own arithmetic is float32.

    Args:
        lm: The model.
        forwarded: Called after each forward with its logits.
        options: For each forward.
    """

    def __init__(self, lm: LanguageModel, forwarded: Callable[[Tensor], None], **options: Any) -> None:
        self._lm, self._forwarded, self._options = lm, forwarded, options
        if "logits_to_keep" in inspect.signature(lm.model.forward).parameters:
            self._options["logits_to_keep"] = 1  # Inseq reads the last position only
        tokenizer = copy.deepcopy(lm.tokenizer)  # Inseq sets its pad and unk token and its padding side
        super().__init__(lm.model, None, tokenizer, model_kwargs={}, tokenizer_kwargs={})

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        return self._lm.device

    @device.setter
    def device(self, new_device: object) -> None:
        """Moves nothing."""

    def setup(self, device: object = None, attribution_method: str | None = None, **kwargs: Any) -> None:
        """Replaces Inseq's, which moves the model and clears its gradients."""
        self.is_distributed = False

    @property
    def vocabulary_embeddings(self) -> Float[Tensor, "vocab hidden"]:
        """The embeddings as the layer gives them (Gemma's are scaled, its weights are not), in float32."""
        layer = self._lm.embedding
        ids = torch.arange(len(next(layer.parameters())), device=self._lm.device)
        with torch.no_grad():
            return torch.cat([layer(part).float() for part in ids.split(8192)])

    def get_forward_output(self, batch: DecoderOnlyBatch, use_embeddings: Any = True, **kwargs: Any) -> Any:
        """Returns the model's output for embeddings in the model's own type.

        `use_embeddings` is what Inseq gives: value zeroing passes the target id in its place.
        """
        if use_embeddings:
            inputs = batch.input_embeds.to(self._lm.dtype)
            batch = DecoderOnlyBatch(batch.encoding, BatchEmbedding(inputs, batch.baseline_embeds))
        output = super().get_forward_output(batch, use_embeddings, use_cache=False, **{**self._options, **kwargs})
        self._forwarded(output.logits)
        return output


@contextmanager
def wrapped(lm: LanguageModel, forwarded: Callable[[Tensor], None], **options: Any) -> Iterator[LoadedModel]:
    """Gives Inseq's model around `lm.model`; afterwards, on error too, the model is as it was.

    Raises:
        MethodError: Inseq cannot take this model or tokenizer.
    """
    if getattr(lm.model.config, "is_encoder_decoder", False):
        raise MethodError(f"engine='inseq' runs on causal models; {lm.architecture} is an encoder-decoder model.")
    if not isinstance(lm.model, PreTrainedModel) or not isinstance(lm.tokenizer, PreTrainedTokenizerBase):
        raise MethodError(
            "Inseq takes a transformers model and tokenizer, not "
            f"{type(lm.model).__name__} and {type(lm.tokenizer).__name__}."
        )
    with kept(lm.model), quiet():
        config: Any = lm.model.config
        for name in _NEEDED_IDS:  # Inseq cannot load without them; none of them enters a score
            if getattr(config, name, None) is None:
                setattr(config, name, getattr(lm.tokenizer, name, None) or 0)
        yield LoadedModel(lm, forwarded, **options)


@contextmanager
def quiet() -> Iterator[None]:
    """Holds back what Inseq and Captum say about their inner workings, and puts all log settings back."""
    log, root = logging.getLogger("inseq"), logging.getLogger()
    level, handlers = log.level, list(root.handlers)
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # DeepLIFT announces hooks that it removes again; `kept` sees to it that it does.
            warnings.filterwarnings("ignore", r"\s*Setting forward, backward hooks", UserWarning)
            # Value zeroing guesses the names of modules that it does not know; `block_tuples` sets them.
            warnings.filterwarnings("ignore", r"Model configuration for '.*' not found", UserWarning)
            yield
    finally:
        log.setLevel(level)
        root.handlers[:] = handlers  # ReAGent's `logging.info` adds one to a root logger that has none


@contextmanager
def block_tuples(model: LoadedModel) -> Iterator[None]:
    """Makes decoder blocks return tuples, and names their attention, as Inseq's value zeroing expects it.

    transformers 5 blocks return a tensor: Inseq would index it and add it to a tuple. Between two blocks the tuple is
    taken apart again. Inseq's own names of modules and variables are those of transformers 4.

    Raises:
        MethodError: The blocks have no attention of a known name.
    """
    blocks = find_block_stack(model.get_decoder())
    name = next((name for name in _ATTENTION_NAMES if hasattr(blocks[0], name)), None)
    if name is None:
        raise MethodError(
            f"value zeroing needs each block's attention under one of the names {', '.join(_ATTENTION_NAMES)}; "
            f"{type(blocks[0]).__name__} has none of them."
        )
    model.config = ModelConfig(self_attention_module=name, value_vector="value_states")
    trace = sys.gettrace()  # Inseq reaches the variable by tracing the forward, and stays there on an error
    handles = [block.register_forward_hook(_as_tuple) for block in blocks[:-1]]
    handles += [block.register_forward_pre_hook(_as_tensor) for block in blocks[1:]]
    try:
        yield
    finally:
        sys.settrace(trace)
        for handle in handles:
            handle.remove()


def _as_tuple(module: nn.Module, args: Any, output: Any) -> Any:
    return output if isinstance(output, tuple) else (output,)


def _as_tensor(module: nn.Module, args: Any) -> Any:
    return (args[0][0], *args[1:]) if isinstance(args[0], tuple) else args
