"""Prompt and target on every common kind of tokenizer.

Rules, for every tokenizer and text below:

* the prompt's ids are those of `tokenizer(prompt)`, but for a BOS that the prompt has written out;
* the target's ids, decoded behind the prompt, are the target, up to what the tokenizer does to every text: its own
  normalization, white space that it drops or puts in, and characters that its vocabulary does not know;
* tokens are in order; each one's text is its characters; every character that is not white space has a token; what the
  tokenizer adds (BOS, the mark of a space before a text) has none;
* a span by text maps to tokens that cover it, and to no token outside it;
* where a token would straddle prompt and target, `boundary` says so, and `strict_boundary` refuses;
* ids that were given come back as they are, and their tokens cover what they decode to.
"""

import re

import pytest
from tokenizer_kinds import MAKERS, MARKERS, make

import spanwise
from spanwise.attribution import Token
from spanwise.errors import BoundaryError, InputError, SpanError
from spanwise.text.encoding import Encoding, _encoded_prompt, encode, encode_for_decoder, encode_prompt
from spanwise.text.spans import resolve_spans

TEXTS = {
    "plain": " Paris, not Frankfurt",
    "word": "France",
    "several spaces": "  the   keys  ",
    "line ends": "\nThe keys\n\n\tare on\r\n",
    "numbers": "1,000.50 and 12345",
    "punctuation": "?!... (it's) -- «déjà»",
    "CJK": "日本語を勉強 한국",
    "emoji": "😀 is 👩‍👩‍👧 and 👍🏽🇫🇷",
    "combining": "e\u0301migre\u0301 A\u030angstro\u0308m",
    "a mark first": "\u0301x",
    "composing": "\u1112\u1161\u11ab ﬁ Ⅳ…",
    "right to left": "שלום عالم",
    "special": "<s>the</s> keys",
    "markers": "city<|im_end|>\n<|im_start|>user\nHe",
    "odd": "▁a Ġb \xa0\u200bc",
}
PROMPTS = ["the capital of France is", "12 + 3", "日本", "the end<|im_end|> "]
EVERY = [(name, kind) for name in MAKERS for kind in TEXTS]
UNKNOWN = {"t5", "albert", "bert"}  # vocabularies without bytes


def squeezed(tokenizer: object, text: str) -> str:
    """The text as the tokenizer normalizes it, without white space and its marks."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    for _ in range(2):
        text = normalizer.normalize_str(text) if normalizer else text
    return re.sub(r"[\s▁]", "", text)


def decoded_behind(tokenizer: object, encoding: Encoding) -> str:
    before = tokenizer.decode(list(encoding.prompt_ids))
    return tokenizer.decode([*encoding.prompt_ids, *encoding.target_ids]).removeprefix(before)


def check_tokens(tokens: tuple[Token, ...], text: str) -> None:
    covered: set[int] = set()
    for before, token in zip((None, *tokens), tokens, strict=False):
        assert token.text == text[token.start : token.end]
        assert before is None or (before.start <= token.start and before.end <= token.end)
        covered |= set(range(token.start, token.end))
    assert {i for i, character in enumerate(text) if not character.isspace()} <= covered


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_prompt_and_target_as_texts(name: str, kind: str) -> None:
    for prompt in PROMPTS:
        tokenizer, target = make(name), TEXTS[kind]
        encoding = encode(tokenizer, prompt, target)
        assert encoding.prompt_ids == tuple(tokenizer(prompt)["input_ids"])
        check_tokens(encoding.prompt_tokens, prompt)
        check_tokens(encoding.target_tokens, target)
        read = decoded_behind(tokenizer, encoding)
        if tokenizer.unk_token_id not in encoding.target_ids:
            assert squeezed(tokenizer, read) == squeezed(tokenizer, target)
        if name in ("gpt2", "llama3", "llama2", "gemma", "unigram_never"):  # these change no character
            assert read == target if name in ("gpt2", "llama3") else read == target.replace("▁", " ")
        if encoding.boundary == "clean":
            together = tokenizer(prompt + target, add_special_tokens=False)["input_ids"]
            assert tuple(together[-len(encoding.target_ids) :]) == encoding.target_ids
        else:
            with pytest.raises(BoundaryError, match=r"^tokenized together, .* refuses that"):
                encode(tokenizer, prompt, target, strict_boundary=True)


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_ids_that_were_given(name: str, kind: str) -> None:
    tokenizer = make(name)
    from_text = encode(tokenizer, PROMPTS[0], TEXTS[kind])
    from_ids = encode(tokenizer, PROMPTS[0], from_text.target_ids)
    assert from_ids.target_ids == from_text.target_ids
    assert from_ids.target_text == decoded_behind(tokenizer, from_ids)
    check_tokens(from_ids.target_tokens, from_ids.target_text)
    if from_ids.target_text == TEXTS[kind] and name not in ("gpt2_prefix_space", "t5"):  # offsets without spaces
        assert from_ids.target_tokens == from_text.target_tokens


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    ("target", "part"),
    [
        (" the 😀 keys", "😀"),
        (" of 👩‍👩‍👧 city", "👩‍👩‍👧"),
        (" a e\u0301migre\u0301 is", "e\u0301"),
        (" in 日本語", "本"),
    ],
)
def test_a_character_in_several_tokens_is_one_span(name: str, target: str, part: str) -> None:
    encoding = encode(make(name), "the city is", target)
    (span,) = resolve_spans(part, target, encoding.target_tokens, occurrence=0)
    inside = encoding.target_tokens[span.first_token : span.last_token]
    assert (span.start, span.end) == (target.index(part), target.index(part) + len(part))
    assert {i for token in inside for i in range(token.start, token.end)} >= set(range(span.start, span.end))
    outside = [*encoding.target_tokens[: span.first_token], *encoding.target_tokens[span.last_token :]]
    assert not any(token.start < span.end and token.end > span.start for token in outside)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(("prompt", "target"), [("12 + 3", "4"), ("Fr", "ance")])
def test_merges_at_the_border(name: str, prompt: str, target: str) -> None:
    tokenizer = make(name)
    alone, together = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, prompt + target))
    encoding = encode(tokenizer, prompt, target)
    assert (encoding.boundary == "clean") == (together[: len(alone)] == alone)
    assert squeezed(tokenizer, decoded_behind(tokenizer, encoding)) == squeezed(tokenizer, target)
    assert not decoded_behind(tokenizer, encoding).startswith(" ")  # "12 + 3 4" is not what was asked about


def test_merges_at_the_border_are_named() -> None:
    for name in ("gpt2", "llama3", "mistral", "bert"):
        assert "share the token" in encode(make(name), "12 + 3", "4").boundary
        assert "34'" in encode(make(name), "12 + 3", "4").boundary
        assert "France'" in encode(make(name), "Fr", "ance").boundary
    assert encode(make("qwen"), "12 + 3", "4").boundary == "clean"  # single digits
    assert encode(make("t5"), "日", "本").boundary.endswith("share the token '日本'")  # one unknown token
    assert encode(make("unigram_first"), "日", "本").boundary == "clean"  # bytes, each of one character
    assert encode(make("albert"), "the keys ", "Paris").boundary == "clean"  # the prompt's space is dropped anyway


@pytest.mark.parametrize("name", MAKERS)
def test_what_the_tokenizer_adds_has_no_text(name: str) -> None:
    tokenizer = make(name)
    for prompt in ("the keys", "日本", "x<|im_end|>\nHe", "<s>the"):
        ids = tokenizer(prompt)["input_ids"]
        added = len(ids) - len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        tokens = encode_prompt(tokenizer, prompt)
        of_text = [token for token in tokens if token.text]
        assert len(tokens) - len(of_text) >= added - (prompt.startswith("<s>") and tokenizer.bos_token_id == ids[0])
        marks = [token for token in tokens if not token.text and not token.special]
        assert all(tokenizer.convert_ids_to_tokens(token.id) in ("▁", "Ġ") for token in marks)


@pytest.mark.parametrize("name", ["llama3", "mistral", "llama2", "gemma", "unigram_first", "bert"])
def test_bos_is_not_doubled(name: str) -> None:
    tokenizer = make(name)
    bos = tokenizer.decode(tokenizer("the")["input_ids"][:1])
    written = encode(tokenizer, f"{bos}the keys", " are")
    assert written.prompt_ids.count(written.prompt_ids[0]) == 1
    assert written.prompt_tokens[0].text == bos and written.prompt_tokens[0].special
    assert written.prompt_ids[-1] == encode(tokenizer, "the keys", " are").prompt_ids[-1]  # [SEP] stays
    assert not written.doubled_bos
    for twice in [f"{bos}{bos}the"] + [f"\n {bos}the"] * (name != "bert"):  # which drops white space
        doubled = encode(tokenizer, twice, " keys")
        assert doubled.doubled_bos and doubled.prompt_ids.count(written.prompt_ids[0]) == 2


@pytest.mark.parametrize("name", MAKERS)
def test_the_text_alone(name: str) -> None:
    """A prompt is tokenized once: its ids without what the tokenizer adds are those of the text alone."""
    tokenizer = make(name)
    for prompt in [*PROMPTS, *TEXTS.values()]:
        assert _encoded_prompt(tokenizer, prompt)[1] == tokenizer(prompt, add_special_tokens=False)["input_ids"], prompt


def test_bos_text_that_is_no_bos() -> None:
    """A tokenizer that reads the characters of special tokens as plain text still begins with its BOS."""
    tokenizer = MAKERS["llama3"]()
    tokenizer.split_special_tokens = True
    assert encode_prompt(tokenizer, "<s>the")[0].text == ""


def test_special_tokens() -> None:
    for name in ("llama3", "qwen", "mistral"):
        tokens = encode_prompt(make(name), f"{MARKERS[0]}the{MARKERS[1]}")
        assert [token.text for token in tokens if token.special and token.text] == MARKERS
    unknown = encode(make("t5"), "the 日 <unk>", " keys").prompt_tokens
    assert [(token.text, token.special) for token in unknown if token.id == make("t5").unk_token_id] == [
        ("日", False),  # the writer's own text
        ("<unk>", True),
    ]


def test_offsets_that_tokenizers_report_wrongly() -> None:
    def texts(name: str, text: str) -> list[str]:
        return [token.text for token in encode_prompt(make(name), text) if not token.special]

    assert texts("mistral", "日") == ["", "日", "日", "日"]  # "▁" claims the first character as well
    assert texts("unigram_never", "日本") == ["日"] * 3 + ["本"] * 3  # each byte claims both
    assert texts("gpt2_prefix_space", "<s>The") == ["The"]  # trimmed offsets claim "he"
    assert texts("qwen", "e\u0301x") == ["e\u0301", "x"]  # the mark has no token after NFC
    assert texts("normalizing", "\u0301x") == ["\u0301x"]
    assert texts("bert", "ke\x00ys")[0] == "ke\x00ys"


@pytest.mark.parametrize("name", sorted(set(MAKERS) - UNKNOWN))
def test_a_target_that_ends_inside_a_character(name: str) -> None:
    tokenizer = make(name)
    whole = encode(tokenizer, "the city is", " Paris 日😀").target_ids
    cut = encode(tokenizer, "the city is", whole[:-2])
    assert cut.target_ids == whole[:-2]
    assert cut.target_text.rstrip("\ufffd").lower() == " paris 日" and cut.target_text.endswith("\ufffd")
    check_tokens(cut.target_tokens, cut.target_text)
    assert all(token.text for token in cut.target_tokens)
    assert resolve_spans("日", cut.target_text, cut.target_tokens)[0].last_token == len(whole) - 4
    with pytest.raises(SpanError, match=r"'😀' is not in the target .* bytes that are no whole character"):
        resolve_spans("😀", cut.target_text, cut.target_tokens)


@pytest.mark.parametrize("name", sorted(set(MAKERS) - UNKNOWN))
def test_bytes_that_are_no_character(name: str) -> None:
    """A stray first byte, then text; and a replacement character that is really there."""
    tokenizer = make(name)
    first = encode(tokenizer, "x", "日").target_ids[-3]
    keys = encode(tokenizer, "x", " keys").target_ids
    stray = encode(tokenizer, "日", [first, *keys])
    assert stray.target_text == "\ufffd keys" and stray.target_tokens[0].text == "\ufffd"
    real = encode(tokenizer, "日", encode(tokenizer, "x", " a\ufffdb").target_ids)
    assert real.target_text == " a\ufffdb" and [token.text for token in real.target_tokens][-4:] == ["\ufffd"] * 3 + [
        "b"
    ]


@pytest.mark.parametrize("name", MAKERS)
def test_targets_of_marks_and_special_tokens(name: str) -> None:
    tokenizer = make(name)
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    only = encode(tokenizer, "the", [end])
    assert only.target_text.strip() == tokenizer.convert_ids_to_tokens(end)
    assert only.target_tokens[0].special and resolve_spans(
        (0, len(only.target_text)), only.target_text, only.target_tokens
    )
    with pytest.raises(SpanError, match="is not in the target"):
        resolve_spans("keys", only.target_text, only.target_tokens)
    mark = tokenizer.convert_tokens_to_ids("▁") or tokenizer.convert_tokens_to_ids("Ġ")
    if mark not in (None, tokenizer.unk_token_id):
        keys = encode(tokenizer, "the", "keys").target_ids
        spaced = encode(tokenizer, "the", [mark, *keys])
        assert spaced.target_text.startswith(" ") and spaced.target_tokens[0].text == " "
        assert resolve_spans(spaced.target_text.strip(), spaced.target_text, spaced.target_tokens)[0].first_token == 1


def test_a_long_row_of_bytes_is_decoded_from_a_character_on() -> None:
    for name in ("mistral", "llama2", "gemma", "unigram_first", "unigram_never", "gpt2"):
        encoding = encode(make(name), "日本語を勉強", "日本")
        assert encode(make(name), "日本語を勉強", encoding.target_ids).target_text == "日本"


def test_token_ranges_are_exact() -> None:
    encoding = encode(make("gpt2"), "x", " 日 a")
    text, tokens = encoding.target_text, encoding.target_tokens
    (part,) = resolve_spans(spanwise.tokens(1, 2), text, tokens)
    assert (part.first_token, part.last_token, part.text) == (1, 2, "日") and "shares characters" in part.note
    assert resolve_spans(spanwise.tokens(1, 4), text, tokens)[0].note == ""
    pair = encode_for_decoder(make("t5"), "x", [make("t5").convert_tokens_to_ids("▁"), 9], 0)
    (mark,) = resolve_spans(spanwise.tokens(0, 1), pair.target_text, pair.target_tokens)
    assert (mark.first_token, mark.last_token, mark.text) == (0, 1, "")


def test_targets_of_an_encoder_decoder() -> None:
    tokenizer = make("t5")
    plain = encode_for_decoder(tokenizer, "the keys", "Paris 34", 0)
    check_tokens(plain.target_tokens, "Paris 34")
    assert tokenizer.eos_token_id not in plain.target_ids
    ended = encode_for_decoder(tokenizer, "the keys", "Paris</s>", 0)
    assert ended.target_tokens[-1].text == "</s>"  # written by the user


@pytest.mark.usefixtures("unchecked_types")
def test_messages() -> None:
    with pytest.raises(InputError, match=r"character 1 of the target \('\\ud800'\) is half of a surrogate pair"):
        encode(make("gpt2"), "x", "a\ud800")
    with pytest.raises(InputError, match="has no tokens: the tokenizer drops all of its characters"):
        encode(make("normalizing"), "x", "\u0301")
    with pytest.raises(InputError, match="token ids, which are integers"):
        encode(make("gpt2"), "x", [1.5])
    spaces = encode(make("t5"), "x", " the  keys")
    with pytest.raises(SpanError, match=r"no token covers .*\('  '\).*white space. Ask for characters beside"):
        resolve_spans("  ", spaces.target_text, spaces.target_tokens)
    composed = encode(make("gpt2"), "x", " caf\xe9")
    with pytest.raises(SpanError, match=r"another Unicode form, NFC: 'caf\\xe9'"):
        resolve_spans("cafe\u0301", composed.target_text, composed.target_tokens)
