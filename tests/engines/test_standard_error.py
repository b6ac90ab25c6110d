"""Standard errors say how far another seed moves a score, and n_samples="auto" stops when they are small.

Checked against repeated seeds (the spread over them, divided by the standard error, has to be near 1), against exact
Shapley values, and where every sample says the same, so that the error is 0.
"""

import dataclasses
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import captum.attr
import pytest
import torch
from conftest import FEW, make_tokenizer
from test_closed_forms import Additive, AdditiveConfig
from toy_scorer import Toy, interacting

import spanwise
from spanwise import storage
from spanwise.engines import captum_sampling
from spanwise.engines.captum_gradient import gradient_shap, smoothgrad
from spanwise.engines.captum_sampling import kernel_shap, lime, shapley_value_sampling
from spanwise.engines.groups import Groups
from spanwise.engines.protocol import Found
from spanwise.engines.standard_errors import Spread
from spanwise.evaluation.replay import question_of
from spanwise.methods import find_method
from spanwise.model.seeding import seeded

PROMPT, TARGET = "The keys to the cabinet", " are on the table."
SAMPLED = [each.name for each in spanwise.list_methods() if each.sampled and "captum" in each.engines]
Run = Callable[[int], Found]


@pytest.fixture(scope="module")
def tiny() -> spanwise.LanguageModel:
    return spanwise.load_model("tiny")


def run(lm: spanwise.LanguageModel, method: str, options: dict[str, object], **asked: object) -> spanwise.Attribution:
    given = {"span": ["are", "table"], "method_options": options} | asked
    return spanwise.attribute(lm, PROMPT, TARGET, method=method, **given)


def options_of(method: str, **given: object) -> dict[str, object]:
    return find_method(method).checked_options(given)


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one.nan_to_num(9), other.nan_to_num(9))


def calibration(found: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Returns the spread of the scores over seeds, divided by the root mean square standard error: all features'."""
    scores = torch.stack([score.double().flatten() for score, _ in found])
    errors = torch.stack([error.double().flatten() for _, error in found])
    return float((scores.var(0).nansum() / errors.square().mean(0).nansum()).sqrt())


# --- calibration over seeds -------------------------------------------------------------------------------------

TOYS = {
    "shapley_value_sampling": (shapley_value_sampling, {"n_samples": 12}),
    "kernel_shap, two subsets a feature": (kernel_shap, {"n_samples": 34}),
    "kernel_shap, many": (kernel_shap, {"n_samples": 160}),
    "lime": (lime, {"n_samples": 100, "alpha": 0.01}),
}
PATHS = {
    "gradient_shap": {"n_samples": 20},
    "gradient_shap, noise": {"n_samples": 20, "stdevs": 0.02},
    "smoothgrad": {"n_samples": 20},
    "smoothgrad, signed": {"n_samples": 20, "reduction": "sum"},
}


def over_seeds(name: str, seeds: int) -> float:
    runner, options = TOYS[name]
    found = []
    for seed in range(seeds):
        with seeded(seed):
            each = runner(interacting(12), options)
        assert each.standard_error is not None
        found.append((each.scores, each.standard_error))
    return calibration(found)


def over_seeds_of_a_model(lm: spanwise.LanguageModel, name: str, seeds: int) -> float:
    found = []
    for seed in range(seeds):
        result = run(lm, name.split(",")[0], PATHS[name], seed=seed, span="are")
        assert result.standard_error is not None
        found.append((result.scores, result.standard_error))
    return calibration(found)


@pytest.mark.parametrize("name", TOYS)
def test_calibration(name: str) -> None:
    """12 features and 25 seeds: wrong by a factor of 1.5 is seen."""
    assert 0.7 < over_seeds(name, 25) < 1.4


@pytest.mark.parametrize("name", PATHS)
def test_calibration_along_paths(tiny: spanwise.LanguageModel, name: str) -> None:
    assert 0.65 < over_seeds_of_a_model(tiny, name, 20) < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("name", TOYS)
def test_calibration_over_many_seeds(name: str) -> None:
    assert 0.85 < over_seeds(name, 150) < 1.2


@pytest.mark.slow
@pytest.mark.parametrize("name", PATHS)
def test_calibration_along_paths_over_many_seeds(tiny: spanwise.LanguageModel, name: str) -> None:
    """The length of a mean of few noisy gradients moves a little less than its direction says."""
    assert 0.8 < over_seeds_of_a_model(tiny, name, 100) < 1.2


# --- against exact values ---------------------------------------------------------------------------------------


def exact(scorer: Toy) -> torch.Tensor:
    """Returns the Shapley values by every subset: [row, feature]."""
    count = scorer.feature_count
    subsets = torch.tensor(list(itertools.product((0.0, 1.0), repeat=count)))
    values = {tuple(each.tolist()): value for each, value in zip(subsets, scorer.scores(subsets), strict=True)}
    found = torch.zeros(scorer.row_count, count)
    for each in subsets.tolist():
        size = int(sum(each))
        for feature in (i for i, on in enumerate(each) if not on):
            weight = 1 / (count * math.comb(count - 1, size))
            there = tuple(1.0 if i == feature else on for i, on in enumerate(each))
            found[:, feature] += weight * (values[there] - values[tuple(each)])
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("runner", "samples"), [(shapley_value_sampling, 40), (kernel_shap, 120)])
def test_exact_values_are_within_four_standard_errors(runner: Callable[..., Found], samples: int, seed: int) -> None:
    scorer = interacting(6, rows=3)
    with seeded(seed):
        found = runner(scorer, {"n_samples": samples})
    away = (found.scores - exact(scorer)).abs() / found.standard_error
    assert float(away.max()) < 4
    assert float(away.max()) > 0.2, "the errors are too large to say anything"


@pytest.mark.parametrize("method", ["shapley_value_sampling", "kernel_shap"])
def test_where_every_sample_says_the_same_the_error_is_zero(method: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        lm = spanwise.LanguageModel(Additive(AdditiveConfig()).eval(), make_tokenizer())
    result = run(lm, method, {"n_samples": "auto"}, objective="logit", baseline="pad")
    assert result.standard_error is not None
    assert float(result.standard_error.nan_to_num(0).max()) < 1e-4 * float(result.scores.nan_to_num(0).abs().max())
    first = {"shapley_value_sampling": 16, "kernel_shap": 64}[method]
    assert result.provenance.used == {"n_samples": first}


# --- the same numbers as Captum's, and as a fixed number of samples ----------------------------------------------


def test_orders_are_captums() -> None:
    scorer = interacting(7, rows=2)
    with seeded(5):
        theirs = captum.attr.ShapleyValueSampling(scorer.scores).attribute(torch.ones(1, 7), n_samples=9)[0]
    with seeded(5):
        ours = shapley_value_sampling(scorer, {"n_samples": 9}).scores
    torch.testing.assert_close(ours.float(), theirs, atol=1e-5, rtol=0)


def test_subsets_are_captums() -> None:
    scorer = interacting(7)
    for runner, theirs, options in (
        (kernel_shap, captum.attr.KernelShap, {"n_samples": 60}),
        (lime, captum.attr.Lime, {"n_samples": 60, "alpha": 0.01}),
    ):
        with seeded(5):
            expected = theirs(lambda x: scorer.scores(x)[:, 0]).attribute(torch.ones(1, 7), n_samples=60)[0]
        with seeded(5):
            torch.testing.assert_close(runner(scorer, options).scores[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", PATHS)
def test_samples_of_paths_are_captums(tiny: spanwise.LanguageModel, name: str) -> None:
    """All samples of one input, as Captum's users ask for them, draw the same points as one sample of each copy."""
    method = name.split(",")[0]
    options = options_of(method, **PATHS[name])
    question = question_of(tiny, run(tiny, method, PATHS[name], rows="token"))
    with tiny.session():
        off = None
        if method == "gradient_shap":
            off = torch.zeros(len(question.axes.features), tiny.hidden_size)
        scorer = question.scorer(off, question.batches())

        def gradients(forward: object, inputs: tuple[torch.Tensor], *args: object) -> tuple[torch.Tensor]:
            return (scorer.embedding_gradients(inputs[0][:, 0].detach()),)

        start = scorer.embeddings[None, None].clone().requires_grad_()
        with seeded(3):
            if method == "gradient_shap":
                own = captum.attr.GradientShap(lambda x: x)
                own.gradient_func = gradients
                baselines, noise = scorer.baseline_embeddings[None, None], float(options["stdevs"])
                values = own.attribute(start, baselines=baselines, n_samples=20, stdevs=noise)[0].sum(-1)
            else:
                inner = captum.attr.Saliency(lambda x: x)
                inner.gradient_func = gradients
                noise = 0.15 * float(scorer.embeddings.max() - scorer.embeddings.min())
                tunnel = captum.attr.NoiseTunnel(inner)
                mean = tunnel.attribute(start, nt_type="smoothgrad", nt_samples=20, stdevs=noise, abs=False)[0]
                values = mean.norm(dim=-1) if options["reduction"] == "l2_norm" else mean.sum(-1)
        with seeded(3):
            ours = {"gradient_shap": gradient_shap, "smoothgrad": smoothgrad}[method](scorer, options)
        expected = scorer.add_positions(values.detach())
        torch.testing.assert_close(ours.scores.float(), expected, atol=float(expected.abs().max()) * 1e-5, rtol=0)


@pytest.mark.parametrize(
    ("method", "tolerance"), [("shapley_value_sampling", 0.2), ("kernel_shap", 0.3), ("shapley_value_sampling", 0.1)]
)
def test_auto_gives_what_the_fixed_number_gives(tiny: spanwise.LanguageModel, method: str, tolerance: float) -> None:
    result = run(tiny, method, {"n_samples": "auto", "tolerance": tolerance}, seed=4)
    used = result.provenance.used["n_samples"]
    fixed = run(tiny, method, {"n_samples": used}, seed=4)
    assert result.standard_error is not None and fixed.standard_error is not None
    assert same(result.scores, fixed.scores) and same(result.standard_error, fixed.standard_error)
    assert result.provenance.forwards == fixed.provenance.forwards
    assert reached(result) <= tolerance
    step = 8 if method == "shapley_value_sampling" else used // 3
    earlier = run(tiny, method, {"n_samples": used - step}, seed=4)
    assert reached(earlier) > tolerance or used in (16, 64)
    assert fixed.provenance.used == {}


def reached(result: spanwise.Attribution) -> float:
    assert result.standard_error is not None
    return float(result.standard_error.nan_to_num(0).max() / result.scores.nan_to_num(0).abs().max())


@pytest.mark.parametrize("method", ["shapley_value_sampling", "kernel_shap"])
def test_where_the_limit_comes_first(tiny: spanwise.LanguageModel, method: str) -> None:
    options = {"n_samples": "auto", "tolerance": 1e-5, "max_samples": 20}
    with pytest.warns(
        spanwise.AttributionWarning, match=r"n_samples='auto' did not reach.*max_samples=20 is the limit"
    ):
        result = run(tiny, method, options)
    assert result.provenance.used == {"n_samples": 20}
    assert any(note.startswith("n_samples='auto' did not reach") for note in result.provenance.notes)
    assert same(result.scores, run(tiny, method, {"n_samples": 20}).scores)


def test_the_plan_says_the_upper_bound() -> None:
    asked = {"prompt_tokens": 5, "target_tokens": 5, "rows": "span"}
    orders = spanwise.plan("tiny", method="shapley_value_sampling", method_options={"n_samples": "auto"}, **asked)
    assert orders.forwards >= 1024 * (5 - 1) + 2
    subsets = spanwise.plan(
        "tiny", method="kernel_shap", method_options={"n_samples": "auto", "max_samples": 99}, **asked
    )
    assert subsets.forwards >= 99


# --- what the model is asked for ----------------------------------------------------------------------------------


def test_orders_go_to_the_model_together_and_each_subset_once() -> None:
    scorer, calls = interacting(9), []
    plain = scorer.value
    scorer.value = lambda x: (calls.append(len(x)), plain(x))[1]
    with seeded(0):
        shapley_value_sampling(scorer, {"n_samples": 10})
    assert len(calls) == 1 and calls[0] <= 10 * 8 + 2


def test_memory_is_bounded_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for known, values in ((2**16, 2**24), (5, 90)):
        monkeypatch.setattr(captum_sampling, "_KNOWN", known)
        monkeypatch.setattr(captum_sampling, "_VALUES", values)
        with seeded(0):
            found.append(shapley_value_sampling(interacting(6, rows=2), {"n_samples": 12}))
    assert same(found[0].scores, found[1].scores)
    assert same(found[0].standard_error, found[1].standard_error)


def test_no_generator_is_moved_by_the_bootstrap() -> None:
    with seeded(2):
        one = lime(interacting(5), {"n_samples": 40, "alpha": 0.01})
        after = torch.rand(3)
    with seeded(2):
        again = lime(interacting(5), {"n_samples": 40, "alpha": 0.01})
        assert torch.equal(torch.rand(3), after)
    assert same(one.standard_error, again.standard_error) and same(one.scores, again.scores)


# --- few samples, and pieces --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "samples"), [("gradient_shap", 1), ("shapley_value_sampling", 1), ("lime", 1)])
def test_one_sample_says_nothing(tiny: spanwise.LanguageModel, method: str, samples: int) -> None:
    result = run(tiny, method, {"n_samples": samples})
    assert result.standard_error is not None and bool(result.standard_error.isnan().all())


def test_too_few_subsets_say_nothing() -> None:
    with seeded(0):
        found = kernel_shap(interacting(20), {"n_samples": 20})
    assert found.standard_error is not None and bool(found.standard_error.isnan().all())


def test_spread_in_parts_is_that_of_all() -> None:
    values = torch.randn(30, 2, 3, dtype=torch.float64) * 5 + 1000
    spread = Spread()
    for part in values.split([1, 4, 20, 5]):
        spread.add(part)
    torch.testing.assert_close(spread.mean, values.mean(0))
    torch.testing.assert_close(spread.standard_error, values.std(0) / 30**0.5)


def test_groups_of_one_are_the_samples_and_larger_ones_agree() -> None:
    """The error of |mean| by hand; and over 8 groups of 50 instead of 400 samples: right within its own spread."""
    torch.manual_seed(0)
    samples = torch.randn(400, 1, 4, 6) + 3
    mean = samples.mean(0)
    along = (samples * mean / mean.norm(dim=-1, keepdim=True)).sum(-1)
    expected = along.double().std(0) / 400**0.5
    for room, slack in ((1000, 1e-4), (64, 0.5)):
        groups, spread = Groups(400, room), Spread()
        for part in samples.split(7):
            groups.add(part)
        torch.testing.assert_close(groups.mean, mean)
        for some, weights in groups.parts(groups.mean, "l2_norm"):
            spread.add(some, weights)
        torch.testing.assert_close(spread.standard_error, expected, rtol=slack, atol=0)
        assert spread.parts == min(room, 400) and spread.samples == 400


# --- the result ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(tiny: spanwise.LanguageModel) -> spanwise.Attribution:
    return run(tiny, "shapley_value_sampling", {"n_samples": "auto", "max_samples": 16, "tolerance": 0.9})


@pytest.mark.parametrize("method", SAMPLED)
@pytest.mark.parametrize("features", ["token", "word"])
def test_every_sampled_method_has_them_where_there_are_scores(
    tiny: spanwise.LanguageModel, method: str, features: str
) -> None:
    few = FEW["n_samples"] if method != "kernel_shap" else 64
    found = run(tiny, method, {"n_samples": few}, features=features, prefix="attributed", span="table")
    assert found.standard_error is not None and found.standard_error.dtype == torch.float32
    assert torch.equal(found.standard_error.isnan(), found.scores.isnan())
    assert float(found.standard_error.nan_to_num(0).max()) > 0


def test_a_contrast_has_them(tiny: spanwise.LanguageModel) -> None:
    found = run(tiny, "gradient_shap", {}, span="are", objective=spanwise.contrast("is"))
    assert found.standard_error is not None and float(found.standard_error.nan_to_num(0).max()) > 0


@pytest.mark.parametrize(("method", "engine"), [("feature_ablation", "captum"), ("gradient_shap", "inseq")])
def test_others_have_none(tiny: spanwise.LanguageModel, method: str, engine: str) -> None:
    assert run(tiny, method, {}, engine=engine).standard_error is None


def test_it_is_kept_everywhere(result: spanwise.Attribution, tmp_path: Path) -> None:
    assert result.standard_error is not None
    result.save(tmp_path / "run.safetensors")
    result.export(tmp_path / "run.inseq.json")
    import inseq

    ways = (
        spanwise.Attribution.load(tmp_path / "run.safetensors"),
        spanwise.Attribution.from_json(json.loads(json.dumps(result.to_json()))),
        spanwise.Attribution.from_inseq(inseq.FeatureAttributionOutput.load(tmp_path / "run.inseq.json")),
    )
    for again in ways:
        assert again.standard_error is not None and same(again.standard_error, result.standard_error)
        assert again.provenance.used == {"n_samples": 16}
    frame = result.to_dataframe()
    column = torch.tensor(frame["standard_error"].to_numpy(), dtype=torch.float32).reshape(result.scores.shape)
    assert same(column, result.standard_error)


def test_a_file_of_version_1_is_read(result: spanwise.Attribution, monkeypatch: pytest.MonkeyPatch) -> None:
    written = result.to_json()
    del written["standard_error"], written["provenance"]["used"]
    again = spanwise.Attribution.from_json(written | {"version": 1})
    assert again.standard_error is None and again.provenance.used == {} and same(again.scores, result.scores)
    newer = result.to_json()
    monkeypatch.setattr(storage, "FORMAT_VERSION", 1)
    with pytest.raises(spanwise.errors.FileError, match="format version 2; this spanwise reads up to 1"):
        spanwise.Attribution.from_json(newer)


@pytest.mark.usefixtures("unchecked_types")
def test_the_result_checks_its_shape(result: spanwise.Attribution) -> None:
    assert result.standard_error is not None
    with pytest.raises(spanwise.errors.InputError, match="standard_error has shape"):
        dataclasses.replace(result, standard_error=result.standard_error[:1])


def test_put_together_columns_have_none(result: spanwise.Attribution) -> None:
    """Errors of one sample's scores move together, so that the error of their sum does not follow from theirs."""
    words = result.by("sentence")
    assert words.standard_error is not None and result.standard_error is not None
    assert words.standard_error.shape == words.scores.shape and bool(words.standard_error[:, 0].isnan().all())
    single = result.by("word")
    assert single.standard_error is not None
    alone = [i for i, token in enumerate(single.source) if len(token.positions) == 1 and not token.frozen]
    old = [single.source[i].positions[0] for i in alone]
    assert alone and same(single.standard_error[:, alone], result.standard_error[:, old])


def test_error_bars_are_as_long_as_the_errors(result: spanwise.Attribution, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4))
    axes = figure.add_subplot()
    one = dataclasses.replace(
        result,
        spans=result.spans[:1],
        scores=result.scores[:1],
        span_scores=result.span_scores[:1],
        standard_error=result.standard_error[:1],
    )
    one.plot(kind="bars", ax=axes)
    bars = [line for each in figure.axes for line in each.collections if hasattr(line, "get_segments")]
    lengths = [float(segment[1][1] - segment[0][1]) / 2 for line in bars for segment in line.get_segments()]
    wanted = [float(each) for each in one.standard_error[0] if each == each]
    assert lengths == pytest.approx(wanted, rel=1e-4)
    result.report(tmp_path / "page.html")
