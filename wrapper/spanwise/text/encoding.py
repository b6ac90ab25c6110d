"""Prompt and target as the token ids that the model sees, with the characters of each token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from spanwise.attribution import Token
from spanwise.errors import BoundaryError, InputError, ModelError


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
    prompt_tokens = encode_prompt(tokenizer, prompt)
    prompt_ids = [token.id for token in prompt_tokens]
    if not isinstance(target, str):
        ids = _checked_ids(tokenizer, target)
        text, spans = _decode_with_spans(tokenizer, prompt_ids, ids)
        return Encoding(prompt, text, prompt_tokens, _tokens(tokenizer, text, ids, spans, "target"))
    if not target.strip():
        raise InputError(f"the target is empty or only white space: {target!r}.")
    bare = _encoded(tokenizer, prompt, special=False)
    joint_ids, joint_offsets = _encoded(tokenizer, prompt + target, special=False)
    cut = len(bare[0])
    boundary = "clean"
    if joint_ids[:cut] == bare[0] and cut < len(joint_ids) and joint_offsets[cut][0] >= len(prompt):
        ids = joint_ids[cut:]
        spans = [(start - len(prompt), end - len(prompt)) for start, end in joint_offsets[cut:]]
    else:
        boundary = _straddling(prompt, target, joint_offsets)
        if strict_boundary:
            raise BoundaryError(
                f"{boundary}. strict_boundary=True refuses that: move the border of prompt and target to the end of a "
                "token, or leave strict_boundary out to have the target tokenized as a continuation."
            )
        ids, spans = _continuation(tokenizer, prompt_ids, target)
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
        if not target.strip():
            raise InputError(f"the target is empty or only white space: {target!r}.")
        encoded = tokenizer(text_target=target, return_offsets_mapping=True)
        ids, spans = list(encoded["input_ids"]), [tuple(pair) for pair in encoded["offset_mapping"]]
        while ids and ids[-1] == tokenizer.eos_token_id:
            ids, spans = ids[:-1], spans[:-1]
        text = target
    else:
        ids = _checked_ids(tokenizer, target)
        text, spans = _decode_with_spans(tokenizer, [], ids)
    return Encoding(prompt, text, prompt_tokens, _tokens(tokenizer, text, ids, spans, "target"))


def encode_prompt(tokenizer: Any, prompt: str) -> tuple[Token, ...]:
    """Returns the tokens of a prompt, with the special tokens that the tokenizer adds.

    Raises:
        InputError: The prompt is empty.
        ModelError: The tokenizer gives no offsets.
    """
    if not isinstance(prompt, str) or not prompt:
        raise InputError(f"the prompt must be a text that is not empty, not {prompt!r}.")
    bos = tokenizer.bos_token
    ids, spans = _encoded(tokenizer, prompt, special=not (bos and prompt.startswith(bos)))
    if not ids:
        raise InputError(f"the prompt {prompt!r} has no tokens.")
    return _tokens(tokenizer, prompt, ids, spans, "prompt")


def _encoded(tokenizer: Any, text: str, *, special: bool) -> tuple[list[int], list[tuple[int, int]]]:
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{type(tokenizer).__name__} gives no character offsets, which spans need: use the model's fast tokenizer "
            "(AutoTokenizer.from_pretrained(..., use_fast=True))."
        )
    encoded = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
    return list(encoded["input_ids"]), [tuple(pair) for pair in encoded["offset_mapping"]]


def _tokens(
    tokenizer: Any, text: str, ids: Sequence[int], spans: Sequence[tuple[int, int]], role: str
) -> tuple[Token, ...]:
    special = set(tokenizer.all_special_ids)
    return tuple(
        Token(text[start:end], int(id_), start, end, role, special=id_ in special)
        for id_, (start, end) in zip(ids, spans, strict=True)
    )


def _straddling(prompt: str, target: str, offsets: Sequence[tuple[int, int]]) -> str:
    border = len(prompt)
    for start, end in offsets:
        if start < border < end:
            return f"tokenized together, prompt and target share the token {(prompt + target)[start:end]!r}"
    return "tokenized together, the prompt's last tokens change"


def _continuation(tokenizer: Any, prompt_ids: list[int], target: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Returns ids of `target` that decode to it after the prompt.

    Tokenizers that mark a word's beginning ("▁" of sentencepiece) add a space to a text of its own, so the target is
    also tokenized behind a character that no token reaches across, and the first reading that decodes right is taken.
    """
    normalize = _normalizer(tokenizer)
    for anchor in ("", "\n", "|", "a", "0"):
        ids, spans = _encoded(tokenizer, anchor + target, special=False)
        skip = len(_encoded(tokenizer, anchor, special=False)[0]) if anchor else 0
        if skip >= len(ids) or spans[skip][0] < len(anchor):
            continue
        unknown = bool(anchor) and tokenizer.unk_token_id in ids[skip:]  # such a token does not decode to its text
        if unknown or normalize(_decode_with_spans(tokenizer, prompt_ids, ids[skip:])[0]) == normalize(target):
            return ids[skip:], [(start - len(anchor), end - len(anchor)) for start, end in spans[skip:]]
    raise InputError(
        f"the target {target!r} cannot be tokenized as a continuation of the prompt: give it as token ids."
    )


def _normalizer(tokenizer: Any) -> Callable[[str], str]:
    """Returns what the tokenizer does to a text before it cuts it (lower case, say), so that texts compare alike."""
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    return normalizer.normalize_str if normalizer is not None else str


def _checked_ids(tokenizer: Any, target: Sequence[int]) -> list[int]:
    ids = [int(id_) for id_ in target]
    if not ids:
        raise InputError("the target is empty: no token ids were given or generated.")
    size = len(tokenizer)
    wrong = [id_ for id_ in ids if not 0 <= id_ < size]
    if wrong:
        raise InputError(f"the target has token ids {wrong[:5]}, but the vocabulary has ids [0, {size}).")
    return ids


def _decode_with_spans(tokenizer: Any, prompt_ids: list[int], ids: list[int]) -> tuple[str, list[tuple[int, int]]]:
    """Returns the text of generated ids and the characters of each.

    Ids are decoded behind the prompt, since some tokenizers drop a space at the beginning of a text. Tokens that hold
    only a part of a character's bytes all get that character.
    """
    context = prompt_ids[-8:]  # enough for a character cut in two; the whole prompt would be decoded for each token

    def decoded(count: int) -> str:
        return str(tokenizer.decode(context + ids[:count], clean_up_tokenization_spaces=False))

    start = len(decoded(0))
    text = decoded(len(ids))[start:]
    spans: list[tuple[int, int]] = []
    pending, at = 0, 0
    for count in range(1, len(ids) + 1):
        pending += 1
        piece = decoded(count)[start:]
        if text.startswith(piece) or count == len(ids):
            end = min(len(piece), len(text))
            spans += [(at, end)] * pending
            pending, at = 0, end
    return text, spans
