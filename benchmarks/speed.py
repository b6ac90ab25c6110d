"""How fast, against what: one command, its tables and their JSON.

    python benchmarks/speed.py --threads 1            # all tables, a 26 M Qwen2: about half an hour
    python benchmarks/speed.py --tables floor reuse   # some
    python benchmarks/speed.py --quick                # small shapes, a minute; says whether the numbers agree

Read the ratios, not the seconds, and the difference beside each: of the largest score, from the one compared with.
"""

import argparse
import json
import platform
import warnings
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import engines
import floor
import growth
import long_prompts
import profiles
import reuse
import torch
import transformers
from common import PRECISIONS, Row, make_lm, print_tables
from rich.console import Console

import spanwise


def of_floor(quick: bool, turns: int) -> Iterable[Row]:
    """Ours over the least that must be done."""
    shape = "quick" if quick else "26M"
    everything = ("integrated_gradients span", "integrated_gradients matrix", "feature_ablation", "shapley")
    for precision in PRECISIONS:
        lm = make_lm(shape, precision)
        size = floor.Size(12, 4, groups=4, steps=2, matrix_steps=2, samples=2) if quick else floor.Size(256, 16)
        yield from floor.compare(lm, precision, size, everything, turns)
    if not quick:
        lm = make_lm(shape)
        long = floor.Size(2048, 16, steps=2, samples=1, by_token=False)
        yield from floor.compare(lm, "float32", long, ("integrated_gradients span", *everything[2:]), 1)
        wide = floor.Size(256, 128, steps=4, matrix_steps=1, samples=2, by_token=False)
        yield from floor.compare(lm, "float32", wide, everything, 1)


def of_engines(quick: bool, turns: int) -> Iterable[Row]:
    """The engines over ours."""
    if quick:
        yield from engines.compare(
            make_lm("quick"), "float32", engines.Size(16, 4, features=16, groups=4, steps=2, subsets=8), 1
        )
        return
    lm = make_lm()
    yield from engines.compare(lm, "float32", engines.Size(32, 16), turns)
    yield from engines.compare(lm, "float32", engines.Size(256, 16, features=64), 1)


def of_reuse(quick: bool, turns: int) -> Iterable[Row]:
    """What is computed once."""
    size = reuse.Size(64, 8, 16, 4) if quick else reuse.Size(2048, 64, 256, 16)
    yield from reuse.compare(make_lm("quick" if quick else "26M"), size, 1 if quick else turns)


def of_growth(quick: bool, turns: int) -> Iterable[Row]:
    """Exponents."""
    wide = growth.Size(256, (8, 16, 32, 64), (4, 8, 16, 32), (4, 8, 16, 32))
    small = growth.Size(24, (2, 4, 8), (2, 4, 8), (2, 4, 8))
    yield from growth.compare(make_lm("quick" if quick else "26M"), small if quick else wide, 1)


def of_long_prompts(quick: bool, turns: int) -> Iterable[Row]:
    """What few forwards find."""
    yield from long_prompts.compare(long_prompts.Size(1, (100,), 2) if quick else long_prompts.Size(6, (480, 2048), 20))


def of_profiles(quick: bool, turns: int) -> Iterable[Row]:
    """Where the time goes."""
    yield from profiles.compare(make_lm("quick"), 12, 4, 2) if quick else profiles.compare(make_lm(), 256, 16, 4)


TABLES: dict[str, Callable[[bool, int], Iterable[Row]]] = {
    "floor": of_floor,
    "engines": of_engines,
    "reuse": of_reuse,
    "growth": of_growth,
    "long-prompts": of_long_prompts,
    "profiles": of_profiles,
}


def machine() -> str:
    """Returns what was measured on, and how, as a sentence."""
    threads = torch.get_num_threads()
    clock = "processor seconds of one thread" if threads == 1 else f"seconds on the wall with {threads} threads"
    return (
        f"Here: {clock}, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, captum {version('captum')}, inseq {version('inseq')}."
    )


def main() -> None:
    """Prints the tables, each as soon as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small shapes, a minute; judges exactness only")
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES), help="which; default: all")
    parser.add_argument("--turns", type=int, default=2, help="times each is measured; the least counts")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's threads")
    parser.add_argument("--json", type=Path, help="write all rows here too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore", spanwise.AttributionWarning)
    warnings.filterwarnings("ignore", module="captum|inseq|transformers")
    rows: list[Row] = []
    for name in arguments.tables:
        found = []
        for row in TABLES[name](arguments.quick, arguments.turns):
            found.append(row)
            Console(stderr=True).print(f"{name}, row {len(found)}: {next(iter(row.cells.values()))}")
        print_tables(found)
        rows += found
        if arguments.json:
            told = {"machine": machine(), "rows": [{"table": row.table, **row.cells} for row in rows]}
            arguments.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
