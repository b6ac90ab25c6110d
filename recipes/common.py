"""What the recipes share: their arguments, their own small models, and how numbers and figures become files.

Hardware: any. Time: seconds. Expect: run as a script, it prints which small models are there and how large they are.

    python recipes/common.py
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import spanwise
from spanwise.storage import writing

MODELS = Path(__file__).parent / "models"


def arguments(description: str | None, name: str, given: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of a recipe; the folder for its files is made.

    Args:
        description: The recipe's docstring.
        name: The recipe's, for the folder.
        given: What stands behind the script's name; None: as it was called.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a name on the model hub or a folder; default: the recipe's own small model")
    parser.add_argument("--quantization", choices=("nf4", "fp4", "int8"), help="of the model's weights")
    parser.add_argument(
        "--output", type=Path, default=Path("out") / name, help="folder for report, figures and numbers"
    )
    parser.add_argument("--quick", action="store_true", help="fewer texts")
    parser.add_argument("--seed", type=int, default=0, help="of the texts and of methods that sample")
    asked = parser.parse_args(given)
    asked.output.mkdir(parents=True, exist_ok=True)
    return asked


def load(asked: argparse.Namespace, own: str) -> spanwise.LanguageModel:
    """Return the named model, or the recipe's own, on one thread: small models are slower on several."""
    if asked.model is not None:
        return spanwise.load_model(asked.model, quantization=asked.quantization)
    torch.set_num_threads(1)
    lm = spanwise.load_model(MODELS / own, quantization=asked.quantization, dtype="float32")
    lm.name = f"recipes/models/{own}"
    return lm


@torch.no_grad()
def log_probs(lm: spanwise.LanguageModel, prompt: str, words: Sequence[str]) -> list[float]:
    """Return the log-probability (nats) of the first token of each word as what follows the prompt."""
    encoded = lm.tokenizer(prompt, return_tensors="pt").to(lm.device)
    found = lm.model(input_ids=encoded["input_ids"]).logits[0, -1].float().log_softmax(-1)
    return [float(found[lm.tokenizer(word, add_special_tokens=False)["input_ids"][0]]) for word in words]


@torch.no_grad()
def target_log_probs(lm: spanwise.LanguageModel, prompt: str, result: spanwise.Attribution) -> torch.Tensor:
    """Return the log-probability (nats) of each token of a result's target behind another prompt: `[target]`."""
    target = torch.tensor(result.provenance.target_ids, device=lm.device)
    before = lm.tokenizer(prompt, return_tensors="pt")["input_ids"][0].to(lm.device)
    logits = lm.model(input_ids=torch.cat([before, target])[None]).logits[0, len(before) - 1 : -1]
    return logits.float().log_softmax(-1)[torch.arange(len(target)), target].cpu()


@contextmanager
def gaps_expected() -> Iterator[None]:
    """Leave out warnings of completeness gaps, which would come for each of many texts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spanwise.AttributionWarning)
        yield


def write_numbers(folder: Path, numbers: Mapping[str, Any]) -> None:
    """Write the numbers of a recipe as JSON."""
    with writing(folder / "numbers.json") as temporary:
        temporary.write_text(json.dumps(numbers, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def figure(path: Path, panels: int = 1, *, width: float = 7.2, height: float = 3.2, **options: Any) -> Iterator[Any]:
    """Give the axes of a new figure (one, or an array of several side by side), and write it to `path` at the end."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    axes = made.subplots(1, panels, **options)
    for each in made.axes:
        each.spines[["top", "right"]].set_visible(False)
    yield axes
    with writing(path) as temporary:
        made.savefig(temporary, dpi=150)


def show_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; numbers with two decimals."""
    table = Table(*headings, title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=120, markup=False, highlight=False).print(table)


def main() -> None:
    """Print the small models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same")
    parser.parse_args()
    for folder in sorted(path for path in MODELS.iterdir() if path.is_dir()):
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{folder.name}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
