"""Tiny random models of real architectures, and a tokenizer, made in code."""

from collections.abc import Iterator
from functools import cache

import jaxtyping
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer

import spanwise

torch.set_num_threads(1)  # the models are tiny: a second thread costs more than it brings

CORPUS = [
    "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys painting, traveling.",
    "The keys to the cabinet are on the table. 12 + 3 is 15. France, Paris, and different countries.",
    "日本語 naïve café 😀 👩‍👩‍👧 <unk> émigré",
] * 4


@cache
def make_tokenizer(bos: bool = False, vocab_size: int = 384) -> transformers.PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<unk>", "<pad>", "<s>", "</s>"]
    trainer = BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


SHAPE = {
    "vocab_size": 384,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.1,  # larger than usual, so that the output depends on the input
    "bos_token_id": 2,
    "eos_token_id": 3,
    "pad_token_id": 1,
}
GPT2_SHAPE = {"vocab_size": 384, "n_positions": 128, "n_embd": 64, "n_layer": 2, "n_head": 4, "initializer_range": 0.1}
HEAD = {"head_dim": 16}
GEMMA = {**HEAD, "sliding_window": 16}

_SIDE = {"layers": 2, "attention_heads": 4, "ffn_dim": 128}

ARCHITECTURES = {
    "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SHAPE)),
    "qwen3": lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SHAPE, **HEAD)),
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE)),
    "mistral": lambda: transformers.MistralForCausalLM(transformers.MistralConfig(**SHAPE, **HEAD, sliding_window=16)),
    "gemma2": lambda: transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**SHAPE, **GEMMA)),
    "gemma3": lambda: transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(**SHAPE, **GEMMA)),
    "phi3": lambda: transformers.Phi3ForCausalLM(transformers.Phi3Config(**SHAPE)),
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(**GPT2_SHAPE, bos_token_id=2, eos_token_id=3, pad_token_id=1)
    ),
}

PAIR_SHAPE = {"vocab_size": 384, "d_model": 64, "decoder_start_token_id": 1, "pad_token_id": 1, "eos_token_id": 3}
BART_SHAPE = {
    **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in _SIDE.items()},
    "max_position_embeddings": 128,
    "bos_token_id": 2,
    "init_std": 0.1,
    "forced_eos_token_id": None,
}
ENCODER_DECODERS = {
    "t5": lambda: transformers.T5ForConditionalGeneration(
        transformers.T5Config(**PAIR_SHAPE, d_ff=128, d_kv=16, num_heads=4, num_layers=2)
    ),
    "bart": lambda: transformers.BartForConditionalGeneration(transformers.BartConfig(**PAIR_SHAPE, **BART_SHAPE)),
    "marian": lambda: transformers.MarianMTModel(
        transformers.MarianConfig(**PAIR_SHAPE, **BART_SHAPE, scale_embedding=True)
    ),
}


@cache
def make_model(architecture: str, seed: int = 0) -> transformers.PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return (ARCHITECTURES | ENCODER_DECODERS)[architecture]().eval()


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Switches the type checks of the tests off, so that bad input reaches the checks that users meet."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(params=sorted(ARCHITECTURES))
def any_lm(request: pytest.FixtureRequest) -> spanwise.LanguageModel:
    return spanwise.LanguageModel(make_model(request.param), make_tokenizer(), name=request.param)


@pytest.fixture
def lm() -> spanwise.LanguageModel:
    return spanwise.LanguageModel(make_model("qwen2"), make_tokenizer(), name="qwen2")


FEW = {"n_steps": 6, "n_samples": 8, "num_probes": 2, "max_probe_steps": 20, "stopping_condition_top_k": 384}
"""Enough to see promises kept; ReAGent stops where the target is among the vocabulary's likeliest 384 of 384."""


def few(method: str) -> dict[str, int]:
    """The method's own options that make it short."""
    from spanwise.methods import find_method

    return {name: FEW[name] for name in find_method(method).options if name in FEW}


PROMPT = "Michael works in Austin, Texas. In his free time, he enjoys"
TARGET = " painting, traveling to different countries."
