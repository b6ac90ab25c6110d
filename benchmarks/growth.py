"""How cost grows: the exponent of a power law through measured times, forwards and memory.

Over target lengths, time is divided by the tokens of one forward, so that the exponent 0 means "as much as the longer
forward costs". The difference is that of the last call from the same call made again: nothing is carried over.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import Row, attributed, by_turns, difference, prompt_of, target_of

import spanwise

TITLE = "Growth: exponents of a power law"


@dataclass(frozen=True)
class Size:
    """Tokens of the prompt, and the sizes that are gone through."""

    prompt: int
    targets: tuple[int, ...]
    sentences: tuple[int, ...]
    counts: tuple[int, ...]
    steps: int = 2


def compare(lm: spanwise.LanguageModel, size: Size, turns: int) -> list[Row]:
    """Returns a row a law."""
    spans = [
        _call(lm, size.prompt, count, "integrated_gradients", "span", n_steps=size.steps) for count in size.targets
    ]
    matrices = [
        _call(lm, size.prompt, count, "integrated_gradients", "token", n_steps=size.steps) for count in size.targets
    ]
    lengths = [size.prompt + count for count in size.targets]
    sentences = [
        _call(lm, size.prompt, size.targets[0], "feature_ablation", "span", features="sentence", sentences=count)
        for count in size.sentences
    ]
    cut: dict[str, Any] = {"features": "sentence", "sentences": size.sentences[1]}
    steps = [_call(lm, size.prompt, size.targets[0], "integrated_gradients", "span", n_steps=n) for n in size.counts]
    samples = [
        _call(lm, size.prompt, size.targets[0], "shapley_value_sampling", "span", **cut, n_samples=n)
        for n in size.counts
    ]
    return [
        _law("span, target length (flat: 0)", size.targets, spans, turns, lengths),
        _law("token matrix, target length (linear: 1)", size.targets, matrices, turns, lengths),
        _law("ablation, sentences (linear: 1)", size.sentences, sentences, turns),
        _law("integrated gradients, steps (memory flat: 0)", size.counts, steps, turns),
        _law("Shapley sampling, samples (memory flat: 0)", size.counts, samples, turns),
    ]


def _call(
    lm: spanwise.LanguageModel,
    prompt: int,
    target: int,
    method: str,
    rows: Any,
    features: str = "token",
    sentences: int = 1,
    **options: Any,
) -> Callable[[], spanwise.Attribution]:
    return lambda: spanwise.attribute(
        lm,
        prompt_of(prompt, sentences),
        target_of(target),
        method=method,
        rows=rows,
        features=features,
        baseline="pad",
        method_options=options,
        progress=False,
    )


def _law(
    what: str,
    counts: Sequence[int],
    works: Sequence[Callable[[], spanwise.Attribution]],
    turns: int,
    lengths: Sequence[int] | None = None,
) -> Row:
    works[0]()
    taken = by_turns(works, turns, warm=False)
    shares = np.array(lengths or [1] * len(counts)) / (lengths or [1])[0]
    seconds = np.array([each.seconds for each in taken]) / shares
    made = [each.result.provenance for each in taken]
    work = [p.forwards + p.backwards for p in made]
    again = works[-1]()  # the same call after the others: nothing of them is left over
    return Row(
        TITLE,
        {
            "law": what,
            "sizes": " ".join(map(str, counts)),
            "seconds": " ".join(f"{each.seconds:.2f}" for each in taken),
            "exponent of time": exponent(counts, seconds),
            "forwards and backwards": " ".join(map(str, work)),
            "exponent of work": exponent(counts, work),
            "MiB": " ".join(f"{each.gib * 1024:.0f}" for each in taken),
            "exponent of memory": exponent(counts, [max(each.gib, 1e-4) for each in taken]),
            "difference": difference(attributed(again), attributed(taken[-1].result)),
        },
    )


def exponent(sizes: Sequence[int], values: Any) -> float:
    """Returns b of values = a * sizes^b, by least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(np.asarray(values, dtype=float)), 1)[0])
