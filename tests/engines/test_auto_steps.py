"""n_steps="auto": points are added until the completeness gap is under the tolerance, and not more.

A gradient that is a polynomial of degree 2n - 1 along the path is integrated exactly by n Gauss-Legendre points.
"""

import dataclasses
import json

import numpy
import pytest
import torch
import typer.testing
from conftest import make_tokenizer
from test_closed_forms import Additive, AdditiveConfig
from toy_scorer import Toy

import spanwise
from spanwise.engines.captum_gradient import integrated_gradients
from spanwise.engines.protocol import Found
from spanwise.evaluation.replay import question_of
from spanwise.methods import find_method, steps_tried

PROMPT, TARGET = "The keys to the cabinet", " are on the table."
AUTO = {"n_steps": "auto"}


@pytest.fixture(scope="module")
def tiny() -> spanwise.LanguageModel:
    return spanwise.load_model("tiny")


def run(lm: spanwise.LanguageModel, options: dict[str, object], **asked: object) -> spanwise.Attribution:
    return spanwise.attribute(lm, PROMPT, TARGET, **({"span": "are", "method_options": options} | asked))


def test_an_additive_model_needs_the_first_order_only() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        lm = spanwise.LanguageModel(Additive(AdditiveConfig()).eval(), make_tokenizer())
    result = run(lm, AUTO, objective="logit", baseline="pad", span=None)
    assert result.provenance.used == {"n_steps": 8}
    assert result.completeness_gap is not None and result.completeness_gap < 1e-5
    assert result.provenance.forwards == 8 + 2  # the points, the input, the baseline
    assert result.provenance.backwards == 8 * len(result.target)


def power(degree: int) -> Toy:
    """Returns a scorer that is t^degree at t along the path, so that its gradient there has one degree less."""
    return Toy(lambda x: x.mean(1, keepdim=True) ** degree, 3)


def gap_of_power(degree: int, points: int) -> float:
    """Returns the gap by numpy's points; the whole change is 1."""
    nodes, weights = numpy.polynomial.legendre.leggauss(points)
    return abs(float((weights / 2 * degree * ((nodes + 1) / 2) ** (degree - 1)).sum()) - 1)


@pytest.mark.parametrize("degree", [2, 16, 40, 64, 90, 200])
@pytest.mark.parametrize("tolerance", [1e-4, 0.01, 0.2])
def test_a_polynomial_stops_at_the_first_order_that_is_good_enough(degree: int, tolerance: float) -> None:
    options = find_method("integrated_gradients").checked_options(AUTO | {"tolerance": tolerance, "max_steps": 128})
    found = integrated_gradients(power(degree), options)
    expected = next(points for points in steps_tried(128) if gap_of_power(degree, points) <= tolerance)
    assert isinstance(found, Found) and found.used == {"n_steps": expected} and found.note == ""
    assert found.gap is not None and abs(found.gap - gap_of_power(degree, expected)) < 1e-5
    exact = degree <= 2 * expected
    assert not exact or abs(float(found.scores.sum()) - 1) < 1e-5


def test_orders() -> None:
    assert steps_tried(5) == [5] and steps_tried(8) == [8] and steps_tried(9) == [8, 9]
    assert steps_tried(256) == [8, 16, 32, 64, 128, 256]


@pytest.mark.parametrize("rows", ["span", "token"])
def test_it_gives_what_the_fixed_number_gives_and_counts_every_point(tiny: spanwise.LanguageModel, rows: str) -> None:
    result = run(tiny, AUTO | {"tolerance": 1e-3}, rows=rows)
    used = result.provenance.used["n_steps"]
    assert used > 8, "the first order was enough: ask for less"
    fixed = run(tiny, {"n_steps": used}, rows=rows)
    assert torch.equal(result.scores.nan_to_num(9), fixed.scores.nan_to_num(9))
    assert result.completeness_gap is not None and fixed.completeness_gap is not None
    assert result.completeness_gap <= 1e-3 < run(tiny, {"n_steps": used // 2}, rows=rows).completeness_gap
    assert abs(result.completeness_gap - fixed.completeness_gap) < 1e-6
    points, others = sum(steps_tried(used)), fixed.provenance.forwards - used
    assert result.provenance.forwards == points + others
    assert result.provenance.backwards == points * len(result.scores)
    assert fixed.provenance.used == {} and fixed.provenance.options["tolerance"] is None
    assert result.provenance.options == fixed.provenance.options | AUTO | {"tolerance": 1e-3, "max_steps": 256}


def test_where_the_limit_comes_first_the_best_is_kept_and_said(tiny: spanwise.LanguageModel) -> None:
    """From zero embeddings RMSNorm makes the path a step, which no number of points resolves."""
    options = AUTO | {"max_steps": 20, "tolerance": 1e-6}
    with pytest.warns(spanwise.AttributionWarning) as warned:
        result = run(tiny, options, baseline="zero")
    gaps = {}
    for points in (8, 16, 20):
        with pytest.warns(spanwise.AttributionWarning, match="completeness gap"):
            gaps[points] = run(tiny, {"n_steps": points}, baseline="zero").completeness_gap
    best = min(gaps, key=lambda points: gaps[points])
    assert result.provenance.used == {"n_steps": best}
    assert result.completeness_gap == pytest.approx(gaps[best], rel=1e-5)
    assert result.provenance.forwards == 8 + 16 + 20 + 2
    note = next(note for note in result.provenance.notes if note.startswith("n_steps='auto' did not reach"))
    assert "asked was 1e-06" in note and "max_steps=20" in note and f"{best} points" in note
    assert note in [str(each.message) for each in warned]


def test_the_smallest_gap_is_kept_though_it_is_not_the_last() -> None:
    """A gap may grow again with more points, where the gradient jumps: here from t = 0.4905 on."""
    scorer = Toy(lambda x: torch.relu(x.mean(1, keepdim=True) - 0.4905), 2)
    options = find_method("integrated_gradients").checked_options(AUTO | {"tolerance": 1e-6, "max_steps": 32})
    gaps = {}
    for points in steps_tried(32):
        fixed = integrated_gradients(scorer, {**options, "n_steps": points})
        gaps[points] = abs(float(fixed.scores.sum()) / (1 - 0.4905) - 1)
    best = min(gaps, key=lambda points: gaps[points])
    assert best != 32, "the last order is the best: the test tests nothing"
    assert integrated_gradients(scorer, options).used == {"n_steps": best}


@pytest.mark.parametrize(
    ("options", "engine", "message"),
    [
        (AUTO, "inseq", "n_steps='auto' was asked on the engine 'inseq'.*give a number, or ask for engine='captum'"),
        ({"tolerance": 0.1}, "auto", "option tolerance says when n_steps='auto' stops, but n_steps is 50"),
        ({"n_steps": 9, "max_steps": 10}, "auto", "option max_steps says when n_steps='auto' stops, but n_steps is 9"),
        ({"n_steps": "aut"}, "auto", "n_steps must be an integer of at least 1 or 'auto', not 'aut'"),
        (AUTO | {"tolerance": 0.0}, "auto", "tolerance must be a number of at least 1e-06, not 0.0"),
        (AUTO | {"max_steps": "auto"}, "auto", "max_steps must be an integer of at least 1, not 'auto'"),
        (AUTO | {"max_steps": 1001}, "auto", "max_steps=1001 was asked with Gauss-Legendre.*at most 1000"),
    ],
)
def test_refusals(tiny: spanwise.LanguageModel, options: dict[str, object], engine: str, message: str) -> None:
    with pytest.raises(spanwise.errors.OptionError, match=message):
        run(tiny, options, engine=engine)


def test_only_methods_that_measure_their_gap_have_it(tiny: spanwise.LanguageModel) -> None:
    with pytest.raises(spanwise.errors.OptionError, match="n_steps must be an integer of at least 1, not 'auto'"):
        run(tiny, AUTO, method="udig")


def test_other_quadratures(tiny: spanwise.LanguageModel) -> None:
    result = run(tiny, AUTO | {"method": "riemann_middle"})
    assert result.completeness_gap is not None and result.completeness_gap <= 0.01
    assert result.provenance.used["n_steps"] in steps_tried(256)


def test_the_plan_says_the_upper_bound(tiny: spanwise.LanguageModel) -> None:
    result = run(tiny, AUTO)
    planned = spanwise.plan("tiny", method_options=AUTO, prompt_tokens=5, target_tokens=5, rows="span")
    assert planned.forwards == sum(steps_tried(256)) + 2 >= result.provenance.forwards
    assert planned.backwards == sum(steps_tried(256)) >= result.provenance.backwards


def test_a_result_can_be_asked_again(tiny: spanwise.LanguageModel) -> None:
    result = run(tiny, AUTO)
    question = question_of(tiny, result)
    with tiny.session():
        again = question.answer()
    assert torch.equal(again.scores.nan_to_num(9), result.scores.nan_to_num(9))
    assert again.used == result.provenance.used
    fixed = run(tiny, {"n_steps": 20})
    older = {"n_steps": 20, "method": "gausslegendre", "internal_batch_size": None}  # as version 1 wrote them
    question = dataclasses.replace(question_of(tiny, fixed), options=older)
    with tiny.session():
        assert torch.equal(question.answer().scores.nan_to_num(9), fixed.scores.nan_to_num(9))


def test_on_the_command_line() -> None:
    from spanwise.cli import app

    asked = ["attribute", "--prompt", PROMPT, "--target", TARGET, "--span", "are", "--option", "n_steps=auto"]
    found = typer.testing.CliRunner().invoke(app, [*asked, "--json"])
    assert found.exit_code == 0, found.output
    made = json.loads(found.stdout)["provenance"]
    used = made["used"]["n_steps"]
    assert made["options"]["n_steps"] == "auto" and used in steps_tried(256)
    shown = typer.testing.CliRunner().invoke(app, asked)
    assert f"n_steps {used} (auto)" in " ".join(shown.stdout.split())
