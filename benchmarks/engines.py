"""Side by side with Captum and Inseq, called as their users call them: time ratios, work done, memory, differences.

Captum's default perturbation path is wrong with transformers 5.3 and later, so its scores are compared with its
one-pass path, `forward_in_tokens=False`. Inseq scores the generated prefix too and takes probabilities; ours is asked
the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import inseq
import torch
from captum.attr import (
    FeatureAblation,
    KernelShap,
    LayerIntegratedGradients,
    LLMAttribution,
    LLMGradientAttribution,
    ShapleyValueSampling,
    TextTemplateInput,
    TextTokenInput,
)
from common import Row, attributed, by_turns, difference, groups_of, prompt_of, target_of, words_of
from torch import Tensor

import spanwise

TITLE = "The engines' time over ours"


@dataclass(frozen=True)
class Size:
    """How much of everything: tokens of prompt and target, features for ablation and Shapley values, steps, samples.

    Captum's default path takes seconds a feature at 256 tokens, so ablation is over runs of tokens there. Inseq's
    occlusion goes over every position for every target token, one at a time, so only its first `inseq_targets` are run,
    and the time is multiplied.
    """

    prompt: int
    target: int
    features: int = 32
    groups: int = 16
    steps: int = 8
    samples: int = 2
    subsets: int = 32
    inseq_targets: int = 2


@dataclass(frozen=True)
class Case:
    """One comparison; `truth` stands in for an engine path that is known to be wrong, `times` for work left out."""

    work: str
    engine: str
    theirs: Callable[[], Tensor]
    ours: Callable[[], spanwise.Attribution]
    asked: float | None = None
    truth: Callable[[], Tensor] | None = None
    times: float = 1.0
    unsigned: bool = False
    grouped: bool = False
    note: str = ""


def compare(lm: spanwise.LanguageModel, precision: str, size: Size, turns: int) -> Iterator[Row]:
    """Yields a row a comparison."""
    sizes = {"precision": precision, "prompt + target": f"{size.prompt} + {size.target}"}
    for case in [*captum_cases(lm, size), *inseq_cases(lm, size)]:
        case.ours()  # once before, so that neither side pays for first use
        theirs, mine = by_turns([case.theirs, case.ours], turns, warm=False)
        expected = theirs.result if case.truth is None else case.truth()
        found = attributed(mine.result)
        if case.grouped:  # a feature's score stands evenly on its tokens
            found = found.unflatten(1, (expected.shape[1], -1)).sum(-1)
        found = found[: len(expected), : expected.shape[1]]
        made = mine.result.provenance
        engine_seconds = theirs.seconds * case.times
        yield Row(
            TITLE,
            sizes
            | {
                "work": case.work,
                "engine": case.engine,
                "engine s": engine_seconds,
                "ours s": mine.seconds,
                "ratio": engine_seconds / mine.seconds,
                "asked": case.asked if (size.prompt, size.target) == (256, 16) else None,
                "fwd / bwd": f"{made.forwards} / {made.backwards}",
                "engine GiB": theirs.gib,
                "ours GiB": mine.gib,
                "difference": difference(found.abs() if case.unsigned else found, expected),
                "note": case.note,
            },
        )


def captum_cases(lm: spanwise.LanguageModel, size: Size) -> list[Case]:
    """Returns what is compared with Captum."""
    prompt, target = prompt_of(size.prompt), target_of(size.target)
    groups = groups_of(size.prompt, size.groups)
    pad = lm.tokenizer.pad_token_id
    tokens = TextTokenInput(prompt, lm.tokenizer, baselines=pad)
    words = prompt.split(" ")
    runs = groups_of(size.prompt, size.features)

    def template(cut: list[tuple[int, int]]) -> TextTemplateInput:
        return TextTemplateInput(
            " ".join("{}" for _ in cut),
            values=[" ".join(words[begin:end]) for begin, end in cut],
            baselines=[" ".join(["<pad>"] * (end - begin)) for begin, end in cut],
        )

    slots = template(groups)
    of_groups, of_runs = {"features": words_of(prompt, groups)}, {"features": words_of(prompt, runs)}
    ours = partial(_ours, lm, prompt, target)

    def perturbation(method: Any, inputs: Any, **options: Any) -> Callable[[], Tensor]:
        def work() -> Tensor:
            torch.manual_seed(0)
            found = LLMAttribution(method(lm.model), lm.tokenizer).attribute(inputs, target, **options)
            return found.seq_attr[None].float() if found.token_attr is None else found.token_attr.float()

        return work

    def gradient(name: str) -> Tensor:
        method = LLMGradientAttribution(LayerIntegratedGradients(lm.model, lm.embedding), lm.tokenizer)
        found = getattr(method.attribute(tokens, target, n_steps=size.steps), name)
        return found.detach().float().reshape(-1, size.prompt)

    one_pass = {"forward_in_tokens": False}
    ablation = ours("feature_ablation", "token", of_runs)
    single = perturbation(FeatureAblation, template(runs), **one_pass)
    shapley = ours("shapley_value_sampling", "token", of_groups, n_samples=size.samples)
    sampled = {"n_samples": size.samples}
    kernel = ours("kernel_shap", "span", of_groups, n_samples=size.subsets)
    regressed = {"n_samples": size.subsets}
    steps, orders = f"{size.steps} steps", f"{size.samples} orders, {size.groups} features"
    subsets = f"{size.subsets} subsets, {size.groups} features"
    span = ours("integrated_gradients", "span", n_steps=size.steps)
    matrix = ours("integrated_gradients", "token", n_steps=size.steps)
    return [
        Case(f"integrated_gradients span, {steps}", "Captum", partial(gradient, "seq_attr"), span, 12),
        Case(f"integrated_gradients matrix, {steps}", "Captum", partial(gradient, "token_attr"), matrix, 1.8),
        Case(
            f"feature_ablation, {size.features} features",
            "Captum, default",
            perturbation(FeatureAblation, template(runs)),
            ablation,
            20,
            single,
            grouped=True,
        ),
        Case(f"feature_ablation, {size.features} features", "Captum, one pass", single, ablation, 2.5, grouped=True),
        Case(
            f"shapley_value_sampling, {orders}",
            "Captum, default",
            perturbation(ShapleyValueSampling, slots, **sampled),
            shapley,
            15,
            perturbation(ShapleyValueSampling, slots, **sampled, **one_pass),
            grouped=True,
        ),
        Case(
            f"kernel_shap, {subsets}",
            "Captum, default",
            perturbation(KernelShap, slots, **regressed),
            kernel,
            15,
            perturbation(KernelShap, slots, **regressed, **one_pass),
            grouped=True,
        ),
    ]


def inseq_cases(lm: spanwise.LanguageModel, size: Size) -> list[Case]:
    """Returns what is compared with Inseq."""
    prompt, target = prompt_of(size.prompt), target_of(size.target)
    whole = f"{prompt} {lm.tokenizer.decode(target)}"
    ours = partial(_ours, lm, prompt, target, objective="prob", prefix="attributed", baseline="unk")

    def engine(method: str, targets: int, **options: Any) -> Tensor:
        lm.model.config.bos_token_id = lm.tokenizer.unk_token_id  # Inseq needs one to load
        model = inseq.load_model(lm.model, method, tokenizer=lm.tokenizer)
        end = size.prompt + targets
        found = model.attribute(prompt, whole, attr_pos_end=end, show_progress=False, **options)
        values = found[0].target_attributions[:, :targets].float()  # [source, target(, hidden)]
        return (values.sum(-1) if values.ndim == 3 else values).T.nan_to_num()

    gradient = partial(engine, "integrated_gradients", size.target, n_steps=size.steps)
    some = min(size.inseq_targets, size.target)
    note = f"Inseq's first {some} of {size.target} target tokens, multiplied" if some < size.target else ""
    steps = f"{size.steps} steps"
    return [
        Case(
            f"integrated_gradients span, {steps}",
            "Inseq",
            lambda: gradient()[:, :-1].sum(0, keepdim=True),
            ours("integrated_gradients", "span", n_steps=size.steps),
            8,
        ),
        Case(
            f"feature_ablation, {size.prompt + size.target - 1} features",
            "Inseq, occlusion",
            lambda: engine("occlusion", some)[:, : size.prompt],
            ours("feature_ablation", "token"),
            15,
            times=size.target / some,
            unsigned=True,
            note=note,
        ),
    ]


def _ours(
    lm: spanwise.LanguageModel,
    prompt: str,
    target: Tensor,
    method: str,
    rows: str,
    asked: dict[str, Any] | None = None,
    *,
    baseline: str = "pad",
    objective: str = "log_prob",
    prefix: str = "fixed",
    **options: Any,
) -> Callable[[], spanwise.Attribution]:
    return lambda: spanwise.attribute(
        lm,
        prompt,
        target,
        method=method,
        rows=rows,  # type: ignore[arg-type]
        baseline=baseline,
        objective=objective,
        prefix=prefix,  # type: ignore[arg-type]
        method_options=options,
        progress=False,
        **(asked or {}),
    )
