"""Tokenizers of the common kinds, small and made in code, each in the shape that a known family ships."""

import json
from collections.abc import Callable
from functools import cache

import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordPieceTrainer

CORPUS = [
    "the capital of France is Paris and Frankfurt is a city, not a country. The keys are on the table!",
    "He doesn't know: 12 + 3 is 15, and 34 is 34; it costs 1,000.50 (in Paris).",
    "naïve café émigré — déjà vu; Ångström. Привет, мир! שלום עולם",
    "France Frankfurt 34 345 ance Paris",
] * 6
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]
MARKERS = ["<|im_start|>", "<|im_end|>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def _wrapped(tokenizer: Tokenizer, **special: object) -> transformers.PreTrainedTokenizerFast:
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **(names | special))


def _bos(tokenizer: Tokenizer) -> None:
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )


def _byte_level(
    pattern: str | None = None, *, prefix_space: bool = False, bos: bool = False, nfc: bool = False, size: int = 420
) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=pattern is None)
    split = [pre_tokenizers.Split(Regex(pattern), behavior="isolated")] if pattern else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS, BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    if bos:
        _bos(tokenizer)
    return tokenizer


def gpt2() -> transformers.PreTrainedTokenizerFast:
    """Byte-level BPE, one token for BOS, EOS and unknown, none added."""
    end = "<s>"
    return _wrapped(_byte_level(), unk_token=end, eos_token=end, pad_token=None)


def gpt2_prefix_space() -> transformers.PreTrainedTokenizerFast:
    """Byte-level BPE that puts a space before a text, with offsets that leave spaces out (RoBERTa, BART)."""
    tokenizer = _byte_level(prefix_space=True)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return _wrapped(tokenizer)


def llama3() -> transformers.PreTrainedTokenizerFast:
    """Byte-level BPE with BOS, numbers of three digits, and markers special only as added tokens."""
    tokenizer = _byte_level(LLAMA3, bos=True)
    tokenizer.add_tokens([AddedToken(marker, special=True, normalized=False) for marker in MARKERS])
    return _wrapped(tokenizer)


def qwen() -> transformers.PreTrainedTokenizerFast:
    """Byte-level BPE after NFC, single digits, no BOS at all, chat markers."""
    wrapped = _wrapped(_byte_level(QWEN, nfc=True), bos_token=None)
    wrapped.add_tokens([AddedToken(marker, special=True, normalized=False) for marker in MARKERS])
    return wrapped


def _metaspace_bpe() -> Tokenizer:
    """Returns a BPE with byte fallback over texts in which "▁" stands for a space."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trained.train_from_iterator(
        CORPUS, BpeTrainer(vocab_size=520, special_tokens=[*SPECIAL, *BYTES], show_progress=False)
    )
    model = trained.model
    model.byte_fallback = True
    model.fuse_unk = True
    return Tokenizer(model)


def _space_decoder(*, strip: bool) -> decoders.Decoder:
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strip else steps)


def _special(tokenizer: Tokenizer, *markers: str) -> None:
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in (*SPECIAL, *markers)])


def mistral() -> transformers.PreTrainedTokenizerFast:
    """BPE with normalizers that prepend and replace (Llama-2 and Mistral as converted), BOS, chat markers."""
    tokenizer = _metaspace_bpe()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = _space_decoder(strip=True)
    _special(tokenizer, *MARKERS)
    _bos(tokenizer)
    return _wrapped(tokenizer, extra_special_tokens=MARKERS)


def llama2() -> transformers.PreTrainedTokenizerFast:
    """The same by a pre-tokenizer that marks the first word only and cuts nothing (Llama-2, not legacy)."""
    tokenizer = _metaspace_bpe()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = _space_decoder(strip=True)
    _special(tokenizer)
    _bos(tokenizer)
    return _wrapped(tokenizer)


def gemma() -> transformers.PreTrainedTokenizerFast:
    """The same without a mark before the first word."""
    tokenizer = _metaspace_bpe()
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = _space_decoder(strip=False)
    _special(tokenizer)
    _bos(tokenizer)
    return _wrapped(tokenizer)


def _unigram(scheme: str, *before: pre_tokenizers.PreTokenizer, byte_fallback: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    metaspace = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*before, metaspace])
    special = [*SPECIAL, *BYTES] if byte_fallback else SPECIAL
    trainer = UnigramTrainer(
        vocab_size=160 + len(special), special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if not byte_fallback:
        tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
        return tokenizer
    pieces = json.loads(tokenizer.to_str())["model"]["vocab"]
    with_bytes = Tokenizer(models.Unigram([(piece, score) for piece, score in pieces], 0, True))
    with_bytes.pre_tokenizer = tokenizer.pre_tokenizer
    with_bytes.decoder = _space_decoder(strip=scheme != "never")
    _special(with_bytes)  # the bytes are pieces like others, not special ones as for the trainer
    return with_bytes


def t5() -> transformers.PreTrainedTokenizerFast:
    """Unigram that drops white space, normalizes by NFKC, marks every word and ends a text with EOS; no BOS."""
    tokenizer = _unigram("always", pre_tokenizers.WhitespaceSplit())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    return _wrapped(tokenizer, bos_token=None)


def albert() -> transformers.PreTrainedTokenizerFast:
    """Unigram that strips a text and puts several spaces together."""
    tokenizer = _unigram("always")
    squeeze = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Strip(), squeeze])
    return _wrapped(tokenizer)


def unigram_first() -> transformers.PreTrainedTokenizerFast:
    """Unigram with byte fallback that marks the first word only."""
    tokenizer = _unigram("first", byte_fallback=True)
    _bos(tokenizer)
    return _wrapped(tokenizer)


def unigram_never() -> transformers.PreTrainedTokenizerFast:
    """Unigram with byte fallback that puts no mark before a text."""
    return _wrapped(_unigram("never", byte_fallback=True))


def bert() -> transformers.PreTrainedTokenizerFast:
    """WordPiece: lower case, no accents, "##" before what continues a word, [CLS] and [SEP] around a text."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(CORPUS, WordPieceTrainer(vocab_size=260, special_tokens=special, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(text, tokenizer.token_to_id(text)) for text in ("[CLS]", "[SEP]")]
    )
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    return _wrapped(tokenizer, **names, bos_token=None, eos_token=None)


def normalizing() -> transformers.PreTrainedTokenizerFast:
    """Byte-level BPE after NFKC, lower case and the loss of accents."""
    tokenizer = _byte_level()
    steps = [normalizers.NFKC(), normalizers.Lowercase(), normalizers.NFD(), normalizers.StripAccents()]
    tokenizer.normalizer = normalizers.Sequence(steps)
    return _wrapped(tokenizer)


MAKERS: dict[str, Callable[[], transformers.PreTrainedTokenizerFast]] = {
    maker.__name__: maker
    for maker in (
        gpt2,
        gpt2_prefix_space,
        llama3,
        qwen,
        mistral,
        llama2,
        gemma,
        t5,
        albert,
        unigram_first,
        unigram_never,
        bert,
        normalizing,
    )
}


@cache
def make(name: str) -> transformers.PreTrainedTokenizerFast:
    """Returns one of them, made once."""
    return MAKERS[name]()
