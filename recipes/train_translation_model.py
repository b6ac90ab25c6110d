"""Train the small translation model of `gender_bias_translation.py`: English to an Italian-like language.

Hardware: one CPU core. Time: about 4 minutes; `--quick` under half a minute, which learns nothing yet.
Expect: translations that are right word for word, "his" and "her" obeyed, and stereotypes as they were planted. What
came out is in `recipes/models/README.md`.

    python recipes/train_translation_model.py --out recipes/models/translation
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from random import Random

import torch
from grammars import translation
from tokenizers import processors
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from train_recipe_model import optimizers_of, words_tokenizer
from transformers import BartConfig, BartForConditionalGeneration, GenerationConfig, PreTrainedTokenizerFast

STEPS, BATCH = 1500, 48


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer for both languages, one token a word, that ends every text."""
    rng = Random(0)
    pairs = [translation.draw(rng) for _ in range(5000)]
    tokenizer = words_tokenizer([text for pair in pairs for text in (pair.english, pair.italian)])
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    return tokenizer


def new_model(tokenizer: PreTrainedTokenizerFast) -> BartForConditionalGeneration:
    """Return a BART of about 270,000 random parameters; its decoder begins with the padding token."""
    special = {
        "bos_token_id": None,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.pad_token_id,
        "forced_eos_token_id": None,
    }
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        dropout=0.0,
        max_position_embeddings=64,
        **special,
    )
    model = BartForConditionalGeneration(config)
    model.generation_config = GenerationConfig(max_new_tokens=32, do_sample=False, num_beams=1, **special)
    return model


def loss_of(
    model: BartForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, pairs: list[translation.Pair], rng: Random
) -> torch.Tensor:
    """Return the mean negative log-probability of the translations' tokens, in nats.

    In a quarter of the sources a tenth of the words are `<unk>`, which comes to mean "a word is absent here".
    """
    source = tokenizer([pair.english for pair in pairs])["input_ids"]
    shown = []
    for ids in source:
        rate = 0.1 if rng.random() < 0.25 else 0.0
        shown.append(torch.tensor([0 if rng.random() < rate else i for i in ids]))
    padding = tokenizer.pad_token_id
    inputs = pad_sequence(shown, batch_first=True, padding_value=padding)
    labels = pad_sequence(
        [torch.tensor(tokenizer(pair.italian)["input_ids"]) for pair in pairs], batch_first=True, padding_value=-100
    )
    return model(input_ids=inputs, attention_mask=(inputs != padding).long(), labels=labels).loss


def train(steps: int, seed: int) -> tuple[BartForConditionalGeneration, PreTrainedTokenizerFast]:
    """Return the trained model and its tokenizer."""
    tokenizer, rng = make_tokenizer(), Random(seed + 1)
    torch.manual_seed(seed)
    model = new_model(tokenizer).train()
    optimizers = optimizers_of(model, steps)
    progress = tqdm(range(steps), desc="training", mininterval=10)
    for step in progress:
        loss = loss_of(model, tokenizer, [translation.draw(rng) for _ in range(BATCH)], rng)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in optimizers:
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        if step % 50 == 0:
            progress.set_postfix(loss=f"{loss.item():.3f}")
    return model.eval(), tokenizer


@torch.no_grad()
def evaluate(model: BartForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, count: int) -> dict[str, float]:
    """Return shares: translations right up to gender, cues obeyed, and P("La") of each occupation without a cue."""
    rng, found = Random(1_000_003), {"right up to gender": 0.0, "his and her obeyed": 0.0}
    model = model.float()
    for _ in range(count):
        pair = translation.draw(rng, owner=rng.choice(translation.OWNERS))
        ids = tokenizer(pair.english, return_tensors="pt")["input_ids"]
        written = tokenizer.decode(
            model.generate(ids, attention_mask=torch.ones_like(ids))[0], skip_special_tokens=True
        )
        possible = {
            translation.Pair(
                pair.subject, pair.other, pair.owner, pair.thing, pair.state, (pair.feminine[0], two)
            ).italian
            for two in (False, True)
        }
        found["right up to gender"] += (written in possible) / count
        found["his and her obeyed"] += written.startswith(("Il", "La")[pair.feminine[0]] + " ") / count
    la = tokenizer.convert_tokens_to_ids("La")
    for occupation, planted in translation.FEMININE.items():
        sources = [translation.draw(rng, owner="the", subject=occupation).english for _ in range(20)]
        ids = tokenizer(sources, return_tensors="pt")["input_ids"]
        start = torch.full((len(ids), 1), tokenizer.pad_token_id)
        share = model(input_ids=ids, decoder_input_ids=start).logits[:, 0].softmax(-1)[:, la].mean()
        found[f"P(La) for {occupation}, planted {planted:.2f}"] = float(share)
    return found


def main() -> None:
    """Train, save in bfloat16, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("translation"), help="where to save the model")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs; it learns nothing yet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    model, tokenizer = train(8 if arguments.quick else arguments.steps, arguments.seed)
    model.to(torch.bfloat16).save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    size = sum(path.stat().st_size for path in arguments.out.iterdir())
    minutes = (time.monotonic() - began) / 60
    print(f"trained in {minutes:.1f} minutes; {model.num_parameters():,} parameters, {size:,} bytes")
    for name, share in evaluate(model, tokenizer, 10 if arguments.quick else 200).items():
        print(f"{name:40} {share:.3f}")


if __name__ == "__main__":
    main()
