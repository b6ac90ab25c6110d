"""Every method against its closed form on a model that is additive in its embeddings.

The model's logit for "yes" at the last position is the sum over positions of w . embedding, all others are 0, so with
`objective="logit"` the effect of a feature is w . (embedding - baseline), whatever the method.
"""

import pytest
import torch
import transformers
from conftest import make_tokenizer
from torch import nn
from transformers.modeling_outputs import CausalLMOutput

import spanwise


class AdditiveConfig(transformers.PretrainedConfig):
    model_type = "additive"

    def __init__(self, vocab_size: int = 384, hidden_size: int = 8, **kwargs: object) -> None:
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        super().__init__(**kwargs)


class Additive(transformers.PreTrainedModel):
    config_class = AdditiveConfig

    def __init__(self, config: AdditiveConfig) -> None:
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.direction = nn.Parameter(torch.randn(config.hidden_size))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def forward(
        self, input_ids: torch.Tensor | None = None, inputs_embeds: torch.Tensor | None = None, **kwargs: object
    ) -> CausalLMOutput:
        embedded = self.embed(input_ids) if inputs_embeds is None else inputs_embeds
        running = (embedded @ self.direction).cumsum(-1)  # [batch, source]
        logits = torch.zeros(*running.shape, self.config.vocab_size)
        return CausalLMOutput(logits=logits + running.unsqueeze(-1))


@pytest.fixture(scope="module")
def additive() -> spanwise.LanguageModel:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return spanwise.LanguageModel(Additive(AdditiveConfig()).eval(), make_tokenizer())


PROMPT, TARGET = "The keys to", " the table"
TRUE_TO = {"lime": 0.05}
"""Absolute tolerance: LIME's Lasso shrinks its coefficients (here with alpha 1e-4); the others are exact."""


# Discretized integrated gradients do not promise it; saliency has a test of its own; the others are no effects.
EFFECTS = [
    (each, engine)
    for each in spanwise.list_methods()
    for engine in each.engines
    if each.additive and engine not in each.unsigned_on
]


def test_what_promises_an_effect() -> None:
    """A promise taken back would take its test along."""
    assert {"feature_ablation", "integrated_gradients", "shapley_values", "lime"} <= {each.name for each, _ in EFFECTS}
    assert all(each.unit == "objective" and each.signed for each, _ in EFFECTS)


@pytest.mark.parametrize(
    ("method", "engine", "baseline"),
    [
        (each.name, engine, baseline)
        for each, engine in EFFECTS
        for baseline in ("zero", "pad", "mean")
        if each.uses_baseline or baseline == "zero"
    ],
)
def test_closed_form(additive: spanwise.LanguageModel, method: str, engine: str, baseline: str) -> None:
    info = {each.name: each for each in spanwise.list_methods()}[method]
    options = {"lime": {"alpha": 1e-4, "n_samples": 400}, "kernel_shap": {"n_samples": 64}}.get(method, {})
    result = spanwise.attribute(
        additive,
        PROMPT,
        TARGET,
        method=method,
        engine=engine,
        objective="logit",
        rows="span",
        baseline=baseline if info.uses_baseline else None,
        method_options=options,
    )
    table = additive.model.embed.weight
    start = {"zero": torch.zeros(8), "pad": table[1], "mean": table[: len(additive.tokenizer)].mean(0)}[baseline]
    ids = torch.tensor(result.provenance.prompt_ids)
    effect = (table[ids] - start) @ additive.model.direction
    expected = effect * len(result.target)  # every target token's logit has it once
    found = result.scores[0, : len(ids)]
    # LIME's features are what its regression makes of on/off switches weighted by a kernel: the same line here
    torch.testing.assert_close(found, expected.detach(), atol=TRUE_TO.get(method, 1e-4), rtol=1e-4)
    if info.complete:
        assert result.completeness_gap is not None and result.completeness_gap < 1e-5


@pytest.mark.parametrize("method", ["saliency", "smoothgrad"])
def test_saliency(additive: spanwise.LanguageModel, method: str) -> None:
    """The gradient is the same everywhere, so noise does not move it."""
    result = spanwise.attribute(additive, PROMPT, TARGET, method=method, objective="logit", rows="token")
    count = len(result.provenance.prompt_ids)
    expected = additive.model.direction.norm().detach().expand(len(result.target), count)
    torch.testing.assert_close(result.scores[:, :count], expected)
    signed = spanwise.attribute(
        additive, PROMPT, TARGET, method=method, objective="logit", method_options={"reduction": "sum"}
    )
    torch.testing.assert_close(
        signed.scores[:, :count], additive.model.direction.sum().detach().expand(len(result.target), count)
    )


def test_noise_of_gradient_shap_is_seeded(additive: spanwise.LanguageModel) -> None:
    options = {"n_samples": 4, "stdevs": 0.5}
    first, again, other = (
        spanwise.attribute(additive, PROMPT, TARGET, method="gradient_shap", method_options=options, seed=seed)
        for seed in (0, 0, 1)
    )
    assert torch.equal(first.scores.nan_to_num(), again.scores.nan_to_num())
    assert not torch.equal(first.scores.nan_to_num(), other.scores.nan_to_num())
