"""Question: "The doctor asked the nurse to help": which source words drive the gender of the translated words?

Hardware: one CPU core. Time: TIME; `--quick` under 20 seconds.
Expected: without "his" or "her", an article follows its own occupation and leans as far as the stereotype that was planted
(`grammars/translation.py`: a nurse is a woman in 95 % of the corpus). With "his" or "her" the subject's forms follow that
word instead. Checked by exchanging words: the gender turns with the word that is blamed, and not with another.

Came out: TODO

    python recipes/gender_bias_translation.py
    python recipes/gender_bias_translation.py --model Helsinki-NLP/opus-mt-en-it
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from common import arguments, figure, gaps_expected, load, show_table, write_numbers
from grammars import translation
from grammars.translation import ARTICLES, FEMININE, FORMS, STATES, TO, Pair

import spanwise

METHODS = ("feature_ablation", "integrated_gradients", "input_x_gradient")
TWINS = {"his": "her", "her": "his"}


def leaning(lm: spanwise.LanguageModel) -> Callable[[Any, Any], torch.Tensor]:
    """Return the objective: log P(feminine form) - log P(masculine form) where either was written, in nats.

    A form of several tokens stands for its first one; where both forms begin alike, and at other words, it is 0.
    """
    feminine_of: dict[int, tuple[int, int]] = {}
    for forms in (ARTICLES, TO, *FORMS.values(), *STATES.values()):
        for space in ("", " "):
            pair = [lm.tokenizer(text_target=space + form, add_special_tokens=False)["input_ids"][0] for form in forms]
            if lm.tokenizer.unk_token_id not in pair and pair[0] != pair[1]:
                feminine_of |= dict.fromkeys(pair, (pair[0], pair[1]))

    def leaning_to_feminine(outputs: Any, context: Any) -> torch.Tensor:
        pairs = torch.tensor([feminine_of.get(int(i), (0, 0)) for i in context.target_ids])
        index = pairs.to(outputs.logits.device).expand(len(outputs.logits), -1, -1)
        masculine, feminine = outputs.logits.float().gather(-1, index).unbind(-1)  # [batch, target]
        return feminine - masculine

    return leaning_to_feminine


def explained(lm: spanwise.LanguageModel, pair: Pair, method: str = METHODS[0], target: str | None = None) -> spanwise.Attribution:
    """Return what each source word had to do with the gender of three words of the model's translation.

    They are the subject's article, the other person's article, and the subject's participle.
    """
    options = {} if target else {"generation_options": {"do_sample": False, "num_beams": 1}}
    if target is None:
        target = spanwise.attribute(lm, pair.english, None, method="attention", **options).target_text
    spans = []
    for forms in (ARTICLES, TO, STATES[pair.state]):
        place = next((target.split().index(form + end) for form in forms for end in ("", ".") if form + end in target.split()), None)
        if place is not None:
            start = len(" ".join(target.split()[:place])) + (place > 0)
            spans.append((start, start + len(target.split()[place].rstrip("."))))
    if len(spans) < 3:
        raise spanwise.AttributionError(f"the translation {target!r} lacks an article or the participle")
    aim = leaning(lm)
    result = spanwise.attribute(lm, pair.english, target, span=spans, method=method, objective=aim)
    return result.by("word")
