"""Question: a 4-bit model writes on about Michael. Which part of the first half made which part of the second?

Hardware: one CPU core. Time: 10 seconds, mostly imports; `--quick` the same with fewer exchanges.
Expected: each phrase rests on one part of the prompt, the same one by feature ablation, by integrated gradients, and
when the part is exchanged for others of its kind (Michael for Peter, Austin for Boston) and the phrase is scored again.

Came out (the bundled model in NF4): all three name the city for "painting", the occupation for "traveling to different
countries" and the name for "volunteering at community events"; no other part moves a phrase by 0.01 nats when it is
exchanged. An exchange costs 11 to 16 nats, switching off 2 to 6: without the city, a hobby is still guessed. Not
expected: ablated token by token, "software engineer" has 0.00 for every phrase, because either word is enough; as one
part it has 6.3 nats. So ask for parts of a meaning, not for tokens. Integrated gradients find it either way, and give
up to 0.3 nats to parts that do nothing (Texas).

    python recipes/quantized_span.py
    python recipes/quantized_span.py --model Qwen/Qwen2.5-1.5B-Instruct --quantization nf4
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from common import arguments, gaps_expected, load, run, show_table, write_numbers
from figures.span import draw
from steps.span import added, exchanged

import spanwise

PROMPT = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"
PHRASES = ("painting", "traveling to different countries", "volunteering at community events")
TARGET = " painting, traveling to different countries, and volunteering at community events."
PARTS = {
    "Michael": ("Peter", "David", "Robert", "Daniel"),
    "software engineer": ("teacher", "nurse", "doctor", "lawyer"),
    "Austin": ("Boston", "Denver", "Chicago", "Seattle"),
    "Texas": ("Oregon", "Florida", "Illinois", "Georgia"),
    "In his free time": ("On weekends", "After work"),
}
"""The parts of the first half, and what each is exchanged for."""
METHODS = ("feature_ablation", "integrated_gradients")


def explained(lm: spanwise.LanguageModel, method: str, *, tokens: bool = False) -> spanwise.Attribution:
    """Return a row a phrase and a column a part; with `tokens` a row a target token and a column a source token."""
    asked: dict[str, Any] = {"rows": "token"} if tokens else {"target_features": PHRASES, "source": list(PARTS)}
    if not tokens:
        asked["features"] = [(PROMPT.index(part), PROMPT.index(part) + len(part)) for part in PARTS]
    return spanwise.attribute(lm, PROMPT, TARGET, method=method, **asked)


def table(result: spanwise.Attribution) -> torch.Tensor:
    """Return the scores `[phrase, part]` of the parts alone."""
    return result.scores[:, [result.source_tokens.index(part) for part in PARTS]]


def strongest(values: torch.Tensor) -> list[str]:
    """Return for each phrase the part with the largest score, "none" where no part has 0.01 nats."""
    names = [*PARTS, "none"]
    return [names[int(row.argmax()) if float(row.max()) >= 0.01 else -1] for row in values]


def main(given: Sequence[str] | None = None) -> dict[str, Any]:
    """Explain each phrase by each part with both methods, exchange the parts, and compare."""
    asked = arguments(__doc__, "quantized_span", given)
    asked.quantization = asked.quantization or "nf4"
    lm = load(asked)
    with gaps_expected():
        results = {method: explained(lm, method) for method in METHODS}
        by_token = {method: explained(lm, method, tokens=True) for method in METHODS}
    tables = {method: table(result) for method, result in results.items()}
    tables["ablation, its tokens added"] = added(results[METHODS[0]], by_token[METHODS[0]], PARTS)
    tables["exchanged"] = exchanged(lm, results[METHODS[0]], PARTS, 2 if asked.quick else 4)
    found = {
        "model": f"{lm.name} {results[METHODS[0]].provenance.quantization}",
        "parts": list(PARTS),
        "phrases": list(PHRASES),
        "tables": {name: values.tolist() for name, values in tables.items()},
        "strongest_part": {name: strongest(values) for name, values in tables.items()},
        "completeness_gap": results["integrated_gradients"].completeness_gap,
    }
    write_numbers(asked.output, found)
    checks: dict[str, Any] = {"strongest part": found["strongest_part"]}
    for name, values in tables.items():
        rows = [(phrase, *row) for phrase, row in zip(PHRASES, values.tolist(), strict=True)]
        checks[f"{name} (nats)"] = show_table(f"{name} (nats)", ("phrase", *PARTS), rows)
    draw(asked.output / "parts.png", tables, PHRASES, list(PARTS))
    for method in METHODS:
        results[method].plot(asked.output / f"sequence_{method}.png", kind="bars")
        by_token[method].plot(asked.output / f"tokens_{method}.png")
    first, *others = results.values()
    first.report(asked.output / "report.html", others=others, checks=checks)
    return found


if __name__ == "__main__":
    run(main)
