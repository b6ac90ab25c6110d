"""A transformers text-generation pipeline whose outputs say what made them: `explain(pipe)`.

The pipeline does its own work: it is called once, as it is, and what it preprocesses, generates and postprocesses is
seen on the way. The ids that are attributed are the very ids that it read and wrote.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from spanwise.api import attribute
from spanwise.errors import InputError, OptionError
from spanwise.model.language_model import LanguageModel
from spanwise.text.composing import compose
from spanwise.text.encoding import encode_prompt

_OURS = ("lm", "prompt", "target", "messages", "tools", "template_options", "generation_options", "strict_boundary")


def explain(pipe: Any, **defaults: Any) -> Callable[..., Any]:
    """Returns a callable that is called like the pipeline and gives what it gives, each output with an `attribution`.

    Args:
        pipe: A text-generation pipeline.
        **defaults: Arguments of `spanwise.attribute`: method, span, features, source, objective, ... A span that is a
            function is called with the generated text, and returns the span, or None for every token.

    Returns:
        The callable. Where the pipeline gives `{"generated_text": ...}`, it gives that and
        `"attribution": Attribution`, or None where nothing but the end of the text was generated.

    Raises:
        InputError: It is no text-generation pipeline.
        OptionError: An argument that `attribute` does not take, or that the pipeline decides.

    Example:
        >>> import spanwise, transformers
        >>> from spanwise.compat.pipelines import explain
        >>> lm = spanwise.load_model("tiny")
        >>> pipe = transformers.pipeline("text-generation", model=lm.model, tokenizer=lm.tokenizer)
        >>> explained = explain(pipe, method="saliency")
        >>> out = explained("The keys to the cabinet", max_new_tokens=2, do_sample=False)
        >>> out[0]["attribution"].target_text == out[0]["generated_text"].removeprefix("The keys to the cabinet")
        True
    """
    lm = LanguageModel(*_parts(pipe))
    allowed = [name for name in inspect.signature(attribute).parameters if name not in _OURS]
    for name in defaults:
        if name not in allowed:
            reason = "the pipeline decides it" if name in _OURS else "attribute does not take it"
            raise OptionError(f"explain was given {name}, but {reason}. Allowed: {', '.join(allowed)}.")

    @functools.wraps(type(pipe).__call__)
    def call(text_inputs: Any, **kwargs: Any) -> Any:
        tools = kwargs.get("tools")
        with _watched(pipe, lambda seen, records: _explained(pipe, lm, seen, records, defaults, tools)):
            found = pipe(text_inputs, **kwargs)
            # Datasets and generators give an iterator, which works while it is read: read it here.
            return found if isinstance(found, list | dict) else list(found)

    # The wrapped `__call__` has a `self`, which this function is beyond.
    whole = inspect.signature(type(pipe).__call__)
    call.__signature__ = whole.replace(parameters=list(whole.parameters.values())[1:])  # type: ignore[attr-defined]
    return call


def _parts(pipe: Any) -> tuple[Any, Any]:
    if getattr(pipe, "task", None) != "text-generation" or not callable(getattr(pipe, "postprocess", None)):
        raise InputError(
            f"a transformers text-generation pipeline is needed, not {getattr(pipe, 'task', None) or pipe!r}."
        )
    return pipe.model, pipe.tokenizer


@contextmanager
def _watched(pipe: Any, explained: Callable[[Mapping[str, Any], list[Any]], list[Any]]) -> Iterator[None]:
    """Has each of the pipeline's outputs pass through `explained`, together with the ids that it is made of."""
    own = pipe.postprocess

    @functools.wraps(own)
    def postprocess(model_outputs: Any, *args: Any, **kwargs: Any) -> list[Any]:
        return explained(model_outputs, own(model_outputs, *args, **kwargs))

    before = vars(pipe).get("postprocess")
    pipe.postprocess = postprocess
    try:
        yield
    finally:
        if before is None:
            del pipe.postprocess
        else:
            pipe.postprocess = before


def _explained(
    pipe: Any,
    lm: LanguageModel,
    seen: Mapping[str, Any],
    records: list[dict[str, Any]],
    defaults: Mapping[str, Any],
    tools: Any,
) -> list[dict[str, Any]]:
    """Returns the records of one input, each with its attribution."""
    given = seen["input_ids"]
    if given is None:
        raise InputError("the prompt is empty, so there is nothing to attribute to.")
    prompt = [int(id_) for id_ in given[0]]
    asked: dict[str, Any] | None = None
    explained = []
    for record, sequence in zip(records, seen["generated_sequence"][0].tolist(), strict=True):
        target, found = _without_end(pipe, sequence[len(prompt) :]), None
        if target:
            asked = _asked(lm, seen["prompt_text"], prompt, tools) if asked is None else asked
            found = attribute(lm, target=target, **asked, **_options(lm, target, defaults))
        explained.append({**record, "attribution": found})
    return explained


def _options(lm: LanguageModel, target: list[int], defaults: Mapping[str, Any]) -> dict[str, Any]:
    span = defaults.get("span")
    if not callable(span):
        return dict(defaults)
    return {**defaults, "span": span(lm.tokenizer.decode(target))}


def _asked(lm: LanguageModel, asked: Any, prompt: list[int], tools: Any) -> dict[str, Any]:
    """Returns the prompt as `attribute` takes it, where that comes to the very ids that the model read.

    Raises:
        InputError: It does not: the pipeline cut the prompt, say.
    """
    messages = getattr(asked, "messages", None)
    if messages is not None:
        for go_on in (False, True):
            options = {"continue_final_message": go_on, "add_generation_prompt": not go_on}
            found = {"messages": list(messages), "tools": tools, "template_options": options}
            if _is(lm, compose(lm.tokenizer, None, **found).text, prompt):
                return found
    kept = _without_left_padding(lm, prompt)
    texts = [asked, *(lm.tokenizer.decode(kept, skip_special_tokens=leave_out) for leave_out in (False, True))]
    for text in texts:
        if isinstance(text, str) and text and _is(lm, text, prompt):
            return {"prompt": text}
    raise InputError(
        f"the pipeline gave the model {len(kept)} tokens ({kept[:8]}...) to which no text comes here, so what was "
        "generated cannot be attributed to them: leave out prefix, truncation and tokenizer_encode_kwargs."
    )


def _is(lm: LanguageModel, text: str, prompt: list[int]) -> bool:
    """Whether a text comes to the ids of a prompt, which a batch may have filled up on the left."""
    ids = [token.id for token in encode_prompt(lm.tokenizer, text)]
    filling = prompt[: len(prompt) - len(ids)]
    return prompt[len(filling) :] == ids and all(id_ == lm.tokenizer.pad_token_id for id_ in filling)


def _without_left_padding(lm: LanguageModel, ids: list[int]) -> list[int]:
    pad = lm.tokenizer.pad_token_id
    return ids[next((i for i, id_ in enumerate(ids) if id_ != pad), len(ids)) :]


def _without_end(pipe: Any, ids: list[int]) -> list[int]:
    """Returns what was generated without the end-of-sequence token and the padding behind it, which are no text."""
    ends: set[Any] = {pipe.tokenizer.pad_token_id, pipe.tokenizer.eos_token_id}
    found = getattr(pipe.model.generation_config, "eos_token_id", None)
    ends |= set(found) if isinstance(found, list | tuple) else {found}
    count = len(ids)
    while count and ids[count - 1] in ends:
        count -= 1
    return ids[:count]
