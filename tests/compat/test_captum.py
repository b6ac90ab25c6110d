"""Drop-ins for Captum's classes, against Captum's own where it is right, and against plain forwards where it is not.

Captum's perturbation classes are called with `forward_in_tokens=False`, its right path. Tolerance: 1e-5 of the largest
score, since both sum the same float32 numbers in another order. The classes' warning that Captum's default differs has
a test of its own, and is silenced elsewhere.
"""

import inspect
import random
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import captum.attr as theirs
import matplotlib
import numpy as np
import pytest
import torch
from conftest import PROMPT, SHAPE, TARGET, make_model, make_tokenizer
from torch import Tensor, nn

import spanwise
from spanwise.compat import captum as ours
from spanwise.compat import captum_arguments
from spanwise.compat.captum_result import token_labels
from spanwise.errors import AttributionError, AttributionWarning, MethodError, OptionError

matplotlib.use("Agg")

TOLERANCE = 1e-5
DIFFERS = "ignore:these scores differ from Captum's own default"
pytestmark = pytest.mark.filterwarnings(DIFFERS)
SHORT = "Michael works in Austin"
SHORT_TARGET = " painting"
TEMPLATE = "{name} works in {city}. In his free time, {name} enjoys"
VALUES = {"name": "Michael", "city": "Austin"}
CHOICES = {"name": ["Texas", "Michael and"], "city": ["Paris", "the table", "France"]}
MODELS = [("qwen2", False), ("llama", False), ("llama", True)]


@pytest.fixture(params=MODELS, ids=lambda each: each[0] + ("-bos" if each[1] else ""))
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    architecture, bos = request.param
    return make_model(architecture), make_tokenizer(bos=bos)


@pytest.fixture
def qwen() -> tuple[Any, Any]:
    return make_model("qwen2"), make_tokenizer()


DRAWS = random.Random()


@pytest.fixture(autouse=True)
def draws_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Baselines are drawn from Python's global generator, which the type checker of the tests moves on as well."""
    monkeypatch.setattr(sys.modules[theirs.ProductBaselines.__module__], "random", DRAWS)


def seeded() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    DRAWS.seed(0)


def assert_same(found: Any, expected: Any, tolerance: float = TOLERANCE) -> None:
    for name in ("seq_attr", "token_attr"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.shape == other.shape
            assert float((one - other).abs().max()) <= tolerance * float(other.abs().max()), name
    assert found.input_tokens == expected.input_tokens
    assert found.output_tokens == expected.output_tokens


def plain_log_probs(model: Any, prompt_ids: list[int], target_ids: list[int]) -> Tensor:
    """One uncached forward a token."""
    found = []
    for at, id_ in enumerate(target_ids):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt_ids, *target_ids[:at]]]), use_cache=False).logits
        found.append(logits[0, -1].log_softmax(-1)[id_])
    return torch.stack(found)


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


INPUTS = {
    "tokens": lambda tokenizer: theirs.TextTokenInput(SHORT, tokenizer),
    "tokens, another baseline": lambda tokenizer: theirs.TextTokenInput(SHORT, tokenizer, baselines="<pad>"),
    "skipped tokens": lambda tokenizer: theirs.TextTokenInput(SHORT, tokenizer, skip_tokens=[2, 40]),
    "skipped texts": lambda tokenizer: theirs.TextTokenInput(SHORT, tokenizer, skip_tokens=["<s>", "Ġworks"]),
    "template": lambda tokenizer: theirs.TextTemplateInput(TEMPLATE, VALUES),
    "template, list": lambda tokenizer: theirs.TextTemplateInput("{} works in {} for", ["Michael", "Austin"]),
    "template, a function": lambda tokenizer: theirs.TextTemplateInput(
        lambda name, city: f"{name} in {city}", VALUES, baselines={"name": "Texas", "city": "Paris"}
    ),
    "template, grouped": lambda tokenizer: theirs.TextTemplateInput(
        "{a} works in {b} {c}", {"a": "Michael", "b": "Austin", "c": "and"}, mask={"a": 7, "b": 3, "c": 7}
    ),
    "product baselines": lambda tokenizer: theirs.TextTemplateInput(TEMPLATE, VALUES, theirs.ProductBaselines(CHOICES)),
}


class TestPerturbation:
    @pytest.mark.parametrize("kind", INPUTS)
    def test_feature_ablation(self, pair: tuple[Any, Any], kind: str) -> None:
        model, tokenizer = pair
        seeded()
        expected = theirs.LLMAttribution(theirs.FeatureAblation(model), tokenizer).attribute(
            INPUTS[kind](tokenizer), TARGET, forward_in_tokens=False
        )
        seeded()
        found = ours.LLMAttribution(ours.FeatureAblation(model), tokenizer).attribute(INPUTS[kind](tokenizer), TARGET)
        assert_same(found, expected)
        assert isinstance(found, theirs.LLMAttributionResult)

    @pytest.mark.parametrize(
        ("algorithm", "options"),
        [("ShapleyValueSampling", {"n_samples": 3}), ("ShapleyValues", {}), ("KernelShap", {"n_samples": 20}),
         ("Lime", {"n_samples": 20})],
    )  # fmt: skip
    @pytest.mark.parametrize("kind", ["tokens", "template", "template, grouped", "product baselines"])
    @pytest.mark.parametrize("attr_target", ["log_prob", "prob"])
    def test_others(
        self, qwen: tuple[Any, Any], algorithm: str, options: dict[str, int], kind: str, attr_target: str
    ) -> None:
        """The same random subsets and baselines are drawn in the same order; trials are averaged."""
        model, tokenizer = qwen
        if algorithm == "ShapleyValues" and kind == "tokens":
            pytest.skip("every order of the tokens")
        inp, found = INPUTS[kind](tokenizer), []
        for module, more in ((theirs, {"forward_in_tokens": False}), (ours, {})):
            seeded()
            method = getattr(module, algorithm)(model)
            attribution = module.LLMAttribution(method, tokenizer, attr_target=attr_target)
            found.append(attribution.attribute(inp, SHORT_TARGET, num_trials=2, **options, **more))
        # Probabilities near 1/384 to some power are tiny, and so are their differences' leading digits.
        assert_same(found[1], found[0], TOLERANCE if attr_target == "log_prob" else 1e-4)

    @pytest.mark.parametrize("size", [1, 3, 100])
    @pytest.mark.parametrize("algorithm", ["FeatureAblation", "ShapleyValueSampling", "KernelShap", "Lime"])
    def test_perturbations_per_eval(self, qwen: tuple[Any, Any], algorithm: str, size: int) -> None:
        """Captum fails where it is more than 1."""
        model, tokenizer = qwen
        inp = ours.TextTokenInput(SHORT, tokenizer)
        found = []
        for module, more in ((theirs, {"forward_in_tokens": False}), (ours, {"perturbations_per_eval": size})):
            seeded()
            options = {} if algorithm == "FeatureAblation" else {"n_samples": 5}
            attribution = module.LLMAttribution(getattr(theirs, algorithm)(model), tokenizer)
            found.append(attribution.attribute(inp, TARGET, **options, **more))
        assert_same(found[1], found[0])

    def test_against_plain_forwards(self, qwen: tuple[Any, Any]) -> None:
        model, tokenizer = qwen
        prompt, target = ids_of(tokenizer, SHORT), ids_of(tokenizer, TARGET)
        found = ours.LLMAttribution(ours.FeatureAblation(model), tokenizer).attribute(
            ours.TextTokenInput(SHORT, tokenizer, baselines=1), TARGET
        )
        whole = plain_log_probs(model, prompt, target)
        for at in range(len(prompt)):
            without = plain_log_probs(model, [*prompt[:at], 1, *prompt[at + 1 :]], target)
            torch.testing.assert_close(found.token_attr[:, at], whole - without, atol=2e-5, rtol=1e-4)
            assert abs(float(found.seq_attr[at] - (whole - without).sum())) < 1e-4

    def test_one_forward_a_perturbation(self, qwen: tuple[Any, Any]) -> None:
        model, tokenizer = qwen
        sequences = []
        handle = model.register_forward_pre_hook(
            lambda module, args, given: sequences.extend(given["input_ids"].tolist()), with_kwargs=True
        )
        try:
            inp = ours.TextTokenInput(SHORT, tokenizer)
            ours.LLMAttribution(ours.FeatureAblation(model), tokenizer).attribute(inp, TARGET)
        finally:
            handle.remove()
        assert len(sequences) == inp.n_itp_features + 1
        assert len(model._forward_pre_hooks) == 0

    def test_inspected(self, qwen: tuple[Any, Any]) -> None:
        model, tokenizer = qwen
        inp = ours.TextTemplateInput(TEMPLATE, VALUES)
        lists: list[list[Any]] = [[], []]
        more = {"use_cached_outputs": False}
        for module, seen, options in ((theirs, lists[0], more), (ours, lists[1], {})):
            attribution = module.LLMAttribution(theirs.FeatureAblation(model), tokenizer)
            attribution.attribute(inp, SHORT_TARGET, _inspect_forward=lambda *each, s=seen: s.append(each), **options)
        assert [each[:2] for each in lists[0]] == [each[:2] for each in lists[1]]
        for (_, _, one), (_, _, other) in zip(*lists, strict=True):
            assert one == pytest.approx(other, rel=1e-4)

    def test_the_warning_comes_once_and_only_where_numbers_differ(self, qwen: tuple[Any, Any]) -> None:
        model, tokenizer = qwen
        attribution = ours.LLMAttribution(ours.FeatureAblation(model), tokenizer)
        inp = ours.TextTemplateInput(TEMPLATE, VALUES)
        captum_arguments.tell_once.cache_clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            attribution.attribute(inp, torch.tensor([5]))
            attribution.attribute(inp, TARGET, forward_in_tokens=False)
            attribution.attribute(inp, TARGET, use_cached_outputs=False)
            assert not [each for each in caught if each.category is AttributionWarning]
            attribution.attribute(inp, TARGET)
            attribution.attribute(inp, TARGET)
        told = [each for each in caught if each.category is AttributionWarning]
        assert len(told) == captum_arguments.is_fed_twice() == 1
        assert "forward_in_tokens=False" in str(told[0].message)

    def test_other_inputs_go_captums_way(self, qwen: tuple[Any, Any]) -> None:
        """An image of two parts whose processor writes ids: no text input, so Captum's own way, and its right one."""
        from PIL import Image

        model, tokenizer = qwen

        def processor(image: Any) -> dict[str, Tensor]:
            return {"input_ids": torch.tensor([[9, *np.array(image)[0, :, 0].tolist()]]).long()}

        image = Image.fromarray(np.array([[[30, 0, 0], [40, 0, 0]]], dtype=np.uint8))
        made = {"mask": torch.tensor([[0, 1]]), "processor_fn": processor}
        inp = theirs.ImageMaskInput(image, **made)
        expected = theirs.LLMAttribution(theirs.FeatureAblation(model), tokenizer).attribute(
            inp, TARGET, forward_in_tokens=False
        )
        attribution = ours.LLMAttribution(ours.FeatureAblation(model), tokenizer)
        assert_same(attribution.attribute(inp, TARGET), expected)
        assert_same(attribution.attribute(inp, TARGET, perturbations_per_eval=2), expected)


class TestGradients:
    @pytest.mark.parametrize("skip", [None, [2, 40], ["Ġworks", "<s>"]])
    @pytest.mark.parametrize(
        ("algorithm", "options"),
        [
            ("LayerIntegratedGradients", {"n_steps": 5}),
            ("LayerIntegratedGradients", {"n_steps": 6, "method": "riemann_left", "internal_batch_size": 4}),
            ("LayerGradientXActivation", {}),
            ("LayerGradientShap", {"n_samples": 1}),
        ],
    )
    def test_tokens(self, pair: tuple[Any, Any], algorithm: str, options: dict[str, Any], skip: Any) -> None:
        model, tokenizer = pair
        inp = theirs.TextTokenInput(PROMPT, tokenizer, baselines=1, skip_tokens=skip)
        if algorithm == "LayerGradientShap":
            options = {**options, "baselines": torch.zeros(1, inp.n_itp_features, dtype=torch.long)}
        found = []
        for module in (theirs, ours):
            seeded()
            method = getattr(module, algorithm)(model, model.get_input_embeddings())
            found.append(module.LLMGradientAttribution(method, tokenizer).attribute(inp, TARGET, **options))
        assert_same(found[1], found[0])

    def test_baselines_of_switches(self, qwen: tuple[Any, Any]) -> None:
        """A baseline may leave tokens on: these have no path and get 0."""
        model, tokenizer = qwen
        inp = theirs.TextTokenInput(SHORT, tokenizer)
        start = torch.arange(inp.n_itp_features)[None] % 2
        found = []
        for module in (theirs, ours):
            method = module.LayerIntegratedGradients(model, model.model.embed_tokens)
            attribution = module.LLMGradientAttribution(method, tokenizer)
            found.append(attribution.attribute(inp, TARGET, n_steps=4, baselines=start))
        assert_same(found[1], found[0])
        assert not found[1].token_attr[:, 1::2].any()

    def test_several_samples(self, qwen: tuple[Any, Any]) -> None:
        """Captum repeats each id of the target as often as it samples, so only a target of one token is right there."""
        model, tokenizer = qwen
        inp = theirs.TextTokenInput(SHORT, tokenizer)
        count = inp.n_itp_features
        three = torch.stack([torch.zeros(count), torch.ones(count), torch.arange(count) % 2]).long()
        one_token = torch.tensor(ids_of(tokenizer, TARGET)[:1])

        def run(module: Any, target: Any, baselines: Tensor, samples: int) -> Any:
            seeded()
            method = module.LayerGradientShap(model, model.model.embed_tokens)
            attribution = module.LLMGradientAttribution(method, tokenizer)
            return attribution.attribute(inp, target, baselines=baselines, n_samples=samples)

        assert_same(run(ours, one_token, three, 4), run(theirs, one_token, three, 4))
        # With one baseline nothing is left to chance, so three samples are as good as one.
        right = run(theirs, TARGET, three[:1], 1)
        assert_same(run(ours, TARGET, three[:1], 3), right)
        wrong = run(theirs, TARGET, three[:1], 3)
        assert float((wrong.token_attr - right.token_attr).abs().max()) > 0.01, "Captum is repaired: drop the warning"

    @pytest.mark.parametrize("layer", ["embed_tokens", "layers.0"])
    def test_delta(self, qwen: tuple[Any, Any], layer: str) -> None:
        """What is missing to the change of the log-probability, which plain forwards give."""
        model, tokenizer = qwen
        prompt, target = ids_of(tokenizer, SHORT), ids_of(tokenizer, TARGET)[:3]
        inp = ours.TextTokenInput(SHORT, tokenizer)
        change = plain_log_probs(model, prompt, target) - plain_log_probs(model, [0] * len(prompt), target)
        method = ours.LayerIntegratedGradients(model, model.model.get_submodule(layer))
        result, delta = ours.LLMGradientAttribution(method, tokenizer).attribute(
            inp, torch.tensor(target), n_steps=20, return_convergence_delta=True
        )
        assert delta.shape == (3,)
        # Attributions to the generated prefix of a later layer are not 0, and count, but are cut from the result.
        rows = slice(None) if layer == "embed_tokens" else slice(1)
        torch.testing.assert_close(delta[rows], (result.token_attr.sum(1) - change)[rows], atol=2e-5, rtol=1e-4)

    def test_delta_of_samples(self, qwen: tuple[Any, Any]) -> None:
        model, tokenizer = qwen
        prompt, target = ids_of(tokenizer, SHORT), ids_of(tokenizer, TARGET)[:3]
        inp = ours.TextTokenInput(SHORT, tokenizer)
        change = plain_log_probs(model, prompt, target) - plain_log_probs(model, [0] * len(prompt), target)
        method = ours.LayerGradientShap(model, model.model.embed_tokens)
        result, delta = ours.LLMGradientAttribution(method, tokenizer).attribute(
            inp, torch.tensor(target), baselines=torch.zeros(1, len(prompt)).long(), n_samples=2,
            return_convergence_delta=True,
        )  # fmt: skip
        assert delta.shape == (3, 2)
        torch.testing.assert_close(delta.mean(1), result.token_attr.sum(1) - change, atol=2e-5, rtol=1e-4)

    @pytest.mark.parametrize("layer", ["layers.0", "layers.1.mlp"])
    @pytest.mark.parametrize("algorithm", ["LayerIntegratedGradients", "LayerGradientXActivation"])
    def test_other_layers(self, qwen: tuple[Any, Any], layer: str, algorithm: str) -> None:
        model, tokenizer = qwen
        inp = theirs.TextTokenInput(SHORT, tokenizer)
        options = {"n_steps": 4} if algorithm == "LayerIntegratedGradients" else {}
        found = []
        for module in (theirs, ours):
            method = getattr(module, algorithm)(model, model.model.get_submodule(layer))
            found.append(module.LLMGradientAttribution(method, tokenizer).attribute(inp, TARGET, **options))
        assert_same(found[1], found[0])

    @pytest.mark.parametrize("algorithm", ["LayerIntegratedGradients", "LayerGradientXActivation"])
    def test_gradients_alone(self, qwen: tuple[Any, Any], algorithm: str) -> None:
        model, tokenizer = qwen
        inp = theirs.TextTokenInput(SHORT, tokenizer)
        options = {"n_steps": 4} if algorithm == "LayerIntegratedGradients" else {}
        found = []
        for module in (theirs, ours):
            method = getattr(module, algorithm)(model, model.model.embed_tokens, multiply_by_inputs=False)
            found.append(module.LLMGradientAttribution(method, tokenizer).attribute(inp, TARGET, **options))
        assert_same(found[1], found[0])

    def test_the_model_comes_back_as_it_was(self) -> None:
        model, tokenizer = spanwise.load_model("tiny").model, spanwise.load_model("tiny").tokenizer
        model.train()
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        for layer in (model.get_input_embeddings(), model.model.layers[0]):
            method = ours.LayerGradientXActivation(model, layer)
            ours.LLMGradientAttribution(method, tokenizer).attribute(
                ours.TextTokenInput("Mary lives in", tokenizer), " Paris"
            )
            assert method.forward_func is model
        assert model.training and all(each.requires_grad and each.grad is None for each in model.parameters())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class TestTargets:
    def test_generated(self, pair: tuple[Any, Any]) -> None:
        model, tokenizer = pair
        inp = theirs.TextTokenInput(SHORT, tokenizer)
        arguments = {"max_new_tokens": 4, "do_sample": False}
        ids = model.generate(inp.inp_tensor, **arguments)[0, inp.inp_tensor.shape[1] :]
        method = ours.LayerIntegratedGradients(model, model.model.embed_tokens)
        gradient = ours.LLMGradientAttribution(method, tokenizer)
        perturbation = ours.LLMAttribution(ours.FeatureAblation(model), tokenizer)
        assert_same(
            gradient.attribute(inp, gen_args=arguments, n_steps=3), gradient.attribute(inp, ids, n_steps=3), 0.0
        )
        assert_same(perturbation.attribute(inp, gen_args=arguments), perturbation.attribute(inp, ids), 0.0)
        assert len(perturbation.attribute(inp).output_tokens) <= 25  # Captum's default arguments

    def test_ids_that_do_not_tokenize_to_themselves(self, qwen: tuple[Any, Any]) -> None:
        """Captum raises an IndexError after all its work, where generation stopped inside a character."""
        model, tokenizer = qwen
        ids = torch.tensor(tokenizer.convert_tokens_to_ids([*"paint", "ð"]))  # the last one is half a character
        inp = ours.TextTokenInput(SHORT, tokenizer)
        with pytest.raises(IndexError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs.LLMAttribution(theirs.FeatureAblation(model), tokenizer).attribute(inp, ids, forward_in_tokens=False)
        found = ours.LLMAttribution(ours.FeatureAblation(model), tokenizer).attribute(inp, ids)
        assert len(found.output_tokens) == len(ids)
        assert found.output_tokens[:5] == list("paint")
        whole = plain_log_probs(model, ids_of(tokenizer, SHORT), ids.tolist())
        without = plain_log_probs(model, [0, *ids_of(tokenizer, SHORT)[1:]], ids.tolist())
        torch.testing.assert_close(found.token_attr[:, 0], whole - without, atol=2e-5, rtol=1e-4)

    @pytest.mark.parametrize("text", [" painting, traveling", "a\nb", "naïve 😀"])
    def test_labels_are_captums(self, text: str) -> None:
        from captum.attr._core.llm_attr import _convert_ids_to_pretty_tokens

        tokenizer = make_tokenizer()
        ids = torch.tensor(ids_of(tokenizer, text))
        assert token_labels(ids, tokenizer) == _convert_ids_to_pretty_tokens(ids, tokenizer)

    @pytest.mark.parametrize("as_texts", [False, True])
    def test_skipped_tokens(self, qwen: tuple[Any, Any], as_texts: bool) -> None:
        model, tokenizer = qwen
        ids = ids_of(tokenizer, TARGET)
        skipped = [ids[1], ids[-1]]
        left = torch.tensor([id_ for id_ in ids if id_ not in skipped])
        given = tokenizer.convert_ids_to_tokens(skipped) if as_texts else skipped
        inp = ours.TextTokenInput(SHORT, tokenizer)
        perturbation = ours.LLMAttribution(ours.FeatureAblation(model), tokenizer)
        method = ours.LayerGradientXActivation(model, model.model.embed_tokens)
        for attribution in (perturbation, ours.LLMGradientAttribution(method, tokenizer)):
            expected = attribution.attribute(inp, left)
            assert_same(attribution.attribute(inp, TARGET, skip_tokens=given), expected, 0.0)
            assert_same(attribution.attribute(inp, torch.tensor(ids), skip_tokens=given), expected, 0.0)


class TestErrors:
    """Captum's kinds, and ours."""

    @pytest.mark.usefixtures("unchecked_types")
    def test_of_the_input(self, qwen: tuple[Any, Any]) -> None:
        model, tokenizer = qwen
        method = ours.LayerIntegratedGradients(model, model.model.embed_tokens)
        inp = ours.TextTokenInput(SHORT, tokenizer)
        template = ours.TextTemplateInput(TEMPLATE, VALUES)
        gradient = ours.LLMGradientAttribution(method, tokenizer)
        perturbation = ours.LLMAttribution(ours.FeatureAblation(model), tokenizer)
        with pytest.raises(AssertionError, match=r"does not support input type .*; it takes one of TextTokenInput"):
            gradient.attribute(template, TARGET)
        for attribution in (gradient, perturbation):
            with pytest.raises(AssertionError, match="gen_args must be None when target is given"):
                attribution.attribute(inp, TARGET, gen_args={"max_new_tokens": 2})
            with pytest.raises(TypeError, match="target must either be str or Tensor"):
                attribution.attribute(inp, 5)
            with pytest.raises(AttributionError, match="the target has no token"):
                attribution.attribute(inp, "")
            with pytest.raises(AttributionError, match="1D tensor of token ids"):
                attribution.attribute(inp, torch.tensor([[1, 2]]))
        with pytest.raises(TypeError, match="unexpected keyword argument 'steps'; it takes baselines"):
            gradient.attribute(inp, TARGET, steps=3)
        with pytest.raises(OptionError, match="num_trials must be an integer of at least 1"):
            perturbation.attribute(inp, TARGET, num_trials=0)
        with pytest.raises(AttributionError, match="leaves no token"):
            gradient.attribute(ours.TextTokenInput("a", tokenizer, skip_tokens=ids_of(tokenizer, "a")), TARGET)
        with pytest.raises(AttributionError, match="leave an empty prompt"):
            perturbation.attribute(ours.TextTemplateInput("{}", ["a"]), TARGET)

    def test_of_the_classes(self, qwen: tuple[Any, Any]) -> None:
        model, tokenizer = qwen
        method = ours.LayerIntegratedGradients(model, model.model.embed_tokens)
        with pytest.raises(AssertionError, match=r"LLMAttribution does not support .* one of FeatureAblation, Shap"):
            ours.LLMAttribution(method, tokenizer)
        with pytest.raises(AssertionError, match=r"LLMGradientAttribution does not support .* LayerGradientShap"):
            ours.LLMGradientAttribution(ours.FeatureAblation(model), tokenizer)
        with pytest.raises(AssertionError, match="'log_prob' or 'prob', not 'logit'"):
            ours.LLMAttribution(ours.FeatureAblation(model), tokenizer, attr_target="logit")
        with pytest.raises(NotImplementedError):
            ours.LLMAttribution(ours.FeatureAblation(model), tokenizer).attribute_future()

    def test_without_a_backward(self, qwen: tuple[Any, Any]) -> None:
        model, tokenizer = qwen
        method = ours.LayerIntegratedGradients(model, model.model.embed_tokens)
        attribution = ours.LLMGradientAttribution(method, tokenizer)
        attribution._lm.no_backward = "its kernel is for inference"
        with pytest.raises(MethodError, match="its kernel is for inference"):
            attribution.attribute(ours.TextTokenInput(SHORT, tokenizer), TARGET)

    def test_a_model_that_cannot_generate(self) -> None:
        model, tokenizer = Counting(False), Words()
        model.generate = None
        attribution = ours.LLMAttribution(ours.FeatureAblation(model), tokenizer)
        with pytest.raises(AssertionError, match="Target must be given"):
            attribution.attribute(ours.TextTokenInput("a b", tokenizer))


class Words:
    """A tokenizer that is no transformers tokenizer: a word is a token, "<unk>" has id 0."""

    def __init__(self) -> None:
        self.words = ["<unk>"]

    def _id(self, word: str) -> int:
        if word not in self.words:
            self.words.append(word)
        return self.words.index(word)

    def encode(self, text: str, add_special_tokens: bool = True, return_tensors: str | None = None) -> Any:
        ids = [self._id(word) for word in text.split()]
        return torch.tensor([ids]) if return_tensors else ids

    def convert_ids_to_tokens(self, ids: Any) -> Any:
        return [self.words[int(id_)] for id_ in ids]

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        return [self._id(token) for token in tokens]

    def decode(self, ids: Any) -> str:
        return " ".join(self.words[int(id_)] for id_ in ids)

    def __call__(self, text: str, add_special_tokens: bool = True, return_offsets_mapping: bool = False) -> Any:
        words = text.split()
        ends = np.cumsum([len(word) + 1 for word in words]) - 1
        spans = [(int(end) - len(word), int(end)) for word, end in zip(words, ends, strict=True)]
        return {"input_ids": self.encode(text)} | ({"offset_mapping": spans} if return_offsets_mapping else {})


class Counting(nn.Module):
    """No transformers model: logits at each position are a map of the mean embedding (or of those up to there)."""

    device = torch.device("cpu")

    def __init__(self, causal: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.causal = causal
        self.embedding = nn.Embedding.from_pretrained(torch.randn(40, 8, generator=generator), freeze=False)
        self.head = nn.Linear(8, 40, bias=False)
        self.head.weight.data = torch.randn(40, 8, generator=generator)

    def forward(self, input_ids: Tensor, past: Tensor | None = None, **given: Any) -> Any:
        embedded = self.embedding(input_ids)
        total = embedded.cumsum(1) if self.causal else embedded.sum(1, keepdim=True).expand_as(embedded)
        return SimpleNamespace(
            logits=self.head(torch.tanh(total if past is None else total + past)), past=total[:, -1:]
        )

    def generate(self, input_ids: Tensor, max_new_tokens: int = 3, **given: Any) -> Tensor:
        for _ in range(max_new_tokens):
            input_ids = torch.cat([input_ids, self(input_ids).logits[:, -1:].argmax(-1) % 4], dim=1)
        return input_ids

    def _update_model_kwargs_for_generation(self, outputs: Any, given: dict[str, Any]) -> dict[str, Any]:
        return {**given, "past": outputs.past if "past" not in given else given["past"] + outputs.past}

    def prepare_inputs_for_generation(self, input_ids: Tensor, past: Tensor | None = None, **given: Any) -> Any:
        return {"input_ids": input_ids} if past is None else {"input_ids": input_ids[:, -1:], "past": past}


class TestDummies:
    """Whatever is no model of transformers goes Captum's way, its cache included."""

    @pytest.mark.parametrize("algorithm", ["FeatureAblation", "ShapleyValueSampling", "Lime", "KernelShap"])
    @pytest.mark.parametrize("use_cached_outputs", [True, False])
    @pytest.mark.parametrize("target", ["d e f", None])
    def test_perturbation(self, algorithm: str, use_cached_outputs: bool, target: str | None) -> None:
        model, tokenizer = Counting(True), Words()
        inp = ours.TextTokenInput("a b c b", tokenizer)
        tokenizer.encode("d e f")
        found = []
        for module in (theirs, ours):
            seeded()
            attribution = module.LLMAttribution(getattr(module, algorithm)(model), tokenizer)
            found.append(attribution.attribute(inp, target, use_cached_outputs=use_cached_outputs))
        assert_same(found[1], found[0], 1e-6)

    @pytest.mark.parametrize("causal", [True, False])
    @pytest.mark.parametrize("algorithm", ["LayerIntegratedGradients", "LayerGradientXActivation"])
    def test_gradients(self, causal: bool, algorithm: str) -> None:
        model, tokenizer = Counting(causal), Words()
        inp = ours.TextTokenInput("a b c b", tokenizer, skip_tokens=["c"])
        found = []
        for module in (theirs, ours):
            method = getattr(module, algorithm)(model, model.embedding)
            found.append(module.LLMGradientAttribution(method, tokenizer).attribute(inp, "d e f"))
        assert_same(found[1], found[0], 0.0)

    def test_a_one_way_model(self) -> None:
        """Non-causal: a target token's logits change with those behind it, so one forward would not do."""
        model, tokenizer = Counting(False), Words()
        inp = ours.TextTokenInput("a b c", tokenizer)
        found = ours.LLMAttribution(ours.FeatureAblation(model), tokenizer).attribute(
            inp, "d e", use_cached_outputs=False, perturbations_per_eval=3
        )
        expected = theirs.LLMAttribution(theirs.FeatureAblation(model), tokenizer).attribute(
            inp, "d e", use_cached_outputs=False
        )
        assert_same(found, expected, 0.0)


class TestResult:
    def test_repeated_tokens(self) -> None:
        result = ours.LLMAttributionResult(
            input_tokens=["a", "b", "a", "a (2)", "a"], output_tokens=["c"], seq_attr=[1.0, 2.0, 3.0, 4.0, 5.0]
        )
        assert result.seq_attr_dict == {"a": 1.0, "b": 2.0, "a (2)": 3.0, "a (2) (2)": 4.0, "a (3)": 5.0}

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_plots(self, dtype: torch.dtype, tmp_path: Path) -> None:
        import matplotlib.pyplot as plt

        scores = torch.tensor([[1.0, -2.0], [0.5, 0.0], [0.25, 3.0]], dtype=dtype, requires_grad=True)
        result = ours.LLMAttributionResult(
            input_tokens=["a", "b"], output_tokens=["c", "d", "e"], seq_attr=scores.sum(0), token_attr=scores
        )
        figure, axes = result.plot_token_attr()
        assert np.array_equal(axes.images[0].get_array(), scores.detach().float().numpy())
        figure.savefig(tmp_path / "tokens.png")
        _, axes = result.plot_seq_attr()
        heights = [patch.get_height() for patch in axes.patches]
        assert heights == [1.75, 1.0, 0.0, 0.0]
        assert result.seq_attr.dtype == dtype and result.token_attr is scores
        plt.close("all")
        with pytest.raises(ValueError, match="token_attr is None"):
            ours.LLMAttributionResult(input_tokens=["a"], output_tokens=["c"], seq_attr=torch.ones(1)).plot_token_attr()

    def test_bfloat16_model(self, tmp_path: Path) -> None:
        import matplotlib.pyplot as plt

        make_model("qwen2").save_pretrained(tmp_path)
        make_tokenizer().save_pretrained(tmp_path)
        lm = spanwise.load_model(str(tmp_path), dtype="bfloat16")
        inp = ours.TextTokenInput(SHORT, lm.tokenizer)
        method = ours.LayerIntegratedGradients(lm.model, lm.embedding)
        for attribution in (
            ours.LLMGradientAttribution(method, lm.tokenizer),
            ours.LLMAttribution(ours.FeatureAblation(lm.model), lm.tokenizer),
        ):
            found = attribution.attribute(inp, TARGET)
            assert found.seq_attr.dtype == torch.float32
            found.plot_token_attr()
            found.plot_seq_attr()
        plt.close("all")


class TestSeedPage:
    """The script that the project began with: a 4-bit model that has generated before it is attributed."""

    @pytest.mark.filterwarnings("ignore:.*4-bit layers had been packed:spanwise.AttributionWarning")
    def test_it_runs(self, tmp_path: Path) -> None:
        pytest.importorskip("bitsandbytes", reason="needs the quantization extra")
        import matplotlib.pyplot as plt
        import transformers

        with torch.random.fork_rng():
            torch.manual_seed(1)
            transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SHAPE)).save_pretrained(tmp_path)
        config = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
        )
        model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=config)
        tokenizer = make_tokenizer()
        fresh = spanwise.load_model(str(tmp_path), quantization="nf4", compute_dtype="float32", tokenizer=tokenizer)
        inputs = tokenizer(PROMPT, return_tensors="pt")
        model.eval()
        with torch.no_grad():
            model.generate(**inputs, max_new_tokens=3, do_sample=False)

        skip_tokens = [1]
        lig = ours.LayerIntegratedGradients(model, model.model.embed_tokens)
        attribution = ours.LLMGradientAttribution(lig, tokenizer)
        inp = ours.TextTokenInput(PROMPT, tokenizer, skip_tokens=skip_tokens)
        result = attribution.attribute(inp, target=TARGET, skip_tokens=skip_tokens, n_steps=8)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive")
            assert result.plot_seq_attr(show=True) is None
            assert result.plot_token_attr(show=True) is None
        plt.close("all")

        target = torch.tensor(ids_of(tokenizer, TARGET))
        expected = spanwise.attribute(
            fresh, PROMPT, target, baseline="token:<unk>", rows="token", method_options={"n_steps": 8}
        )
        kept = [not token.frozen for token in expected.source]
        # The packing rounds the scales of the 4-bit blocks to bfloat16 (2^-9), and they stay so.
        torch.testing.assert_close(result.token_attr, expected.scores[:, kept], atol=2e-2, rtol=2e-2)


class TestDrift:
    """Fails when a release of Captum adds, removes or reorders an argument: the drop-in has to follow."""

    @pytest.mark.parametrize(
        "name",
        [f"{each}.{method}" for each in ("LLMAttribution", "LLMGradientAttribution") for method in
         ("__init__", "attribute", "attribute_future")] + ["LLMAttributionResult.__init__"],
    )  # fmt: skip
    def test_arguments(self, name: str) -> None:
        def arguments(module: Any) -> list[tuple[str, Any, Any]]:
            owner, method = name.split(".")
            given = inspect.signature(getattr(getattr(module, owner), method)).parameters.values()
            return [(each.name, each.kind, each.default) for each in given if each.name != "skip_tokens"]

        assert arguments(ours) == arguments(theirs)

    def test_result_and_names(self) -> None:
        for name in ("plot_token_attr", "plot_seq_attr"):
            one, other = (inspect.signature(getattr(each.LLMAttributionResult, name)) for each in (ours, theirs))
            assert list(one.parameters) == list(other.parameters)
        for name in ours.__all__:
            assert issubclass(getattr(ours, name), getattr(theirs, name))
        assert ours.Saliency is theirs.Saliency
        with pytest.raises(AttributeError, match="neither"):
            ours.NoSuchMethod  # noqa: B018

    def test_every_supported_method_is_here(self) -> None:
        for name in ("LLMAttribution", "LLMGradientAttribution"):
            for method in getattr(theirs, name).SUPPORTED_METHODS:
                assert method.__name__ in ours.__all__
