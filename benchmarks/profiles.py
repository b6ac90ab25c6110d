"""Where our time goes: torch's profiler over one call of ours."""

import time
from collections.abc import Callable

from common import Row, attributed, difference, groups_of, prompt_of, target_of, words_of
from torch.profiler import ProfilerActivity, profile

import spanwise

TITLE = "Where our time goes"

KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "bitsandbytes::"),
    "attention": ("aten::_scaled_dot_product", "aten::_flash_attention"),
    "copies": ("aten::copy_", "aten::cat", "aten::clone", "aten::contiguous", "aten::index"),
}


def compare(lm: spanwise.LanguageModel, prompt_tokens: int, target_tokens: int, steps: int) -> list[Row]:
    """Returns a row a method; shares of the call's time."""
    prompt, target = prompt_of(prompt_tokens), target_of(target_tokens)
    groups = words_of(prompt, groups_of(prompt_tokens, min(16, prompt_tokens)))

    def call(method: str, rows: str, features: object = "token", **options: int) -> Callable[[], spanwise.Attribution]:
        return lambda: spanwise.attribute(
            lm,
            prompt,
            target,
            method=method,
            rows=rows,  # type: ignore[arg-type]
            features=features,  # type: ignore[arg-type]
            baseline="pad",
            method_options=options,
            progress=False,
        )

    works = {
        f"integrated_gradients span, {steps} steps": call("integrated_gradients", "span", n_steps=steps),
        f"integrated_gradients matrix, {steps} steps": call("integrated_gradients", "token", n_steps=steps),
        "feature_ablation": call("feature_ablation", "token"),
        "shapley_value_sampling, 2 orders, 16 features": call("shapley_value_sampling", "token", groups, n_samples=2),
    }
    return [_row(f"{prompt_tokens} + {target_tokens}", name, work) for name, work in works.items()]


def _row(sizes: str, name: str, work: Callable[[], spanwise.Attribution]) -> Row:
    plain = work()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        began = time.perf_counter()
        profiled = work()
        seconds = time.perf_counter() - began
    spent = {event.key: event.self_cpu_time_total / 1e6 for event in found.key_averages()}
    of_kind = {
        kind: sum(taken for key, taken in spent.items() if key.startswith(names)) for kind, names in KINDS.items()
    }
    in_operators = sum(spent.values())
    cells = {f"{kind}, %": 100 * taken / seconds for kind, taken in of_kind.items()}
    return Row(
        TITLE,
        {
            "prompt + target": sizes,
            "work": name,
            "seconds": seconds,
            **cells,
            "other operators, %": 100 * (in_operators - sum(of_kind.values())) / seconds,
            "outside of torch, %": 100 * max(0.0, seconds - in_operators) / seconds,
            "difference": difference(attributed(profiled), attributed(plain)),
        },
    )
