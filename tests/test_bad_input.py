"""Slips of the hand that new users made: each is one of our errors, and says what was given and what is allowed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PROMPT, TARGET

import spanwise

CHAT = {"role": "user", "content": "Where?"}
SHAPE = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 128, "vocab_size": 100,
}  # fmt: skip

SLIPS: dict[str, tuple[str, Callable[[spanwise.LanguageModel], Any]]] = {
    "ids that are no integers": ("which are integers", lambda lm: ask(lm, torch.tensor([5.9, 6.2]))),
    "two sequences": ("one sequence of ids", lambda lm: ask(lm, torch.tensor([[5, 6], [7, 8]]))),
    "no content": ("it is None", lambda lm: chat(lm, {"role": "user", "content": None})),
    "a role that is a number": ("its role is 3", lambda lm: chat(lm, {**CHAT, "role": 3})),
    "no role": ("it has 'content'", lambda lm: chat(lm, {"content": "x"})),
    "options as a list": ("a mapping from names to values", lambda lm: chat(lm, CHAT, template_options=[1])),
    "a sampler of numbers": (
        "gave 3 for",
        lambda lm: ask(lm, TARGET, method="feature_ablation", baseline=lambda part: 3),
    ),
    "a foil that is no text": ("the foil must be a text", lambda lm: spanwise.contrast(3)),
    "a large seed": (r"less than 2\*\*32", lambda lm: ask(lm, TARGET, seed=2**70)),
    "checkpointing as a word": ("True or False", lambda lm: ask(lm, TARGET, checkpointing="yes")),
    "nowhere to save": ("a path is needed", lambda lm: ask(lm, TARGET).save(None)),
    "nowhere to plot": ("one of path= \\(a file\\) and ax=", lambda lm: ask(lm, TARGET).plot(None)),
    "nothing to load": ("no file None", lambda lm: spanwise.Attribution.load(None)),
    "no folder": ("a folder is needed", lambda lm: lm.save(None)),
    "a preview of a name": ("a LanguageModel or a tokenizer", lambda lm: spanwise.preview("tiny", PROMPT)),
}


def ask(lm: spanwise.LanguageModel, target: Any, **options: Any) -> spanwise.Attribution:
    return spanwise.attribute(lm, PROMPT, target, **{"method": "saliency", **options})


def chat(lm: spanwise.LanguageModel, message: dict[str, Any], **options: Any) -> spanwise.Preview:
    tokenizer = spanwise.load_model("tiny").tokenizer  # it has a chat template
    return spanwise.preview(tokenizer, messages=[message], **options)


@pytest.mark.parametrize("slip", SLIPS)
def test_slips(slip: str, lm: spanwise.LanguageModel, unchecked_types: None) -> None:
    told, do = SLIPS[slip]
    with pytest.raises(spanwise.AttributionError, match=told):
        do(lm)


@pytest.mark.parametrize(
    "bad",
    [
        {"hidden_size": 66},
        {"hidden_size": "64"},
        {"torch_dtype": "float99"},
        {"hidden_size": -64},
        {"model_type": "vit"},
    ],
    ids=str,
)
def test_configs_that_no_model_has(bad: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**SHAPE, **bad}))
    with pytest.raises(spanwise.AttributionError, match=r"cannot read the config|no language model|no model can be"):
        spanwise.plan(tmp_path, devices=["8GiB"])


def test_sizes_without_a_unit(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    with pytest.raises(spanwise.AttributionError, match="8 bytes, less than any model needs"):
        spanwise.plan(tmp_path, devices=[8])
    small = spanwise.plan(tmp_path, devices=["2MiB"])
    assert not small.fits and any("512 MiB are kept for CUDA itself" in reason for reason in small.reasons)
