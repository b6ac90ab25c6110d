"""Question: the same question to Captum, to Inseq and to the scorer. Do they say the same, what does it cost, why not?

Hardware: one CPU core. Time: 30 seconds; `--quick` 15 seconds, without integrated gradients.
Expected: called as their pages show, the engines differ; asked the same (log-probability, signed sum, the same
baseline, the prompt alone), they agree to rounding. The scorer needs one forward where they need one a token.

Came out (the bundled model, 18 + 13 tokens; differences in parts of the largest score): asked the same, all agree to
1.5e-6; only Inseq's occlusion is 1.4e-4 off, since it keeps no sign. By default:
* Captum's integrated gradients agree here (7.5e-7), because its baseline, token 0, happens to be the unknown token;
  input x gradient differs by 7e-7 nats where the largest score is 4e-4, next to probabilities of almost 1.
* Captum's ablation is off by 4 times the largest score, silently: with transformers since 5.3 its cached path is wrong
  from the second target token on. The first token, and so the ranking for "painting", is right.
* Inseq gives lengths that add up to 1, of the probability: other numbers (off by .6 to 670 times the largest score) and
  for gradients another order of tokens (Spearman .83 and .54), not another answer to the same question.
Seconds of the processor in three runs, scorer / Captum / Inseq: integrated gradients .3 to .4 / .6 to .8 / .6, ablation
.03 / 1.0 / 1.3 (Captum in one pass .08). The memory of a 4 MB model is below what can be measured here.

    python recipes/compare_engines.py
    python recipes/compare_engines.py --model Qwen/Qwen2.5-1.5B-Instruct
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from common import absent, arguments, load, run, show_table, write_numbers
from figures.engines import draw
from scipy import stats
from steps.engines import PROMPT, TARGET, captums, inseqs, measured, ours

import spanwise

SPAN = "painting"
METHODS = ("integrated_gradients", "input_x_gradient", "feature_ablation")


def questions(lm: spanwise.LanguageModel, method: str) -> dict[str, tuple[str, Callable[[], torch.Tensor]]]:
    """Return each way to ask, with what it leaves as the engine has it, and the work; the first is the reference."""
    name, token = absent(lm)
    off: dict[str, Any] = {} if method == "input_x_gradient" else {"baseline": name}
    theirs: dict[str, Any] = {"baselines": token} if off else {}
    ways = {
        "scorer": ("log p, signed sum, prompt alone", partial(ours, lm, method, "captum", **off)),
        "Captum": ("its defaults", partial(captums, lm, method)),
        "Inseq": ("its defaults", partial(inseqs, lm, method)),
    }
    if method == "feature_ablation":
        theirs["forward_in_tokens"] = False  # in one pass, not by its cached path
    if theirs:
        ways["Captum, aligned"] = ("the same", partial(captums, lm, method, **theirs))
    ways["Inseq, aligned"] = ("the same, by engine='inseq'", partial(ours, lm, method, "inseq", **off))
    return ways


def answers(lm: spanwise.LanguageModel, method: str, row: int) -> dict[str, dict[str, Any]]:
    """Return for each way to ask its largest score, how far it is from the scorer, the order in one row, the cost."""
    found, reference = {}, torch.empty(0)
    for name, (told, work) in questions(lm, method).items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scores, seconds, mebibytes = measured(work, lm.device)
            reference = reference if len(reference) else scores
            found[name] = {
                "asked": told,
                "largest": float(scores.abs().max()),
                "difference": float((scores - reference).abs().max() / reference.abs().max()),
                "spearman": float(stats.spearmanr(scores[row].abs(), reference[row].abs()).statistic),
                "seconds": seconds,
                "mebibytes": mebibytes,
            }
        except Exception as error:  # what an engine cannot do here is a finding
            found[name] = {"asked": told, "failed": f"{type(error).__name__}: {str(error)[:100]}"}
    return found


def main(given: Sequence[str] | None = None) -> dict[str, Any]:
    """Ask each engine each question in each way."""
    asked = arguments(__doc__, "compare_engines", given)
    torch.set_num_threads(1)  # processor seconds of one thread are steadier than seconds on the wall
    lm = load(asked)
    example = spanwise.attribute(lm, PROMPT, TARGET, span=SPAN, method="feature_ablation")
    row, methods = example.spans[0].first_token, METHODS[1:] if asked.quick else METHODS
    found = {method: answers(lm, method, row) for method in methods}
    write_numbers(asked.output, found)
    headings = ("engine", "asked", "largest score", "differs by", f"Spearman of {SPAN!r}", "seconds", "MiB")
    for method, ways in found.items():
        rows = [(n, *(f"{v:.2g}" if isinstance(v, float) else v for v in each.values())) for n, each in ways.items()]
        show_table(method, headings, rows)
    draw(asked.output / "engines.png", found)
    example.report(asked.output / "report.html", checks=found)
    return found


if __name__ == "__main__":
    run(main)
