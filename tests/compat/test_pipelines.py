"""`explain(pipe)`: what the pipeline gives, and an attribution of the very ids that it read and wrote.

Rules: outputs without their `attribution` equal the pipeline's own. The attribution equals `spanwise.attribute` of the
same prompt and ids exactly: it is the same call.
"""

import inspect
from typing import Any

import pytest
import torch
import transformers

import spanwise
from spanwise.compat.pipelines import explain
from spanwise.errors import InputError, OptionError

PROMPT = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"
SHORT = "The keys to the cabinet"
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is Austin?"}]
GREEDY = {"max_new_tokens": 5, "do_sample": False}


@pytest.fixture(scope="module")
def tiny() -> spanwise.LanguageModel:
    return spanwise.load_model("tiny")


def make_pipe(lm: spanwise.LanguageModel) -> Any:
    return transformers.pipeline("text-generation", model=lm.model, tokenizer=lm.tokenizer)


@pytest.fixture
def pipe(tiny: spanwise.LanguageModel) -> Any:
    return make_pipe(tiny)


def without(found: Any) -> Any:
    if isinstance(found, list):
        return [without(each) for each in found]
    return {name: value for name, value in found.items() if name != "attribution"}


def flat(found: Any) -> list[dict[str, Any]]:
    return [record for each in found for record in flat(each)] if isinstance(found, list) else [found]


INPUTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "text": (PROMPT, GREEDY),
    "texts": ([PROMPT, SHORT], GREEDY),
    "a batch": ([PROMPT, SHORT], {**GREEDY, "batch_size": 2}),
    "a chat": (CHAT, GREEDY),
    "chats": ([CHAT, CHAT[1:]], {**GREEDY, "batch_size": 2}),
    "a chat that goes on": ([*CHAT, {"role": "assistant", "content": "It is in"}], GREEDY),
    "several outputs": (SHORT, {"max_new_tokens": 4, "do_sample": True, "num_return_sequences": 3}),
    "new text only": (PROMPT, {**GREEDY, "return_full_text": False}),
    "ids": (PROMPT, {**GREEDY, "return_tensors": True}),
    "beams": (SHORT, {**GREEDY, "num_beams": 2}),
}


@pytest.mark.parametrize("name", INPUTS)
def test_outputs_are_the_pipelines_with_an_attribution(name: str, pipe: Any) -> None:
    inputs, options = INPUTS[name]
    torch.manual_seed(0)
    wanted = pipe(inputs, **options)
    torch.manual_seed(0)
    found = explain(pipe, method="saliency")(inputs, **options)
    assert without(found) == wanted
    for record in flat(found):
        result = record["attribution"]
        text = record.get("generated_text", result.target_text)
        text = text if isinstance(text, str) else text[-1]["content"]
        assert text.endswith(result.target_text)
        assert not result.scores.isnan().all()


def test_the_ids_are_the_ones_that_were_read_and_written(pipe: Any) -> None:
    tensors = pipe([PROMPT, SHORT], return_tensors=True, batch_size=2, **GREEDY)
    found = explain(pipe, method="saliency")([PROMPT, SHORT], batch_size=2, **GREEDY)
    ends = {pipe.tokenizer.pad_token_id, *pipe.model.generation_config.eos_token_id}
    for (wanted,), (record,) in zip(tensors, found, strict=True):
        made = record["attribution"].provenance
        ids = list(made.prompt_ids + made.target_ids)
        left = [id_ for id_ in wanted["generated_token_ids"] if id_ not in ends]
        assert ids == left


@pytest.mark.parametrize("inputs", [PROMPT, CHAT], ids=["text", "chat"])
def test_scores_are_attributes(inputs: Any, pipe: Any, tiny: spanwise.LanguageModel) -> None:
    options = {"method": "feature_ablation", "features": "word", "rows": "span"}
    found = explain(pipe, **options)(inputs, **GREEDY)[0]["attribution"]
    asked = {"prompt": inputs} if isinstance(inputs, str) else {"messages": inputs}
    wanted = spanwise.attribute(tiny, **asked, target=found.provenance.target_ids, **options)
    assert torch.equal(found.scores.nan_to_num(9.0), wanted.scores.nan_to_num(9.0))
    assert found.source == wanted.source
    if inputs is CHAT:
        assert {token.role for token in found.source} >= {"system", "user"}
        assert [token.text for token in found.source if not token.frozen][-1] == "?"


def test_ids_that_do_not_come_back_from_their_text(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model may write " are" letter by letter; tokenized again it is one token."""
    letters = [pipe.tokenizer(letter, add_special_tokens=False)["input_ids"] for letter in " are"]
    ids = [id_ for letter in letters for id_ in letter]
    assert pipe.tokenizer(" are", add_special_tokens=False)["input_ids"] != ids
    monkeypatch.setattr(pipe.model, "generate", lambda input_ids, **_: torch.cat([input_ids, torch.tensor([ids])], 1))
    found = explain(pipe, method="saliency")(SHORT)[0]
    assert found["generated_text"] == SHORT + " are"
    assert list(found["attribution"].provenance.target_ids) == ids


def test_a_span_that_depends_on_the_text(pipe: Any) -> None:
    found = explain(pipe, method="saliency", span=lambda text: text.split()[0])(SHORT, **GREEDY)[0]
    assert [span.text for span in found["attribution"].spans] == [found["attribution"].target_text.split()[0]]


def test_nothing_generated_gives_no_attribution(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    end = pipe.tokenizer.eos_token_id
    monkeypatch.setattr(
        pipe.model, "generate", lambda input_ids, **_: torch.cat([input_ids, torch.tensor([[end]])], dim=1)
    )
    assert explain(pipe, method="saliency")(SHORT)[0]["attribution"] is None


def test_generators_and_their_order(pipe: Any) -> None:
    found = explain(pipe, method="saliency")((text for text in (PROMPT, SHORT)), **GREEDY)
    assert [each[0]["attribution"].prompt for each in found] == [PROMPT, SHORT]


def test_tools_are_in_the_prompt(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    template = (
        "{% for tool in tools or [] %}{{ tool.function.name }} {% endfor %}"
        "{% for message in messages %}{{ message.content }}\n{% endfor %}"
    )
    monkeypatch.setattr(pipe.tokenizer, "chat_template", template)
    tool = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {}}}
    found = explain(pipe, method="saliency")(CHAT, tools=[tool], **GREEDY)[0]["attribution"]
    assert found.prompt.startswith("look ")
    assert found.source[0].template


def test_bad_input(pipe: Any, tiny: spanwise.LanguageModel, unchecked_types: None) -> None:
    with pytest.raises(InputError, match="a transformers text-generation pipeline is needed"):
        explain(tiny.model)
    with pytest.raises(OptionError, match="explain was given target, but the pipeline decides it"):
        explain(pipe, target="x")
    with pytest.raises(OptionError, match="explain was given metod, but attribute does not take it"):
        explain(pipe, metod="saliency")
    with pytest.raises(OptionError, match="unknown method 'salience'"):
        explain(pipe, method="salience")(SHORT, **GREEDY)


def test_the_pipeline_is_left_as_it_was(pipe: Any) -> None:
    before = dict(vars(pipe))
    explained = explain(pipe, method="saliency")
    explained(SHORT, **GREEDY)
    with pytest.raises(OptionError):
        explain(pipe, method="saliency", span="never written", method_options={"no": 1})(SHORT, **GREEDY)
    after = {name: value for name, value in vars(pipe).items() if name != "call_count"}
    assert after == {name: value for name, value in before.items() if name != "call_count"}
    assert "attribution" not in pipe(SHORT, **GREEDY)[0]


def test_the_signature_is_the_pipelines(pipe: Any) -> None:
    own = inspect.signature(pipe.__call__)
    assert inspect.signature(explain(pipe)) == own


def test_accelerate_prepared_models() -> None:
    accelerate = pytest.importorskip("accelerate", reason="needs the quantization extra")
    lm = spanwise.load_model("tiny")
    prepared = accelerate.Accelerator(cpu=True).prepare(lm.model)
    found = explain(make_pipe(spanwise.LanguageModel(prepared, lm.tokenizer)), method="saliency")(SHORT, **GREEDY)
    wanted = explain(make_pipe(spanwise.load_model("tiny")), method="saliency")(SHORT, **GREEDY)
    one, other = found[0]["attribution"], wanted[0]["attribution"]
    assert torch.equal(one.scores.nan_to_num(9.0), other.scores.nan_to_num(9.0))


@pytest.mark.parametrize("method", ["input_x_gradient", "feature_ablation"])
def test_adapters_change_the_scores_as_they_change_the_weights(method: str) -> None:
    """A hand-made LoRA: the scores are those of the model into which its product is merged (measured: 2e-6)."""
    lm, merged = spanwise.load_model("tiny"), spanwise.load_model("tiny")
    torch.manual_seed(0)
    name = "model.layers.1.self_attn.q_proj"
    layer = lm.model.get_submodule(name)
    low, high = torch.randn(4, layer.in_features) / 8, torch.randn(layer.out_features, 4) / 8
    lm.model.set_submodule(name, LowRank(layer, low, high))
    with torch.no_grad():
        merged.model.get_submodule(name).weight += high @ low

    found = explain(make_pipe(lm), method=method)(SHORT, **GREEDY)[0]["attribution"]
    ids = found.provenance.target_ids
    wanted = spanwise.attribute(merged, SHORT, ids, method=method)
    outer = spanwise.attribute(spanwise.LanguageModel(Adapted(lm.model), lm.tokenizer), SHORT, ids, method=method)
    plain = spanwise.attribute(spanwise.load_model("tiny"), SHORT, ids, method=method)
    assert torch.allclose(found.scores, wanted.scores, atol=1e-4, equal_nan=True)
    assert torch.allclose(outer.scores, wanted.scores, atol=1e-4, equal_nan=True)
    assert not torch.allclose(found.scores, plain.scores, atol=1e-2, equal_nan=True)


class LowRank(torch.nn.Module):
    def __init__(self, layer: torch.nn.Module, low: torch.Tensor, high: torch.Tensor) -> None:
        super().__init__()
        self.layer, self.low, self.high = layer, torch.nn.Parameter(low), torch.nn.Parameter(high)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layer(inputs) + inputs @ self.low.T @ self.high.T


class Adapted(torch.nn.Module):
    """As PEFT wraps a model: everything that it does not have itself is the base model's."""

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.base_model = base

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_model"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.base_model(*args, **kwargs)
