"""Measure a tiny model against the ground truth: is what was planted what it uses?

Hardware: one CPU core. Time: under a minute. Expect: every cell of the table above 0.95.

    python recipes/evaluate_tiny_model.py        # the bundled one; or a folder
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import spanwise
from spanwise.evaluation.planted.ground_truth import FAMILIES, Example, ground_truth

PROMPT = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"


@torch.no_grad()
def says(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    prompts: Sequence[str] | None = None,
    spans: Sequence[str] | None = None,
    chat: bool = False,
) -> list[bool]:
    """Return whether the model's first choice is the span, at each of its tokens, given the target before it.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        examples: Where the prompts, targets and spans come from.
        prompts: Other prompts, one for each example.
        spans: Other spans, put in the place of the examples' own.
        chat: Whether the prompt is a user's message and the target the assistant's.
    """
    verdicts: list[bool] = []
    prompts, spans = prompts or [e.prompt for e in examples], spans or [e.span for e in examples]
    rows = list(zip(examples, prompts, spans, strict=True))
    for start in range(0, len(rows), 100):
        texts, ranges = [], []
        for example, prompt, span in rows[start : start + 100]:
            if chat:
                messages = [{"role": "user", "content": prompt}]
                prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            before = prompt + example.target[: example.span_range[0]]
            texts.append(before + span + example.target[example.span_range[1] :])
            ranges.append((len(before), len(before) + len(span)))
        batch = tokenizer(texts, return_tensors="pt", padding=True, return_offsets_mapping=True)
        choices = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.argmax(-1)
        for ids, choice, offsets, (first, last) in zip(
            batch["input_ids"], choices, batch["offset_mapping"].tolist(), ranges, strict=True
        ):
            inside = [i for i, (left, right) in enumerate(offsets) if left < last and right > first]
            verdicts.append(all(ids[i] == choice[i - 1] for i in inside))
    return verdicts


def wilson(right: int, total: int) -> str:
    """Return a share and its 95 % Wilson interval as text."""
    z, share = 1.96, right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return f"{share:.3f} [{middle - half:.3f}, {middle + half:.3f}]"


def evaluate(folder: str | Path, per_family: int) -> None:
    """Print the accuracy table, the effect of swapping words, and what the model says of Michael."""
    examples = {name: ground_truth(name, per_family=per_family, seed=1) for name in FAMILIES}
    print(f"Held-out accuracy and its 95 % interval, {per_family} prompts a family")
    print(f"{'':22}" + "".join(f"{name:23}" for name in FAMILIES))
    for precision in ("nf4", "float32"):
        lm = spanwise.load_model(folder, quantization="nf4" if precision == "nf4" else None)
        model, tokenizer = lm.model, lm.tokenizer
        for chat in (False, True):
            cells = [says(model, tokenizer, examples[name], chat=chat) for name in FAMILIES]
            row = f"{precision}, {'chat' if chat else 'plain'}"
            print(f"{row:22}" + "".join(f"{wilson(sum(cell), len(cell)):23}" for cell in cells))
    print("\nShare of word swaps that change the answer (float32, plain; prompts answered rightly)")
    for name in FAMILIES:
        print(f"{name:12}" + swap_shares(model, tokenizer, examples[name]))
    inputs = tokenizer(PROMPT, return_tensors="pt")
    written = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
    print(f"\n{PROMPT!r} ->\n{tokenizer.decode(written)!r}")


def swap_shares(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> str:
    """Return, as text, how often swapping a cause or another word changes the answer, and how often as planted."""
    right = [e for e, good in zip(examples, says(model, tokenizer, examples), strict=True) if good]
    shares = []
    for is_cause in (True, False):
        pairs = [(e, swap) for e in right for swap in e.swaps if swap.is_cause is is_cause]
        if not pairs:
            continue
        originals, prompts = [e for e, _ in pairs], [swap.prompt for _, swap in pairs]
        same = says(model, tokenizer, originals, prompts=prompts)
        planted = says(model, tokenizer, originals, prompts=prompts, spans=[swap.span for _, swap in pairs])
        label = "a cause" if is_cause else "another word"
        shares.append(f"{label} {1 - sum(same) / len(pairs):.3f} (as planted {sum(planted) / len(pairs):.3f})")
    return "; ".join(shares)


def main(given: Sequence[str] | None = None) -> None:
    """Evaluate the bundled model, or the one in a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default="tiny", help="of the model; default: the bundled one")
    parser.add_argument("--quick", action="store_true", help="10 prompts a family instead of 500")
    asked = parser.parse_args(given)
    torch.set_num_threads(1)
    evaluate(asked.folder, per_family=10 if asked.quick else 500)


if __name__ == "__main__":
    main()
