"""Question: the same question to Captum, to Inseq and to the scorer. Do they say the same, what does it cost, why not?

Hardware: one CPU core (a GPU's memory is measured as allocated, a CPU's as growth of the process). Time: 30 seconds;
`--quick` 15 seconds, without integrated gradients.
Expected: called as their pages show, the engines differ from each other; asked the same (log-probability, signed sum,
the same baseline, the prompt alone), they agree to rounding. The scorer needs one forward where they need one a token.

Came out (the bundled model, 18 + 13 tokens; differences in parts of the largest score): asked the same, all agree to
1.5e-6; only Inseq's occlusion is 1.4e-4 off, since it keeps no sign. By default:
* Captum's integrated gradients agree here (7.5e-7), because its baseline, token 0, happens to be the unknown token;
  input x gradient differs by 7e-7 nats where the largest score is 4e-4, next to probabilities of almost 1.
* Captum's ablation is off by 4 times the largest score, silently: its cached path is wrong from the second target
  token on with transformers since 5.3. The first token, and so the ranking for "painting", is right.
* Inseq gives lengths that add up to 1, of the probability: other numbers (0.6 to 670 times) and for gradients another
  order of tokens (Spearman .83 and .54), not another answer to the same question.
Seconds of the processor, scorer / Captum / Inseq: integrated gradients .40 / .71 / .66, input x gradient .07 / .12 /
.14, ablation .04 / 1.2 / 1.6 (Captum in one pass .10). The memory of a 4 MB model is below what can be measured here.

    python recipes/compare_engines.py
    python recipes/compare_engines.py --model Qwen/Qwen2.5-1.5B-Instruct
"""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import captum.attr
import inseq
import psutil
import torch
from common import arguments, figure, show_table, write_numbers
from scipy import stats
from torch import Tensor

import spanwise

PROMPT = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"
TARGET = " painting, traveling to different countries, and volunteering at community events."
SPAN = "painting"
METHODS = {"integrated_gradients": "integrated_gradients", "input_x_gradient": "input_x_gradient",
           "feature_ablation": "occlusion"}  # fmt: skip
"""Ours, which is Captum's name too, and Inseq's."""
STEPS = 20


def captums(lm: spanwise.LanguageModel, method: str, **changed: Any) -> Tensor:
    """Return Captum's scores `[target, source]`, as its pages call it; `changed` goes to `attribute` or the input."""
    baselines = {"baselines": changed.pop("baselines")} if "baselines" in changed else {}
    inputs = captum.attr.TextTokenInput(PROMPT, lm.tokenizer, **baselines)
    if method == "feature_ablation":
        made = captum.attr.LLMAttribution(captum.attr.FeatureAblation(lm.model), lm.tokenizer)
    elif method == "integrated_gradients":
        layer = captum.attr.LayerIntegratedGradients(lm.model, lm.embedding)
        made, changed = captum.attr.LLMGradientAttribution(layer, lm.tokenizer), {"n_steps": STEPS} | changed
    else:
        layer = captum.attr.LayerGradientXActivation(lm.model, lm.embedding)
        made = captum.attr.LLMGradientAttribution(layer, lm.tokenizer)
    return made.attribute(inputs, target=TARGET, **changed).token_attr.detach()


@contextlib.contextmanager
def inseqs_model(lm: spanwise.LanguageModel, method: str) -> Iterator[Any]:
    """Give Inseq's model; it needs the ids of a first, a last and a padding token, put into the configuration."""
    config, tokenizer = lm.model.config, copy.deepcopy(lm.tokenizer)
    before = {name: getattr(config, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    try:
        for name, value in before.items():
            setattr(config, name, value if value is not None else tokenizer.eos_token_id)
        yield inseq.load_model(lm.model, method, tokenizer=tokenizer)
    finally:
        for name, value in before.items():
            setattr(config, name, value)


def inseqs(lm: spanwise.LanguageModel, method: str) -> Tensor:
    """Return Inseq's scores `[target, source]` of the prompt, as its pages call it."""
    options = {"n_steps": STEPS} if method == "integrated_gradients" else {}
    with inseqs_model(lm, method) as model, contextlib.redirect_stderr(io.StringIO()):
        made = model.attribute(PROMPT, PROMPT + TARGET, show_progress=False, **options).aggregate()[0]
    return made.target_attributions[: len(lm.tokenizer(PROMPT)["input_ids"])].T.detach().float()


def ours(lm: spanwise.LanguageModel, method: str, engine: str, **changed: Any) -> Tensor:
    """Return the scores `[target, source]` over the scorer, or of Inseq's own methods asked the same."""
    options = {"method_options": {"n_steps": STEPS}} if method == "integrated_gradients" else {}
    asked = {"method": method, "engine": engine, "rows": "token", "progress": False}
    result = spanwise.attribute(lm, PROMPT, TARGET, **asked, **options, **changed)
    return result.scores[:, [not token.frozen for token in result.source]]


def measured(work: Callable[[], Tensor], device: torch.device) -> tuple[Tensor, float, float]:
    """Return what `work` returns, processor seconds (of a GPU: on the wall), and the most memory it took in MiB."""
    work()  # once before, so that nobody pays for first use
    gc.collect()
    process, stop = psutil.Process(), threading.Event()
    start, peak = process.memory_info().rss, [0]

    def watch() -> None:
        while not stop.wait(0.005):
            peak[0] = max(peak[0], process.memory_info().rss - start)

    on_gpu = device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.thread_time
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    watcher = threading.Thread(target=watch)
    watcher.start()
    began = clock()
    try:
        found = work()
        seconds = clock() - began
    finally:
        stop.set()
        watcher.join()
    return found.cpu(), seconds, (torch.cuda.max_memory_allocated() - before if on_gpu else peak[0]) / 2**20


def questions(lm: spanwise.LanguageModel, method: str) -> dict[str, tuple[str, Callable[[], Tensor]]]:
    """Return each way to ask, with what it leaves as the engine has it, and the work; the first is the reference."""
    unk = lm.tokenizer.unk_token_id
    asked: dict[str, Any] = {} if method == "input_x_gradient" else {"baseline": "unk"}
    baseline = {"baselines": unk} if asked else {}
    ways = {
        "scorer": ("log p, signed sum, prompt alone", partial(ours, lm, method, "captum", **asked)),
        "Captum": ("its defaults", partial(captums, lm, method)),
        "Inseq": ("its defaults", partial(inseqs, lm, METHODS[method])),
    }
    if method == "feature_ablation":
        told = "asked the same, one pass"
        ways["Captum, aligned"] = (told, partial(captums, lm, method, forward_in_tokens=False, **baseline))
    elif method == "integrated_gradients":
        ways["Captum, aligned"] = ("asked the same baseline", partial(captums, lm, method, **baseline))
    ways["Inseq, aligned"] = ("asked the same, by engine='inseq'", partial(ours, lm, method, "inseq", **asked))
    return ways


def compared(found: Tensor, reference: Tensor, row: int) -> dict[str, float]:
    """Return how far a matrix is from the reference, in parts of its largest score, and in one target token's order."""
    difference = float((found - reference).abs().max() / reference.abs().max())
    order = float(stats.spearmanr(found[row].abs(), reference[row].abs()).statistic)
    return {"largest": float(found.abs().max()), "difference": difference, "spearman": order}


def main(given: Sequence[str] | None = None) -> dict[str, Any]:
    """Ask each engine each question in each way."""
    asked = arguments(__doc__, "compare_engines", given)
    torch.set_num_threads(1)  # processor seconds of one thread are steadier than seconds on the wall
    lm = spanwise.load_model(asked.model or "tiny", quantization=asked.quantization)
    reference_result = spanwise.attribute(lm, PROMPT, TARGET, span=SPAN, method="feature_ablation")
    row = reference_result.spans[0].first_token
    found: dict[str, Any] = {}
    for method in list(METHODS)[1:] if asked.quick else METHODS:
        found[method], reference = {}, torch.empty(0)
        for name, (told, work) in questions(lm, method).items():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    scores, seconds, mebibytes = measured(work, lm.device)
            except Exception as error:  # what an engine cannot do here is a finding
                found[method][name] = {"asked": told, "failed": f"{type(error).__name__}: {str(error)[:100]}"}
                continue
            reference = scores if name == "scorer" else reference
            cost = {"seconds": seconds, "mebibytes": mebibytes}
            found[method][name] = {"asked": told, **compared(scores, reference, row), **cost}
    write_numbers(asked.output, found)
    headings = ("engine", "asked", "largest score", "differs by", f"Spearman of {SPAN!r}", "seconds", "MiB")
    for method, ways in found.items():
        show_table(
            method,
            headings,
            [(n, *(f"{v:.2g}" if isinstance(v, float) else v for v in w.values())) for n, w in ways.items()],
        )
    with figure(asked.output / "engines.png", len(found), width=4 * len(found), height=2.2, squeeze=False) as panels:
        for axes, (method, ways) in zip(panels[0], found.items(), strict=True):
            done = {name: each for name, each in ways.items() if "seconds" in each}
            axes.barh(list(done), [each["seconds"] for each in done.values()], color="#4393c3")
            for place, each in enumerate(done.values()):
                axes.text(each["seconds"], place, f" differs by {each['difference']:.1g}", va="center", fontsize=7)
            axes.margins(x=0.6)
            axes.invert_yaxis()
            axes.set_title(method, loc="left", fontsize=9)
            axes.set_xlabel("seconds", fontsize=8)
    reference_result.report(asked.output / "report.html", checks=found)
    return found


if __name__ == "__main__":
    main()
