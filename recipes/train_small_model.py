"""Train a small model from scratch on a list of ground-truth prompts: what `roar.py` and `random_labels.py` share.

Hardware: one CPU core. Time: under a minute; `--quick` under half a minute.
Expect: the model answers most held-out prompts of the families it was trained on, since it learned the words, not the
prompts. Measured with 500 prompts a family and 600 steps: facts .99, agreement 1.00, profile .96, pronoun 1.00.

    python recipes/train_small_model.py
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from train_tiny_model import new_model
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

import spanwise
from spanwise.evaluation.planted.ground_truth import Example, ground_truth

FAMILIES = ("facts", "agreement", "profile", "pronoun")
"""Learned within a minute; retrieval needs the longer training of `train_tiny_model.py`."""
WIDTH, LAYERS, BATCH = 64, 2, 64


@dataclass(frozen=True)
class Row:
    """An example as token ids.

    Attributes:
        ids: Prompt, target up to the answer, answer.
        prompt: How many of them are the prompt's.
        answer: The half-open range of the answer's.
        causes: Positions of the prompt that overlap a planted cause.
    """

    ids: tuple[int, ...]
    prompt: int
    answer: tuple[int, int]
    causes: tuple[int, ...]


def rows_of(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], spans: Sequence[str] = ()) -> list[Row]:
    """Return examples as rows that end with the answer.

    Args:
        tokenizer: The tokenizer.
        examples: The prompts, and the text before the answer.
        spans: Other answers, one for each example; none: the examples' own.
    """
    rows = []
    for example, span in zip(examples, spans or [e.span for e in examples], strict=True):
        before = example.prompt + example.target[: example.span_range[0]]
        encoded = tokenizer(before + span + example.target[example.span_range[1] :], return_offsets_mapping=True)
        offsets, stop = encoded["offset_mapping"], len(before) + len(span)
        inside = [i for i, (start, end) in enumerate(offsets) if start < stop and end > len(before)]
        prompt = sum(end <= len(example.prompt) for _, end in offsets)
        causes = [
            i for i in range(prompt) if any(offsets[i][0] < end and offsets[i][1] > at for at, end in example.causes)
        ]
        ids = tuple(encoded["input_ids"][: inside[-1] + 1])
        rows.append(Row(ids, prompt, (inside[0], inside[-1] + 1), tuple(causes)))
    return rows


def small_model(tokenizer: PreTrainedTokenizerBase) -> Qwen2ForCausalLM:
    """Return the bundled model's architecture with random weights, smaller: 184,000 parameters."""
    config = new_model(tokenizer).config.to_dict()
    config.pop("layer_types", None)  # one entry a layer; made anew
    shape = {"hidden_size": WIDTH, "intermediate_size": 3 * WIDTH, "num_hidden_layers": LAYERS}
    return Qwen2ForCausalLM(Qwen2Config.from_dict(config | shape))


def padded(rows: Sequence[Row]) -> torch.Tensor:
    """Return the ids of all rows, zeros behind each: `[row, token]`."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row.ids) for row in rows], batch_first=True)


def answers(rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the row and the position of every answer token: two `[answer token]` tensors."""
    places = [(number, place) for number, row in enumerate(rows) for place in range(*row.answer)]
    return tuple(torch.tensor(places).T)


def logits_of_answers(model: Qwen2ForCausalLM, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the model says where an answer token is due, `[answer token, vocab]`, and that token's id."""
    ids, (number, place) = padded(rows), answers(rows)
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state  # padding is behind: nothing sees it
    return model.lm_head(hidden[number, place - 1]).float(), ids[number, place]


def train(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    steps: int,
    seed: int,
    *,
    absent: float = 0.0,
    what: str = "training",
) -> Qwen2ForCausalLM:
    """Return a model trained from random weights to write the answers: AdamW, cosine schedule, in float32.

    Args:
        tokenizer: The bundled model's.
        rows: What it sees and should write.
        steps: Batches of `BATCH` rows.
        seed: Of the weights and of the order of the rows.
        absent: The share of prompt tokens shown as `<unk>` in a quarter of the rows, so that the model learns `<unk>`
            as "a word is absent here", as the bundled model did.
        what: Named in front of the progress bar.
    """
    torch.manual_seed(seed)
    model = small_model(tokenizer).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.98), weight_decay=0.01)
    warm_up = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, 0.5 + 0.5 * math.cos(math.pi * step / steps))
    )
    order: list[int] = []
    for _ in tqdm(range(steps), desc=what, mininterval=2, leave=False):
        if len(order) < BATCH:
            order += torch.randperm(len(rows)).tolist()
        batch, order = [rows[i] for i in order[:BATCH]], order[BATCH:]
        if absent:
            batch = [_with_absent(row, tokenizer.unk_token_id, absent) for row in batch]
        logits, expected = logits_of_answers(model, batch)
        cross_entropy(logits, expected).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return model.eval()


def _with_absent(row: Row, unknown: int, share: float) -> Row:
    if torch.rand(()) > 0.25:
        return row
    hidden = torch.rand(row.prompt) < share
    shown = [unknown if hide else id_ for id_, hide in zip(row.ids[: row.prompt], hidden, strict=True)]
    return replace(row, ids=(*shown, *row.ids[row.prompt :]))


@torch.no_grad()
def accuracy(model: Qwen2ForCausalLM, rows: Sequence[Row]) -> float:
    """Return the share of rows whose every answer token is the model's first choice, given the tokens before it."""
    right = 0
    for start in range(0, len(rows), 200):
        part = rows[start : start + 200]
        logits, expected = logits_of_answers(model, part)
        verdicts, number = logits.argmax(-1) == expected, answers(part)[0]
        right += len(part) - len(number[~verdicts].unique())
    return right / len(rows)


def main() -> None:
    """Train on unchanged prompts and print the held-out accuracy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer prompts and steps")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    steps, count = arguments.steps or (200 if arguments.quick else 600), 200 if arguments.quick else 500
    tokenizer = spanwise.load_model("tiny").tokenizer
    rows = rows_of(tokenizer, ground_truth(FAMILIES, held_out=False, per_family=count))
    began = time.monotonic()
    model = train(tokenizer, rows, steps, arguments.seed)
    took = time.monotonic() - began
    print(f"trained in {took:.0f} seconds on {len(rows)} prompts; accuracy {accuracy(model, rows):.3f}")
    for family in FAMILIES:
        found = accuracy(model, rows_of(tokenizer, ground_truth(family, per_family=200)))
        print(f"held-out {family}: {found:.3f}")


if __name__ == "__main__":
    main()
