"""Question: "The doctor asked the nurse to help": which source words drive the gender of the translated words?

Hardware: one CPU core. Time: 45 seconds; `--quick` under 20 seconds.
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
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from common import arguments, gaps_expected, run, show_table, write_numbers
from figures.gender import FORMS, draw
from grammars.translation import Pair, stereotyped
from steps.gender import leaning, leans, shares, stereotypes, translator, whole

import spanwise

METHODS = ("feature_ablation", "integrated_gradients", "input_x_gradient")
ASKED = ("blames own occupation", "blames his/her", "turns with blamed", "turns with another")
DOCTOR = Pair("doctor", "nurse", "the", "bag", "tired", (False, True))
EXAMPLES = (DOCTOR, replace(DOCTOR, subject="nurse", other="doctor"), replace(DOCTOR, owner="her"))


def explained(lm: spanwise.LanguageModel, pair: Pair, target: str, method: str, **options: Any) -> spanwise.Attribution:
    """Return what each word had to do with the gender of both articles and of the participle."""
    asked = {"span": pair.spans(target), "method": method, "objective": leaning(lm)}
    return spanwise.attribute(lm, pair.english, target, **asked, **options)


def tried(lm: spanwise.LanguageModel, pair: Pair, target: str, method: str, rng: Random) -> list[dict[str, bool]]:
    """Return for both articles which word is blamed, and whether the gender turns with it and with the other person."""
    result, before, found = explained(lm, pair, target, method).by("word"), leans(lm, pair, target), []
    for form in (0, 1):
        toward = result.scores[form].nan_to_num(0.0) * math.copysign(1.0, before[form])
        kind = pair.kind_of(form, result.source[int(toward.argmax())].text)
        case = [kind == "own occupation", kind == "his/her/the"]
        for exchanged in (kind, "other occupation"):
            changed = pair.exchanged(form, exchanged, rng)
            case.append(changed is not None and leans(lm, changed, target)[form] * before[form] < 0)
        found.append(dict(zip(ASKED, case, strict=True)))
    return found


def main(given: Sequence[str] | None = None) -> dict[str, Any]:
    """Translate, explain the gendered words, exchange the words that are blamed."""
    asked = arguments(__doc__, "gender_bias_translation", given)
    lm, rng = translator(asked), Random(asked.seed)
    count, methods = (5, METHODS[:1]) if asked.quick else (60, METHODS)
    found: dict[str, Any] = {}
    with gaps_expected():
        for condition in ("no cue", "cue"):
            pairs = stereotyped(rng, condition == "cue", count)
            sentences = whole(lm, pairs)
            own = found[condition] = {"sentences": count, "with_all_forms": len(sentences), "methods": {}}
            for method in methods:
                cases = [tried(lm, *each, method, rng) for each in sentences]
                own["methods"][method] = {
                    name: {figure: sum(case[form][figure] for case in cases) / len(cases) for figure in ASKED}
                    for form, name in enumerate(FORMS[:2])
                }
            results = [explained(lm, *each, METHODS[0], prefix="attributed") for each in sentences]
            own["shares"] = shares(results, [pair for pair, _ in sentences])
        found["stereotypes"] = stereotypes(lm, 1 if asked.quick else 5, rng)
        examples = whole(lm, EXAMPLES)
        results = [explained(lm, *each, METHODS[0], prefix="attributed") for each in examples]
    write_numbers(asked.output, found)
    print(*(f"{pair.english}\n    {target}" for pair, target in examples), sep="\n")
    checks = {}
    for condition in ("no cue", "cue"):
        rows = [(m, f, *v.values()) for m, forms in found[condition]["methods"].items() for f, v in forms.items()]
        title = f"{condition}: shares of {found[condition]['with_all_forms']} sentences"
        checks[title] = show_table(title, ("method", "form", *ASKED), rows)
    for number, result in enumerate(results, 1):
        result.plot(asked.output / f"example_{number}.png", kind="strip")
        result.report(asked.output / f"example_{number}.html", title=result.prompt, checks=checks)
    draw(asked.output / "gender.png", found)
    return found


if __name__ == "__main__":
    run(main)
