"""Rows a second on the bundled model: `attribute_many`, a loop over `attribute`, and Inseq's `attribute-dataset`.

    python benchmarks/batch.py [--rows 10000] [--quick] [--output DIR]

Everybody has the same two cores: the loop and Inseq as two threads of one process, `spanwise batch` as two processes of
`accelerate launch` with a thread each. The loop and Inseq do a sample of the rows (the same first ones), `spanwise
batch` does all of them. Importing and loading the model are left out: of a command, by what it takes for two rows.
`many` is one process on one core, with its memory after each quarter of the rows. CPU seconds stand next to wall
seconds, since a busy machine lengthens the latter. Inseq has no feature ablation.
"""

import argparse
import itertools
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

METHODS = ("feature_ablation", "input_x_gradient")
CORES = 2


def make_rows(count: int) -> list[dict[str, Any]]:
    """Returns prompts of the bundled model's corpus; repeated where they are fewer, never within a part."""
    import spanwise

    examples = spanwise.ground_truth(held_out=None, per_family=min(300, max(10, count // 5)))
    random.Random(0).shuffle(examples)
    chosen = (examples[i % len(examples)] for i in range(count))
    return [{"prompt": each.prompt, "target": each.target, "span": list(each.span_range)} for each in chosen]


def work(kind: str, method: str, file: Path, output: Path, sample: int) -> dict[str, Any]:
    """Does one line of the table in this process."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    import spanwise

    lm = spanwise.load_model("tiny")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()][:sample]
    warm = rows[0]
    spanwise.attribute(lm, warm["prompt"], warm["target"], span=tuple(warm["span"]), method=method)
    run: Any = None
    if kind == "inseq":
        import inseq

        lm.model.config.bos_token_id = 0  # Inseq cannot do without one
        model = inseq.load_model(lm.model, method, tokenizer=lm.tokenizer)
    memory = Memory()
    began, cpu = time.perf_counter(), time.process_time()
    if kind == "loop":
        for row in rows:
            spanwise.attribute(lm, row["prompt"], row["target"], span=tuple(row["span"]), method=method)
    elif kind == "inseq":  # what `inseq attribute-dataset` calls with the columns of a data set
        model.attribute(
            [row["prompt"] for row in rows],
            [row["prompt"] + row["target"] for row in rows],
            batch_size=8,
            show_progress=False,
        )
    else:
        with memory:
            run = spanwise.attribute_many(lm, file, output, method=method, progress=False)
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    done = len(run) if run is not None else len(rows)
    return {"rows": done, "seconds": seconds, "cpu_seconds": spent, "memory_mib": memory.quarters()}


class Memory(threading.Thread):
    """Notes the process's memory twice a second while it is entered."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: list[float] = []
        self.ended = threading.Event()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()

    def run(self) -> None:
        """Notes it until the end."""
        process = psutil.Process()
        while not self.ended.wait(0.5):
            self.seen.append(process.memory_info().rss / 2**20)

    def quarters(self) -> list[int]:
        """Returns the most (MiB) seen in each quarter of the time."""
        cuts = [len(self.seen) * i // 4 for i in range(5)]
        return [round(max(self.seen[a:b])) for a, b in itertools.pairwise(cuts) if a < b]


def measured(kind: str, method: str, file: Path, output: Path, sample: int, cores: int) -> dict[str, Any]:
    """Returns what one line of the table took, in a process of its own."""
    there = sorted(os.sched_getaffinity(0))[:cores]
    arguments = [sys.executable, __file__, "--work", kind, method, str(file), str(output), str(sample)]
    done = subprocess.run(
        ["taskset", "-c", ",".join(map(str, there)), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": str(cores)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{kind} {method} failed:\n{done.stderr[-3000:]}")
    return {"what": kind, "method": method, "cores": cores, **json.loads(done.stdout.splitlines()[-1])}


def command(front: list[str], file: Path, method: str, output: Path) -> dict[str, float]:
    """Returns what a `spanwise batch` took, start included."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [*front, "-m", "spanwise", "batch", str(file), "--method", method, "--output", str(output)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - began, "cpu_seconds": spent}


def processes(method: str, file: Path, output: Path, count: int) -> list[dict[str, Any]]:
    """Returns what one process on one core took, and two of `accelerate launch`, and whether they wrote the same."""
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    fronts = {
        "one process": ["taskset", "-c", str(min(os.sched_getaffinity(0))), sys.executable],
        "two processes": [sys.executable, *launch],
    }
    few = output / "few.jsonl"
    output.mkdir()
    few.write_text("".join(file.read_text(encoding="utf-8").splitlines(keepends=True)[:2]), encoding="utf-8")
    found = []
    for name, front in fronts.items():
        start = command(front, few, method, output / f"few {name}")
        whole = command(front, file, method, output / name)
        line = {"what": name, "method": method, "cores": len(found) + 1, "rows": count}
        line |= {key: value - start[key] for key, value in whole.items()} | {"start": start["seconds"]}
        found.append(line)
    one, two = (output / name for name in fronts)
    written = [each.name for each in one.glob("part-*")]
    found[-1]["same_bytes"] = all((one / each).read_bytes() == (two / each).read_bytes() for each in written)
    return found


def main() -> None:
    """Prints the table and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="200 rows, one method")
    parser.add_argument("--output", type=Path, help="where the JSON goes; default: printed only")
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        kind, method, file, output, sample = asked.work
        print(json.dumps(work(kind, method, Path(file), Path(output), int(sample))))
        return
    count = 200 if asked.quick else asked.rows
    sample = 20 if asked.quick else 500
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file = folder / "in.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in make_rows(count)), encoding="utf-8")
        for method in METHODS[-1:] if asked.quick else METHODS:
            for kind in ("loop", "many") if method == "feature_ablation" else ("loop", "inseq", "many"):
                cores = 1 if kind == "many" else CORES
                found.append(measured(kind, method, file, folder / f"{kind}-{method}", sample, cores))
                show(found[-1], found)
            if not asked.quick:
                for line in processes(method, file, folder / f"processes-{method}", count):
                    found.append(line)
                    show(line, found)
    if asked.output:
        asked.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found))


def show(line: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    """Prints one line of the table, with how many times as fast it is as the lines of the same method before it."""
    rate, of_cpu = line["rows"] / line["seconds"], line["rows"] / line["cpu_seconds"]
    before = [each for each in lines if each["method"] == line["method"] and each is not line]
    ratios = [f"{rate * each['seconds'] / each['rows']:.2f} x {each['what']}" for each in before]
    told = {key: line[key] for key in ("memory_mib", "start", "same_bytes") if line.get(key)}
    print(
        f"{line['what']:13} {line['method']:17} {line['cores']} cores {line['rows']:6} rows {line['seconds']:7.1f} s "
        f"{rate:7.1f} rows/s {of_cpu:7.1f} rows/CPU s  {', '.join(ratios)} {told or ''}",
        flush=True,
    )


if __name__ == "__main__":
    main()
