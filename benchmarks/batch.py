"""Rows a second on the bundled model: `attribute_many`, a loop over `attribute`, and Inseq's `attribute-dataset`.

    python benchmarks/batch.py [--rows 10000] [--quick] [--output DIR]

Each line of the table is a process of its own bound to the cores it names, so that the comparison is of equal means.
The loop and Inseq do a sample of the rows (the same first ones), and the time of all is extrapolated; `attribute_many`
does all of them. Loading the model and importing are left out. CPU seconds stand next to wall seconds, since a busy
machine lengthens the latter. Inseq has no feature ablation.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

METHODS = ("feature_ablation", "input_x_gradient")


def make_rows(count: int) -> list[dict[str, Any]]:
    """Returns prompts of the bundled model's corpus; repeated where they are fewer."""
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
    tick: Any = None
    if kind == "inseq":
        import inseq

        lm.model.config.bos_token_id = 0  # Inseq cannot do without one
        model = inseq.load_model(lm.model, method, tokenizer=lm.tokenizer)
    began, cpu, before = time.perf_counter(), time.process_time(), _memory()
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
        tick = spanwise.attribute_many(lm, file, output, method=method, progress=False)
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    done = len(tick) if tick is not None else len(rows)
    grown = (_memory() - before) / 2**20
    return {"rows": done, "seconds": seconds, "cpu_seconds": spent, "memory_grown_mib": grown}


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


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


def two_processes(method: str, file: Path, output: Path) -> dict[str, Any]:
    """Returns what `accelerate launch` with two processes of one core took, start included, and each alone."""
    arguments = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    arguments += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command = ["-m", "spanwise", "batch", str(file), "--method", method]
    found = {}
    one_core = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    for name, front in (("one", [*one_core, sys.executable]), ("two", [sys.executable, *arguments])):
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [*front, *command, "--output", str(output / name)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=True,
            capture_output=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found[f"{name}_seconds"] = time.perf_counter() - began
        found[f"{name}_cpu_seconds"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    same = all(
        each.read_bytes() == (output / "two" / each.name).read_bytes() for each in (output / "one").glob("part-*")
    )
    return {"what": "processes", "method": method, **found, "same_bytes": same}


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
    sample = 20 if asked.quick else 200
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file = folder / "in.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in make_rows(count)), encoding="utf-8")
        for method in METHODS[-1:] if asked.quick else METHODS:
            for kind in ("loop", "many") if method == "feature_ablation" else ("loop", "inseq", "many"):
                found.append(measured(kind, method, file, folder / f"{kind}-{method}", sample, cores=1))
                show(found[-1])
            if not asked.quick:
                found.append(two_processes(method, file, folder / f"processes-{method}"))
                print(found[-1])
    if asked.output:
        asked.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found))


def show(line: dict[str, Any]) -> None:
    """Prints one line of the table."""
    rate, of_cpu = line["rows"] / line["seconds"], line["rows"] / line["cpu_seconds"]
    print(
        f"{line['what']:8} {line['method']:20} {line['rows']:6} rows {line['seconds']:8.1f} s {rate:8.2f} rows/s "
        f"{of_cpu:8.2f} rows/CPU s   +{line['memory_grown_mib']:.0f} MiB"
    )


if __name__ == "__main__":
    main()
