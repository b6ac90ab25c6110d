"""Of `gender_bias_translation.py`: translating, and how far a written word leans to the feminine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

import torch
from common import load
from figures.gender import FORMS as FORMS_ASKED
from grammars import translation
from grammars.translation import ARTICLES, FEMININE, FORMS, STATES, TO, Pair

import spanwise
from spanwise.errors import ModelError


def translator(asked: Any) -> spanwise.LanguageModel:
    """Return the model that is asked for, set to translate English to Italian.

    Raises:
        ModelError: It is no encoder-decoder, or its tokenizer is a slow one.
    """
    lm = load(asked, "translation")
    if not lm.is_encoder_decoder:
        raise ModelError(f"{lm.name} ({lm.architecture}) continues texts; a model that translates is needed, an "
                         "encoder-decoder such as facebook/nllb-200-distilled-600M.")  # fmt: skip
    if not lm.tokenizer.is_fast:
        raise ModelError(f"the tokenizer of {lm.name} cannot say which characters a token stands for; a fast one can "
                         "(a tokenizer.json in the folder).")  # fmt: skip
    if hasattr(lm.tokenizer, "tgt_lang"):
        lm.tokenizer.src_lang, lm.tokenizer.tgt_lang = "eng_Latn", "ita_Latn"
    return lm


def whole(lm: spanwise.LanguageModel, pairs: Sequence[Pair]) -> list[tuple[Pair, str]]:
    """Return the sentences whose translation has both articles and the participle, with it.

    Raises:
        ModelError: There is none.
    """
    found = [(pair, target) for pair in pairs if len(pair.spans(target := translated(lm, pair))) == 3]
    if not found:
        raise ModelError(f"no translation by {lm.name} has the two articles and the participle that are explained; of "
                         f"{pairs[0].english!r} it makes {translated(lm, pairs[0])!r}.")  # fmt: skip
    return found


def leaning(lm: spanwise.LanguageModel) -> Callable[[Any, Any], torch.Tensor]:
    """Return the objective: log P(feminine form) - log P(masculine form) where either was written, in nats.

    A form of several tokens stands for its first one; where both forms begin alike, and at other words, it is 0.
    """
    forms_of: dict[int, tuple[int, int]] = {}
    for forms in (ARTICLES, TO, *FORMS.values(), *STATES.values()):
        for space in ("", " "):
            pair = [lm.tokenizer(text_target=space + form, add_special_tokens=False)["input_ids"][0] for form in forms]
            if lm.tokenizer.unk_token_id not in pair and pair[0] != pair[1]:
                forms_of |= dict.fromkeys(pair, (pair[0], pair[1]))

    def leaning_to_feminine(outputs: Any, context: Any) -> torch.Tensor:
        pairs = torch.tensor([forms_of.get(int(i), (0, 0)) for i in context.target_ids])
        index = pairs.to(outputs.logits.device).expand(len(outputs.logits), -1, -1)
        masculine, feminine = outputs.logits.float().gather(-1, index).unbind(-1)  # [batch, target]
        return feminine - masculine

    return leaning_to_feminine


def translated(lm: spanwise.LanguageModel, pair: Pair) -> str:
    """Return the model's own translation."""
    encoded = lm.tokenizer(pair.english, return_tensors="pt").to(lm.device)
    options: dict[str, Any] = {"do_sample": False, "num_beams": 1, "max_new_tokens": 64}
    if hasattr(lm.tokenizer, "tgt_lang"):  # a model of many languages, as NLLB's names them
        options["forced_bos_token_id"] = lm.tokenizer.convert_tokens_to_ids("ita_Latn")
    written = lm.model.generate(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"], **options)
    return lm.tokenizer.decode(written[0], skip_special_tokens=True)


@torch.no_grad()
def leans(lm: spanwise.LanguageModel, pair: Pair, target: str) -> list[float]:
    """Return how far (nats) each of the three words leans to the feminine, the translation before it kept."""
    source = lm.tokenizer(pair.english, return_tensors="pt").to(lm.device)
    written = lm.tokenizer(text_target=target, return_tensors="pt").to(lm.device)
    outputs = lm.model(**source, labels=written["input_ids"])
    found = leaning(lm)(outputs, SimpleNamespace(target_ids=written["input_ids"][0]))[0]
    return [float(found[written.char_to_token(start)]) for start, _ in pair.spans(target)]


def stereotypes(lm: spanwise.LanguageModel, count: int, rng: Random) -> dict[str, dict[str, float]]:
    """Return for each occupation the planted log odds of a woman, and the article's leaning without a cue."""
    found = {}
    for name, share in FEMININE.items():
        pairs = [translation.draw(rng, owner="the", subject=name) for _ in range(count)]
        own = [leans(lm, p, t)[0] for p in pairs if len(p.spans(t := translated(lm, p))) == 3]
        if own:
            found[name] = {"planted": math.log(share / (1 - share)), "leaning": sum(own) / len(own)}
    return found


def shares(results: Sequence[spanwise.Attribution], pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """Return for each form the share of the absolute scores of each kind of word, what is written before included."""
    found = {}
    for form, name in enumerate(FORMS_ASKED):
        kinds = [
            ["already written" if token.role == "prefix" else pair.kind_of(form, token.text) for token in result.source]
            for result, pair in zip(results, pairs, strict=True)
        ]
        table = spanwise.aggregate(results, by=kinds, row=form)
        found[name] = dict(zip(table["category"], table["share"].round(4), strict=True))
    return found
