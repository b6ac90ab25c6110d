"""Prompt and target on the tokenization that the model sees.

Rules: the prompt is tokenized alone; the target continues it; ids that were generated are never tokenized again; every
token knows its characters.
"""

import pytest
import transformers
from conftest import make_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer, UnigramTrainer

from spanwise.errors import BoundaryError, InputError, ModelError
from spanwise.text.encoding import encode, encode_prompt


def wrapped(tokenizer: Tokenizer) -> transformers.PreTrainedTokenizerFast:
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def sentencepiece_like() -> transformers.PreTrainedTokenizerFast:
    """A unigram model with the word mark of sentencepiece, which it puts before every text."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = UnigramTrainer(vocab_size=60, special_tokens=["<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator(["the capital of France is Paris and Frankfurt is a city of ance"] * 9, trainer)
    return wrapped(tokenizer)


def digits_merging() -> transformers.PreTrainedTokenizerFast:
    """A byte-level BPE that has "34" and "France" as one token each."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=300, special_tokens=["<unk>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["34", "France"] * 9, trainer)
    return wrapped(tokenizer)


def lowercasing() -> transformers.PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(vocab_size=300, special_tokens=["<unk>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(["the capital"] * 9, trainer)
    return wrapped(tokenizer)


TOKENIZERS = {
    "byte-level": make_tokenizer,
    "byte-level with BOS": lambda: make_tokenizer(bos=True),
    "sentencepiece-like": sentencepiece_like,
    "merging": digits_merging,
    "lowercasing": lowercasing,
}
PAIRS = [("the capital of France is", " Paris"), ("12 + 3", "4"), ("Fr", "ance"), ("of", " a city")]


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@pytest.mark.parametrize(("prompt", "target"), PAIRS)
def test_every_token_knows_its_characters(name: str, prompt: str, target: str) -> None:
    tokenizer = TOKENIZERS[name]()
    encoding = encode(tokenizer, prompt, target)
    assert encoding.prompt_ids == tuple(tokenizer(prompt)["input_ids"])  # what the model sees when it is asked
    for tokens, text in ((encoding.prompt_tokens, prompt), (encoding.target_tokens, target)):
        at = 0
        for token in tokens:
            assert token.text == text[token.start : token.end]
            assert token.start >= at or token.special
            at = max(at, token.start)
        assert tokens[-1].end == len(text)
    decoded = tokenizer.decode([*encoding.prompt_ids, *encoding.target_ids], skip_special_tokens=True)
    known = name != "sentencepiece-like" or "<unk>" not in [tokenizer.decode([i]) for i in encoding.target_ids]
    if known and all(character not in prompt + target for character in "0123456789+"):
        assert decoded.strip().lower() == (prompt + target).lower()


def test_a_merge_across_the_border_is_recorded_and_can_be_refused() -> None:
    tokenizer = digits_merging()
    encoding = encode(tokenizer, "12 + 3", "4")
    assert "'34'" in encoding.boundary
    assert tokenizer.decode(list(encoding.target_ids)) == "4"
    with pytest.raises(BoundaryError, match=r"share the token '34'.*strict_boundary"):
        encode(tokenizer, "12 + 3", "4", strict_boundary=True)
    assert encode(tokenizer, "Fr", "ance").boundary != "clean"
    assert encode(tokenizer, "12 + 3", " 4").boundary == "clean"
    encode(tokenizer, "12 + 3", " 4", strict_boundary=True)


def test_sentencepiece_targets_get_no_space_of_their_own() -> None:
    tokenizer = sentencepiece_like()
    encoding = encode(tokenizer, "Fr", "ance")
    assert tokenizer.decode([*encoding.prompt_ids, *encoding.target_ids]) == "France"


def test_bos_is_not_doubled() -> None:
    tokenizer = make_tokenizer(bos=True)
    plain, written = encode_prompt(tokenizer, "The keys"), encode_prompt(tokenizer, "<s>The keys")
    assert [token.id for token in plain] == [token.id for token in written]
    assert plain[0].special and plain[0].text == "" and written[0].text == "<s>"


@pytest.mark.parametrize(
    "text", ["naïve 😀 café", "👩‍👩‍👧 family", "日本語", "e\u0301migre\u0301", "\ud7ff odd \u202e text"]
)
def test_characters_cut_into_several_tokens(text: str) -> None:
    """As text and as ids, the tokens of one character all have that character."""
    tokenizer = make_tokenizer(vocab_size=300)
    from_text = encode(tokenizer, "x", text)
    from_ids = encode(tokenizer, "x", from_text.target_ids)
    assert from_ids.target_text == text
    assert from_ids.target_ids == from_text.target_ids
    for encoding in (from_text, from_ids):
        covered = set()
        for token in encoding.target_tokens:
            assert token.end > token.start
            covered |= set(range(token.start, token.end))
        assert covered == set(range(len(text)))


def test_generated_ids_are_the_target() -> None:
    """Ids that do not tokenize to themselves: single letters of a word the vocabulary has in larger pieces."""
    tokenizer = make_tokenizer()
    letters = [tokenizer.convert_tokens_to_ids(letter) for letter in "engineer"]
    assert tokenizer("engineer")["input_ids"] != letters
    encoding = encode(tokenizer, "He is an", letters)
    assert encoding.target_ids == tuple(letters)
    assert encoding.target_text == "engineer"
    assert [token.text for token in encoding.target_tokens] == list("engineer")


@pytest.mark.usefixtures("unchecked_types")
def test_bad_input() -> None:
    tokenizer = make_tokenizer()
    for prompt in ("", None):
        with pytest.raises(InputError, match="prompt must be a text that is not empty"):
            encode(tokenizer, prompt, "x")
    for target in ("", "  \n"):
        with pytest.raises(InputError, match="empty or only white space"):
            encode(tokenizer, "x", target)
    with pytest.raises(InputError, match="no token ids"):
        encode(tokenizer, "x", [])
    with pytest.raises(InputError, match=r"ids \[99999\].*ids \[0, "):
        encode(tokenizer, "x", [99999])

    class Slow:
        is_fast = False
        bos_token = None

    with pytest.raises(ModelError, match="Slow gives no character offsets"):
        encode(Slow(), "x", "y")
