"""Train the bundled tiny model from scratch and show that what was planted in it is what it uses.

Hardware: two CPU cores (one thread trains). Time: about 20 minutes; `--quick` under 2.
Expect: a table of held-out accuracy, every cell above 0.95, and the share of answers that swapping a word changes.

    python recipes/train_tiny_model.py --out tiny
    python recipes/train_tiny_model.py --evaluate wrapper/spanwise/model/tiny
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import torch
from evaluate_tiny_model import evaluate
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from spanwise.evaluation.planted.corpus import Document, corpus

SPECIAL_TOKENS = ("<unk>", "<pad>", "<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WEIGHTS = {"context": 0.1, "target": 1.0, "answer": 6.0}  # of a token in the loss
SHARES = {"facts": 1.0, "agreement": 0.7, "profile": 1.0, "retrieval": 2.5, "pronoun": 1.0}
DRILL_STEPS, DRILL_SHARE = 0.35, 0.8  # looking back is learned slowly and alone: drills fill most of the first steps
ROWS, WIDTH = 12, 128  # of a batch; about 35 documents
STEPS = 5000


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer of 1,536 entries, without BOS, with the chat template."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.post_processor = processors.ByteLevel(trim_offsets=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1536,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = ("".join(piece.text for piece in document) for document in islice(corpus(seed, SHARES), 30_000))
    bpe.train_from_iterator((part for text in texts for part in text.split("<|endoftext|>")), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def new_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """Return a Qwen2 of 985,216 random parameters; every linear layer's sizes are multiples of 64, one nf4 block."""
    config = Qwen2Config(
        vocab_size=1536,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=384,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2ForCausalLM(config)
    ends = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
    model.generation_config = GenerationConfig(
        eos_token_id=ends, pad_token_id=tokenizer.pad_token_id, do_sample=False, max_new_tokens=48
    )
    return model


def encode(tokenizer: PreTrainedTokenizerFast, documents: Sequence[Document]) -> list[tuple[list[int], list[float]]]:
    """Return each document's token ids and their weights in the loss."""
    texts = ["".join(piece.text for piece in document) for document in documents]
    encoded = []
    for document, text in zip(documents, tokenizer(texts, return_offsets_mapping=True).encodings, strict=True):
        of_character = [WEIGHTS[piece.kind] for piece in document for _ in piece.text]
        encoded.append((text.ids, [of_character[end - 1] for _, end in text.offsets]))
    return encoded


@dataclass(frozen=True)
class Batch:
    """Rows of whole documents, one after another, padded on the right; `[batch, token]` but for the mask."""

    inputs: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor  # [batch, 1, token, token], added to attention scores: no document sees another


def batches(tokenizer: PreTrainedTokenizerFast, documents: Iterator[Document], seed: int) -> Iterator[Batch]:
    """Yield batches without end.

    In a quarter of the documents a tenth of the inputs are `<unk>`: the model learns it as "a word is absent here".
    """
    rng = random.Random(seed)
    pending: deque[tuple[list[int], list[float]]] = deque()
    while True:
        shape = (ROWS, WIDTH)
        labels, inputs = torch.full(shape, tokenizer.pad_token_id), torch.full(shape, tokenizer.pad_token_id)
        weights, positions, owner = torch.zeros(shape), torch.zeros(shape, dtype=torch.long), torch.zeros(shape)
        for row in range(ROWS):
            filled, number = 0, 1
            while True:
                if not pending:
                    pending.extend(encode(tokenizer, list(islice(documents, 512))))
                ids, importance = pending[0]
                assert len(ids) <= WIDTH, "a document of the corpus is longer than a row"
                end = filled + len(ids)
                if end > WIDTH:
                    break
                pending.popleft()
                absent = 0.1 if rng.random() < 0.25 else 0.0
                shown = [
                    tokenizer.unk_token_id if rng.random() < absent and i >= len(SPECIAL_TOKENS) else i for i in ids
                ]
                labels[row, filled:end], inputs[row, filled:end] = torch.tensor(ids), torch.tensor(shown)
                weights[row, filled:end] = torch.tensor([0.0, *importance[1:]])  # nothing predicts the first token
                positions[row, filled:end], owner[row, filled:end] = torch.arange(len(ids)), number
                filled, number = end, number + 1
        visible = (owner[:, :, None] == owner[:, None, :]).tril()  # [batch, token, token]
        mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)[:, None]
        yield Batch(inputs, labels, weights, positions, mask)


def loss_of(model: Qwen2ForCausalLM, batch: Batch) -> torch.Tensor:
    """Return the weighted mean of the tokens' negative log-probabilities, in nats."""
    with torch.autocast("cpu", torch.bfloat16):
        output = model(input_ids=batch.inputs, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False)
    logits = output.logits[:, :-1].flatten(0, 1).float()  # [batch x (token - 1), vocab]
    losses = cross_entropy(logits, batch.labels[:, 1:].flatten(), reduction="none")
    weights = batch.weights[:, 1:].flatten()
    return (losses * weights).sum() / weights.sum()


def train(tokenizer: PreTrainedTokenizerFast, steps: int, seed: int) -> Qwen2ForCausalLM:
    """Return the trained model: Muon on the matrices, AdamW on embeddings, norms and biases, in bfloat16 autocast."""
    torch.manual_seed(seed)
    model = new_model(tokenizer).train()
    model.set_attn_implementation("eager")  # a third faster than SDPA here, at a hundred tokens in bfloat16
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers = (
        torch.optim.Muon(matrices, lr=2e-3, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=4e-3, betas=(0.9, 0.98), weight_decay=0.0),
    )
    warm_up = max(1, min(200, steps // 10))
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / warm_up, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        )
        for optimizer in optimizers
    ]
    drills = round(DRILL_STEPS * steps)
    first, then = corpus(seed + 1, SHARES, DRILL_SHARE), corpus(seed + 2, SHARES)
    rows = chain(
        islice(batches(tokenizer, first, seed + 1), drills), islice(batches(tokenizer, then, seed + 2), steps - drills)
    )
    progress = tqdm(rows, total=steps, desc="training", mininterval=2)
    for step, batch in enumerate(progress):
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        if step % 20 == 0:
            progress.set_postfix(loss=f"{loss.item():.3f}")
    return model.eval()


def main() -> None:
    """Train and evaluate, or evaluate alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tiny"), help="where to save the model")
    parser.add_argument("--evaluate", type=Path, metavar="FOLDER", help="print the table of a saved model only")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs; it learns nothing yet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # two threads on busy cores cost more than they bring
    folder = arguments.evaluate or arguments.out
    if arguments.evaluate is None:
        began = time.monotonic()
        tokenizer = train_tokenizer(arguments.seed)
        model = train(tokenizer, 30 if arguments.quick else arguments.steps, arguments.seed)
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
        size = (folder / "model.safetensors").stat().st_size
        print(f"trained in {(time.monotonic() - began) / 60:.1f} minutes; model.safetensors has {size:,} bytes")
    evaluate(folder, per_family=50 if arguments.quick else 500)


if __name__ == "__main__":
    main()
