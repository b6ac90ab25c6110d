"""Question: "The doctor asked the nurse to help": which source words drive the gender of the translated words?

Hardware: one CPU core. Time: 1 minute; `--quick` under 20 seconds.
Expected: without "his" or "her", an article follows its own occupation and leans as far as the stereotype that was
planted (`grammars/translation.py`: a nurse is a woman in 95 % of the corpus). With "his" or "her" the subject's forms
follow that word. Checked by exchanging words: the gender turns with the word that is blamed, and not with another.

Came out, 60 sentences a condition: feature ablation and integrated gradients blame the own occupation in all
sentences without a cue, and "his" or "her" in all with one; exchanging it turned the article every time, exchanging
the other person's occupation never did. With a cue, input x gradient blames another word in 15 to 25 %. The leaning
is the planted log odds within 0.51 nats. Not expected: without a cue, a third of the scores for the subject's article
is on "the" in "with the bag" (without it, it could have been "his"), and the participle takes 80 % of its gender from
the Italian words already written, 2 % from the occupation. Swapping nurse and doctor swaps all forms.

    python recipes/gender_bias_translation.py
    python recipes/gender_bias_translation.py --model facebook/nllb-200-distilled-600M
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import Any

import torch
from common import arguments, gaps_expected, load, show_table, write_numbers
from figures.gender import FORMS as FORMS_ASKED
from figures.gender import draw
from grammars import translation
from grammars.translation import ARTICLES, FEMININE, FORMS, STATES, TO, Pair

import spanwise

METHODS = ("feature_ablation", "integrated_gradients", "input_x_gradient")


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
    options: dict[str, Any] = {"do_sample": False, "num_beams": 1}
    if hasattr(lm.tokenizer, "tgt_lang"):  # a model of many languages, as NLLB's names them
        options["forced_bos_token_id"] = lm.tokenizer.convert_tokens_to_ids("ita_Latn")
    written = lm.model.generate(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"], **options)
    return lm.tokenizer.decode(written[0], skip_special_tokens=True)


def spans_of(pair: Pair, target: str) -> list[tuple[int, int]]:
    """Return the characters of both articles and the participle; fewer where the translation has not got them."""
    found = (re.search(rf"(?<!\w)({'|'.join(forms)})(?!\w)", target) for forms in (ARTICLES, TO, STATES[pair.state]))
    return [each.span() for each in found if each]


def explained(lm: spanwise.LanguageModel, pair: Pair, target: str, method: str, **options: Any) -> spanwise.Attribution:
    """Return what each word had to do with the gender of both articles and of the participle."""
    asked = {"span": spans_of(pair, target), "method": method, "objective": leaning(lm)}
    return spanwise.attribute(lm, pair.english, target, **asked, **options)


@torch.no_grad()
def leans(lm: spanwise.LanguageModel, pair: Pair, target: str) -> list[float]:
    """Return how far (nats) each of the three words leans to the feminine, the translation before it kept."""
    source = lm.tokenizer(pair.english, return_tensors="pt").to(lm.device)
    written = lm.tokenizer(text_target=target, return_tensors="pt").to(lm.device)
    outputs = lm.model(**source, labels=written["input_ids"])
    found = leaning(lm)(outputs, SimpleNamespace(target_ids=written["input_ids"][0]))[0]
    return [float(found[written.char_to_token(start)]) for start, _ in spans_of(pair, target)]


def kind_of(pair: Pair, form: int, text: str) -> str:
    """Return what a source word is to a form: its own person's occupation, the other's, the owner or another word."""
    own, other = (pair.other, pair.subject) if form == 1 else (pair.subject, pair.other)
    return {own: "own occupation", other: "other occupation", pair.owner: "his/her/the"}.get(
        text.strip(), "other words"
    )


def exchanged(pair: Pair, form: int, kind: str, rng: Random) -> Pair | None:
    """Return the sentence with that word exchanged for one of the opposite gender; None for a word that has none."""
    if kind == "his/her/the":
        return None if pair.owner == "the" else replace(pair, owner={"his": "her", "her": "his"}[pair.owner])
    if kind == "other words":
        return None
    which = "other" if (form == 1) == (kind == "own occupation") else "subject"
    female = FEMININE[getattr(pair, which)] > 0.5
    choices = [o for o, share in FEMININE.items() if (share < 0.2) == female and (share > 0.8) != female]
    return replace(pair, **{which: rng.choice([o for o in choices if o not in (pair.subject, pair.other)])})


def tried(lm: spanwise.LanguageModel, pair: Pair, target: str, method: str, rng: Random) -> list[dict[str, Any]]:
    """Return for both articles which word is blamed, and whether the gender turns with it and with the other person."""
    result, before, found = explained(lm, pair, target, method).by("word"), leans(lm, pair, target), []
    for form in (0, 1):
        toward = result.scores[form].nan_to_num(0.0) * math.copysign(1.0, before[form])
        kind = kind_of(pair, form, result.source[int(toward.argmax())].text)
        turns = {}
        for name, asked in (("blamed", kind), ("another", "other occupation")):
            changed = exchanged(pair, form, asked, rng)
            turns[name] = changed is not None and leans(lm, changed, target)[form] * before[form] < 0
        found.append({"form": form, "blamed": kind, "turns": turns["blamed"], "turns_with_another": turns["another"]})
    return found


def sentences(rng: Random, owner: str, count: int) -> list[Pair]:
    """Return sentences about two occupations with a strong stereotype; a "cue" goes against the subject's."""
    strong = [name for name, share in FEMININE.items() if not 0.2 < share < 0.8]
    pairs = []
    for _ in range(count):
        subject, other = rng.sample(strong, 2)
        word = owner if owner == "the" else "his" if FEMININE[subject] > 0.5 else "her"
        pairs.append(translation.draw(rng, owner=word, subject=subject, other=other))
    return pairs


def in_condition(
    lm: spanwise.LanguageModel, pairs: Sequence[Pair], methods: Sequence[str], rng: Random
) -> dict[str, Any]:
    """Return what is found in sentences without, or with, a word that tells the subject's gender."""
    whole = [(pair, target) for pair in pairs if len(spans_of(pair, target := translated(lm, pair))) == 3]
    found: dict[str, Any] = {"sentences": len(pairs), "with_all_forms": len(whole), "methods": {}, "shares": {}}
    for method in methods:
        every = [each for pair, target in whole for each in tried(lm, pair, target, method, rng)]
        found["methods"][method] = {
            FORMS_ASKED[form]: {
                name: sum(each[key] == wanted for each in every if each["form"] == form) / max(len(whole), 1)
                for name, key, wanted in (
                    ("blames own occupation", "blamed", "own occupation"),
                    ("blames his/her", "blamed", "his/her/the"),
                    ("turns with the blamed", "turns", True),
                    ("turns with another", "turns_with_another", True),
                )
            }
            for form in (0, 1)
        }
    results = [explained(lm, *each, METHODS[0], prefix="attributed") for each in whole]
    for form, name in enumerate(FORMS_ASKED):
        kinds = [
            ["already written" if t.role == "prefix" else kind_of(pair, form, t.text) for t in result.source]
            for result, (pair, _) in zip(results, whole, strict=True)
        ]
        table = spanwise.aggregate(results, by=kinds, row=form)
        found["shares"][name] = dict(zip(table["category"], table["share"].round(4), strict=True))
    return found


def stereotypes(lm: spanwise.LanguageModel, count: int, rng: Random) -> dict[str, dict[str, float]]:
    """Return for each occupation the planted log odds of a woman, and the article's leaning without a cue."""
    found = {}
    for name, share in FEMININE.items():
        pairs = [translation.draw(rng, owner="the", subject=name) for _ in range(count)]
        own = [leans(lm, p, t)[0] for p in pairs if len(spans_of(p, t := translated(lm, p))) == 3]
        if own:
            found[name] = {"planted": math.log(share / (1 - share)), "leaning": sum(own) / len(own)}
    return found


def main(given: Sequence[str] | None = None) -> dict[str, Any]:
    """Translate, explain the gendered words, exchange the words that are blamed."""
    asked = arguments(__doc__, "gender_bias_translation", given)
    lm, rng = load(asked, "translation"), Random(asked.seed)
    if hasattr(lm.tokenizer, "tgt_lang"):
        lm.tokenizer.src_lang, lm.tokenizer.tgt_lang = "eng_Latn", "ita_Latn"
    count, methods = (5, METHODS[:1]) if asked.quick else (60, METHODS)
    with gaps_expected():
        found: dict[str, Any] = {
            "no cue": in_condition(lm, sentences(rng, "the", count), methods, rng),
            "cue": in_condition(lm, sentences(rng, "cue", count), methods, rng),
            "stereotypes": stereotypes(lm, 1 if asked.quick else 5, rng),
        }
        doctor = Pair("doctor", "nurse", "the", "bag", "tired", (False, True))
        examples = [doctor, replace(doctor, subject="nurse", other="doctor"), replace(doctor, owner="her")]
        for number, pair in enumerate(examples, 1):
            target = translated(lm, pair)
            print(f"{pair.english}\n    {target}")
            if len(spans_of(pair, target)) == 3:
                result = explained(lm, pair, target, METHODS[0], prefix="attributed")
                result.plot(asked.output / f"example_{number}.png", kind="strip")
                result.report(asked.output / f"example_{number}.html", title=pair.english)
    write_numbers(asked.output, found)
    for condition in ("no cue", "cue"):
        by_method = found[condition]["methods"]
        rows = [(m, f, *figures.values()) for m, forms in by_method.items() for f, figures in forms.items()]
        show_table(f"{condition}: shares of {count} sentences", ("method", "form", *rows_names(by_method)), rows)
    draw(asked.output / "gender.png", found)
    return found


def rows_names(methods: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of the figures in a table of methods."""
    return list(next(iter(next(iter(methods.values())).values())))


if __name__ == "__main__":
    main()
