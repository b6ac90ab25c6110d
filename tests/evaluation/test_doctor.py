"""`doctor`: all is well as installed, and a broken promise is found where it is broken.

The checks are run on the bundled model, whole once; broken promises are looked for by the checks they belong to.
"""

import importlib.util
import json
import sys
import time
from contextlib import nullcontext
from functools import cache

import pytest
import torch
from conftest import make_model, make_tokenizer

import spanwise
from spanwise.engines import captum_gradient
from spanwise.errors import ModelError
from spanwise.evaluation.doctor import case as doctor_case
from spanwise.evaluation.doctor import checks as doctor_checks
from spanwise.evaluation.doctor import doctor as doctor_room
from spanwise.evaluation.doctor.case import Measured, difference, drops
from spanwise.evaluation.doctor.doctor import Diagnosis, doctor
from spanwise.scoring import objectives
from spanwise.scoring.objectives import Objective
from spanwise.scoring.scorer import Scorer

needs_inseq = pytest.mark.skipif(importlib.util.find_spec("inseq") is None, reason="needs the inseq extra")
needs_quantization = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="needs the quantization extra"
)


@cache
def measured() -> tuple[Diagnosis, float]:
    """The whole of it, and the seconds of one core that it took."""
    started = time.process_time()
    return doctor(progress=False), time.process_time() - started


def diagnosis() -> Diagnosis:
    return measured()[0]


def outcomes(found: Diagnosis) -> dict[str, str]:
    return {finding.check: finding.outcome for finding in found.findings}


def only(monkeypatch: pytest.MonkeyPatch, *groups: str) -> None:
    """Leaves the checks of some groups."""
    every = doctor_checks.checks
    monkeypatch.setattr(doctor_room, "checks", lambda case: [each for each in every(case) if each.group in groups])


def test_nothing_is_broken_as_installed() -> None:
    found = diagnosis()
    bad = [finding for finding in found.findings if finding.outcome == "broken"]
    assert bad == [] and not found.broken
    assert measured()[1] < 60  # of one core: other work on the machine is not ours
    assert "0 broken" in found.summary and f"{len(found.findings)} checks on tiny" in found.summary


def test_every_objective_method_and_engine_has_a_row() -> None:
    names = set(outcomes(diagnosis()))
    assert {f"{name} equals a plain forward" for name in [*objectives.OBJECTIVES, "kl", "probe"]} <= names
    for info in spanwise.list_methods():
        for engine in info.engines:
            assert f"{info.name} on {engine}" in names
    for kind in ("nf4", "fp4", "int8"):
        assert f"{kind} gradients agree with dequantized weights" in names
    refused = {(method, engine) for method, engine, _ in diagnosis().refused}
    assert refused == {(info.name, engine) for info in spanwise.list_methods() for engine in info.refused}


def test_figures_are_measured_and_within_their_tolerance() -> None:
    """A comparison of something with nothing would give 0: the scores that are compared are not small."""
    for finding in diagnosis().findings:
        if finding.outcome == "ok" and finding.tolerance is not None:
            assert finding.figure is not None and finding.figure <= finding.tolerance
    logits = doctor_case.make_case("tiny", None).logits
    assert float(drops(logits.log_softmax(-1).max(-1).values).abs().max()) > 1


def test_captums_default_path_is_a_warning() -> None:
    """When this fails, Captum has been repaired: the check then says "ok"."""
    found = {finding.check: finding for finding in diagnosis().findings}
    default = found["Captum's default path equals a plain forward"]
    assert default.outcome == "warn" and "spanwise does not use it" in default.detail
    assert default.figure is not None and default.figure > 0.1


def test_the_machine_and_the_versions_are_told() -> None:
    found = diagnosis()
    assert found.versions["torch"] == torch.__version__
    assert found.versions["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
    assert found.machine["cores"] >= 1 and found.machine["memory_gib"] > 0.5
    assert len(found.machine["cuda"]) == torch.cuda.device_count()


def test_json_and_text(capsys: pytest.CaptureFixture[str]) -> None:
    found = diagnosis()
    read = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert [each["check"] for each in read["findings"]] == [each.check for each in found.findings]
    assert read["broken"] is False and read["versions"] == found.versions
    found.show()
    printed = " ".join(capsys.readouterr().out.split())
    assert found.summary in printed and "integrated_gradients on captum ok" in printed


def test_a_broken_objective_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log-probability without its normalization is the logit."""
    wrong = Objective("log_prob", "nats", objectives.logit)
    monkeypatch.setattr(objectives, "OBJECTIVES", {**objectives.OBJECTIVES, "log_prob": wrong})
    only(monkeypatch, "scorer", "engines")
    found = doctor(progress=False)
    told = outcomes(found)
    assert found.broken
    assert told["log_prob equals a plain forward"] == "broken"
    assert told["prob equals a plain forward"] == told["logit equals a plain forward"] == "ok"
    assert told["ours are Captum's own feature ablation"] == "broken"


def test_an_objective_without_a_reference_is_not_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever adds one is told, and nothing breaks."""
    more = {**objectives.OBJECTIVES, "margin": Objective("margin", "logit", objectives.logit)}
    monkeypatch.setattr(doctor_checks, "OBJECTIVES", more)
    only(monkeypatch, "scorer")
    found = doctor(progress=False)
    assert not found.broken and set(outcomes(found).values()) == {"ok", "not checked"}
    assert outcomes(found)["margin equals a plain forward"] == "not checked"
    found.show()
    printed = " ".join(capsys.readouterr().out.split())
    assert "not checked: margin equals a plain forward: no reference for 'margin'" in printed
    assert "1 not checked" in found.summary


def test_rolled_gradients_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The right numbers at the wrong tokens: what shape checks let pass."""
    right = captum_gradient._gradients

    def rolled(of):  # type: ignore[no-untyped-def]
        return right(lambda inputs: of(inputs).roll(1, 2 if of(inputs).ndim == 4 else -1))

    monkeypatch.setattr(captum_gradient, "_gradients", rolled)
    only(monkeypatch, "engines")
    found = doctor(progress=False)
    told = outcomes(found)
    assert told["ours are Captum's own integrated gradients"] == "broken"
    assert told["ours are Captum's own feature ablation"] == "ok"
    if importlib.util.find_spec("inseq"):
        assert told["ours are Inseq's own input x gradient"] == "broken"


def test_a_wrong_gate_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Scorer.scores
    monkeypatch.setattr(Scorer, "scores", lambda self, gates: right(self, gates.flip(1)))
    only(monkeypatch, "scorer")
    assert set(outcomes(doctor(progress=False)).values()) == {"broken"}


@needs_quantization
def test_packed_weights_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without our guard, the first forward packs 4-bit weights in place, and gradients are wrong or crash."""
    from spanwise.model import dequantized, four_bit

    if not dequantized.packs_weights():
        pytest.skip("bitsandbytes packs 4-bit weights only on CPUs with AVX512-BF16, which this one is not")
    monkeypatch.setattr(four_bit, "exact_weights", lambda model: nullcontext(""))
    monkeypatch.setattr(four_bit, "keep_unpacked", lambda model: None)
    only(monkeypatch, "quantization")
    told = outcomes(doctor(progress=False))
    assert told["nf4 gradients agree with dequantized weights"] == "broken"
    assert told["int8 gradients agree with dequantized weights"] == "ok"


@needs_quantization
def test_other_weights_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from spanwise.model import dequantized

    right = dequantized._weight
    monkeypatch.setattr(dequantized, "_weight", lambda module: None if (w := right(module)) is None else w * 1.02)
    only(monkeypatch, "quantization")
    told = outcomes(doctor(progress=False))
    assert told["nf4 gradients agree with dequantized weights"] == "broken"
    assert told["fp4 gradients agree with dequantized weights"] == "broken"


def test_a_check_that_raises_is_broken_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(case: object) -> Measured:
        raise RuntimeError("what\n   happened")

    monkeypatch.setattr(doctor_checks, "_kl", fails)
    only(monkeypatch, "scorer")
    found = doctor(progress=False)
    kl = next(finding for finding in found.findings if finding.check.startswith("kl"))
    assert (kl.outcome, kl.detail, kl.figure) == ("broken", "RuntimeError: what happened", None)
    assert [finding.outcome for finding in found.findings].count("ok") == len(found.findings) - 1


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if SciPy and Inseq were not installed."""
    spec = importlib.util.find_spec

    def find_spec(name: str, *rest: object) -> object:
        return None if name in ("scipy", "inseq") else spec(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


def test_missing_packages_are_no_broken_promise(monkeypatch: pytest.MonkeyPatch, without_packages: None) -> None:
    only(monkeypatch, "engines", "methods")
    found = doctor(progress=False)
    told = {finding.check: finding for finding in found.findings}
    flow, own = told["attention_flow on native"], told["ours are Inseq's own input x gradient"]
    assert flow.outcome == own.outcome == "not installed"
    assert "pip install 'spanwise[flow]'" in flow.detail and "pip install 'spanwise[inseq]'" in own.detail
    assert told["saliency on inseq"].outcome == "not installed" and told["saliency on captum"].outcome == "ok"
    assert not found.broken


@needs_inseq
def test_a_model_of_ones_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another architecture and tokenizer; its quantization is loaded again from the folder."""
    folder = tmp_path_factory.mktemp("model")
    make_model("llama").save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    only(monkeypatch, "scorer", "engines", "quantization")
    found = doctor(str(folder), progress=False)
    assert [finding for finding in found.findings if finding.outcome == "broken"] == []
    assert found.model == str(folder)


def test_an_encoder_decoder_model_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("model")
    make_model("t5").save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    with pytest.raises(ModelError, match="doctor checks causal models; T5ForConditionalGeneration"):
        doctor(str(folder), progress=False)


def test_differences() -> None:
    one = torch.tensor([[1.0, torch.nan, -4.0]])
    assert difference(one, one) == 0
    assert difference(one + 1, one) == 0.25
    assert difference(one.nan_to_num(), one) == float("inf")
    with pytest.raises(AssertionError, match=r"scores of shape \[1, 2\]"):
        difference(one[:, :2], one)
    assert Measured(float("nan"), "", 1.0).outcome == "broken"


@pytest.mark.usefixtures("unchecked_types")
def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 as it is, 1 with a broken promise, and JSON that says which."""
    import typer
    from typer.testing import CliRunner

    from spanwise.cli.doctor import doctor as command

    app = typer.Typer()
    app.command()(command)
    only(monkeypatch, "scorer")
    done = CliRunner().invoke(app, ["--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["broken"] is False
    monkeypatch.setattr(objectives, "OBJECTIVES", {**objectives.OBJECTIVES, "prob": objectives.OBJECTIVES["logit"]})
    done = CliRunner().invoke(app, ["--json"])
    assert done.exit_code == 1
    broken = [each["check"] for each in json.loads(done.stdout)["findings"] if each["outcome"] == "broken"]
    assert broken == ["prob equals a plain forward"]
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 1 and "broken: prob equals a plain forward" in done.stdout
