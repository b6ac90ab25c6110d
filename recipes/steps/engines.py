"""Of `compare_engines.py`: Captum and Inseq called as their pages show, and what a call costs."""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import captum.attr
import inseq
import psutil
import torch
from torch import Tensor

import spanwise

PROMPT = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"
TARGET = " painting, traveling to different countries, and volunteering at community events."
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
    name = {"feature_ablation": "occlusion"}.get(method, method)
    with inseqs_model(lm, name) as model, contextlib.redirect_stderr(io.StringIO()):
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
