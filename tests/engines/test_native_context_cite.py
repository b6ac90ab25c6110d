"""ContextCite against a slow copy of its definition, on a model whose log-odds are linear, and its two figures by hand.

Against the slow copy scores agree within 1e-3 log-odds: both do the same Lasso, on float32 log-probabilities that were
added up in another order. The Lasso's own shrinkage is named where it counts.
"""

import math

import numpy
import pytest
import torch
import transformers
from conftest import make_tokenizer
from scipy import stats
from torch import nn
from transformers.modeling_outputs import CausalLMOutput

import spanwise
from spanwise.engines import native_context_cite as room
from spanwise.errors import InputError, MethodError, OptionError
from spanwise.evaluation.faithfulness.context import forecast_correlation, linear_datamodeling_score, top_k_drop
from spanwise.scoring.log_odds import CAREFUL_LOG_PROB, log_odds
from spanwise.scoring.objectives import OBJECTIVES, Context

QUESTION = "Laura likes"
FACTS = ["Laura likes black.", "Nora likes white.", "Linda likes blue.", "Simon likes green.", "Michael likes red."]
PROMPT, TARGET = " ".join([*FACTS, QUESTION]), " black."


@pytest.fixture(scope="module")
def tiny() -> spanwise.LanguageModel:
    return spanwise.load_model("tiny")


class OddsConfig(transformers.PretrainedConfig):
    model_type = "odds"

    def __init__(self, vocab_size: int = 384, offset: float = 0.0, **kwargs: object) -> None:
        self.vocab_size, self.offset, self.hidden_size = vocab_size, offset, 2
        super().__init__(**kwargs)


class Odds(transformers.PreTrainedModel):
    """Every token's log-odds of coming next are the sum of the first embedding units so far, plus an offset."""

    config_class = OddsConfig

    def __init__(self, config: OddsConfig) -> None:
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, 2)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def forward(
        self, input_ids: torch.Tensor | None = None, inputs_embeds: torch.Tensor | None = None, **kwargs: object
    ) -> CausalLMOutput:
        embedded = self.embed(input_ids) if inputs_embeds is None else inputs_embeds
        running = embedded[..., 0].cumsum(-1) + self.config.offset
        logits = torch.full((*running.shape, self.config.vocab_size), -math.log(self.config.vocab_size - 1))
        logits[..., 100] = running  # against 383 others that weigh 1 together: log-odds are `running`
        return CausalLMOutput(logits=logits)


LETTERS = "ZYXWVUTSRQPONMLKJIHGFEDCBA{}[]<>()*+-/=!?;:&%$"
"""A token each."""


def odds_model(weights: dict[int, float], offset: float = 0.0) -> spanwise.LanguageModel:
    """The model in which these letters have these weights, and all others none."""
    model = Odds(OddsConfig(offset=offset)).eval()
    with torch.no_grad():
        model.embed.weight.zero_()
        for at, weight in weights.items():
            model.embed.weight[make_tokenizer().encode(LETTERS[at])[0], 0] = weight
    return spanwise.LanguageModel(model, make_tokenizer())


def ask_odds(lm: spanwise.LanguageModel, prompt: str, **asked: object) -> spanwise.Attribution:
    return spanwise.attribute(lm, prompt, [100], **{"method": "context_cite", "baseline": "zero", **asked})


@pytest.mark.parametrize("offset", [0.0, -40.0, 40.0])
def test_sparse_weights_are_recovered_from_32_ablations(offset: float) -> None:
    """3 of 40 features matter; with p within 1e-17 of 1, where float32 has no digits left for a plain log p, too."""
    true = torch.zeros(40)
    true[[4, 17, 33]] = torch.tensor([5.0, -3.0, 2.0])
    lm = odds_model({4: 5.0, 17: -3.0, 33: 2.0}, offset)
    result = ask_odds(lm, LETTERS[:40])
    assert len(set(result.provenance.prompt_ids)) == 40
    assert result.provenance.forwards <= 33 and result.provenance.options["n_ablations"] == 32
    found = result.scores[0, :40]
    # Shrunk by alpha over the deviation of a fair coin, 0.5, whatever the weight; twice that for chance correlations.
    torch.testing.assert_close(found, true, atol=0.04 * 2, rtol=0)
    assert result.provenance.unit == "log-odds" and result.provenance.signed


def slow(lm: spanwise.LanguageModel, masks: torch.Tensor, features: list[list[int]], target: list[int], first: int = 0):
    """Log-probability of the target's tokens from `first` on by one plain forward a mask, what is off left out."""
    values = []
    for mask in masks.tolist():
        ids = [each for feature, on in zip(features, mask, strict=True) if on for each in feature]
        with torch.no_grad():
            logits = lm.model(torch.tensor([[*ids, *target]]), use_cache=False).logits[0].double().log_softmax(-1)
        values.append(sum(float(logits[len(ids) - 1 + i, token]) for i, token in enumerate(target) if i >= first))
    return numpy.array(values)


def test_equals_the_definition(tiny: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.linear_model import Lasso
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    drawn: list[torch.Tensor] = []

    def draw(count: int, features: int, *, all_off: bool) -> torch.Tensor:
        assert not all_off  # every sentence can be left out, and nothing else is there
        drawn.append(torch.rand(count, features) < 0.5)
        drawn[0][~drawn[0].any(1)] = True
        return drawn[0]

    monkeypatch.setattr(room, "draw_masks", draw)
    result = spanwise.attribute(
        tiny, PROMPT, TARGET, method="context_cite", features="sentence", span=["black", "."], seed=3
    )
    assert result.provenance.baseline == "delete" and len(result.spans) == 2
    masks = drawn[0]
    free = [column for column in result.source if not column.frozen]
    ids = result.provenance.prompt_ids
    features = [[ids[position] for position in column.positions] for column in free]
    assert masks.shape == (32, len(free)) and sum(map(len, features)) == len(ids)
    for first, (span, scores) in enumerate(zip(result.spans, result.scores, strict=True)):
        assert (span.first_token, span.last_token) == (first, first + 1)
        log_p = slow(tiny, masks, features, list(result.provenance.target_ids[: first + 1]), first)
        pipe = make_pipeline(StandardScaler(), Lasso(alpha=0.01)).fit(
            masks.double().numpy(), log_p - numpy.log(-numpy.expm1(log_p))
        )
        expected = torch.from_numpy(pipe[1].coef_ / pipe[0].scale_).float()
        torch.testing.assert_close(scores[: len(free)], expected, atol=1e-3, rtol=1e-3)


def test_a_long_span_is_penalized_by_the_token(tiny: spanwise.LanguageModel) -> None:
    """One penalty for any length: a span of n times the tokens and log-odds gets n times the scores."""
    masks = torch.rand(32, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    values = masks.double() @ torch.tensor([4.0, 0, 0, -1, 0, 0.5], dtype=torch.float64) - 2
    one, intercept = room.linear_surrogate(masks, values, 1, 0.01)
    three, of_three = room.linear_surrogate(masks, values * 3, 3, 0.01)
    torch.testing.assert_close(three, one * 3)
    assert of_three == pytest.approx(3 * intercept)
    exact, at_nothing = room.linear_surrogate(masks, values, 1, 0.0)
    torch.testing.assert_close(exact, torch.tensor([4.0, 0, 0, -1, 0, 0.5], dtype=torch.float64))
    assert at_nothing == pytest.approx(-2)


def test_seed_and_shared_forwards(tiny: spanwise.LanguageModel) -> None:
    def ask(span: object, seed: int = 0) -> spanwise.Attribution:
        return spanwise.attribute(
            tiny, PROMPT, TARGET, method="context_cite", features="sentence", span=span, seed=seed, progress=False
        )

    one, both, other = ask("black"), ask(["black", "."]), ask("black", seed=1)
    assert torch.equal(ask("black").scores.nan_to_num(), one.scores.nan_to_num())
    assert not torch.equal(other.scores.nan_to_num(), one.scores.nan_to_num())
    assert both.provenance.forwards == one.provenance.forwards <= 33
    torch.testing.assert_close(both.scores[0], one.scores[0], equal_nan=True)
    best = one.top(2)
    assert {token.text for token, _ in best} == {FACTS[0], QUESTION}


def test_standard_error_is_the_spread_over_seeds() -> None:
    """Where the log-odds are not linear in the features: log p = log(0.9) with both of two on, else log(0.1)."""

    def one(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(seed)
        masks = room.draw_masks(64, 5)
        values = torch.where(masks[:, 0] & masks[:, 1], 2.2, -2.2).double()
        return room.linear_surrogate(masks, values, 1, 0.01)[0], room.standard_errors(masks, values, 1, 0.01)

    with torch.random.fork_rng():
        found = [one(seed) for seed in range(20)]
    spread = torch.stack([scores for scores, _ in found]).std(0)
    said = torch.stack([errors for _, errors in found]).mean(0)
    # 20 seeds know a spread to 16 %, and 64 masks the error to about as much
    assert ((said[:2] / spread[:2]) - 1).abs().max() < 0.4


def test_masks_where_nothing_is_left_are_drawn_again() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not room.draw_masks(200, 2).any(1).all()
        again = room.draw_masks(200, 2, all_off=False)
    assert again.any(1).all() and 0.6 < again.double().mean() < 0.73  # 2/3 of what 3 of 4 masks hold


def test_log_odds_keep_their_digits() -> None:
    odds = torch.tensor([-300.0, -40.0, -1.0, 0.0, 1.0, 17.0, 40.0, 80.0])
    torch.testing.assert_close(log_odds(torch.nn.functional.logsigmoid(odds)), odds.double(), atol=1e-6, rtol=1e-6)
    assert float(log_odds(torch.tensor(0.0))) == pytest.approx(87.3, abs=0.1)
    logits = torch.zeros(1, len(odds), 2)
    logits[0, :, 1] = odds
    context = Context(torch.ones(len(odds), dtype=torch.long), torch.arange(-len(odds), 0))
    outputs = CausalLMOutput(logits=logits)
    careful, plain = CAREFUL_LOG_PROB.value(outputs, context), OBJECTIVES["log_prob"].value(outputs, context)
    torch.testing.assert_close(careful, plain, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(log_odds(careful)[0], odds.double(), atol=1e-6, rtol=1e-6)


def test_refusals(tiny: spanwise.LanguageModel) -> None:
    asked = {"method": "context_cite", "features": "sentence"}
    with pytest.raises(OptionError, match="no objective changes what context_cite reads"):
        spanwise.attribute(tiny, PROMPT, TARGET, objective="prob", **asked)
    with pytest.raises(MethodError, match=r"at least 2 features; feature_ablation gives the exact effect of one"):
        spanwise.attribute(tiny, QUESTION, TARGET, **asked)
    with pytest.raises(MethodError, match="gives span scores only"):
        spanwise.attribute(tiny, PROMPT, TARGET, rows="token", **asked)
    with pytest.raises(MethodError, match="needs prefix='fixed'"):
        spanwise.attribute(tiny, PROMPT, TARGET, prefix="attributed", **asked)
    with pytest.raises(OptionError, match="n_ablations must be an integer of at least 2, not 1"):
        spanwise.attribute(tiny, PROMPT, TARGET, method_options={"n_ablations": 1}, **asked)


def test_forecast_correlation_by_hand() -> None:
    """Forecasts 3, 1, 2, 0 against values 4, 1, 3, 2: ranks 4 2 3 1 and 4 1 3 2, so 1 - 6 * 2 / (4 * 15) = 0.8."""
    masks = torch.tensor([[True, True], [False, True], [True, False], [False, False]])
    scores, values = torch.tensor([2.0, 1.0]), torch.tensor([4.0, 1.0, 3.0, 2.0])
    assert forecast_correlation(scores, masks, values) == pytest.approx(0.8)
    assert forecast_correlation(-scores, masks, values) == pytest.approx(-0.8)
    assert math.isnan(forecast_correlation(torch.zeros(2), masks, values))


def test_figures_on_linear_log_odds() -> None:
    """The forecast is perfect there; without the strongest feature the log-odds are its weight lower."""
    prompt = LETTERS[:20]
    lm = odds_model({2: 3.0, 9: -2.0, 15: 1.0}, offset=-1.0)
    result = ask_odds(lm, prompt, method="feature_ablation")

    def log_sigmoid(odds: float) -> float:
        return -math.log1p(math.exp(-odds))

    assert top_k_drop(lm, result, 1, removed="zero") == pytest.approx(log_sigmoid(1) - log_sigmoid(-2), abs=1e-5)
    assert top_k_drop(lm, result, 2, removed="zero") == pytest.approx(log_sigmoid(1) - log_sigmoid(-3), abs=1e-5)
    score = linear_datamodeling_score(lm, result, removed="zero", seed=5)
    assert score > 0.9  # drops of log p are not quite the weights, so the order of sums may differ
    cited = ask_odds(lm, prompt, method_options={"alpha": 1e-5})
    assert (
        linear_datamodeling_score(lm, cited, removed="zero", seed=5) > 0.97
    )  # masks with equal log-odds are ordered by rounding
    with pytest.raises(OptionError, match="k=21 was asked, but the result has only 20 features"):
        top_k_drop(lm, result, 21)
    other = ask_odds(lm, prompt, method="feature_ablation", objective="logit")
    with pytest.raises(InputError, match="the result's objective is logit, log_prob is needed"):
        top_k_drop(lm, other, 1)


def test_figures_against_plain_forwards(tiny: spanwise.LanguageModel) -> None:
    result = spanwise.attribute(tiny, PROMPT, TARGET, method="context_cite", features="sentence", span="black")
    ids = result.provenance.prompt_ids
    features = [[ids[position] for position in column.positions] for column in result.source[:6]]
    target = list(result.provenance.target_ids[:1])
    best = int(result.scores[0, :6].argmax())
    masks = torch.ones(2, 6, dtype=torch.bool)
    masks[1, best] = False
    full, without = slow(tiny, masks, features, target)
    assert top_k_drop(tiny, result, 1) == pytest.approx(full - without, abs=1e-4)
    chance = torch.Generator().manual_seed(7)
    masks = torch.rand(40, 6, generator=chance) < 0.5
    while not masks.any(1).all():
        masks[~masks.any(1)] = torch.rand(int((~masks.any(1)).sum()), 6, generator=chance) < 0.5
    forecast = masks.double().numpy() @ result.scores[0, :6].double().numpy()
    expected = stats.spearmanr(forecast, slow(tiny, masks, features, target))[0]
    found = linear_datamodeling_score(tiny, result, n_masks=40, seed=7)
    assert found == pytest.approx(expected, abs=5e-3) and found > 0.5  # ties by rounding may break the other way
