"""What the benchmarks share: the models, the clock, and the table.

Machines are shared, so two works are compared by turns in one process, and the least time of each counts. With one
thread that is processor time, which a neighbor's work does not add to; with more it is the time on the wall.
"""

import ctypes
import gc
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import psutil
import rich.table
import torch
import transformers
from rich.console import Console
from tokenizers import Tokenizer, models, pre_tokenizers

import spanwise

SHAPES: dict[str, dict[str, int]] = {
    "26M": {"vocab_size": 32000, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 9},
    "quick": {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
}
PRECISIONS = ("float32", "bfloat16", "nf4")


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        table: Its title.
        cells: Name of the column and what stands there: text, or a number with its unit in the name.
    """

    table: str
    cells: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Taken:
    """What a work gave and took: seconds (the least of its turns) and the growth of memory in use, GiB."""

    result: Any
    seconds: float
    gib: float


def make_lm(shape: str = "26M", precision: str = "float32") -> spanwise.LanguageModel:
    """Returns a random Qwen2 with one token a word."""
    torch.manual_seed(0)
    sizes = SHAPES[shape]
    heads = {"num_attention_heads": 6 if shape == "26M" else 4, "num_key_value_heads": 2}
    config = transformers.Qwen2Config(
        **sizes, **heads, tie_word_embeddings=True, initializer_range=0.05, max_position_embeddings=4096
    )
    model = transformers.Qwen2ForCausalLM(config).eval()
    vocabulary = {"<unk>": 0, "<pad>": 1} | {word_of(i): i for i in range(2, sizes["vocab_size"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>")
    if precision == "bfloat16":
        model = model.to(torch.bfloat16)
    if precision == "nf4":
        model = packed(model, fast)
    return spanwise.LanguageModel(model, fast, name=f"random Qwen2 {shape}")


def word_of(token: int) -> str:
    """Returns the word of a token id; 200 to 299 begin a sentence, 300 to 399 end one."""
    return f"W{token}" if 200 <= token < 300 else f"w{token}." if 300 <= token < 400 else f"w{token}"


def packed(model: Any, tokenizer: Any) -> Any:
    """Returns the model with 4-bit weights, by the way that users take: saved, and loaded again."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return spanwise.load_model(folder, quantization="nf4", dtype=torch.float32).model


def prompt_of(count: int, sentences: int = 1) -> str:
    """Returns a prompt of that many tokens, in that many sentences of equal length."""
    ids = [7 * i % 190 + 2 for i in range(1, count + 1)]
    for begin, end in groups_of(count, sentences):
        ids[begin], ids[end - 1] = 200 + begin % 100, 300 + end % 100
    return " ".join(word_of(each) for each in ids)


def target_of(count: int, seed: int = 0) -> torch.Tensor:
    """Returns the ids of a target of that many tokens."""
    return torch.tensor([(11 * i + seed) % 190 + 2 for i in range(1, count + 1)])


def groups_of(count: int, groups: int) -> list[tuple[int, int]]:
    """Returns the prompt's tokens cut into that many equal runs."""
    edges = [round(i * count / groups) for i in range(groups + 1)]
    return list(pairwise(edges))


def words_of(prompt: str, groups: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the characters of runs of tokens, where a token is a word."""
    words = prompt.split(" ")
    places = np.cumsum([0, *(len(word) + 1 for word in words)])
    return [(int(places[begin]), int(places[end]) - 1) for begin, end in groups]


def seconds_now() -> float:
    """Returns the clock's reading: of the processor where one thread works, else of the wall."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def by_turns(works: Sequence[Callable[[], Any]], turns: int = 2, *, warm: bool = True) -> list[Taken]:
    """Runs the works by turns; `warm`: each once before, unmeasured."""
    results: list[Any] = [work() if warm else None for work in works]
    best, memory = [float("inf")] * len(works), [0.0] * len(works)
    for _ in range(turns):
        for i, work in enumerate(works):
            gc.collect()
            results[i], seconds, gib = measured(work)
            best[i], memory[i] = min(best[i], seconds), max(memory[i], gib)
    return [Taken(*each) for each in zip(results, best, memory, strict=True)]


class _Mallinfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    ]


def memory_in_use() -> int:
    """Returns bytes: those that the C library has handed out, so that freed memory it holds back does not count."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):  # not glibc
        return int(psutil.Process().memory_info().rss)
    library.mallinfo2.restype = _Mallinfo
    told = library.mallinfo2()
    return int(told.hblkhd + told.uordblks)


def measured(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Returns what `work` returns, its seconds, and the largest growth of the memory in use in GiB."""
    start, peak, stop = memory_in_use(), [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.005):
            peak[0] = max(peak[0], memory_in_use() - start)

    thread = threading.Thread(target=watch)
    thread.start()
    began = seconds_now()
    try:
        result = work()
    finally:
        seconds = seconds_now() - began
        stop.set()
        thread.join()
    return result, seconds, peak[0] / 2**30


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Returns the largest difference, as a share of the largest expected score."""
    return float((found - expected).abs().max() / expected.abs().max())


def attributed(result: spanwise.Attribution) -> torch.Tensor:
    """Returns the columns that were attributed to, [row, column]."""
    return result.scores[:, [not token.frozen for token in result.source]]


def print_tables(rows: Sequence[Row]) -> None:
    """Prints each table with its rows."""
    for title in dict.fromkeys(row.table for row in rows):
        chosen = [row.cells for row in rows if row.table == title]
        table = rich.table.Table(title=title)
        for name in dict.fromkeys(name for cells in chosen for name in cells):
            table.add_column(name, justify="left" if isinstance(chosen[0].get(name), str) else "right")
        for cells in chosen:
            table.add_row(*(_shown(name, cells.get(name)) for name in table_names(chosen)))
        Console(width=150).print(table)


def table_names(chosen: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the columns of a table, in order of first use."""
    return list(dict.fromkeys(name for cells in chosen for name in cells))


def _shown(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.1e}" if "difference" in name else f"{value:.3g}" if value < 100 else f"{value:.0f}"
    return str(value)
