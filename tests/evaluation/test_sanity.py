"""`sanity`: methods that see the model pass, one that ignores it fails; the model stays the same, bit for bit."""

import dataclasses
import hashlib
import importlib.util
import itertools
import json
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_model, make_tokenizer
from torch import Tensor, nn

import spanwise
from spanwise.aggregation import row_scores
from spanwise.errors import InputError, MethodError, OptionError
from spanwise.evaluation.replay import question_of
from spanwise.evaluation.sanity import attention as sanity_attention
from spanwise.evaluation.sanity import layers
from spanwise.evaluation.sanity.attention import permuted
from spanwise.evaluation.sanity.case import Case, NotApplicableError, chance_level
from spanwise.evaluation.sanity.randomize import MOST_GROUPS, Randomizer, randomizer, stages_of
from spanwise.evaluation.sanity.result import Sanity
from spanwise.evaluation.sanity.sanity import CHECKS, sanity
from spanwise.evaluation.sanity.shift import Shifted
from spanwise.question import Answer, Question

stats = pytest.importorskip("scipy.stats", reason="needs the flow extra")
needs_quantization = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="needs the quantization extra"
)
# Few steps are enough here; the completeness gap that they leave is not what is tested.
pytestmark = pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")

PROMPT = "The keys to the old cabinet near the window that belonged to my sister"
TARGET = " are on the table."
FEW = {"integrated_gradients": {"n_steps": 6}}


def attributed(lm: spanwise.LanguageModel, method: str = "feature_ablation", **asked: Any) -> spanwise.Attribution:
    options = {"span": "are", "method_options": FEW.get(method, {}), "progress": False}
    return spanwise.attribute(lm, PROMPT, TARGET, method=method, **{**options, **asked})


def checked(lm: spanwise.LanguageModel, result: spanwise.Attribution, *checks: str, **asked: Any) -> Sanity:
    return sanity(lm, result, checks=list(checks) or None, progress=False, **{"seeds": 3, **asked})


@pytest.fixture(scope="module")
def tiny() -> spanwise.LanguageModel:
    return spanwise.load_model("tiny")


@pytest.fixture(scope="module")
def ablated(tiny: spanwise.LanguageModel) -> spanwise.Attribution:
    return attributed(tiny)


@pytest.fixture(autouse=True)
def few_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanity_attention, "PERMUTATIONS", 5)


def small(architecture: str) -> spanwise.LanguageModel:
    return spanwise.LanguageModel(make_model(architecture), make_tokenizer(), name=architecture)


def fingerprint(model: nn.Module) -> str:
    """A hash of all that a model computes with: parameters, buffers, and what quantization keeps beside them."""
    found: list[Tensor | None] = []
    for _, each in [*model.named_parameters(), *model.named_buffers()]:
        found.append(each.data)
        state = getattr(each, "quant_state", None)
        if state is not None:
            found += [state.absmax, state.code, *((state.offset, state.state2.absmax) if state.nested else ())]
        found += [getattr(each, "CB", None), getattr(each, "SCB", None)]
    for module in model.modules():
        state = getattr(module, "state", None)
        found += [getattr(state, "CB", None), getattr(state, "SCB", None)]
    told = hashlib.sha256()
    for each in found:
        if each is not None and not each.is_meta:
            told.update(each.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return told.hexdigest()


def hooks(model: nn.Module) -> list[int]:
    return [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]


# Which methods pass the randomization check


@pytest.mark.parametrize("method", ["integrated_gradients", "feature_ablation"])
def test_methods_that_see_the_model_pass(tiny: spanwise.LanguageModel, method: str) -> None:
    before = fingerprint(tiny.model)
    check = checked(tiny, attributed(tiny, method), "model_randomization", seeds=5)["model_randomization"]
    assert check.status == "pass", check.summary
    assert check.figures["correlation_kept"] <= check.figures["chance_level"]
    assert "no more than chance over 20 scores and 5 models" in check.summary
    kinds = [line["randomization"] for line in check.details]
    # output, four blocks and the embeddings; the first step of both kinds is the same, and four more whole models
    assert kinds == ["cascading"] * 6 + ["independent"] * 5 + [f"whole model, draw {i}" for i in range(1, 5)]
    assert [line["layer"] for line in check.details[:6]] == [
        "output",
        *(f"model.layers.{i}" for i in (3, 2, 1, 0)),
        "embeddings",
    ]
    assert "shares the embeddings' weights" in check.summary  # tied
    assert fingerprint(tiny.model) == before


def token_lengths(scorer: Any, options: Any) -> Tensor:
    """A method that ignores the model: as an edge detector does with pictures."""
    ids = [*scorer.prompt_ids, *scorer.target_ids][: scorer.length]
    lengths = torch.tensor([[float(len(scorer.lm.tokenizer.decode([i]))) for i in ids]])
    return scorer.add_positions(lengths.expand(scorer.row_count, -1))


def test_a_method_that_ignores_the_model_fails(tiny: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spanwise.question.find_runner", lambda info, engine: token_lengths)
    monkeypatch.setattr("spanwise.question.check_finite", lambda *args: None)
    found = checked(tiny, attributed(tiny, "feature_ablation"))
    check = found["model_randomization"]
    assert found.statuses["repeat"] == "pass" and check.status == "fail"
    assert check.figures["correlation_kept"] == check.figures["top_k_overlap"] == 1.0
    assert "learned nothing" in check.summary


def test_scores_that_are_all_the_same_fail(tiny: spanwise.LanguageModel, ablated: spanwise.Attribution) -> None:
    result = ablated
    flat = dataclasses.replace(result, scores=torch.where(result.scores.isnan(), torch.nan, 1.0))
    found = checked(tiny, flat)
    assert found.statuses["model_randomization"] == "fail" and found.statuses["repeat"] == "fail"
    assert found.statuses["baseline_sensitivity"] == "not applicable"


# The figures


def test_figures_against_scipy(
    tiny: spanwise.LanguageModel, ablated: spanwise.Attribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = ablated
    answers: list[Tensor] = []
    answer = Question.answer

    def kept(self: Question) -> Answer:
        found = answer(self)
        answers.append(found.scores)
        return found

    monkeypatch.setattr(Question, "answer", kept)
    check = checked(tiny, result, "model_randomization", top_k=4)["model_randomization"]
    here = ~result.scores[0].isnan()
    own = result.scores[0, here].double()
    assert len(answers) == len(check.details) + 1  # the first is the repetition
    for scores, line in zip(answers[1:], check.details, strict=True):
        theirs = scores[0, here].double()
        assert line["spearman"] == pytest.approx(stats.spearmanr(own, theirs).statistic, abs=1e-6)
        assert line["spearman_absolute"] == pytest.approx(stats.spearmanr(own.abs(), theirs.abs()).statistic, abs=1e-6)
        assert line["cosine"] == pytest.approx(1 - _cosine_distance(own, theirs), abs=1e-6)
        tops = [set(each.abs().argsort(descending=True)[:4].tolist()) for each in (own, theirs)]
        assert line["top_k_overlap"] == pytest.approx(len(tops[0] & tops[1]) / 4)
    whole = [line for line in check.details if line["layer"] == "all"] + [check.details[5]]
    assert check.figures["spearman"] == pytest.approx(sum(line["spearman"] for line in whole) / 3)


def _cosine_distance(one: Tensor, other: Tensor) -> float:
    from scipy.spatial.distance import cosine

    return float(cosine(one.numpy(), other.numpy()))


def test_the_chance_level() -> None:
    scores = torch.tensor([3.0, -1.0, 4.0, 1.5, 9.0])
    all_orders = sorted(
        stats.spearmanr(scores, scores[list(order)]).statistic for order in itertools.permutations(range(5))
    )
    exact = all_orders[math.ceil(0.95 * 120) - 1]  # the smallest value that 95 % of the 120 orders stay at or below
    assert chance_level(scores) == pytest.approx(exact)
    long = torch.randn(60, generator=torch.Generator().manual_seed(1))
    # for many scores Spearman's correlation is normal with standard deviation 1 / sqrt(n - 1); 2,000 orders
    assert chance_level(long) == pytest.approx(1.645 / math.sqrt(59), abs=0.03)
    assert chance_level(long, 4) == pytest.approx(1.645 / math.sqrt(59 * 4), abs=0.03)
    assert chance_level(long, either=True) > chance_level(long)


WORDS = ["keys", "old", "cabinet", "window", "belonged"]


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_too_few_scores_for_a_rank_correlation(tiny: spanwise.LanguageModel, count: int) -> None:
    result = attributed(tiny, source=WORDS[:count], features="word")
    assert int((~result.scores.isnan()).sum()) == count
    found = checked(tiny, result, "model_randomization", "baseline_sensitivity")
    assert found.top_k == max(count // 2, 1)  # nobody asked for 5 of them
    reasons = {1: "one feature has no order", 2: "2 scores have", 4: "4 scores have too few orders"}
    for check in found.checks[: 2 if count < 4 else 1]:
        assert (check.status == "not applicable") == (count < 5), check
        assert reasons.get(count, "On 3 wholly random models") in check.summary


def test_one_feature_has_no_other_seed(tiny: spanwise.LanguageModel) -> None:
    result = attributed(tiny, "gradient_shap", source=WORDS[:1], features="word", method_options={"n_samples": 2})
    check = checked(tiny, result, "seed_stability")["seed_stability"]
    assert (check.status, check.summary) == ("not applicable", "one feature has no order.")


def test_the_verdict_on_random_models(
    tiny: spanwise.LanguageModel, ablated: spanwise.Attribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert layers._status(0.74, 0.75) == layers._status(layers.KEPT, 0.2) == "fail"
    assert (layers._status(0.69, 0.2), layers._status(0.2, 0.2)) == ("warn", "pass")
    monkeypatch.setattr(Case, "chance_level", lambda self, draws, either: 0.75)
    check = checked(tiny, ablated, "model_randomization")["model_randomization"]
    assert check.status == "not applicable" and "random orders reach a correlation of 0.75" in check.summary


def test_chance_is_that_of_the_models_that_gave_scores(
    tiny: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = attributed(tiny, source=WORDS, features="word")
    answer, calls = Question.answer, []

    def seldom(self: Question) -> Answer:
        calls.append(1)
        if len(calls) == 13:  # of 1 repetition, 6 + 5 layers and 2 more whole models
            raise MethodError("nothing here.")
        return answer(self)

    monkeypatch.setattr(Question, "answer", seldom)
    figures = checked(tiny, result, "model_randomization")["model_randomization"].figures
    own = result.scores[~result.scores.isnan()]
    assert len(calls) == 14 and figures["random_models"] == 2
    assert figures["chance_level"] == chance_level(own, 2, either=True) > chance_level(own, 3, either=True)


# The model stays as it is, and all of it is drawn again

KINDS = ["qwen2", "gpt2", "t5", "phi3", "marian"]


@pytest.mark.parametrize("architecture", KINDS)
def test_every_architecture(architecture: str) -> None:
    lm = small(architecture)
    before, hooked = fingerprint(lm.model), hooks(lm.model)
    found = checked(lm, attributed(lm, "saliency"), "repeat", "model_randomization", "input_invariance")
    assert found.statuses["repeat"] == found.statuses["input_invariance"] == "pass", found
    lines = found["model_randomization"].details
    moved = [line for line in lines if line["randomization"] == "independent" and line["tensors_changed"]]
    assert len(moved) >= 3 and all(line["spearman"] != 1.0 for line in moved)
    assert fingerprint(lm.model) == before and hooks(lm.model) == hooked
    tied = lm.model.get_output_embeddings().weight is lm.model.get_input_embeddings().weight
    assert ("shares the embeddings' weights" in found["model_randomization"].summary) == tied
    assert tied == (architecture in ("gpt2", "t5", "marian"))  # both kinds are here


@pytest.mark.parametrize("architecture", KINDS)
def test_every_weight_is_in_one_part(architecture: str) -> None:
    lm = small(architecture)
    parts = stages_of(lm)
    pointers = [weight.values.data_ptr() for stage in parts.stages for weight in stage.weights]
    assert sorted(pointers) == sorted({each.data_ptr() for each in lm.model.parameters()})
    assert parts.stages[-1].name == "embeddings" and parts.left_out == ()
    embedding = next(lm.embedding.parameters()).data_ptr()
    assert embedding in [weight.values.data_ptr() for weight in parts.stages[-1].weights]


def test_deep_models_are_drawn_in_groups() -> None:
    import transformers
    from conftest import SHAPE

    shape = {**SHAPE, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 19}
    lm = spanwise.LanguageModel(transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**shape)), make_tokenizer())
    names = [stage.name for stage in stages_of(lm).stages]
    assert len(names) == MOST_GROUPS + 2
    assert names[1] == "model.layers.18 to model.layers.17" and names[-2].endswith("to model.layers.0")
    weights = [weight.values.data_ptr() for stage in stages_of(lm).stages for weight in stage.weights]
    assert sorted(weights) == sorted({each.data_ptr() for each in lm.model.parameters()})
    blocks = [{int(weight.name.split(".")[2]) for weight in stage.weights} for stage in stages_of(lm).stages[1:-1]]
    assert sorted(number for part in blocks for number in part) == list(range(19))  # each block in one group
    assert blocks[0] == {17, 18} and max(map(len, blocks)) == 3


@needs_quantization
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_quantized_models(quantization: str) -> None:
    lm = spanwise.load_model("tiny", quantization=quantization)
    result = attributed(lm, source="the old cabinet near the window")
    before = fingerprint(lm.model)
    found = checked(lm, result, "repeat", "model_randomization", seeds=2)
    check = found["model_randomization"]
    assert found.statuses["repeat"] == "pass" and check.status == "pass", check.summary
    assert f"Codes and scales of {quantization} layers were shuffled." in check.summary
    independent = [line for line in check.details if line["randomization"] == "independent"]
    # a block: 7 layers of codes and scales, 3 biases, 2 norms
    assert [line["tensors_changed"] for line in independent] == [19, 19, 19, 19, 1]
    assert all(line["spearman"] < 0.99 for line in independent)
    assert fingerprint(lm.model) == before


@needs_quantization
@pytest.mark.parametrize(
    ("quantization", "details"),
    [(None, {}), ("nf4", {}), ("fp4", {"double_quant": True, "storage_dtype": "bfloat16"}), ("int8", {})],
)
def test_how_weights_are_drawn(quantization: str | None, details: dict[str, Any]) -> None:
    lm = spanwise.load_model("tiny", quantization=quantization, **details)
    if quantization == "int8":
        attributed(lm)  # a forward moves codes and scales elsewhere
    before = fingerprint(lm.model)
    marks = []
    for seed in (0, 0, 1):
        with lm.session(), randomizer(seed) as drawing:
            stage = stages_of(lm).stages[1]
            old = [weight.values.clone() for weight in stage.weights]
            drawing.draw(stage)
            for weight, was in zip(stage.weights, old, strict=True):
                if weight.shuffled:
                    assert torch.equal(weight.values.flatten().sort()[0], was.flatten().sort()[0])
                elif was.numel() > 10_000:
                    assert float(weight.values.std()) == pytest.approx(float(was.std()), rel=0.03)
            assert any(weight.shuffled for weight in stage.weights) == (quantization is not None)
            marks.append(fingerprint(lm.model))
        assert fingerprint(lm.model) == before
    assert marks[0] == marks[1] != marks[2] and before not in marks


@needs_quantization
@pytest.mark.parametrize(
    ("quantization", "error"), [(None, KeyboardInterrupt), ("nf4", RuntimeError), ("int8", KeyboardInterrupt)]
)
def test_the_model_is_back_after_an_error(
    quantization: str | None, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = spanwise.load_model("tiny", quantization=quantization)
    result = attributed(lm)
    before, hooked = fingerprint(lm.model), hooks(lm.model)
    answer, calls = Question.answer, []

    def breaking(self: Question) -> Answer:
        calls.append(fingerprint(lm.model))
        if len(calls) == 5:
            raise error
        return answer(self)

    monkeypatch.setattr(Question, "answer", breaking)
    with pytest.raises(error):
        checked(lm, result, "model_randomization")
    assert calls[0] == before and before not in calls[1:]  # it was another model when it broke
    assert fingerprint(lm.model) == before and hooks(lm.model) == hooked


def test_a_second_interrupt_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = spanwise.load_model("tiny")
    outside = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C
    before, handler = fingerprint(lm.model), signal.getsignal(signal.SIGINT)
    put_back = Randomizer.put_back

    def interrupted(self: Randomizer) -> None:
        signal.raise_signal(signal.SIGINT)
        put_back(self)

    monkeypatch.setattr(Randomizer, "put_back", interrupted)
    with pytest.raises(KeyboardInterrupt), randomizer(0) as drawing:
        for stage in stages_of(lm).stages:
            drawing.draw(stage)
        assert fingerprint(lm.model) != before
    assert fingerprint(lm.model) == before and signal.getsignal(signal.SIGINT) is handler
    signal.signal(signal.SIGINT, outside)


def test_offloaded_weights_are_left_out_and_said(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="needs the quantization extra")
    places = {"model.embed_tokens": "cpu", "model.norm": "cpu", "lm_head": "cpu", "model.rotary_emb": "cpu"}
    places |= {f"model.layers.{i}": "disk" if i == 2 else "cpu" for i in range(4)}
    lm = spanwise.load_model("tiny", device_map=places, offload_folder=tmp_path)
    found = checked(lm, attributed(lm), "model_randomization")["model_randomization"]
    assert "model.layers.2" not in [line["layer"] for line in found.details]
    assert "Left as they were: 9 modules that are offloaded (model.layers.2" in found.summary


# The other checks


def test_repeat_notices_other_scores(tiny: spanwise.LanguageModel, ablated: spanwise.Attribution) -> None:
    result = ablated
    assert checked(tiny, result, "repeat").statuses["repeat"] == "pass"
    other = dataclasses.replace(result, scores=result.scores * 1.1)
    check = checked(tiny, other, "repeat")["repeat"]
    assert check.status == "fail" and check.figures["relative_change"] == pytest.approx(0.1 / 1.1, rel=1e-4)


def test_completeness(tiny: spanwise.LanguageModel) -> None:
    many = attributed(tiny, "integrated_gradients", method_options={"n_steps": 50})
    good = checked(tiny, many, "completeness")["completeness"]
    assert good.status == "pass" and good.figures["completeness_gap"] <= 0.05
    # from zero the path is a step under RMSNorm: known to miss most of the change
    result = attributed(tiny, "integrated_gradients", baseline="zero")
    bad = checked(tiny, result, "completeness")["completeness"]
    assert bad.status == "fail" and bad.figures["completeness_gap"] == result.completeness_gap > 0.05
    none = checked(tiny, attributed(tiny, "saliency"), "completeness")["completeness"]
    assert none.status == "not applicable" and "saliency does not promise" in none.summary


def test_baseline_sensitivity(tiny: spanwise.LanguageModel) -> None:
    result = attributed(tiny, "integrated_gradients")
    check = checked(tiny, result, "baseline_sensitivity")["baseline_sensitivity"]
    assert [line["baseline"] for line in check.details] == ["unk", "pad", "zero", "mean", "token:."]
    here, values = ~result.scores[0].isnan(), []
    for line in check.details[1:]:
        other = attributed(tiny, "integrated_gradients", baseline=line["baseline"])
        values.append(stats.spearmanr(result.scores[0, here], other.scores[0, here]).statistic)
        assert line["spearman"] == pytest.approx(values[-1], abs=1e-6)
        assert line["top_token"] == other.source_tokens[int(other.scores[0].abs().nan_to_num().argmax())]
    assert check.figures["lowest_spearman"] == pytest.approx(min(values), abs=1e-6)
    assert check.details[0]["spearman"] == 1.0 and check.figures["baselines"] == 4
    assert (check.status == "fail") == (min(values) <= check.figures["chance_level"])


@pytest.mark.parametrize(("rho", "status"), [(0.1, "fail"), (0.42, "warn"), (0.9, "pass")])
def test_what_is_said_of_another_baseline(
    tiny: spanwise.LanguageModel,
    ablated: spanwise.Attribution,
    monkeypatch: pytest.MonkeyPatch,
    rho: float,
    status: str,
) -> None:
    """A correlation that random orders reach too is no proof of another order; a low one is another order."""
    monkeypatch.setattr(Case, "chance_level", lambda self: 0.58)
    agreement = Case.agreement
    monkeypatch.setattr(Case, "agreement", lambda *given: agreement(*given) | {"spearman": rho})
    check = checked(tiny, ablated, "baseline_sensitivity", baselines=["unk", "zero"])["baseline_sensitivity"]
    assert check.status == status and "mean nothing" not in check.summary
    told = {
        "fail": "From 'zero' (rho 0.10) the order is another one (below 0.3).",
        "warn": "From 'zero' (rho 0.42) the order cannot be told from a random one.",
        "pass": "From each of them the order is closer to the result's than that.",
    }
    assert [name for name, sentence in told.items() if sentence in check.summary] == [status]


@pytest.mark.parametrize("own", ["unk", "token:<unk>"])
def test_ones_own_baseline_by_another_name_is_no_other(tiny: spanwise.LanguageModel, own: str) -> None:
    other = {"unk": "token:<unk>", "token:<unk>": "unk"}[own]
    result = attributed(tiny, baseline=own)
    check = checked(tiny, result, "baseline_sensitivity", baselines=[other, "pad", "pad"])["baseline_sensitivity"]
    assert [line["baseline"] for line in check.details] == ["pad"] and check.figures["baselines"] == 1
    assert f"Left out: {other} is the same as {own}." in check.summary
    check = checked(tiny, result, "baseline_sensitivity", baselines=[other, own])["baseline_sensitivity"]
    assert check.status == "not applicable" and "no baseline is left to compare with" in check.summary


def test_baselines_of_ones_own(tiny: spanwise.LanguageModel, ablated: spanwise.Attribution) -> None:
    result = ablated
    asked = {"baselines": ["mask", "unk", "token:<unk>"]}
    check = checked(tiny, result, "baseline_sensitivity", **asked)["baseline_sensitivity"]
    assert [line["baseline"] for line in check.details] == ["mask", "unk"]
    assert "Left out: token:<unk> is the same as unk." in check.summary
    with pytest.raises(OptionError, match="'a b c' is 3 tokens of this vocabulary"):
        checked(tiny, result, "baseline_sensitivity", baselines=["unk", "token:a b c"])


def test_a_baseline_that_its_name_does_not_make_again(tiny: spanwise.LanguageModel) -> None:
    result = attributed(tiny, baseline=torch.zeros(tiny.hidden_size))
    found = checked(tiny, result)
    for name in ("repeat", "model_randomization", "baseline_sensitivity", "input_invariance"):
        assert found.statuses[name] == "not applicable"
        assert "cannot be repeated from the result: unknown baseline 'tensor[128]'" in found[name].summary


def test_seed_stability(tiny: spanwise.LanguageModel) -> None:
    asked = {"method_options": {"n_samples": 3}, "seed": 7}
    result = attributed(tiny, "gradient_shap", **asked)
    check = checked(tiny, result, "seed_stability")["seed_stability"]
    here = ~result.scores[0].isnan()
    others = [attributed(tiny, "gradient_shap", **{**asked, "seed": seed}).scores[0, here] for seed in (7, 8, 9)]
    pairs = [stats.spearmanr(a, b).statistic for a, b in itertools.combinations(others, 2)]
    assert check.figures["lowest_spearman"] == pytest.approx(min(pairs), abs=1e-5)
    assert check.figures["mean_spearman"] == pytest.approx(sum(pairs) / 3, abs=1e-5)
    tops = {int(each.abs().argmax()) for each in others}
    assert check.figures["top_tokens"] == len(tops)
    assert (check.status == "pass") == (len(tops) == 1 and min(pairs) > check.figures["chance_level"])
    assert check.figures["of"] == 5
    whole = checked(tiny, result, "seed_stability", top_k=20)["seed_stability"]  # the last has no next one
    assert len(whole.details) == 20 and whole.figures["of"] == 19 and "of the 19 strongest" in whole.summary
    assert [line["gap_to_next"] is None for line in whole.details] == [False] * 19 + [True]
    stacked = torch.stack(others).double()
    first = int(stacked.mean(0).abs().argmax())
    assert check.details[0]["std"] == pytest.approx(float(stacked.std(0)[first]), rel=1e-4)
    steady = checked(tiny, attributed(tiny, "saliency"), "seed_stability")["seed_stability"]
    assert steady.status == "not applicable" and steady.summary == "saliency draws no random numbers."


@pytest.mark.parametrize(
    ("method", "baseline", "status"),
    [
        ("saliency", None, "pass"),
        ("input_x_gradient", None, "fail"),
        ("integrated_gradients", "unk", "pass"),
        ("integrated_gradients", "zero", "fail"),
        ("feature_ablation", "pad", "pass"),
        ("feature_ablation", "zero", "fail"),
        ("feature_ablation", "mask", "not applicable"),
        ("attention", None, "not applicable"),
    ],
)
def test_input_invariance(tiny: spanwise.LanguageModel, method: str, baseline: str | None, status: str) -> None:
    result = attributed(tiny, method, baseline=baseline)
    check = checked(tiny, result, "input_invariance")["input_invariance"]
    assert check.status == status and check.summary
    if status != "not applicable":
        assert (check.figures["relative_change"] < 1e-4) == (status == "pass")


@pytest.mark.parametrize("architecture", ["qwen2", "t5", "gemma3"])
def test_a_shifted_model_is_the_same_function(architecture: str) -> None:
    lm = small(architecture)
    result = attributed(lm, "input_x_gradient", rows="token")
    question = question_of(lm, result)
    shift = torch.linspace(-1, 1, lm.hidden_size)
    with lm.session():
        own, shifted = question.answer(), dataclasses.replace(question, lm=Shifted(lm, shift)).answer()
        scorer = question.scorer(None, question.batches())
        gradients = scorer.embedding_gradients(scorer.embeddings[None])[0]  # [row, source, hidden]
    torch.testing.assert_close(shifted.target_scores, own.target_scores, atol=1e-5, rtol=1e-5)
    # gradient x (input + shift), where the gradient is the same: the scores change by gradient x shift
    expected = own.scores + question.axes.spread(scorer.add_positions(gradients @ shift[:, None].expand(-1, 1)[..., 0]))
    torch.testing.assert_close(shifted.scores, expected, atol=1e-4, rtol=1e-4, equal_nan=True)


def test_contrasts_rows_and_methods_that_are_not_linear(tiny: spanwise.LanguageModel) -> None:
    aim = spanwise.contrast(" is")
    result = attributed(tiny, "integrated_gradients", objective=aim)
    found = checked(tiny, result, "repeat", "input_invariance", objective=aim)
    assert set(found.statuses.values()) == {"pass"}
    matrix = attributed(tiny, "saliency", span=None, rows="token")  # lengths of gradients do not add up
    assert checked(tiny, matrix, "repeat").statuses["repeat"] == "pass"
    assert checked(tiny, matrix, "repeat").span == TARGET
    one = checked(tiny, matrix, "repeat", row=2)
    assert one.statuses["repeat"] == "pass" and one.span == " the"
    linear = attributed(tiny, "input_x_gradient", span=None, rows="token", prefix="attributed")
    found = checked(tiny, linear, "repeat")
    assert found.statuses["repeat"] == "pass"
    assert not row_scores(linear).isnan().all()


@pytest.mark.skipif(importlib.util.find_spec("inseq") is None, reason="needs the inseq extra")
def test_inseq(tiny: spanwise.LanguageModel) -> None:
    found = checked(tiny, attributed(tiny, "input_x_gradient", engine="inseq"), "repeat", "input_invariance")
    assert found.statuses == {"repeat": "pass", "input_invariance": "not applicable"}


# Attention


def test_permuted_weights_are_the_same_numbers() -> None:
    weights = torch.rand(1, 2, 6, 6, generator=torch.Generator().manual_seed(0)).tril()
    found = permuted(weights, torch.Generator().manual_seed(1))
    assert torch.equal(found == 0, weights == 0) and not torch.equal(found, weights)
    assert torch.equal(found.sort(-1)[0], weights.sort(-1)[0])
    assert not torch.equal(found[0, 0, 5].argsort(), found[0, 1, 5].argsort())  # each head for itself
    firsts = [int(permuted(weights, torch.Generator().manual_seed(s))[0, 0, 5].argmax()) for s in range(600)]
    counts = torch.tensor(firsts).bincount(minlength=6)
    assert int(counts.min()) > 60  # the largest weight comes to all six places, 100 times each on average


@pytest.mark.parametrize(
    ("architecture", "method"),
    [("qwen2", "attention"), ("gpt2", "attention_rollout"), ("t5", "attention"), ("bart", "attention_rollout")],
)
def test_attention_counterfactual(architecture: str, method: str) -> None:
    lm = small(architecture)
    result = attributed(lm, method)
    before, hooked = fingerprint(lm.model), hooks(lm.model)
    implementation = lm.model.config._attn_implementation
    check = checked(lm, result, "attention_counterfactual")["attention_counterfactual"]
    figures = check.figures
    assert 0 < figures["least"] <= figures["median_distance"] <= figures["largest"] <= 1
    assert (check.status == "pass") == (figures["median_distance"] >= 0.1)
    assert (fingerprint(lm.model), hooks(lm.model)) == (before, hooked)
    assert lm.model.config._attn_implementation == implementation


def uniform(weights: Tensor, generator: torch.Generator) -> Tensor:
    seen = (weights > 0).to(weights)
    return seen / seen.sum(-1, keepdim=True)


def test_changed_attention_against_a_model_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = small("qwen2")
    result = attributed(lm, "attention_rollout")
    monkeypatch.setattr(sanity_attention, "permuted", uniform)
    found = checked(lm, result, "attention_counterfactual")["attention_counterfactual"]
    import copy

    level = copy.deepcopy(lm.model)  # its queries are 0, so that it looks everywhere alike
    for layer in level.model.layers:
        nn.init.zeros_(layer.self_attn.q_proj.weight)
        nn.init.zeros_(layer.self_attn.q_proj.bias)
    ids = torch.tensor([[*result.provenance.prompt_ids]])
    with torch.no_grad():
        ours, theirs = (model(ids).logits[0, -1].softmax(-1) for model in (lm.model, level))
    expected = float((ours - theirs).abs().sum() / 2)
    assert found.figures["median_distance"] == pytest.approx(expected, abs=1e-5) and expected > 0.01


def test_attention_that_looks_everywhere_alike_explains_nothing() -> None:
    import copy

    model = copy.deepcopy(make_model("qwen2"))
    for layer in model.model.layers:
        nn.init.zeros_(layer.self_attn.q_proj.weight)
        nn.init.zeros_(layer.self_attn.q_proj.bias)
    lm = spanwise.LanguageModel(model, make_tokenizer(), name="level")
    check = checked(lm, attributed(lm, "attention"), "attention_counterfactual")["attention_counterfactual"]
    assert check.status == "fail" and check.figures["median_distance"] < 1e-5


@pytest.mark.parametrize(
    ("architecture", "options", "steps"),
    [
        ("qwen2", {}, [0, 1]),
        ("qwen2", {"layer": 0}, [0]),
        ("qwen2", {"layer": "last"}, [1]),
        ("t5", {}, [0, 1, 2, 3]),
        ("t5", {"layer": "last"}, [2, 3]),
        ("bart", {"layer": 0}, [0, 1]),
    ],
)
def test_only_what_the_method_reads_is_permuted(
    architecture: str, options: dict[str, Any], steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = small(architecture)
    result = attributed(lm, "attention", span="table", method_options={**options, "head": 1})
    seen: list[tuple[int, set[int], set[int]]] = []
    asked: list[int] = []
    make = sanity_attention._permuter

    def watched(case: Any, seed: int) -> Callable[..., Tensor]:
        permute = make(case, seed)

        def watching(weights: Tensor, step: int) -> Tensor:
            changed = permute(weights, step)
            asked.append(step)
            places = (changed != weights).nonzero()
            if len(places):
                seen.append((step, set(places[:, 1].tolist()), set(places[:, 2].tolist())))
            return changed

        return watching

    monkeypatch.setattr(sanity_attention, "_permuter", watched)
    checked(lm, result, "attention_counterfactual")
    span = result.spans[0]
    before = 0 if lm.is_encoder_decoder else len(result.provenance.prompt_ids) - 1
    rows = {before + k for k in range(span.first_token, span.last_token)}
    all_steps = [0, 1, 2, 3] if lm.is_encoder_decoder else [0, 1]  # two a decoder layer, and none of the encoder's
    assert asked == all_steps * sanity_attention.PERMUTATIONS
    assert sorted({step for step, _, _ in seen}) == steps
    assert set().union(*(heads for _, heads, _ in seen)) == {1}
    assert set().union(*(queries for _, _, queries in seen)) == rows


# The result, bad input, the command


def test_every_check_that_does_not_apply_says_why(tiny: spanwise.LanguageModel) -> None:
    for method in ("saliency", "feature_ablation", "attention"):
        found = checked(tiny, attributed(tiny, method), *(name for name in CHECKS if name != "model_randomization"))
        for check in found.checks:
            assert check.source and len(check.summary) > 20
            assert (check.figures == {}) == (check.status == "not applicable")


def test_exports(
    tiny: spanwise.LanguageModel, ablated: spanwise.Attribution, capsys: pytest.CaptureFixture[str]
) -> None:
    pandas = pytest.importorskip("pandas", reason="needs the dataframe extra")
    found = checked(tiny, ablated)
    assert tuple(found.statuses) == tuple(CHECKS)
    read = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert read["method"] == "feature_ablation" and read["span"] == " are" and len(read["checks"]) == len(CHECKS)
    assert read["attributions"] == 1 + 11 + 2 + 5 + 1 and read["forwards"] > read["attributions"]
    table = found.to_dataframe()
    assert isinstance(table, pandas.DataFrame) and list(table["name"]) == list(CHECKS)
    row = table[table["name"] == "model_randomization"].iloc[0]
    assert row["figure"] == "correlation_kept" and row["value"] == found["model_randomization"].figures[row["figure"]]
    assert len(found.to_dataframe("baseline_sensitivity")) == 5
    with pytest.raises(OptionError, match="'completeness' has no details"):
        found.to_dataframe("completeness")
    with pytest.raises(OptionError, match="Did you mean 'repeat'"):
        found["repeated"]
    assert "model_randomization pass" in repr(found)
    found.show()
    shown = capsys.readouterr().out
    assert "model randomization" in shown and "model.layers.3" in shown and "not applicable" in shown


REFUSED = [
    ({"checks": ["model_randomisation"]}, "unknown check 'model_randomisation'. Did you mean 'model_randomization'?"),
    ({"checks": "repeat"}, "checks is a list of names, not 'repeat'"),
    ({"checks": []}, "checks is empty"),
    ({"seeds": 1}, "seeds must be an integer of at least 2, not 1"),
    ({"top_k": 0}, "top_k must be an integer of at least 1, not 0"),
    ({"top_k": 99}, "top_k=99 was asked, but only 20 source tokens have scores"),
    ({"baselines": ["unk"]}, "baselines needs at least two names to compare, not ['unk']"),
    ({"baselines": "unk"}, "baselines is a list of names, not 'unk'"),
    ({"row": 5}, "row 5 was asked, but scores has the rows 0 to 0"),
    ({"progress": "x"}, "progress is None, True or False, not 'x'"),
    ({"seeds": "x"}, "seeds must be an integer of at least 2, not 'x'"),
    ({"seeds": 2**32 + 1}, "from the result's seed 0 on fewer are left"),
    ({"batch_size": 0}, "batch_size (unless 'auto') must be an integer of at least 1, not 0"),
    ({"batch_size": "many"}, "batch_size (unless 'auto') must be an integer of at least 1, not 'many'"),
]


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(("asked", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refusals(
    tiny: spanwise.LanguageModel, ablated: spanwise.Attribution, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError) as caught:
        sanity(tiny, ablated, **{"progress": False, **asked})
    assert message in str(caught.value)


@pytest.mark.parametrize(("rows", "row"), [("span", None), ("token", None), ("token", 1)])
def test_a_feature_without_a_score_is_refused(tiny: spanwise.LanguageModel, rows: str, row: int | None) -> None:
    result = attributed(tiny, span="are on", rows=rows)
    scores = result.scores.clone()
    scores[row or 0, int((~scores[0].isnan()).nonzero()[3])] = torch.nan
    with pytest.raises(InputError, match="1 of 20 features have no score in this row"):
        checked(tiny, dataclasses.replace(result, scores=scores), "repeat", row=row)
    if row is not None:  # another row is whole
        assert checked(tiny, dataclasses.replace(result, scores=scores), "repeat", row=0).statuses["repeat"] == "pass"


def test_the_batch_size_reaches_the_question(
    tiny: spanwise.LanguageModel, ablated: spanwise.Attribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, sizes, answer = ablated, [], Question.answer

    def watched(self: Question) -> Answer:
        found = answer(self)
        sizes.append((found.batches.size, found.batches.fixed))
        return found

    monkeypatch.setattr(Question, "answer", watched)
    assert checked(tiny, result, "repeat", batch_size=3).statuses["repeat"] == "pass"
    checked(tiny, result, "repeat")
    assert sizes[0] == (3, True) and not sizes[1][1]


def test_a_result_of_another_model(tiny: spanwise.LanguageModel, ablated: spanwise.Attribution) -> None:
    result = ablated
    with pytest.raises(InputError, match="the result is of another model"):
        checked(small("qwen2"), result)
    other = spanwise.load_model("tiny")
    nn.init.normal_(other.model.model.layers[0].mlp.up_proj.weight)
    with pytest.raises(InputError, match="the model is not as it was when the result was made"):
        checked(other, result)


def test_no_weights_to_draw(
    tiny: spanwise.LanguageModel, ablated: spanwise.Attribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spanwise.evaluation.sanity.randomize import Stages

    monkeypatch.setattr(layers, "stages_of", lambda lm: Stages((), False, ("all of it",)))
    check = checked(tiny, ablated, "model_randomization")["model_randomization"]
    assert check.status == "not applicable" and "can be drawn again: all of it" in check.summary
    assert issubclass(NotApplicableError, Exception)


@pytest.mark.usefixtures("unchecked_types")
def test_the_command(
    tiny: spanwise.LanguageModel, ablated: spanwise.Attribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer
    from typer.testing import CliRunner

    from spanwise.cli.sanity import sanity as command

    app = typer.Typer()
    app.command()(command)
    path = tmp_path / "result.safetensors"
    ablated.save(path)
    asked = [str(path), "--model", "tiny", "--check", "repeat", "--check", "baseline_sensitivity"]
    done = CliRunner().invoke(app, [*asked, "--baseline", "unk", "--baseline", "pad", "--json"])
    assert done.exit_code == 0
    read = json.loads(done.stdout)
    assert [check["name"] for check in read["checks"]] == ["repeat", "baseline_sensitivity"]
    assert [line["baseline"] for line in read["checks"][1]["details"]] == ["unk", "pad"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0 and "baseline sensitivity" in done.stdout
    given: dict[str, Any] = {}
    monkeypatch.setattr(spanwise, "load_model", lambda name_or_path, **options: given.update(options) or tiny)
    loading = [
        "--compute-dtype",
        "float16",
        "--storage-dtype",
        "bfloat16",
        "--double-quant",
        "--skip-module",
        "lm_head",
    ]
    loading += ["--quantization", "nf4", "--dtype", "float32", "--device-map", "cpu", "--max-memory", "cpu=1GiB"]
    small_batch = ["--batch-size", "2", "--offload-folder", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, [str(path), "--check", "repeat", *loading, *small_batch])
    assert json.loads(done.stdout)["top_k"] == 5
    assert given == {
        "quantization": "nf4",
        "compute_dtype": "float16",
        "storage_dtype": "bfloat16",
        "double_quant": True,
        "skip_modules": ["lm_head"],
        "dtype": "float32",
        "device_map": "cpu",
        "max_memory": {"cpu": "1GiB"},
        "offload_folder": tmp_path,
    }
    done = CliRunner().invoke(app, [str(path), "--batch-size", "0"])
    assert isinstance(done.exception, OptionError) and "batch_size" in str(done.exception)
    done = CliRunner().invoke(app, [*asked, "--seeds", "1"])
    assert isinstance(done.exception, OptionError) and "seeds must be" in str(done.exception)
