"""The ground-truth benchmark: its metrics by hand and by enumeration, its filter, its rows, and what must hold.

Metrics of scores with ties are compared with the mean over every order of the tokens that sorts the scores; exact up
to rounding, so 1e-9.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, permutations
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor

import spanwise
from spanwise.cli.benchmark import benchmark
from spanwise.errors import FileError, InputError, OptionError
from spanwise.evaluation.benchmark import benchmark as room
from spanwise.evaluation.benchmark.benchmark import ground_truth_benchmark, rarities
from spanwise.evaluation.benchmark.cases import answers, checked_cases
from spanwise.evaluation.benchmark.metrics import METRICS, measure, recall
from spanwise.evaluation.benchmark.result import BenchmarkLine, Figure, GroundTruthReport, figures
from spanwise.evaluation.planted.ground_truth import FAMILIES, ground_truth
from spanwise.views.benchmark import page

FEW = {"families": ["facts", "pronoun"], "precisions": ["float32"], "per_family": 3}
ONE = ("ground-truth", "--method", "feature_ablation", "--family", "facts", "--per-family", "2", "--precision")


@pytest.fixture(scope="module")
def tiny() -> spanwise.LanguageModel:
    return spanwise.load_model("tiny", dtype="float32")


@pytest.fixture(scope="module")
def report() -> GroundTruthReport:
    return ground_truth_benchmark(methods=["feature_ablation", "attention"], **FEW)


def by_enumeration(scores: Tensor, causes: Tensor) -> dict[str, float]:
    """Means over all orders of the tokens in which absolute scores fall."""
    sizes, found = scores.abs().tolist(), []
    count = int(causes.sum())
    for order in permutations(range(len(sizes))):
        if any(sizes[a] < sizes[b] for a, b in pairwise(order)):
            continue
        hits = [bool(causes[place]) for place in order]
        found.append(
            (hits[0], sum(hits[:count]) / count, sum(hits[:5]) / count, 0.0, 1 / (1 + hits.index(True)))
        )  # fmt: skip
    return dict(zip(METRICS, torch.tensor(found, dtype=torch.float64).mean(0).tolist(), strict=True))


def test_metrics_by_hand() -> None:
    scores, causes = torch.tensor([0.5, -4.0, 1.0, 0.0, 2.0, 0.5]), torch.tensor([1, 0, 1, 0, 0, 0]).bool()
    assert measure(scores, causes) == {
        "pointing": 0.0,  # -4 is the strongest
        "recall": 0.0,  # -4, 2
        "recall_at_5": 1.0,  # all but the 0
        "mass": 1.5 / 8,
        "reciprocal_rank": 1 / 3,
    }
    assert recall(scores, causes, 3) == 0.5
    assert recall(scores, causes, 4) == 0.75  # one of the two 0.5 has the fourth place


@pytest.mark.parametrize("seed", range(12))
def test_ties_get_the_expected_value(seed: int) -> None:
    rng = Random(seed)
    scores = torch.tensor([float(rng.randint(-2, 2)) for _ in range(7)])
    causes = torch.zeros(7, dtype=torch.bool)
    causes[rng.sample(range(7), rng.randint(1, 4))] = True
    found, expected = measure(scores, causes), by_enumeration(scores, causes)
    for name in ("pointing", "recall", "recall_at_5", "reciprocal_rank"):
        assert found[name] == pytest.approx(expected[name], abs=1e-9), name


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5])
def test_a_constant_attribution_gets_what_chance_gets(value: float) -> None:
    causes = torch.tensor([False, True, False, False, True, False, False, False])
    found = measure(torch.full((8,), value), causes)
    assert found["pointing"] == found["mass"] == found["recall"] == pytest.approx(2 / 8)
    assert found["recall_at_5"] == pytest.approx(5 / 8)
    generator = torch.Generator().manual_seed(0)
    draws = [measure(torch.rand(8, generator=generator), causes) for _ in range(1500)]
    for name in METRICS:  # standard error of 1,500 draws: under 0.013
        assert found[name] == pytest.approx(sum(draw[name] for draw in draws) / len(draws), abs=0.05), name


def test_metrics_refuse() -> None:
    causes = torch.tensor([True, False])
    with pytest.raises(InputError, match="the first 3 were asked for, but only 2 source tokens"):
        recall(torch.ones(2), causes, 3)
    with pytest.raises(InputError, match="found 1 scores and 1 causes"):
        measure(torch.tensor([1.0, float("nan")]), causes)
    with pytest.raises(InputError, match="2 scores and 0 causes"):
        measure(torch.ones(2), torch.tensor([False, False]))


def test_intervals() -> None:
    same = figures([dict.fromkeys(METRICS, 0.25)] * 3, seed=0)["mass"]
    assert same == Figure(0.25, 0.25, 0.25)
    assert figures([dict.fromkeys(METRICS, 1.0)], seed=0)["mass"] == Figure(1.0, None, None)
    half = figures([dict.fromkeys(METRICS, float(i % 2)) for i in range(100)], seed=0)["pointing"]
    assert half.mean == 0.5  # the binomial's own 95 % interval: 0.5 +- 0.098
    assert half.low == pytest.approx(0.402, abs=0.02) and half.high == pytest.approx(0.598, abs=0.02)
    assert Figure(0.9, 0.8, 1.0).above(Figure(0.5, 0.4, 0.7))
    assert not Figure(0.9, 0.7, 1.0).above(Figure(0.5, 0.4, 0.7))
    assert not Figure(0.9, None, None).above(half) and not half.above(Figure(0.1, None, None))


def test_the_check_knows_what_the_model_generates(tiny: spanwise.LanguageModel) -> None:
    """Teacher forcing against greedy decoding, on right answers and on answers of another prompt."""
    examples = ground_truth(per_family=2, seed=3)
    asked = [(example, text, example.span) for example in examples for text in _prompts(example)]
    for (example, prompt, span), verdict in zip(asked, answers(tiny, asked), strict=True):
        given = tiny.tokenizer(prompt + example.target[: example.span_range[0]].rstrip(), return_tensors="pt")
        written = tiny.model.generate(**given, max_new_tokens=12)[0, given["input_ids"].shape[1] :]
        assert tiny.tokenizer.decode(written).lstrip().startswith(span) is verdict


def _prompts(example: spanwise.Example) -> Iterator[str]:
    yield example.prompt
    yield from (swap.prompt for swap in example.swaps)


def test_prompts_whose_causes_have_no_effect_are_dropped_and_counted(tiny: spanwise.LanguageModel) -> None:
    good, idle, wrong = ground_truth("facts", per_family=3)
    swaps = tuple(replace(swap, prompt=idle.prompt) if swap.is_cause else swap for swap in idle.swaps)
    idle = replace(idle, swaps=swaps)  # the "swap" leaves the prompt as it was, so the answer stays
    foil = wrong.foils[0]
    target = wrong.target[: wrong.span_range[0]] + foil + wrong.target[wrong.span_range[1] :]
    span_range = (wrong.span_range[0], wrong.span_range[0] + len(foil))
    wrong = replace(wrong, target=target, span=foil, span_range=span_range)
    cases, (checked,) = checked_cases(tiny, [good, idle, wrong], "float32")
    assert [case.example for case in cases] == [good]
    assert (checked.asked, checked.wrong, checked.without_effect, checked.kept) == (3, 1, 1, 1)
    assert checked.other_changes == 0
    one_swap = replace(good, swaps=tuple(swap for swap in good.swaps if swap.changed != good.causes[0]))
    assert not checked_cases(tiny, [one_swap], "float32")[0]  # a cause that nothing swaps was not seen to be one


def test_cause_tokens_are_those_that_overlap(tiny: spanwise.LanguageModel) -> None:
    (case,), _ = checked_cases(tiny, ground_truth("profile", per_family=1), "float32")
    pieces = [tiny.tokenizer.decode([id_]) for id_, cause in zip(case.ids, case.causes, strict=True) if cause]
    (start, end), *more = case.example.causes
    assert not more and "".join(pieces).strip() == case.example.prompt[start:end]


def test_rows_and_what_they_hold(report: GroundTruthReport) -> None:
    labels = ["random", "frequency", "feature_ablation (captum)", "attention (native)"]
    for prompts_of, count in (("facts", 3), ("pronoun", 3), ("all", 6)):
        lines = [line for line in report.lines if line.prompts_of == prompts_of]
        assert [line.label for line in lines] == labels
        assert {line.prompts for line in lines} == {count}
    assert [line.is_method for line in lines] == [False, False, True, True]
    ablation = report.line("feature_ablation", "captum", precision="float32")
    assert (ablation.baseline, ablation.family) == ("unk", "perturbation")
    frame = report.to_dataframe()
    assert len(frame) == len(report.lines) and {"pointing", "pointing_low", "mass_high"} <= set(frame.columns)
    with pytest.raises(KeyError):
        report.line("saliency", "captum", precision="float32")


def test_a_method_that_scores_every_token_alike_is_at_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "row_scores", lambda result: torch.where(result.scores[0].isnan(), torch.nan, 2.0))
    found = ground_truth_benchmark(methods=["attention"], **FEW)
    for prompts_of in ("facts", "pronoun", "all"):
        ours = found.line("attention", "native", precision="float32", prompts_of=prompts_of)
        chance = found.line("random", "", precision="float32", prompts_of=prompts_of)
        assert all(getattr(ours, name) == getattr(chance, name) for name in METRICS)


def test_a_seed_decides_everything(report: GroundTruthReport) -> None:
    again = ground_truth_benchmark(methods=["feature_ablation", "attention"], **FEW)
    first, second = ({k: v for k, v in each.as_dict().items() if k != "seconds"} for each in (report, again))
    assert first == second
    other = ground_truth_benchmark(methods=["feature_ablation", "attention"], seed=1, **FEW)
    assert other.lines != report.lines


def test_what_is_asked_of_a_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seed reaches methods that sample; Inseq's absolute values are asked for token by token."""
    asked: list[dict[str, object]] = []
    real = room.attribute
    monkeypatch.setattr(room, "attribute", lambda *given, **more: asked.append(more) or real(*given, **more))
    facts = {"families": ["facts"], "precisions": ["float32"], "per_family": 1}
    ground_truth_benchmark(methods=["feature_ablation"], all_engines=True, seed=5, **facts)
    (example,) = ground_truth("facts", per_family=1, seed=5)
    assert [(a["engine"], a["rows"], a["seed"], a["span"]) for a in asked] == [
        ("captum", "auto", 5, example.span_range),
        ("inseq", "token", 5, example.span_range),
    ]


def test_which_methods_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(info.name, engine) for info, engine in room._pairs(None, False)]
    assert not any(engine == "inseq" for _, engine in pairs)
    assert ("attention", "native") in pairs and "shapley_values" not in dict(pairs)
    every = [(info.name, engine) for info, engine in room._pairs(None, True)]
    expected = {(m.name, e) for m in spanwise.list_methods() for e in m.engines if m.name != "shapley_values"}
    assert set(every) == expected and len(every) == len(expected)
    assert [(i.name, e) for i, e in room._pairs(["reagent", "occlusion"], False)] == [
        ("reagent", "inseq"),
        ("feature_ablation", "captum"),
    ]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"methods": ["salience"]}, "Did you mean 'saliency'"),
        ({"methods": []}, "at least one method"),
        ({"methods": ["shapley_values"]}, "allows fewer features than these prompts have"),
        ({"families": ["fact"]}, "ground-truth family 'fact'"),
        ({"precisions": ["int8"]}, "unknown precision 'int8'.*float32, nf4"),
        ({"precisions": "nf4"}, "a list with at least one precision is needed, not 'nf4'"),
        ({"per_family": 0}, "per_family must be an integer of at least 1"),
    ],
)
def test_wrong_options_are_refused_before_any_work(
    asked: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "checked_cases", lambda *arguments: pytest.fail("it went to work"))
    with pytest.raises(OptionError, match=message):
        ground_truth_benchmark(**asked)


def test_a_model_that_knows_nothing_is_refused(tiny: spanwise.LanguageModel, tmp_path: Path) -> None:
    type(tiny.model)(tiny.model.config).save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    before = torch.get_num_threads()
    with pytest.raises(InputError, match="answers 6 of 6 prompts otherwise than planted"):
        ground_truth_benchmark(tmp_path, methods=["attention"], **FEW)
    assert torch.get_num_threads() == before


def test_rare_tokens_are_rarer(tiny: spanwise.LanguageModel) -> None:
    rarity = rarities(tiny.tokenizer)
    the, oslo = (tiny.tokenizer(text)["input_ids"] for text in (" the", " Oslo"))
    assert rarity[the[0]] < 5 < rarity[oslo[0]] and rarity.shape == (len(tiny.tokenizer),)
    assert float((-rarity).exp().sum()) == pytest.approx(1, abs=1e-5)


def test_in_every_family_a_gradient_and_a_perturbation_method_beat_chance() -> None:
    found = ground_truth_benchmark(methods=["saliency", "feature_ablation"], precisions=["float32"], per_family=12)
    for family in FAMILIES:
        chance = found.line("random", "", precision="float32", prompts_of=family).pointing
        for method in ("saliency", "feature_ablation"):
            ours = found.line(method, "captum", precision="float32", prompts_of=family).pointing
            assert ours.above(chance), f"{method} in {family}: {ours} against {chance}"
    assert any("gradient methods that point better than random in every family: saliency" in s for s in found.reading)
    assert all(each.kept >= 0.9 * each.asked for each in found.checked)


def test_the_reading_says_what_the_figures_say() -> None:
    good, bad, middle = Figure(0.9, 0.8, 1.0), Figure(0.2, 0.1, 0.3), Figure(0.5, 0.4, 0.6)
    worst = Figure(0.0, 0.0, 0.05)
    rows = (
        ("random", "", "", bad, bad),
        ("frequency", "", "", middle, bad),
        ("saliency", "captum", "gradient", good, good),
        ("feature_ablation", "captum", "perturbation", middle, bad),
        ("attention", "native", "attention", bad, bad),
        ("attention", "inseq", "attention", bad, bad),
        ("attention_flow", "native", "attention", bad, worst),
    )
    lines = [
        BenchmarkLine(name, engine, kind, None, precision, of, 9, figure, figure, figure, figure, figure)
        for precision in ("float32", "nf4")
        for name, engine, kind, everywhere, in_facts in rows
        for of, figure in (("all", everywhere), ("facts", in_facts))
    ]
    lines[-10:-8] = [replace(line, pointing=bad) for line in lines[-10:-8]]  # saliency at nf4
    said = GroundTruthReport(tuple(lines), (), 9, 0, "tiny", {}).with_reading().reading
    assert said[:7] == (
        "float32: gradient methods that point better than random in every family: saliency (captum) 0.90.",
        "float32: no perturbation method points better than random in every family.",
        "float32: no attention method points better than random in every family.",
        "float32: better than random (0.20) overall, but not in every family: feature_ablation (captum) 0.50 (not in "
        "facts).",
        "float32: worse than random in a family, whatever the figure overall: attention_flow (native) 0.20 (in facts).",
        "float32: not clearly better than random (0.20) even overall: attention (native, inseq) 0.20, attention_flow "
        "(native) 0.20.",
        "float32: not clearly better overall than pointing at the rarest token (0.50): feature_ablation (captum) 0.50.",
    )
    assert said[-1].endswith("lie apart for saliency (captum) (0.90 to 0.20).")


def test_page(report: GroundTruthReport, tmp_path: Path) -> None:
    path = tmp_path / "truth.md"
    report.write(path, command="spanwise benchmark ground-truth")
    text = path.read_text(encoding="utf-8")
    assert "Made by `spanwise benchmark ground-truth`" in text
    assert "6 of 6 prompts; dropped: 0 answered otherwise" in text and "Took " in text
    for name in ("random", "frequency", "feature_ablation", "attention"):
        assert text.count(f"| `{name}` |") == 6  # over all prompts, and five metrics by family
    assert all(sentence in text for sentence in report.reading)
    strange = page(report.as_dict() | {"model": "a` | <script>\nb"})
    assert "`a' / <script> b`" in strange
    with pytest.raises(FileError, match=r"written as '\.md', not 'truth.txt'"):
        report.write(tmp_path / "truth.txt")
    with pytest.raises(FileError, match="no folder"):
        report.write(tmp_path / "none" / "truth.md")


def test_terminal(report: GroundTruthReport, capsys: pytest.CaptureFixture[str]) -> None:
    report.show()
    out = capsys.readouterr().out
    assert "Pointing by family" in out and "frequency" in out and "* float32: " in out
    assert max(map(len, out.splitlines())) <= 80
    assert "best at pointing: feature_ablation (captum)" in repr(report)


def test_json_prints_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "truth.md"
    benchmark([*ONE, "float32", "--json", "--progress", "--output", str(output)], standalone_mode=False)
    printed = capfd.readouterr()
    found = json.loads(printed.out)
    assert [line["method"] for line in found["lines"] if line["prompts_of"] == "all"] == [
        "random",
        "frequency",
        "feature_ablation",
    ]
    assert found["metrics"] == METRICS and found["per_family"] == 2 and "ground truth" in printed.err
    assert output.read_text(encoding="utf-8").startswith("# Ground truth")


def test_command(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("bitsandbytes", reason="nf4 needs the quantization extra")
    benchmark([*ONE, "nf4"], standalone_mode=False)
    printed = capfd.readouterr()
    assert "nf4: 2 of 2 prompts" in printed.out and "feature_ablation" in printed.out and "warning" not in printed.err
    with pytest.raises(OptionError, match="--quick means --per-family 3"):
        benchmark([*ONE, "nf4", "--quick"], standalone_mode=False)
    with pytest.raises(FileError, match=r"written as '\.md'"):
        benchmark([*ONE, "nf4", "--output", "truth.pdf"], standalone_mode=False)
