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

import numpy as np
import torch
from common import arguments, figure, gaps_expected, show_table, target_log_probs, write_numbers

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


def added(result: spanwise.Attribution, by_token: spanwise.Attribution) -> torch.Tensor:
    """Return the scores of a part's single tokens for a phrase's tokens, added up: `[phrase, part]`."""
    scores, starts = by_token.scores.nan_to_num(0.0), [PROMPT.index(part) for part in PARTS]
    rows = torch.stack([scores[span.first_token : span.last_token].sum(0) for span in result.spans])
    inside = [
        [start < token.end and token.start < start + len(part) for token in by_token.source]
        for part, start in zip(PARTS, starts, strict=True)
    ]
    return rows @ torch.tensor(inside, dtype=torch.float32).T


def exchanged(lm: spanwise.LanguageModel, result: spanwise.Attribution, count: int) -> torch.Tensor:
    """Return by how much (nats) each phrase falls when each part is exchanged, mean over others: `[phrase, part]`."""
    before, falls = target_log_probs(lm, PROMPT, result), []
    for part, others in PARTS.items():
        after = [target_log_probs(lm, PROMPT.replace(part, other), result) for other in others[:count]]
        fall = before - torch.stack(after).mean(0)
        falls.append([float(fall[span.first_token : span.last_token].sum()) for span in result.spans])
    return torch.tensor(falls).T


def draw(path: Any, tables: dict[str, torch.Tensor]) -> None:
    """Write the three tables beside each other, each with its own scale."""
    with figure(path, len(tables), width=13, height=2.4, sharey=True) as panels:
        for axes, (name, values) in zip(panels, tables.items(), strict=True):
            most = float(values.abs().max())
            axes.imshow(values.numpy(), cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
            axes.set_xticks(range(len(PARTS)), PARTS, rotation=30, ha="right", fontsize=7)
            axes.set_yticks(range(len(PHRASES)), PHRASES, fontsize=7)
            axes.set_title(f"{name} (nats)", loc="left", fontsize=9)
            for (row, column), value in np.ndenumerate(values.numpy()):
                color = "white" if abs(value) > 0.6 * most else "black"
                axes.text(
                    column,
                    row,
                    f"{round(float(value), 2) + 0.0:.2f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=color,
                )


def main(given: Sequence[str] | None = None) -> dict[str, Any]:
    """Explain each phrase by each part with both methods, exchange the parts, and compare."""
    asked = arguments(__doc__, "quantized_span", given)
    lm = spanwise.load_model(asked.model or "tiny", quantization=asked.quantization or "nf4")
    with gaps_expected():
        results = {method: explained(lm, method) for method in METHODS}
        by_token = {method: explained(lm, method, tokens=True) for method in METHODS}
    tables = {method: table(result) for method, result in results.items()}
    tables["ablation, its tokens added"] = added(results[METHODS[0]], by_token[METHODS[0]])
    tables["exchanged"] = exchanged(lm, results[METHODS[0]], 2 if asked.quick else 4)
    names = list(PARTS)
    found = {
        "model": f"{lm.name} {results[METHODS[0]].provenance.quantization}",
        "parts": names,
        "phrases": list(PHRASES),
        "tables": {name: values.tolist() for name, values in tables.items()},
        "strongest_part": {name: [names[int(i)] for i in values.argmax(1)] for name, values in tables.items()},
        "completeness_gap": results["integrated_gradients"].completeness_gap,
    }
    write_numbers(asked.output, found)
    for name, values in tables.items():
        show_table(name, ("phrase", *names), [(p, *row) for p, row in zip(PHRASES, values.tolist(), strict=True)])
    draw(asked.output / "parts.png", tables)
    for method in METHODS:
        results[method].plot(asked.output / f"sequence_{method}.png", kind="bars")
        by_token[method].plot(asked.output / f"tokens_{method}.png")
    first, *others = results.values()
    first.report(asked.output / "report.html", others=others, checks={"strongest part": found["strongest_part"]})
    return found


if __name__ == "__main__":
    main()
