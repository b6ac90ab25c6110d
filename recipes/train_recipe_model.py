"""Train the small causal model of four recipes: agreement errors, two-meaning words, twelve notes, written reasoning.

Hardware: one CPU core. Time: about 15 minutes, 25 on a busy core; `--quick` under half a minute: it learns nothing yet.
Expect: a table of accuracy on texts that training did not see. What came out is in `recipes/models/README.md`.

    python recipes/train_recipe_model.py --out recipes/models/decoder
"""

from __future__ import annotations

import argparse
import math
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import torch
from grammars import ANSWER, CONTEXT, NAMES, Document, agreement, calls, notes, puns
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import GenerationConfig, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<unk>", "<pad>", "<|endoftext|>")
STEPS, LONG, SHORT = 3000, 5000, 1200  # batches, and characters in each
DRILLS, LATE = 0.22, 0.85  # of training: until the first most long documents are drills; from the second on, see below


def words_tokenizer(texts: Sequence[str], kept: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token a word (its space included), for the words of the texts.

    Args:
        texts: Every word that there is.
        kept: Tokens that are not cut.
    """
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found = {word for text in texts for word, _ in cut.pre_tokenize_str(text)}
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *sorted(found)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = cut, decoders.ByteLevel()
    tokenizer.add_tokens([token for token in kept if token not in vocabulary])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )


def drill(rng: Random) -> Document:
    """Return a list of words that is told twice: nothing to learn from it but to look back."""
    words = rng.sample((*NAMES, *notes.CITIES, *notes.DRINKS, *notes.GAMES), rng.randint(4, 16))
    once = "".join(f" {word}" for word in words)
    return [(f"{once}.", CONTEXT), (f" {words[0]}", CONTEXT), *((f" {word}", ANSWER) for word in words[1:])]


def long_document(rng: Random, progress: float) -> Document:
    """Return a drill, notes or calls; drills first, then more and more notes the further training is (0 to 1)."""
    if rng.random() < (0.7 if progress < DRILLS else 0.1):
        return drill(rng)
    most = 3 + round(9 * min(1.0, max(0.0, progress - DRILLS) / 0.3))
    count = most if rng.random() < 0.5 else rng.randint(2, most)
    if rng.random() < 0.6:
        return notes.document(rng, count)
    return calls.document(rng, min(count, 8), slips=0.33 if progress >= LATE else 0.0)


def short_document(rng: Random) -> Document:
    """Return a sentence with a verb or a story with a two-meaning word."""
    return agreement.document(rng) if rng.random() < 0.5 else puns.document(rng)


def new_model(tokenizer: PreTrainedTokenizerFast) -> MistralForCausalLM:
    """Return a Mistral of about half a million random parameters.

    Not a Qwen2: transformers 5 puts Qwen2's own cutting of words in place of a tokenizer's.
    """
    config = MistralConfig(
        vocab_size=64 * math.ceil(len(tokenizer) / 64),
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=256,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        sliding_window=None,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = MistralForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False, max_new_tokens=48
    )
    return model


def encode(tokenizer: PreTrainedTokenizerFast, document: Document) -> tuple[list[int], list[float]]:
    """Return a document's ids, its end included, and their weights in the loss."""
    encoded = tokenizer("".join(text for text, _ in document), return_offsets_mapping=True)
    weights = [weight for text, weight in document for _ in text]
    of_token = [weights[end - 1] for _, end in encoded["offset_mapping"]]
    return [*encoded["input_ids"], tokenizer.eos_token_id], [0.0, *of_token[1:], 1.0]


def absent(rng: Random, ids: list[int], late: bool) -> list[int]:
    """Return the ids, in a quarter of the texts (late, 40 % of short ones) some `<unk>`: words, or a run of up to 12.

    So `<unk>` means "nothing is known about this word", which attribution asks about.
    """
    shown, kind = list(ids), rng.random()
    if late and len(ids) < 30 and kind < 0.4:
        shown = [0 if rng.random() < 0.25 else i for i in ids]
    elif kind < 0.15:
        shown = [0 if rng.random() < 0.1 else i for i in ids]
    elif kind < 0.25:
        start = rng.randrange(len(ids))
        shown[start : start + 12] = [0] * len(shown[start : start + 12])
    return shown


def loss_of(
    model: MistralForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    documents: list[Document],
    rng: Random,
    late: bool,
) -> torch.Tensor:
    """Return the weighted mean of the tokens' negative log-probabilities, in nats."""
    rows = [encode(tokenizer, document) for document in documents]
    seen = [absent(rng, ids, late) for ids, _ in rows]
    shown = pad_sequence([torch.tensor(ids) for ids in seen], batch_first=True)  # padding is behind: nothing sees it
    labels = pad_sequence([torch.tensor(ids) for ids, _ in rows], batch_first=True)[:, 1:]
    weights = pad_sequence([torch.tensor(each) for _, each in rows], batch_first=True)[:, 1:]
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=shown, use_cache=False).logits[:, :-1]
    losses = cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none")
    return (losses * weights.flatten()).sum() / weights.sum()


def optimizers_of(model: torch.nn.Module, steps: int) -> list[tuple[torch.optim.Optimizer, object]]:
    """Return Muon for the matrices and AdamW for the rest, each with its schedule."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    both = (
        torch.optim.Muon(matrices, lr=3e-3, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=4e-3, betas=(0.9, 0.98), weight_decay=0.0),
    )
    warm_up = max(1, min(100, steps // 10))

    def rate(step: int) -> float:
        return min((step + 1) / warm_up, 0.5 + 0.5 * math.cos(math.pi * step / steps))

    return [(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)) for optimizer in both]


def batch(draw: Callable[[], Document], characters: int) -> list[Document]:
    """Return documents of about as many characters, padding included."""
    documents, longest = [], 0
    while not documents or (len(documents) + 1) * longest < characters:
        documents.append(draw())
        longest = max(longest, sum(len(text) for text, _ in documents[-1]))
    return documents


def train(steps: int, seed: int, start: Path | None = None) -> tuple[MistralForCausalLM, PreTrainedTokenizerFast]:
    """Return the trained model and its tokenizer.

    Args:
        steps: Of a batch of long documents and one of short ones.
        seed: Of weights and texts.
        start: A model to continue with, on the texts of the late part; None: from random weights.
    """
    rng = Random(seed)
    sample = [each for _ in range(4000) for each in (long_document(rng, 1.0), short_document(rng))]
    texts = ("".join(text for text, _ in document) for document in sample)
    tokenizer = words_tokenizer([re.sub("</?think>", "", text) for text in texts], _KEPT)
    torch.manual_seed(seed)
    model = new_model(tokenizer)
    if start is not None:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(start)
        model = MistralForCausalLM.from_pretrained(start, dtype=torch.float32)
    model.train()
    model.set_attn_implementation("eager")
    optimizers = optimizers_of(model, steps)
    progress = tqdm(range(steps), desc="training", mininterval=10)
    for step in progress:
        now = step / steps if start is None else 1.0
        long = batch(lambda now=now: long_document(rng, now), LONG)
        short = batch(lambda: short_document(rng), SHORT)
        losses = [loss_of(model, tokenizer, documents, rng, now >= LATE) for documents in (long, short)]
        for loss in losses:
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in optimizers:
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        if step % 50 == 0:
            progress.set_postfix(long=f"{losses[0].item():.3f}", short=f"{losses[1].item():.3f}")
    return model.eval(), tokenizer


_KEPT = ("<think>", "</think>")


@torch.no_grad()
def evaluate(model: MistralForCausalLM, tokenizer: PreTrainedTokenizerFast, count: int) -> dict[str, float]:
    """Return for each family the share of answers that are the model's first choice, given what is before them."""
    model = model.float().eval()
    rng = Random(1_000_003)
    families = {
        "notes, 12": lambda: notes.document(rng, 12),
        "calls, 6": lambda: calls.document(rng, 6),
        "two meanings": lambda: puns.document(rng),
    }
    found = {}
    for name, draw in families.items():
        right = total = 0
        for _ in range(count):
            ids, weights = encode(tokenizer, document := draw())
            best = model(torch.tensor([ids])).logits[0].argmax(-1).tolist()
            if name == "two meanings":
                story = "".join(text for text, _ in document)
                sense = next(s for s in puns.ENDINGS if any(story.endswith(f" {word}.") for word in s))
                right += tokenizer.decode([best[-4]]).strip() in sense
                total += 1
                continue
            places = [i for i, weight in enumerate(weights) if weight == 6.0]
            right += sum(best[i - 1] == ids[i] for i in places)
            total += len(places)
        found[name] = right / total
    return found | verbs(model, tokenizer, count, rng)


def verbs(model: MistralForCausalLM, tokenizer: PreTrainedTokenizerFast, count: int, rng: Random) -> dict[str, float]:
    """Return how often the right verb is more probable, over unseen sentences of three planted rates of error."""
    by_rate: dict[float, list[bool]] = {}
    ids = {number: tokenizer.convert_tokens_to_ids(f"Ġ{verb}") for number, verb in agreement.VERBS.items()}
    for _ in range(2 * count):
        sentence = agreement.draw(rng, held_out=True)
        logits = model(torch.tensor([tokenizer(sentence.prompt)["input_ids"]])).logits[0, -1]
        right = bool(logits[ids[sentence.number]] > logits[ids[agreement.OTHER[sentence.number]]])
        by_rate.setdefault(agreement.error_rate(sentence), []).append(right)
    return {f"verbs, {rate:.0%} wrong in training": sum(v) / len(v) for rate, v in sorted(by_rate.items())}


def main() -> None:
    """Train, save in bfloat16, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("decoder"), help="where to save the model")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs; it learns nothing yet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="continue with this model, on the late texts")
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    model, tokenizer = train(8 if arguments.quick else arguments.steps, arguments.seed, arguments.start)
    model.to(torch.bfloat16).save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    size = sum(path.stat().st_size for path in arguments.out.iterdir())
    minutes = (time.monotonic() - began) / 60
    print(f"trained in {minutes:.1f} minutes; {model.num_parameters():,} parameters, {size:,} bytes")
    for name, share in evaluate(model, tokenizer, 20 if arguments.quick else 200).items():
        print(f"{name:32} {share:.3f}")


if __name__ == "__main__":
    main()
