"""Objectives beyond the target's own probability, each against plain forwards."""

import pytest
import torch
from conftest import PROMPT, TARGET

import spanwise
from spanwise.errors import InputError, MethodError, OptionError

pytestmark = pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")


def logits_after(lm: spanwise.LanguageModel, prompt: str, target: str, changed: int | None = None) -> torch.Tensor:
    """Plain logits [target, vocab] of the target's positions, with one prompt token replaced by the pad token."""
    prompt_ids, target_ids = lm.tokenizer(prompt)["input_ids"], lm.tokenizer(target)["input_ids"]
    if changed is not None:
        prompt_ids = [*prompt_ids[:changed], lm.tokenizer.pad_token_id, *prompt_ids[changed + 1 :]]
    ids = torch.tensor([[*prompt_ids, *target_ids]])
    with torch.no_grad():
        return lm.model(ids).logits[0, len(prompt_ids) - 1 : -1].float()


def log_prob_of(lm: spanwise.LanguageModel, prompt: str, before: str, text: str, changed: int | None = None) -> float:
    logits = logits_after(lm, prompt, before + text, changed)
    ids = lm.tokenizer(before + text)["input_ids"]
    count = len(lm.tokenizer(before)["input_ids"]) if before.strip() else 0
    picked = logits.log_softmax(-1)[torch.arange(len(ids)), torch.tensor(ids)]
    return float(picked[count:].sum())


@pytest.mark.parametrize("foil", ["driving", "listening to the radio"])
@pytest.mark.parametrize("prefix", ["fixed", "attributed"])
def test_contrast_is_the_difference_of_two_plain_scores(any_lm: spanwise.LanguageModel, foil: str, prefix: str) -> None:
    """The foil may have another length; one token replaced, by hand and by feature ablation."""
    asked = {"span": "painting", "objective": spanwise.contrast(foil), "baseline": "pad", "prefix": prefix}
    result = spanwise.attribute(any_lm, PROMPT, TARGET, method="feature_ablation", **asked)

    def value(changed: int | None) -> float:
        return log_prob_of(any_lm, PROMPT, "", " painting", changed) - log_prob_of(
            any_lm, PROMPT, "", " " + foil, changed
        )

    for position in (0, 4):
        # four log-probabilities of up to 40 nats, each within 1e-5
        assert float(result.scores[0, position]) == pytest.approx(value(None) - value(position), abs=2e-4)
    assert any(f"is {value(None):.4g} nats" in note for note in result.provenance.notes)


def test_contrast_in_the_middle_of_the_target(lm: spanwise.LanguageModel) -> None:
    result = spanwise.attribute(
        lm,
        PROMPT,
        TARGET,
        span="traveling",
        objective=spanwise.contrast("keys"),
        method="feature_ablation",
        baseline="pad",
    )

    def value(changed: int | None) -> float:
        before = " painting,"
        return log_prob_of(lm, PROMPT, before, " traveling", changed) - log_prob_of(
            lm, PROMPT, before, " keys", changed
        )

    assert float(result.scores[0, 2]) == pytest.approx(value(None) - value(2), abs=2e-4)


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "integrated_gradients", "gradient_shap"])
def test_gradients_of_a_contrast_are_the_difference_of_gradients(lm: spanwise.LanguageModel, method: str) -> None:
    options = {"saliency": {"reduction": "sum"}, "integrated_gradients": {"n_steps": 8}}.get(method, {})
    asked = {"method": method, "method_options": options}
    contrast = spanwise.attribute(lm, PROMPT, TARGET, span="painting", objective=spanwise.contrast("driving"), **asked)
    own = spanwise.attribute(lm, PROMPT, TARGET, span="painting", **asked)
    foil = spanwise.attribute(lm, PROMPT, " driving", rows="span", **asked)  # all of it: " painting" begins one token
    count = len(own.provenance.prompt_ids)
    expected = own.scores[:, :count] - foil.scores[:, :count]
    torch.testing.assert_close(contrast.scores[:, :count], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["input_x_gradient", "integrated_gradients"])
@pytest.mark.parametrize("prefix", ["fixed", "attributed"])
def test_inseq_gives_the_same_contrast(lm: spanwise.LanguageModel, method: str, prefix: str) -> None:
    pytest.importorskip("inseq", reason="needs the inseq extra")
    options = {"n_steps": 6} if method == "integrated_gradients" else {}
    ours, theirs = (
        spanwise.attribute(
            lm, PROMPT, TARGET, span="traveling", objective=spanwise.contrast("keys"), prefix=prefix,
            method=method, method_options=options, engine=engine,
        )
        for engine in ("captum", "inseq")
    )  # fmt: skip
    largest = float(ours.scores.nan_to_num().abs().max())
    torch.testing.assert_close(theirs.scores, ours.scores, atol=1e-4 * largest, rtol=0, equal_nan=True)


def test_what_inseq_cannot_contrast_is_refused(lm: spanwise.LanguageModel) -> None:
    for method in ("saliency", "feature_ablation"):
        with pytest.raises(MethodError, match="on Inseq has no contrast"):
            spanwise.attribute(
                lm, PROMPT, TARGET, span="traveling", objective=spanwise.contrast("keys"), method=method, engine="inseq"
            )


def test_entropy_kl_probe_and_a_function(any_lm: spanwise.LanguageModel) -> None:
    clean, changed = logits_after(any_lm, PROMPT, TARGET), logits_after(any_lm, PROMPT, TARGET, changed=3)
    ablate = {"method": "feature_ablation", "baseline": "pad", "rows": "token"}

    def effect(objective: object) -> torch.Tensor:
        return spanwise.attribute(any_lm, PROMPT, TARGET, objective=objective, **ablate).scores[:, 3]

    def entropy(logits: torch.Tensor) -> torch.Tensor:
        return torch.distributions.Categorical(logits=logits).entropy()

    torch.testing.assert_close(effect("entropy"), entropy(clean) - entropy(changed), atol=1e-4, rtol=1e-4)
    divergence = torch.nn.functional.kl_div(
        changed.log_softmax(-1), clean.log_softmax(-1), log_target=True, reduction="none"
    ).sum(-1)
    torch.testing.assert_close(effect(spanwise.kl()), -divergence, atol=1e-4, rtol=1e-4)
    given = spanwise.kl(reference=clean.log_softmax(-1))
    torch.testing.assert_close(effect(given), -divergence, atol=1e-4, rtol=1e-4)
    two = spanwise.attribute(
        any_lm, PROMPT, TARGET, objective=given, span=spanwise.tokens(2, 4), **{**ablate, "rows": "span"}
    )
    torch.testing.assert_close(two.scores[0, 3], -divergence[2:4].sum(), atol=2e-4, rtol=1e-4)

    def margin(outputs: object, context: object) -> torch.Tensor:
        top = outputs.logits.topk(2).values
        return top[..., 0] - top[..., 1]

    expected = clean.topk(2).values.diff()[:, 0] - changed.topk(2).values.diff()[:, 0]
    torch.testing.assert_close(effect(margin), -expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "feature_ablation"])
@pytest.mark.parametrize("name", ["entropy", "kl", "probe", "function"])
def test_every_objective_with_both_families(lm: spanwise.LanguageModel, method: str, name: str) -> None:
    objective = {
        "entropy": "entropy",
        "kl": spanwise.kl(),
        "probe": spanwise.probe(1, torch.ones(64)),
        "function": lambda outputs, context: outputs.logits.logsumexp(-1),
    }[name]
    result = spanwise.attribute(lm, PROMPT, TARGET, method=method, objective=objective, span="painting")
    assert result.scores.nan_to_num().abs().sum() > (0 if (name, method) != ("kl", "saliency") else -1)


def test_probe_reads_the_state_that_the_token_is_predicted_from(lm: spanwise.LanguageModel) -> None:
    weights = torch.linspace(-1, 1, 64)
    result = spanwise.attribute(lm, PROMPT, TARGET, method="saliency", objective=spanwise.probe(1, weights, bias=0.5))
    ids = torch.tensor([[*result.provenance.prompt_ids, *result.provenance.target_ids][:-1]])
    with torch.no_grad():
        states = lm.model(ids, output_hidden_states=True).hidden_states[1][0]
    expected = states[len(result.provenance.prompt_ids) - 1 :] @ weights + 0.5
    torch.testing.assert_close(result.target_scores, expected, atol=1e-5, rtol=1e-4)


BAD = [
    (lambda: spanwise.contrast("painting"), {"span": "painting"}, InputError, "is the span itself"),
    (lambda: spanwise.contrast(" "), {"span": "painting"}, InputError, "foil must be a text"),
    (lambda: spanwise.contrast("x"), {}, MethodError, "compares one span with its foil, but 0 spans"),
    (lambda: spanwise.probe(1, torch.ones(3)), {}, OptionError, r"weights have shape \[3\], but the hidden.*64 wide"),
    (lambda: spanwise.probe(9, torch.ones(64)), {}, OptionError, r"layer 9, but the model has hidden states 0 to 2"),
    (lambda: spanwise.kl(torch.ones(2, 2)), {}, OptionError, r"shape \[2, 2\], but the target.*\(target tokens x"),
    (
        lambda: lambda outputs, context: outputs.logits,
        {},
        OptionError,
        r"returned \[1, \d+, 384\]; a tensor \[1, \d+\]",
    ),
]


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(("make", "asked", "error", "message"), BAD, ids=[message[:30] for *_, message in BAD])
def test_bad_input(lm: spanwise.LanguageModel, make: object, asked: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        spanwise.attribute(lm, PROMPT, TARGET, method="feature_ablation", objective=make(), **asked)


def test_a_function_may_not_take_a_built_in_name(lm: spanwise.LanguageModel) -> None:
    def log_prob(outputs, context):  # type: ignore[no-untyped-def]
        return outputs.logits[..., 0]

    with pytest.raises(spanwise.AttributionError, match="called 'log_prob', as a built-in objective is"):
        spanwise.attribute(lm, "The keys", " are", objective=log_prob, method="saliency")
