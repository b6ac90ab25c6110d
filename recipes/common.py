"""What the recipes share: their arguments, their own small models, and how numbers and figures become files.

Hardware: any. Time: seconds. Expect: run as a script, it prints which small models are there and how large they are.

    python recipes/common.py
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn.utils.rnn import pad_sequence

import spanwise
from spanwise.attribution import Token
from spanwise.errors import ModelError
from spanwise.evaluation.faithfulness.intervals import bootstrap
from spanwise.evaluation.planted.ground_truth import Example
from spanwise.storage import writing
from spanwise.views.labels import visible

MODELS = Path(__file__).parent / "models"


def arguments(description: str | None, name: str, given: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of a recipe; the folder for its files is made.

    Args:
        description: The recipe's docstring.
        name: The recipe's, for the folder.
        given: What stands behind the script's name; None: as it was called.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model",
        help="a model on the hub (Qwen/Qwen2.5-1.5B-Instruct) or a folder that `save_pretrained` wrote, with its "
        "tokenizer; default: the small model that learned this recipe's texts. Another model answers by what it "
        "knows: where it knows nothing of them, the shares are noise and the tables show it",
    )
    parser.add_argument(
        "--quantization", choices=("nf4", "fp4", "int8"), help="round the model's weights to 4 or 8 bits"
    )
    folder = Path("out") / name
    parser.add_argument("--output", type=Path, default=folder, help=f"for report, figures, numbers; default: {folder}")
    parser.add_argument("--quick", action="store_true", help="fewer texts")
    parser.add_argument("--seed", type=int, default=0, help="of the texts and of methods that sample")
    asked = parser.parse_args(given)
    asked.output.mkdir(parents=True, exist_ok=True)
    print(f"report, figures and numbers go to {asked.output}/")
    return asked


def run(main: Callable[[], Any]) -> None:
    """Run a recipe as a script; what a model or an option cannot serve ends it with that one sentence."""
    try:
        main()
    except spanwise.AttributionError as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from error


def load(asked: argparse.Namespace, own: str = "tiny") -> spanwise.LanguageModel:
    """Return the named model, or the recipe's own on one thread: small models are slower on several."""
    if asked.model is not None:
        return spanwise.load_model(asked.model, quantization=asked.quantization)
    torch.set_num_threads(1)
    if own == "tiny":
        return spanwise.load_model(own, quantization=asked.quantization)
    lm = spanwise.load_model(MODELS / own, quantization=asked.quantization, dtype="float32")
    lm.name = f"recipes/models/{own}"
    return lm


def absent(lm: spanwise.LanguageModel) -> tuple[str, int]:
    """Return the name and the id of the token that stands for "nothing here": unknown, or padding where there is none.

    Raises:
        ModelError: The tokenizer has neither.
    """
    for name in ("unk", "pad"):
        if (token := getattr(lm.tokenizer, f"{name}_token_id")) is not None:
            return name, int(token)
    raise ModelError(f"a token is removed by <unk> or padding, and the tokenizer of {lm.name} has neither.")


@torch.no_grad()
def log_probs(lm: spanwise.LanguageModel, prompt: str, words: Sequence[str]) -> list[float]:
    """Return the log-probability (nats) of each word, all its tokens, as what follows the prompt."""
    first = len(lm.tokenizer(prompt)["input_ids"])
    whole = [torch.tensor(lm.tokenizer(prompt + word)["input_ids"]) for word in words]
    ids = pad_sequence(whole, batch_first=True)  # behind the text, where a causal model does not look
    logits = lm.model(input_ids=ids.to(lm.device)).logits[:, first - 1 : -1].float().log_softmax(-1).cpu()
    found = logits.gather(-1, ids[:, first:, None])[..., 0]  # [word, position]
    return [float(values[: len(own) - first].sum()) for values, own in zip(found, whole, strict=True)]


def written(lm: spanwise.LanguageModel, prompt: str, tokens: int) -> str:
    """Return what the model writes behind the prompt, at most that many tokens, the likeliest at each place."""
    encoded = lm.tokenizer(prompt, return_tensors="pt").to(lm.device)
    found = lm.model.generate(**encoded, do_sample=False, max_new_tokens=tokens)
    return str(lm.tokenizer.decode(found[0, encoded["input_ids"].shape[1] :]))


@torch.no_grad()
def target_log_probs(lm: spanwise.LanguageModel, prompt: str, result: spanwise.Attribution) -> torch.Tensor:
    """Return the log-probability (nats) of each token of a result's target behind another prompt: `[target]`."""
    target = torch.tensor(result.provenance.target_ids, device=lm.device)
    before = lm.tokenizer(prompt, return_tensors="pt")["input_ids"][0].to(lm.device)
    logits = lm.model(input_ids=torch.cat([before, target])[None]).logits[0, len(before) - 1 : -1]
    return logits.float().log_softmax(-1)[torch.arange(len(target)), target].cpu()


def with_interval(values: Sequence[float]) -> dict[str, float]:
    """Return mean and 95 % bootstrap interval over prompts; what is undefined is left out."""
    kept = np.asarray([value for value in values if value == value], dtype=float)
    if not len(kept):
        return dict.fromkeys(("mean", "low", "high"), float("nan"))
    low, high = bootstrap(kept)
    return {"mean": float(kept.mean()), "low": low, "high": high}


def is_cause(token: Token, example: Example) -> bool:
    """Return whether a token of a ground-truth prompt is, or is part of, a planted cause."""
    return any(token.start < end and start < token.end for start, end in example.causes)


def complaint(check: Callable[..., None], *given: Any) -> str:
    """Return what a check says when it fails; "" where it holds."""
    try:
        check(*given)
    except AssertionError as error:
        return str(error)
    return ""


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
        each.tick_params(labelsize=8)
    yield axes
    with writing(path) as temporary:
        made.savefig(temporary, dpi=150)


def shown(cell: object, digits: int = 2) -> str:
    """Return a cell of a table: numbers with two decimals and never "-0.00", texts with nothing hidden in them."""
    return f"{round(cell, digits) + 0.0:.{digits}f}" if isinstance(cell, float) else visible(str(cell))


def show_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> list[dict[str, str]]:
    """Print a table, numbers to the right, and return its rows as a report's `checks` take them."""
    table = Table(box=None, pad_edge=False)
    for column, heading in enumerate(headings):
        numbers = column > 0 and all(isinstance(cell, float) for row in rows for cell in row[column : column + 1])
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold")
    cells = [[shown(cell) for cell in row] for row in rows]
    for row in cells:
        table.add_row(*row)
    console = Console(width=130, markup=False, highlight=False)
    console.print(title, style="bold")
    console.print(table)
    return [dict(zip(headings, row, strict=False)) for row in cells]


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
