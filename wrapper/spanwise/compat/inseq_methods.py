"""What Inseq's methods need around them on today's transformers, and those that are refused."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from inseq.attr.feat import FeatureAttribution
from inseq.attr.feat.ops import reagent as reagent_parts
from torch import Tensor, nn

from spanwise.engines.inseq import plausible_tokens
from spanwise.engines.inseq_model import block_tuples
from spanwise.errors import MethodError
from spanwise.model.attentions import eager_attention
from spanwise.model.language_model import LanguageModel
from spanwise.scoring.batching import Batches
from spanwise.scoring.objectives import find_objective
from spanwise.scoring.scorer import Scorer

_ZERO = "Inseq's own returns exactly 0 for every token: its forward never sees the layer's tensor"
_REFUSED = {
    "layer_integrated_gradients": f"{_ZERO}. At the embedding layer, its default, the method is integrated_gradients.",
    "layer_deeplift": f"{_ZERO}. At the embedding layer, its default, the method is deeplift.",
    "lime": (
        "Inseq's own adds the number of the <unk> token's id to the embeddings of tokens that are off. "
        "spanwise.attribute(lm, prompt, target, method='lime') puts a token's embedding in their place."
    ),
}
_CAUSAL_ONLY = {
    "layer_gradient_x_activation": "Inseq's own fails there: no layer of the encoder-decoder model gives it a tensor",
    "reagent": "the replacements are drawn from what a causal model expects at a place",
}


def refuse(model: Any, method: str) -> None:
    """Checks that a method's numbers can be trusted.

    Raises:
        MethodError: They cannot; the message says why and what to use.
    """
    if method in _REFUSED:
        raise MethodError(f"{method} is refused. {_REFUSED[method]}")
    if model.is_encoder_decoder and method in _CAUSAL_ONLY:
        raise MethodError(f"{method} runs on causal models only: {_CAUSAL_ONLY[method]}.")


@contextmanager
def made(method: str | None, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Gives the options with which Inseq makes a method, and replaces what it would download or leave behind."""
    with ExitStack() as held:
        if method == "reagent":
            # Inseq's own sampler downloads a part-of-speech tagger.
            held.enter_context(patch.object(reagent_parts, "POSTagTokenSampler", lambda **_: _Sampler()))
        if method == "discretized_integrated_gradients" and "cache_dir" not in options:
            # Inseq's own cache is a pickle under the model's name alone, which may be another model's, or "".
            options = {**options, "cache_dir": Path(held.enter_context(TemporaryDirectory()))}
        yield options


@contextmanager
def held_for(model: Any, lm: LanguageModel, method: FeatureAttribution) -> Iterator[None]:
    """Has the model hand out what a method reads, for the length of a call."""
    name, trace = method.method_name, sys.gettrace()
    with ExitStack() as held:
        if name == "attention":
            held.enter_context(eager_attention(lm.model))
        if name == "value_zeroing":
            held.callback(sys.settrace, trace)  # it traces the forward, and stays there on an error
            if not model.is_encoder_decoder:
                held.enter_context(block_tuples(model))
        if name == "layer_gradient_x_activation":
            hook = lm.embedding.register_forward_hook(_with_gradient)
            held.callback(hook.remove)
        if name == "reagent":
            held.enter_context(_sampling(lm, method))
        yield


def _with_gradient(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    """Begins the graph at the embeddings, since parameters are frozen."""
    return output.requires_grad_() if torch.is_grad_enabled() else output


class _Sampler:
    """What replaces tokens in ReAGent: the model's own likeliest at their place, for the sequence at hand."""

    def __init__(self) -> None:
        self.of_sequence: Any = None

    def __call__(self, batch: Tensor) -> Tensor:
        replaced: Tensor = self.of_sequence(batch)
        return replaced


@contextmanager
def _sampling(lm: LanguageModel, method: FeatureAttribution) -> Iterator[None]:
    """Tells the sampler which sequence is attributed."""
    sampler = method.method.rationalizer.importance_score_evaluator.token_replacer.sampler
    own = method.attribute

    def attribute(batch: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(sampler, _Sampler):
            ids = batch.input_ids[0].tolist()
            rows, features = torch.ones(1, 1, dtype=torch.bool), torch.arange(len(ids) - 1)
            scorer = Scorer(lm, ids[:-1], ids[-1:], find_objective("prob"), rows, features, None, Batches(1))
            sampler.of_sequence = plausible_tokens(scorer)
        return own(batch, *args, **kwargs)

    method.attribute = attribute
    try:
        yield
    finally:
        method.attribute = own
