"""Question: the model completes "The capital of France is called" with " Paris". Which words are to thank?

Hardware: one CPU core. Time: 45 seconds; `--quick` 15 seconds.
Expected: the relation ("capital") and the subject ("France"), and nothing else. Checked by intervention: with Italy
for France the answer is Rome, with "language" for "capital" it is French; exchanging any other word leaves it.

Came out (the bundled model knows 96 of 96 facts): the answer follows the subject and the relation every time, and never
a bystander's name. Feature ablation says so beforehand: subject and relation are the two strongest words of every
prompt, with 73 and 27 % of the scores above 0. Integrated gradients have both on top in 96 % of the prompts, Shapley
sampling in 74 %, but give a third of the scores to words that no intervention has shown to matter. Input x gradient has
both on top in 27 %: it sees the subject and misses the relation. "The capital of France is" without "called" is no
question to the bundled model, which writes "called"; a larger one answers either.

    python recipes/factual_recall.py
    python recipes/factual_recall.py --model Qwen/Qwen2.5-1.5B-Instruct --quantization nf4
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from common import arguments, figure, gaps_expected, show_table, write_numbers
from torch.nn.utils.rnn import pad_sequence

import spanwise
from spanwise.evaluation.planted.vocabulary import COUNTRIES, NAMES

METHODS = ("feature_ablation", "shapley_value_sampling", "integrated_gradients", "input_x_gradient")
TEMPLATES = ("The {relation} of {subject} is called", "{name} wrote down the {relation} of {subject}:")
RELATIONS = ("capital", "language")
WORDS = ("subject", "relation", "another word")


def prompt_of(slots: dict[str, str]) -> str:
    """Return the prompt with its slots filled."""
    return slots["template"].format(**slots)


def truth(slots: dict[str, str]) -> str:
    """Return the right answer."""
    return COUNTRIES[slots["subject"]][RELATIONS.index(slots["relation"])]


@torch.no_grad()
def answer(lm: spanwise.LanguageModel, prompt: str, choices: Sequence[str]) -> str:
    """Return which of the choices the model likes best behind the prompt, by the log-probability of all its tokens."""
    first = len(lm.tokenizer(prompt)["input_ids"])
    whole = [torch.tensor(lm.tokenizer(f"{prompt} {choice}")["input_ids"]) for choice in choices]
    ids = pad_sequence(whole, batch_first=True)  # behind the text, where a causal model does not look
    logits = lm.model(input_ids=ids.to(lm.device)).logits[:, first - 1 : -1].float().log_softmax(-1).cpu()
    found = logits.gather(-1, ids[:, first:, None])[..., 0]  # [choice, position]
    scores = [float(values[: len(own) - first].sum()) for values, own in zip(found, whole, strict=True)]
    return choices[scores.index(max(scores))]


def kind_of(word: str, slots: dict[str, str]) -> str:
    """Return what a word of the prompt is."""
    named = {slots["subject"]: "subject", slots["relation"]: "relation"}
    return named.get(word.strip(" .,:?"), "another word")


def explained(lm: spanwise.LanguageModel, slots: dict[str, str], method: str, seed: int) -> spanwise.Attribution:
    """Return what each word had to do with the right answer."""
    asked: dict[str, Any] = {"span": truth(slots), "method": method, "seed": seed}
    perturbs = method in METHODS[:2]
    result = spanwise.attribute(
        lm, prompt_of(slots), f" {truth(slots)}", features="word" if perturbs else "token", **asked
    )
    return result if perturbs else result.by("word")


def interventions(slots: dict[str, str], rng: Random) -> dict[str, dict[str, str]]:
    """Return the prompt's slots with the subject, the relation, and a word that should not matter exchanged."""
    others = [country for country in COUNTRIES if country != slots["subject"]]
    changed = {
        "subject": slots | {"subject": rng.choice(others)},
        "relation": slots | {"relation": RELATIONS[1 - RELATIONS.index(slots["relation"])]},
    }
    if "{name}" in slots["template"]:
        changed["another word"] = slots | {"name": rng.choice([name for name in NAMES if name != slots["name"]])}
    return changed


def one_fact(lm: spanwise.LanguageModel, slots: dict[str, str], rng: Random, seed: int) -> dict[str, Any] | None:
    """Return what each method blames and what each intervention does; None where the model does not know the fact."""
    choices = sorted({fact for row in COUNTRIES.values() for fact in row[: len(RELATIONS)]})
    if answer(lm, prompt_of(slots), choices) != truth(slots):
        return None
    found: dict[str, Any] = {"prompt": prompt_of(slots), "answer": truth(slots), "after": {}, "methods": {}}
    for word, changed in interventions(slots, rng).items():
        given = answer(lm, prompt_of(changed), choices)
        found["after"][word] = {"prompt": prompt_of(changed), "answer": given, "expected": truth(changed)}
    for method in METHODS:
        result = explained(lm, slots, method, seed)
        shares = dict.fromkeys(WORDS, 0.0)
        above = result.scores[0].nan_to_num(0.0).clamp(min=0)
        for token, score in zip(result.source, above.tolist(), strict=True):
            shares[kind_of(token.text, slots)] += score
        total = sum(shares.values()) or 1.0
        strongest = [kind_of(result.source[int(i)].text, slots) for i in above.topk(2).indices]
        found["methods"][method] = {
            "shares": {word: share / total for word, share in shares.items()},
            "both_on_top": set(strongest) == {"subject", "relation"},
        }
    return found


def summary(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means over facts: shares a method, and how often an intervention does what it should."""
    followed = {
        word: [case["answer"] == case["expected"] for fact in facts if (case := fact["after"].get(word))]
        for word in WORDS
    }
    methods = {}
    for method in METHODS:
        own = [fact["methods"][method] for fact in facts]
        methods[method] = {word: sum(each["shares"][word] for each in own) / len(own) for word in WORDS}
        methods[method]["both on top"] = sum(each["both_on_top"] for each in own) / len(own)
    return {"methods": methods, "followed": {word: sum(each) / len(each) for word, each in followed.items() if each}}


def main(given: Sequence[str] | None = None) -> dict[str, Any]:
    """Explain facts that the model knows, exchange each word, and see whether the answer follows."""
    asked = arguments(__doc__, "factual_recall", given)
    lm, rng = spanwise.load_model(asked.model or "tiny", quantization=asked.quantization), Random(asked.seed)
    questions = [
        {"template": template, "relation": relation, "subject": subject, "name": rng.choice(NAMES)}
        for subject in COUNTRIES
        for relation in RELATIONS
        for template in TEMPLATES
    ]
    rng.shuffle(questions)
    first = {"template": TEMPLATES[0], "relation": "capital", "subject": "France", "name": ""}
    questions = [first, *[slots for slots in questions if prompt_of(slots) != prompt_of(first)]]
    questions = questions[: 12 if asked.quick else None]
    with gaps_expected():
        facts = [fact for slots in questions if (fact := one_fact(lm, slots, rng, asked.seed))]
        examples = [explained(lm, first, method, asked.seed) for method in METHODS]
    found = {"asked": len(questions), "known": len(facts), **summary(facts), "facts": facts}
    write_numbers(asked.output, found)
    rows = [(method, *values.values()) for method, values in found["methods"].items()]
    title = f"{len(facts)} of {len(questions)} facts are known; shares of the scores above 0"
    show_table(title, ("method", *WORDS, "both on top"), rows)
    show_table(
        "the answer follows when this is exchanged", tuple(found["followed"]), [tuple(found["followed"].values())]
    )
    with figure(asked.output / "shares.png", width=6.5, height=2.4) as axes:
        left = torch.zeros(len(METHODS))
        for word, color in zip(WORDS, ("#b2182b", "#ef8a62", "#bdbdbd"), strict=True):
            values = torch.tensor([found["methods"][method][word] for method in METHODS])
            axes.barh(METHODS, values, left=left, color=color, label=word)
            left += values
        axes.invert_yaxis()
        axes.set_xlabel(f"share of the scores above 0, mean over {len(facts)} facts", fontsize=8)
        axes.legend(fontsize=7, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    examples[0].plot(asked.output / "paris.png", kind="strip")
    examples[0].report(
        asked.output / "report.html", others=examples[1:2], checks={"answers that follow": found["followed"]}
    )
    return found


if __name__ == "__main__":
    main()
