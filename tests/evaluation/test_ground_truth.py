"""The ground truth states what its generator knows, and the bundled model was trained on none of the held-out part.

Accuracy is asserted a little below what `recipes/train_tiny_model.py` reports on 500 prompts a family: the sample here
is small, and sums differ slightly between CPUs.
"""

import re
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import spanwise
from spanwise.errors import OptionError
from spanwise.evaluation.planted import vocabulary as words
from spanwise.evaluation.planted.corpus import corpus
from spanwise.evaluation.planted.grammar import render
from spanwise.evaluation.planted.ground_truth import FAMILIES, Example, example, ground_truth

TINY = Path(spanwise.__file__).parent / "model" / "tiny"
MICHAEL = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"
CHAT_FRAME = r"(?s)^.*<\|im_start\|>user\n|<\|im_end\|>\n<\|im_start\|>assistant\n$"
HOBBIES = " painting, traveling to different countries, and volunteering at community events."


@pytest.fixture(scope="module")
def tiny():
    return AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(TINY)


@pytest.fixture(scope="module")
def documents():
    return list(islice(corpus(1), 10_000))


def words_of(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


@pytest.mark.parametrize("name", FAMILIES)
def test_cause_ranges_cover_the_words_the_rule_reads(name):
    family, rng = FAMILIES[name], Random(3)
    for _ in range(300):
        slots = family.draw(rng)
        truth = example(family, slots, rng)
        assert sorted(truth.prompt[start:end] for start, end in truth.causes) == sorted(
            slots[cause] for cause in family.causes(slots)
        )
        assert truth.target[slice(*truth.span_range)] == truth.span == family.answers(slots)[slots["asked"]]
        for start, end in truth.causes:
            outside = (" " + truth.prompt + " ")[start : end + 2 : end + 1 - start]  # the characters on either side
            assert not any(character.isalnum() for character in outside)


def test_cause_ranges_of_a_known_sentence():
    family = FAMILIES["profile"]
    slots = {
        "name": "Michael",
        "job": "software engineer",
        "city": "Austin",
        "state": "Texas",
        "he": "he",
        "his": "his",
    }
    causes = {}
    for asked in ("first", "second", "third"):
        truth = example(family, slots | {"template": family.templates[0], "asked": asked}, Random(0))
        assert (truth.prompt, truth.target, truth.held_out) == (MICHAEL, HOBBIES, True)
        causes[truth.span] = [truth.prompt[start:end] for start, end in truth.causes]
    assert causes == {
        "painting": ["Austin"],
        "traveling to different countries": ["software engineer"],
        "volunteering at community events": ["Michael"],
    }


def test_a_repeated_word_is_a_cause_only_where_the_rule_reads_it():
    family = FAMILIES["retrieval"]
    template = next(text for text in family.templates if text.startswith("The {key0} box") and "{key2}" not in text)
    slots = {"key0": "red", "value0": "lamps", "key1": "blue", "value1": "coins", "query": "blue"}
    truth = example(family, slots | {"template": template, "asked": "answer"}, Random(0))
    blue = [match.span() for match in re.finditer("blue", truth.prompt)]
    assert truth.span == "coins"
    assert truth.causes == (blue[0], re.search("coins", truth.prompt).span(), blue[1])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_swapped_cause_changes_the_answer_and_no_other_swap_does(name):
    for truth in ground_truth(name, per_family=200):
        assert any(swap.is_cause for swap in truth.swaps)
        assert {swap.changed for swap in truth.swaps if swap.is_cause} == set(truth.causes)
        for swap in truth.swaps:
            assert swap.prompt != truth.prompt
            assert (swap.span != truth.span) is swap.is_cause


@pytest.mark.parametrize("name", FAMILIES)
def test_foils_are_other_answers(name):
    for truth in ground_truth(name, per_family=50):
        assert truth.foils
        assert truth.span not in truth.foils
        assert len(set(truth.foils)) == len(truth.foils)


@pytest.mark.parametrize("name", FAMILIES)
def test_held_out_prompts_are_not_in_the_corpus_but_their_words_are(documents, name):
    prompts = {re.sub(CHAT_FRAME, "", piece.text) for document in documents for piece in document}
    held_out = ground_truth(name, per_family=300)
    trained = ground_truth(name, per_family=300, held_out=False)
    assert all(truth.held_out for truth in held_out)
    assert not any(truth.held_out for truth in trained)
    assert not any(truth.prompt in prompts for truth in held_out)
    if name in ("facts", "pronoun"):  # few enough combinations for the corpus to repeat some: the search can find one
        assert any(truth.prompt in prompts for truth in trained)
    known = words_of(" ".join(piece.text for document in documents for piece in document))
    assert set().union(*(words_of(truth.prompt + truth.target) for truth in held_out)) <= known


def test_the_corpus_holds_no_held_out_combination_behind_a_changed_state(documents):
    family = FAMILIES["profile"]
    slots = {"city": "Austin", "job": "software engineer", "template": family.templates[0]}
    assert family.held_out(slots)
    wanted = re.compile(r"\w+ works as a software engineer in Austin,")
    other = re.compile(r"\w+ works as a software engineer in \w+,")
    texts = ["".join(piece.text for piece in document) for document in documents]
    assert not any(wanted.search(text) for text in texts)
    assert any(other.search(text) for text in texts)


def test_the_seed_decides_everything():
    assert ground_truth(per_family=20, seed=5) == ground_truth(per_family=20, seed=5)
    assert ground_truth(per_family=20, seed=5) != ground_truth(per_family=20, seed=6)
    assert ground_truth(["pronoun", "facts"], per_family=20)[20:] == ground_truth("facts", per_family=20)
    assert list(islice(corpus(7), 50)) == list(islice(corpus(7), 50))


def test_prompts_are_distinct():
    keys = [(truth.prompt, truth.span_range) for truth in ground_truth(per_family=400)]
    assert len(set(keys)) == len(keys) == 5 * 400


def test_wrong_options_are_refused():
    with pytest.raises(OptionError, match=r"ground-truth family 'fact'.*'facts'.*agreement"):
        ground_truth("fact")
    with pytest.raises(OptionError, match="per_family"):
        ground_truth("facts", per_family=0)


def test_more_examples_than_a_family_has_are_refused(monkeypatch):
    slots = FAMILIES["facts"].draw(Random(0))
    monkeypatch.setattr(type(FAMILIES["facts"]), "draw", lambda self, rng: slots)
    assert len(ground_truth("facts", held_out=None, per_family=1)) == 1
    with pytest.raises(OptionError, match=r"per_family=2: the family \"facts\" gave only 1 different prompts"):
        ground_truth("facts", held_out=None, per_family=2)


def test_a_held_out_pair_of_the_retrieval_family_is_never_asked_for(documents):
    family = FAMILIES["retrieval"]
    asked = set()
    for document in documents:
        for place, piece in enumerate(document):
            before = "".join(earlier.text for earlier in document[:place])
            match = re.search(r"(\w+) likes(<\|im_end\|>\n<\|im_start\|>assistant\n)? $", before)
            if piece.kind == "answer" and match and piece.text in words.COLORS:
                asked.add((match[1], piece.text))
    assert len(asked) > 100
    assert not any(family.kept_out("{} likes", *pair) for pair in asked)


def test_every_slot_of_a_template_is_filled():
    for family in FAMILIES.values():
        rng = Random(0)
        for _ in range(200):
            slots = family.draw(rng)
            assert "{" not in render(slots["template"], slots)[0]


def test_the_corpus_writes_chats_as_the_tokenizer_does(tiny):
    _, tokenizer = tiny
    turn = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>\n", re.DOTALL)
    chats = [text for d in islice(corpus(0), 300) if (text := "".join(p.text for p in d)).startswith("<|im_start|>")]
    assert len(chats) > 50
    for text in chats:
        messages = [{"role": role, "content": content} for role, content in turn.findall(text)]
        assert tokenizer.apply_chat_template(messages, tokenize=False) == text


def says_span(model, tokenizer, truth: Example, *, chat: bool) -> bool:
    before = truth.prompt
    if chat:
        message = [{"role": "user", "content": before}]
        before = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    batch = tokenizer(before + truth.target, return_tensors="pt", return_offsets_mapping=True)
    start, end = (len(before) + place for place in truth.span_range)
    offsets = batch.pop("offset_mapping")[0].tolist()
    inside = [i for i, (left, right) in enumerate(offsets) if left < end and right > start]
    with torch.no_grad():
        choices = model(**batch).logits[0].argmax(-1)
    return all(batch["input_ids"][0, i] == choices[i - 1] for i in inside)


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_bundled_model_knows_what_was_planted(tiny, name, chat):
    sample = ground_truth(name, per_family=60, seed=11)
    assert sum(says_span(*tiny, truth, chat=chat) for truth in sample) >= 0.9 * len(sample)


def test_the_bundled_model_completes_the_sentence_about_michael(tiny):
    model, tokenizer = tiny
    inputs = tokenizer(MICHAEL, return_tensors="pt")
    written = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
    assert tokenizer.decode(written, skip_special_tokens=True) == HOBBIES


def test_the_bundled_model_is_small_and_has_a_real_architecture(tiny):
    model, tokenizer = tiny
    assert (TINY / "model.safetensors").stat().st_size < 4_000_000
    assert type(model).__name__ == "Qwen2ForCausalLM"
    linears = [
        module for name, module in model.named_modules() if type(module).__name__ == "Linear" and name != "lm_head"
    ]
    assert len(linears) == 28
    assert all(size % 64 == 0 for linear in linears for size in linear.weight.shape)
    assert len({tokenizer.unk_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id}) == 3
    assert tokenizer.bos_token_id is None
    assert tokenizer(MICHAEL, return_offsets_mapping=True)["offset_mapping"][0] == (0, 7)
