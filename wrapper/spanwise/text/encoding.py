"""Prompt and target as the token ids that the model sees, with the characters of each token."""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from spanwise.attribution import Token
from spanwise.errors import BoundaryError, InputError, ModelError
from spanwise.text.characters import decode_with_spans, filled_offsets, mended_offsets

Pieces: TypeAlias = tuple[list[int], list[tuple[int, int]]]
"""Ids and the characters [start, end) of each."""


DOUBLED_BOS = "the prompt begins with its first special token twice: most models were trained with one"


@dataclass(frozen=True)
class Encoding:
    """A prompt and a target on the model's tokenization.

    Attributes:
        prompt: The prompt as given.
        target_text: The target as text.
        prompt_tokens: Tokens of the prompt, special ones that the tokenizer adds included.
        target_tokens: Tokens of the target.
        boundary: "clean", or which token would span prompt and target if both were tokenized together.
    """

    prompt: str
    target_text: str
    prompt_tokens: tuple[Token, ...]
    target_tokens: tuple[Token, ...]
    boundary: str = "clean"

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """Ids of the prompt."""
        return tuple(token.id for token in self.prompt_tokens)

    @property
    def target_ids(self) -> tuple[int, ...]:
        """Ids of the target."""
        return tuple(token.id for token in self.target_tokens)

    @property
    def doubled_bos(self) -> bool:
        """The special token that begins the prompt comes twice, with nothing but white space between.

        `encode` never adds a second one; a text that has it twice, or has white space before it, is left as it is.
        """
        first, *rest = self.prompt_tokens
        again = next((token for token in rest if token.text.strip()), None)
        return first.special and again is not None and again.id == first.id and again.special


def encode(tokenizer: Any, prompt: str, target: str | Sequence[int], *, strict_boundary: bool = False) -> Encoding:
    """Returns prompt and target as tokens.

    The prompt is tokenized alone, as it is when a model is asked to continue it; the target is what follows. Where
    tokenizing both together would merge characters of both into one token, the model could not have generated that
    token, so the target is tokenized as a continuation and `Encoding.boundary` says so.

    Args:
        tokenizer: A transformers tokenizer that gives offsets.
        prompt: A text. If it begins with the BOS text, no second BOS is added.
        target: A text, or the ids that were generated.
        strict_boundary: Refuse a token that would straddle the border.

    Raises:
        InputError: Empty prompt or target, or ids that the vocabulary does not have.
        BoundaryError: See `strict_boundary`.
        ModelError: The tokenizer gives no offsets.
    """
    prompt_tokens, alone = _encoded_prompt(tokenizer, prompt)
    before = _last_ids(prompt_tokens)
    if not isinstance(target, str):
        ids = _checked_ids(tokenizer, target)
        text, spans = decode_with_spans(tokenizer, before, ids)
        return Encoding(prompt, text, prompt_tokens, _tokens(tokenizer, text, ids, spans, "target"))
    _check_target(target)
    (ids, spans), boundary = _together(tokenizer, prompt, alone, target)
    if boundary != "clean" and strict_boundary:
        raise BoundaryError(
            f"{boundary}. strict_boundary=True refuses that: move the border of prompt and target to the end of a "
            "token, or leave strict_boundary out to have the target tokenized as a continuation."
        )
    if boundary != "clean":
        ids, spans = _continuation(tokenizer, before, target)
    return Encoding(prompt, target, prompt_tokens, _tokens(tokenizer, target, ids, spans, "target"), boundary)


def encode_for_decoder(tokenizer: Any, prompt: str, target: str | Sequence[int], decoder_start: int) -> Encoding:
    """Returns prompt and target as an encoder-decoder model reads them: in two sequences, each tokenized alone.

    The decoder's own first token stands as the prompt's last, so that what follows it is the target, as in a causal
    model. A target text gets the special tokens that the tokenizer puts before a target (a language code, say), not
    the one that ends it.

    Raises:
        InputError: Empty prompt or target, or ids that the vocabulary does not have.
        ModelError: The tokenizer gives no offsets.
    """
    start = Token("", decoder_start, len(prompt), len(prompt), "prompt", special=True)
    prompt_tokens = (*encode_prompt(tokenizer, prompt), start)
    if isinstance(target, str):
        _check_target(target)
        ids, spans = _encoded(tokenizer, target, special=True, as_target=True)
        while ids and ids[-1] == tokenizer.eos_token_id and spans[-1][0] == spans[-1][1]:  # not one in the text
            ids, spans = ids[:-1], spans[:-1]
        if not ids:
            raise _no_tokens(target)
        text = target
    else:
        ids = _checked_ids(tokenizer, target)
        text, spans = decode_with_spans(tokenizer, [], ids)
    return Encoding(prompt, text, prompt_tokens, _tokens(tokenizer, text, ids, spans, "target"))


def encode_prompt(tokenizer: Any, prompt: str) -> tuple[Token, ...]:
    """Returns the tokens of a prompt, with the special tokens that the tokenizer adds.

    Raises:
        InputError: The prompt is empty.
        ModelError: The tokenizer gives no offsets.
    """
    return _encoded_prompt(tokenizer, prompt)[0]


def _encoded_prompt(tokenizer: Any, prompt: str) -> tuple[tuple[Token, ...], list[int]]:
    """Returns the tokens of a prompt, and the ids of its text alone, without what the tokenizer adds."""
    if not isinstance(prompt, str) or not prompt:
        raise InputError(f"the prompt must be a text that is not empty, not {prompt!r}.")
    _check_characters("prompt", prompt)
    (ids, spans), alone = _read(tokenizer, prompt, special=True)
    if not ids:
        raise InputError(f"the prompt {prompt!r} has no tokens.")
    return _tokens(tokenizer, prompt, ids, spans, "prompt"), alone


def _encoded(tokenizer: Any, text: str, *, special: bool, as_target: bool = False) -> Pieces:
    return _read(tokenizer, text, special=special, as_target=as_target)[0]


def _read(tokenizer: Any, text: str, *, special: bool, as_target: bool = False) -> tuple[Pieces, list[int]]:
    """Returns a text's tokens, and the ids among them that are not the tokenizer's addition."""
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{type(tokenizer).__name__} gives no character offsets, which spans need: use the model's fast tokenizer "
            "(AutoTokenizer.from_pretrained(..., use_fast=True))."
        )
    given = {"text_target" if as_target else "text": text}
    encoded = tokenizer(**given, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
    ids, spans = list(encoded["input_ids"]), [tuple(pair) for pair in encoded["offset_mapping"]]
    # A text that begins with what the tokenizer adds in front (BOS) does not get it a second time.
    of_text = [index is not None for index in encoded.sequence_ids(0)]
    added = of_text.index(True) if True in of_text else 0
    alone = [id_ for id_, own in zip(ids, of_text, strict=True) if own]
    if ids[:added] == ids[added : 2 * added]:
        ids, spans = ids[added:], spans[added:]
    return (ids, mended_offsets(text, tokenizer.convert_ids_to_tokens(ids), spans)), alone


def _tokens(
    tokenizer: Any, text: str, ids: Sequence[int], spans: Sequence[tuple[int, int]], role: str
) -> tuple[Token, ...]:
    special = {id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
    special |= set(tokenizer.all_special_ids)
    tokens = []
    for id_, (start, end) in zip(ids, filled_offsets(text, spans), strict=True):
        # What the vocabulary does not know is the writer's own text, although its id is a special one.
        unknown = id_ == tokenizer.unk_token_id and text[start:end].strip() not in ("", str(tokenizer.unk_token))
        tokens.append(Token(text[start:end], int(id_), start, end, role, special=id_ in special and not unknown))
    return tuple(tokens)


def _together(tokenizer: Any, prompt: str, alone: list[int], target: str) -> tuple[Pieces, str]:
    """Returns the target's part of both tokenized together, and "clean" where that continues the prompt's ids."""
    border, both = len(prompt), prompt + target
    ids, spans = _encoded(tokenizer, both, special=False)
    cut = len(alone)
    kept = ids[:cut] == alone
    for start, end in spans:
        if start < border < end and not (kept and both[start:border].isspace()):  # white space that the prompt's drop
            return ([], []), f"tokenized together, prompt and target share the token {both[start:end]!r}"
    if not kept:
        return ([], []), "tokenized together, the prompt's last tokens change"
    if cut == len(ids):
        raise _no_tokens(target)
    return (ids[cut:], [(max(start - border, 0), max(end - border, 0)) for start, end in spans[cut:]]), "clean"


def _continuation(tokenizer: Any, before: list[int], target: str) -> Pieces:
    """Returns ids of `target` that decode to it after the ids `before`.

    Tokenizers that mark a word's beginning ("▁" of sentencepiece) add a space to a text of its own, so the target is
    also tokenized behind a character that no token reaches across, and the reading that decodes best is taken.
    """
    normalize = _normalizer(tokenizer)
    best: tuple[int, Pieces] | None = None
    for anchor in ("", "\n", "|", "a", "0", "e", "z", "."):
        border = len(anchor)
        ids, spans = _encoded(tokenizer, anchor + target, special=False)
        alone = _encoded(tokenizer, anchor, special=False)[0] if anchor else []
        skip = len(alone)
        if ids[:skip] != alone or skip == len(ids) or any(start < border < end for start, end in spans):
            continue
        reading = (ids[skip:], [(max(start - border, 0), max(end - border, 0)) for start, end in spans[skip:]])
        decoded = decode_with_spans(tokenizer, before, reading[0])[0]
        expected = _as_read(tokenizer, target, reading)
        if "".join(normalize(decoded).split()) == "".join(normalize(expected).split()):
            extra_space = decoded[:1].isspace() != expected[:1].isspace()
            faults = 2 * extra_space + (normalize(decoded) != normalize(expected))
            best = min(best or (faults, reading), (faults, reading), key=lambda ranked: ranked[0])
            if not faults:
                break
    if best is None:
        raise InputError(
            f"the target {target!r} cannot be tokenized as a continuation of the prompt: give it as token ids."
        )
    return best[1]


def _as_read(tokenizer: Any, target: str, reading: Pieces) -> str:
    """Returns the target with the text of the unknown token where the vocabulary does not know its characters."""
    read, at = "", 0
    for id_, (start, end) in zip(reading[0], filled_offsets(target, reading[1]), strict=True):
        read += str(tokenizer.unk_token) if id_ == tokenizer.unk_token_id else target[max(at, start) : end]
        at = max(at, end)
    return read


def _normalizer(tokenizer: Any) -> Callable[[str], str]:
    """Returns what the tokenizer does to a text before it cuts it (lower case, say), so that texts compare alike.

    It is done twice, since some normalizers find more to do in what they made; a mark of a space reads as a space.
    """
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    once: Callable[[str], str] = normalizer.normalize_str if normalizer is not None else str
    return lambda text: once(once(text)).replace("▁", " ")


def _check_target(target: str) -> None:
    if not target.strip():
        raise InputError(f"the target is empty or only white space: {target!r}.")
    _check_characters("target", target)


def _check_characters(kind: str, text: str) -> None:
    half = re.search("[\ud800-\udfff]", text)
    if half:
        raise InputError(
            f"character {half.start()} of the {kind} ({half[0]!r}) is half of a surrogate pair: no tokenizer reads it."
        )


def _no_tokens(target: str) -> InputError:
    return InputError(f"the target {target!r} has no tokens: the tokenizer drops all of its characters.")


def _checked_ids(tokenizer: Any, target: Sequence[int]) -> list[int]:
    try:
        ids = [operator.index(id_) for id_ in target]
    except TypeError:
        raise InputError(f"the target must be a text or token ids, which are integers, not {target!r}.") from None
    if not ids:
        raise InputError("the target is empty: no token ids were given or generated.")
    size = len(tokenizer)
    wrong = [id_ for id_ in ids if not 0 <= id_ < size]
    if wrong:
        raise InputError(f"the target has token ids {wrong[:5]}, but the vocabulary has ids [0, {size}).")
    return ids


def _last_ids(tokens: Sequence[Token], count: int = 8) -> list[int]:
    """Returns the last ids of a prompt, from the beginning of a character on."""
    first = max(len(tokens) - count, 0)
    while first and tokens[first].start < tokens[first - 1].end:
        first -= 1
    return [token.id for token in tokens[first:]]
