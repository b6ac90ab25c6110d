"""Bytes that a method's forwards and backwards hold beside the weights: run on the meta device and counted."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spanwise.errors import at_least
from spanwise.methods import MethodInfo
from spanwise.model.attentions import eager_attention
from spanwise.model.device_maps import device_of
from spanwise.model.forward import forward
from spanwise.model.language_model import LanguageModel
from spanwise.model.meta import meta_model
from spanwise.model.planning.ledger import Kernels, Ledger, Place, following
from spanwise.model.planning.weights import quantized_layers

_FEW_BLOCKS = (2, 4)
"""Blocks of the two short models from which the memory of the whole is extended."""


@dataclass(frozen=True)
class Pass:
    """One batch through the model, as far as its memory depends on it.

    Attributes:
        length: Positions that the model reads.
        logits: Last positions that get logits.
        gradients: Whether a backward follows.
        rows: Rows that each get a backward.
        per_position: Gradients come back at every embedding, [batch, row, source, hidden], not summed up.
        attention: Attention weights come back from every layer.
        encoder_length: Where the decoder's part begins; 0 for a causal model.
    """

    length: int
    logits: int
    gradients: bool
    rows: int = 1
    per_position: bool = False
    attention: bool = False
    encoder_length: int = 0


def pass_of(
    info: MethodInfo, engine: str, prompt_tokens: int, target_tokens: int, rows: int, *, is_encoder_decoder: bool
) -> Pass:
    """Returns what a method's batches are like.

    Args:
        info: The method.
        engine: Inseq makes logits of every position, and goes from target token to target token.
        prompt_tokens: Of the prompt.
        target_tokens: Of the target; the last one is never an input.
        rows: Of the result.
        is_encoder_decoder: The encoder reads the prompt; the decoder begins with a token of its own.
    """
    length = prompt_tokens + target_tokens - (0 if is_encoder_decoder else 1)
    attention = info.family == "attention"
    return Pass(
        length,
        1 if attention and engine != "inseq" else length if engine == "inseq" else target_tokens,
        gradients=info.family == "gradient",
        rows=1 if engine == "inseq" else rows,
        per_position=engine == "inseq" or info.name not in ("integrated_gradients",),
        attention=attention or info.name == "value_zeroing",
        encoder_length=prompt_tokens if is_encoder_decoder else 0,
    )


@dataclass(frozen=True)
class Setting:
    """How the model is there.

    Attributes:
        quantization: "nf4", "fp4", "int8" or None.
        compute_dtype: In which 4-bit layers multiply.
        on_gpu: Whether it runs on GPUs.
    """

    quantization: str | None
    compute_dtype: torch.dtype
    on_gpu: bool


def peak_activations(
    shape: Any, one_pass: Pass, batch: int, setting: Setting, device_map: Mapping[str, Place] | None = None
) -> dict[Place, int]:
    """Returns the most bytes held beside the weights, by device, by running the pass on the meta device.

    Args:
        shape: The model on the meta device, in the type of its activations.
        one_pass: What is run.
        batch: Sequences.
        setting: How the model will be there.
        device_map: Where its modules will run; None: all in one place, called "".
    """
    placed = dict(device_map or {"": ""})
    lm = LanguageModel(shape, _no_tokenizer, name="meta")
    layers = quantized_layers(shape) if setting.quantization else {}
    weights = {id(each.weight): each.weight for each in layers.values()}
    ledger = Ledger(shape, lambda name: _known(device_of(name, placed)))
    shape.requires_grad_(False)
    shape.eval()
    kernels = Kernels(weights, setting.quantization, setting.compute_dtype, setting.on_gpu)  # type: ignore[arg-type]
    with following(shape, ledger, placed), ledger, kernels, torch.set_grad_enabled(one_pass.gradients):
        if one_pass.attention:
            _attentions(lm, one_pass, batch)
        else:
            _scores(lm, one_pass, batch, ledger)
    return dict(ledger.peak)


def bytes_per_sequence(
    model: Any, length: int, target_tokens: int, *, gradients: bool, rows: int = 1, per_position: bool = False
) -> int:
    """Returns the bytes that one more sequence in a batch holds beside the weights, on all devices together.

    Takes well under a second for a model of any size: two models of a few blocks are run, on the meta device.

    Args:
        model: A `LanguageModel`.
        length: Positions that the model reads.
        target_tokens: Last positions that get logits.
        gradients: Whether a backward follows.
        rows: Rows that each get a backward.
        per_position: Gradients come back at every embedding, not summed up.
    """
    at_least("length", length, 1)
    one_pass = Pass(length, at_least("target_tokens", target_tokens, 1), gradients, rows, per_position)
    if model.is_encoder_decoder:
        one_pass = replace(one_pass, encoder_length=max(1, length - target_tokens))
    setting = setting_of(model)
    config = plain_config(model.model.config, model.dtype)
    blocks = getattr(config.get_text_config(), "num_hidden_layers", None)

    def one_more(shape: Any) -> int:
        one, two = (sum(peak_activations(shape, one_pass, batch, setting).values()) for batch in (1, 2))
        return two - one

    if model.is_encoder_decoder or blocks is None or blocks <= _FEW_BLOCKS[1]:
        return one_more(meta_model(config))
    few, more = (one_more(meta_model(_shortened(config, count))) for count in _FEW_BLOCKS)
    return few + (blocks - _FEW_BLOCKS[0]) * (more - few) // (_FEW_BLOCKS[1] - _FEW_BLOCKS[0])


def setting_of(model: LanguageModel) -> Setting:
    """Returns how a loaded model is there."""
    kind = model.quantization if model.quantization in ("nf4", "fp4", "int8") else None
    named = str(model.compute_dtype).removeprefix("torch.")
    compute = getattr(torch, named) if kind in ("nf4", "fp4") and model.compute_dtype else model.dtype
    return Setting(kind, compute, model.device.type == "cuda")


def plain_config(config: Any, dtype: torch.dtype) -> Any:
    """Returns a copy of a model's config for the meta device: of one type, not quantized, attention as torch has it."""
    found = copy.deepcopy(config)
    for each in (found, found.get_text_config()):
        if getattr(each, "quantization_config", None) is not None:
            del each.quantization_config
        each.dtype = dtype
        if getattr(each, "_attn_implementation_internal", None) not in (None, "eager", "sdpa"):
            each._attn_implementation_internal = "sdpa"  # other fused kernels hold what this one does
    return found


def _shortened(config: Any, blocks: int) -> Any:
    found = copy.deepcopy(config)
    found.get_text_config().num_hidden_layers = blocks
    return found


def _scores(lm: LanguageModel, one_pass: Pass, batch: int, ledger: Ledger) -> None:
    """The scorer's forward and its backwards, line by line as far as memory goes."""
    inputs, embedded = _embedded(lm, one_pass, batch)
    ids = _ids(one_pass, batch)
    outputs, below_head = forward(lm, ids, one_pass.logits, embeddings=embedded, encoder_length=one_pass.encoder_length)
    del embedded
    values = _log_prob(outputs.logits)
    del outputs
    if not one_pass.gradients:
        return
    ledger.backward = True
    top, of_target = values, torch.ones_like(values)
    if below_head is not None:
        top = below_head
        of_target = torch.autograd.grad(values.sum(), below_head, retain_graph=True)[0]
    found = []
    for row in range(one_pass.rows):
        last = row == one_pass.rows - 1
        found.append(torch.autograd.grad(top, inputs, of_target * 1.0, retain_graph=not last)[0])
    torch.stack(found, dim=1)


def _embedded(lm: LanguageModel, one_pass: Pass, batch: int) -> tuple[Tensor, Tensor]:
    """Returns what gradients are taken at, and the embeddings made of it."""
    own = torch.empty(one_pass.length, lm.hidden_size, device="meta")  # float32, as the scorer holds them
    if one_pass.per_position:
        inputs = torch.empty(batch, *own.shape, device="meta", requires_grad=one_pass.gradients)
        there = torch.ones(one_pass.length, 1, dtype=torch.bool, device="meta")
        return inputs, torch.where(there, inputs, own)
    inputs = torch.empty(batch, one_pass.length, device="meta", requires_grad=one_pass.gradients)
    return inputs, torch.lerp(torch.empty_like(own), own, inputs.unsqueeze(-1))


def _log_prob(logits: Tensor) -> Tensor:
    index = torch.zeros(logits.shape[1], dtype=torch.long, device="meta").expand(len(logits), -1).unsqueeze(-1)
    return logits.gather(-1, index).squeeze(-1).float() - torch.logsumexp(logits.float(), dim=-1)


def _attentions(lm: LanguageModel, one_pass: Pass, batch: int) -> None:
    with eager_attention(lm.model), torch.no_grad():
        ids = _ids(one_pass, batch)
        forward(lm, ids, one_pass.logits, encoder_length=one_pass.encoder_length, output_attentions=True)


def _ids(one_pass: Pass, batch: int) -> Tensor:
    return torch.zeros(1, one_pass.length, dtype=torch.long, device="meta").expand(batch, -1)


def _known(place: Place | None) -> Place:
    return "" if place is None else place


def _no_tokenizer(*args: Any) -> None:
    raise AssertionError("a plan needs no tokenizer")
