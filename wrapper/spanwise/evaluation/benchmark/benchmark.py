"""`ground_truth_benchmark()`: every method on prompts whose causes are known, beside chance and token frequency."""

import os
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.aggregation import row_scores
from spanwise.api import attribute
from spanwise.attribution import Attribution
from spanwise.engines.registry import find_runner
from spanwise.errors import AttributionWarning, InputError, OptionError, at_least, one_of, require
from spanwise.evaluation.benchmark.cases import Case, Checked, checked_cases
from spanwise.evaluation.benchmark.metrics import measure
from spanwise.evaluation.benchmark.result import FREQUENCY, OVERALL, RANDOM, BenchmarkLine, GroundTruthReport, figures
from spanwise.evaluation.planted.corpus import corpus
from spanwise.evaluation.planted.ground_truth import ground_truth
from spanwise.methods import METHODS, MethodInfo, find_method
from spanwise.model.language_model import LanguageModel
from spanwise.model.loading import load_model
from spanwise.progress import progress_bar
from spanwise.scoring.batching import release_memory

PRECISIONS = ("float32", "nf4")
PER_FAMILY, QUICK_PER_FAMILY = 40, 3
SLOW_ENGINE = "inseq"  # it calls the model anew for each target token
CORPUS_DOCUMENTS = 5000
"""Documents of the bundled model's corpus in which tokens are counted."""
_TOO_LONG = "shapley_values"  # allows fewer features than any prompt has

Pair = tuple[MethodInfo, str]
"""A method and the engine that runs it."""


def ground_truth_benchmark(
    model: str | os.PathLike[str] = "tiny",
    *,
    methods: Sequence[str] | None = None,
    all_engines: bool = False,
    families: Sequence[str] | None = None,
    precisions: Sequence[str] = PRECISIONS,
    per_family: int = PER_FAMILY,
    seed: int = 0,
    progress: bool | None = None,
) -> GroundTruthReport:
    """Returns how well each method finds the causes planted in the bundled model, with 95 % intervals.

    On held-out prompts, the log-probability of the part of the target that the causes decide is attributed, every
    method at its default options and baseline. A prompt counts at a precision only where the swap of each planted cause
    was seen to change the model's greedy answer as the rule says; the report tells how many were dropped. Two rankings
    stand beside the methods: "random", its exact expectation, and "frequency", the rarest token first, by the bundled
    model's corpus. Completeness warnings are not repeated for each prompt.

    Args:
        model: "tiny", or a folder with a model that was trained on the same corpus.
        methods: Names; None: all but shapley_values, which allows fewer features than these prompts have.
        all_engines: Inseq's methods too; they take several times as long as all others.
        families: Of the ground truth; None: all.
        precisions: "float32" or "nf4", or both.
        per_family: Prompts of each family, before any is dropped.
        seed: Of prompts, sampled methods and intervals: the same seed gives the same figures.
        progress: None: a bar on a terminal after two seconds; True: always; False: never.

    Raises:
        OptionError: An unknown method, family or precision, or a number below 1.
        InputError: The model answers no prompt as planted.
        DependencyError: A method, nf4 or the intervals need a package that is not installed.
        AttributionError: What `load_model` and `attribute` raise.

    Example:
        >>> from spanwise.evaluation.benchmark.benchmark import ground_truth_benchmark
        >>> report = ground_truth_benchmark(
        ...     methods=["feature_ablation"], families=["facts"], precisions=["float32"], per_family=3
        ... )
        >>> [line.label for line in report.lines if line.prompts_of == "all"]
        ['random', 'frequency', 'feature_ablation (captum)']
    """
    began = time.perf_counter()
    at_least("per_family", per_family, 1)
    names = _named("precision", precisions, PRECISIONS)
    pairs = list(_pairs(methods, all_engines))
    _check_packages(names, pairs)
    examples = ground_truth(families, per_family=per_family, seed=seed)
    lines: list[BenchmarkLine] = []
    checked: list[Checked] = []
    seconds: dict[str, float] = defaultdict(float)
    bar = progress_bar(len(names) * len(pairs) * len(examples), "ground truth", progress, unit=" runs")
    with _one_thread(), bar as tick:
        for precision in names:
            lm = _loaded(model, precision)
            cases, counts = checked_cases(lm, examples, precision)
            checked += counts
            if not cases:
                raise InputError(_nothing_left(lm, precision, counts))
            tick((len(examples) - len(cases)) * len(pairs))
            lines += _lines(lm, cases, pairs, precision, seed, seconds, tick)
            del lm
            release_memory()
    seconds["total"] = time.perf_counter() - began
    report = GroundTruthReport(tuple(lines), tuple(checked), per_family, seed, os.fspath(model), dict(seconds))
    return report.with_reading()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Computes on one thread: the model is so small that a second costs more than it brings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _named(kind: str, asked: Sequence[str], allowed: Sequence[str]) -> list[str]:
    if isinstance(asked, str) or not isinstance(asked, Sequence) or not asked:
        raise OptionError(f"a list with at least one {kind} is needed, not {asked!r}. Allowed: {', '.join(allowed)}.")
    return list(dict.fromkeys(one_of(kind, name, allowed) for name in asked))


def _pairs(methods: Sequence[str] | None, all_engines: bool) -> Iterator[Pair]:
    """Yields methods with their engines; the slow one only where it is wanted, or nothing else has the method."""
    allowed = [name for name in METHODS if name != _TOO_LONG]
    if methods is not None and _TOO_LONG in methods:
        raise OptionError(f"{_TOO_LONG} allows fewer features than these prompts have. Allowed: {', '.join(allowed)}.")
    infos = [METHODS[name] for name in allowed] if methods is None else _found(methods)
    if not infos:
        raise OptionError(f"at least one method is needed. Allowed: {', '.join(allowed)}.")
    for info in infos:
        for engine in info.engines:
            if engine != SLOW_ENGINE or all_engines or (methods is not None and info.engines == (SLOW_ENGINE,)):
                yield info, engine


def _found(methods: Sequence[str]) -> list[MethodInfo]:
    if isinstance(methods, str):
        raise OptionError(f"methods is a list of names, not {methods!r}.")
    return list({info.name: info for info in map(find_method, methods)}.values())


def _check_packages(precisions: Sequence[str], pairs: Sequence[Pair]) -> None:
    """Checks before any work that nothing will be missing."""
    require("scipy", "flow", "a bootstrap interval")
    if "nf4" in precisions:
        require("bitsandbytes", "quantization", "the precision 'nf4'")
        require("accelerate", "quantization", "the precision 'nf4'")
    for info, engine in pairs:
        find_runner(info, engine)


def _loaded(model: str | os.PathLike[str], precision: str) -> LanguageModel:
    lm = load_model(model, quantization="nf4") if precision == "nf4" else load_model(model, dtype=precision)
    if lm.is_encoder_decoder:
        raise InputError(f"the planted prompts are continued by a causal model, but {lm.name!r} is an encoder-decoder.")
    return lm


def _nothing_left(lm: LanguageModel, precision: str, counts: Sequence[Checked]) -> str:
    asked, wrong = sum(each.asked for each in counts), sum(each.wrong for each in counts)
    return (
        f"nothing can be measured: {lm.name!r} at {precision} answers {wrong} of {asked} prompts otherwise than "
        f"planted, and in the other {asked - wrong} a planted cause has no effect. The benchmark is for the bundled "
        "model 'tiny', or one that recipes/train_tiny_model.py made."
    )


def _lines(
    lm: LanguageModel,
    cases: Sequence[Case],
    pairs: Sequence[Pair],
    precision: str,
    seed: int,
    seconds: dict[str, float],
    tick: Callable[[int], object],
) -> Iterator[BenchmarkLine]:
    """Yields the lines of one precision: the two rankings, then the methods."""
    chance = [measure(torch.zeros(len(case.ids)), case.causes) for case in cases]  # equal scores: every order is alike
    yield from _by_family({"method": RANDOM}, cases, chance, precision, seed)
    rarity = rarities(lm.tokenizer)
    rare = [measure(rarity[list(case.ids)], case.causes) for case in cases]
    yield from _by_family({"method": FREQUENCY}, cases, rare, precision, seed)
    for info, engine in pairs:
        started = time.perf_counter()
        measured, baseline = [], None
        for case in cases:
            result = _attributed(lm, case, info, engine, seed)
            baseline = result.provenance.baseline
            measured.append(measure(_scores(result, case), case.causes))
            tick(1)
        seconds[engine] += time.perf_counter() - started
        about = {"method": info.name, "engine": engine, "family": info.family, "baseline": baseline}
        yield from _by_family(about, cases, measured, precision, seed)


def _attributed(lm: LanguageModel, case: Case, info: MethodInfo, engine: str, seed: int) -> Attribution:
    example = case.example
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttributionWarning)
        return attribute(
            lm,
            example.prompt,
            example.target,
            span=example.span_range,
            method=info.name,
            engine=engine,
            rows="token" if engine in info.unsigned_on else "auto",  # absolute values do not add up to a span's
            seed=seed,
            progress=False,
        )


def _scores(result: Attribution, case: Case) -> Float[Tensor, " source"]:
    """Returns the scores of the prompt's tokens, all defined.

    Raises:
        InputError: The method scored other tokens than those of the case.
    """
    scores = row_scores(result)
    scored = tuple(token.id for token, score in zip(result.source, scores.tolist(), strict=True) if score == score)
    if scored != case.ids:
        made = result.provenance
        raise InputError(
            f"{made.method} on {made.engine} scored {len(scored)} tokens of {case.example.prompt!r}, but the "
            f"benchmark compares all {len(case.ids)}."
        )
    return scores[~scores.isnan()]


def _by_family(
    about: Mapping[str, Any], cases: Sequence[Case], measured: Sequence[dict[str, float]], precision: str, seed: int
) -> Iterator[BenchmarkLine]:
    """Yields a line for each family, then one for all prompts."""
    for family in (*dict.fromkeys(case.example.family for case in cases), OVERALL):
        chosen = [m for case, m in zip(cases, measured, strict=True) if family in (case.example.family, OVERALL)]
        facts: dict[str, Any] = {"engine": "", "family": "", "baseline": None, **about, **figures(chosen, seed)}
        yield BenchmarkLine(precision=precision, prompts_of=family, prompts=len(chosen), **facts)


def rarities(tokenizer: Any) -> Float[Tensor, " vocab"]:
    """Returns -log of each token's share in the bundled model's corpus (nats), every count one higher than found."""
    texts = ["".join(piece.text for piece in document) for document in islice(corpus(0), CORPUS_DOCUMENTS)]
    counts = Counter(chain.from_iterable(tokenizer(texts)["input_ids"]))
    found = torch.tensor([1.0 + counts[id_] for id_ in range(len(tokenizer))])
    return -(found / found.sum()).log()
