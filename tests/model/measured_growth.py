"""Run as a script: how much the process grows while a random model is attributed, beside the plan. Prints JSON.

Argument: JSON with folder, load (arguments of `load_model`), method, options, prompt, target (tokens) and batch.
"""

import ctypes
import gc
import json
import re
import sys
import warnings
from pathlib import Path

import torch

import spanwise
from spanwise.model.planning.planner import plan

warnings.simplefilter("ignore")
torch.set_num_threads(1)
STATUS = Path("/proc/self/status")


def resident(peak: bool = False) -> int:
    """Bytes of this process in memory, now or at most since `start`."""
    found = re.search(r"VmHWM:\s+(\d+)" if peak else r"VmRSS:\s+(\d+)", STATUS.read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024


def start() -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # begins a new peak
    return resident()


def main() -> None:
    asked = json.loads(sys.argv[1])
    lm = spanwise.load_model(asked["folder"], **asked.get("load", {}))
    ids = lm.tokenizer.encode("The keys to the cabinet are on the table. " * 80)

    def attribute(prompt: int, target: int, batch: int) -> spanwise.Attribution:
        return spanwise.attribute(
            lm,
            lm.tokenizer.decode(ids[:prompt]),
            ids[prompt : prompt + target],
            span=spanwise.tokens(0, target),
            method=asked["method"],
            method_options=asked.get("options", {}),
            frozen="none",
            batch_size=batch,
            progress=False,
        )

    attribute(5, 2, 1)  # imports the engine
    for tensor in (*lm.model.parameters(), *lm.model.buffers()):  # weights are read from the file at first use
        tensor.view(-1).view(torch.uint8).sum()
    before = start()
    result = attribute(asked["prompt"], asked["target"], asked["batch"])
    growth = resident(peak=True) - before
    planned = plan(
        lm,
        method=asked["method"],
        method_options=asked.get("options", {}),
        prompt_tokens=len(result.provenance.prompt_ids),
        target_tokens=asked["target"],
        batch_size=asked["batch"],
    )
    print(json.dumps({"growth": growth, "planned": planned.activation_bytes, "plan": planned.as_dict()}))


main()
