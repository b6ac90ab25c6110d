"""Writes docs/methods.md: what every method is, where it was seen to work, and how it points on the planted causes.

    python docs/make_methods_page.py                        # every method, in some 75 seconds
    python docs/make_methods_page.py --only lime saliency   # these; the other rows stay as the page has them

Nothing in the page's tables is written by hand: "ok" means that the method ran on a small random model of that
architecture and type and gave finite scores; otherwise the first line of the error stands there. How a method points is
taken from ground-truth.md, where `spanwise benchmark ground-truth` put it, and is not measured here.
"""

import argparse
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tqdm.auto import tqdm

import spanwise
from spanwise.methods import ENGINES, MethodInfo, find_method
from spanwise.storage import writing

PAGE = Path(__file__).parent / "methods.md"
GROUND_TRUTH = Path(__file__).parent / "ground-truth.md"
DTYPES = ("float32", "bfloat16", "nf4")
PRECISION = "float32"  # of the pointing table
PROMPT, TARGET = "The keys to it", " are on"
_WIDTH = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
_SHAPE = {
    **_WIDTH,
    "num_key_value_heads": 2,
    "vocab_size": 260,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "pad_token_id": 1,
}
ARCHITECTURES = {
    "Qwen2": transformers.Qwen2Config(**_SHAPE),
    "Llama": transformers.LlamaConfig(**_SHAPE),
    "Gemma-3": transformers.Gemma3TextConfig(**_SHAPE, head_dim=16),
    "GPT-2": transformers.GPT2Config(
        vocab_size=260, n_embd=64, n_layer=2, n_head=4, bos_token_id=2, eos_token_id=3, pad_token_id=1
    ),
    "T5": transformers.T5Config(
        vocab_size=260, d_model=64, d_ff=128, d_kv=16, num_heads=4, num_layers=2, decoder_start_token_id=1
    ),
}
FEW = {"n_steps": 3, "n_samples": 6, "num_probes": 2, "max_probe_steps": 20, "stopping_condition_top_k": 260}
"""Enough to see whether a method runs; on a random model ReAGent's target is among the likeliest of all 260 only."""


def byte_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Returns a tokenizer of single bytes."""
    special = ["<unk>", "<pad>", "<s>", "</s>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {text: i for i, text in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def small_model(architecture: str, dtype: str) -> spanwise.LanguageModel:
    """Returns a random model of an architecture, at a type or quantization."""
    torch.manual_seed(0)
    config = ARCHITECTURES[architecture]
    kind = transformers.AutoModelForSeq2SeqLM if architecture == "T5" else transformers.AutoModelForCausalLM
    with tempfile.TemporaryDirectory() as folder:
        kind.from_config(config).save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        if dtype == "nf4":
            return spanwise.load_model(folder, quantization="nf4")
        return spanwise.load_model(folder, dtype=dtype)


Row = dict[str, dict[str, str]]
"""For each architecture and type "ok", or the error."""


def pairs() -> list[tuple[MethodInfo, str]]:
    """Returns every method with every engine that has it."""
    return [(method, engine) for method in spanwise.list_methods() for engine in method.engines]


def outcome(lm: spanwise.LanguageModel, method: MethodInfo, engine: str) -> str:
    """Returns "ok", or the first line of the error."""
    options = {name: FEW[name] for name in method.options if name in FEW}
    try:
        result = spanwise.attribute(
            lm, "it" if method.name == "shapley_values" else PROMPT, TARGET, rows="token" if method.token_matrix else
            "span", method=method.name, engine=engine, method_options=options,
        )  # fmt: skip
    except spanwise.AttributionError as error:
        return str(error).splitlines()[0].replace("|", "/")
    return "ok" if result.scores.nan_to_num().isfinite().all() else "infinite scores"


def measured(asked: Sequence[tuple[MethodInfo, str]]) -> dict[tuple[str, str], Row]:
    """Returns where these work, each tried on every small model."""
    rows: dict[tuple[str, str], Row] = {(method.name, engine): {} for method, engine in asked}
    with tqdm(total=len(asked) * len(ARCHITECTURES) * len(DTYPES), unit=" runs") as bar:
        for architecture in ARCHITECTURES:
            for dtype in DTYPES:
                bar.set_description(f"{architecture}, {dtype}")
                lm = small_model(architecture, dtype)
                for method, engine in asked:
                    rows[method.name, engine].setdefault(architecture, {})[dtype] = outcome(lm, method, engine)
                    bar.update()
    return rows


def on_the_page() -> dict[tuple[str, str], Row]:
    """Returns where the present page says that methods work."""
    part = section(PAGE, "## Where they work")
    notes = dict(re.findall(r"^(\d+)\. (.*)$", part, flags=re.MULTILINE))
    rows = {}
    for name, engine, *cells in table(part):
        rows[name, engine] = {a: _read(cell, notes) for a, cell in zip(ARCHITECTURES, cells, strict=True)}
    return rows


def section(page: Path, heading: str) -> str:
    """Returns what stands under a heading."""
    return page.read_text(encoding="utf-8").split(heading + "\n")[1].split("\n## ")[0]


def table(part: str) -> Iterator[list[str]]:
    """Yields the cells of each row that begins with a method."""
    for name, rest in re.findall(r"^\| `(\w+)` \| (.*) \|$", part, flags=re.MULTILINE):
        yield [name, *(cell.strip() for cell in rest.split("|"))]


def _read(cell: str, notes: dict[str, str]) -> dict[str, str]:
    if cell == "ok":
        return dict.fromkeys(DTYPES, "ok")
    found = dict(part.split(": ") for part in cell.split(", "))
    return {dtype: notes[told.removeprefix("note ")] if told != "ok" else told for dtype, told in found.items()}


def support_table(only: Sequence[str]) -> str:
    """Returns the Markdown table of where each method works; methods that are not in `only` as the page has them."""
    known = on_the_page() if only else {}
    missing = [(m, e) for m, e in pairs() if only and m.name not in only and (m.name, e) not in known]
    if missing:
        told = ", ".join(dict.fromkeys(method.name for method, _ in missing))
        raise SystemExit(f"not on the page: {told}; give --only these names too, or measure everything")
    known |= measured([(method, engine) for method, engine in pairs() if not only or method.name in only])
    notes: list[str] = []
    lines = ["| method | engine | " + " | ".join(ARCHITECTURES) + " |", "|---" * (2 + len(ARCHITECTURES)) + "|"]
    for method, engine in pairs():
        cells = (_cell(known[method.name, engine][architecture], notes) for architecture in ARCHITECTURES)
        lines.append(f"| `{method.name}` | {engine} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *[f"{i}. {note}" for i, note in enumerate(notes, 1)]])


def _cell(found: dict[str, str], notes: list[str]) -> str:
    if set(found.values()) == {"ok"}:
        return "ok"
    for note in found.values():
        if note != "ok" and note not in notes:
            notes.append(note)
    return ", ".join(
        f"{dtype}: {'ok' if note == 'ok' else f'note {notes.index(note) + 1}'}" for dtype, note in found.items()
    )


def pointing_table() -> str:
    """Returns the main figures of ground-truth.md at float32; a method that is not there yet says so."""
    part = section(GROUND_TRUTH, f"## All prompts, {PRECISION}")
    lines = ["| method | engine | pointing | reciprocal rank | mass |", "|---" * 5 + "|"]
    there = set()
    for name, engine, pointing, _, _, mass, rank in table(part):
        there.add((name, engine))
        lines.append(f"| `{name}` | {engine} | {pointing} | {rank} | {mass} |")
    for method, engine in pairs():
        if (method.name, engine) not in there:
            lines.append(f"| `{method.name}` | {engine} | not measured | | |")
    return "\n".join([part.strip().split("\n")[0], "", *lines])


def method_table() -> str:
    """Returns the Markdown table of the methods themselves."""
    lines = ["| method | family | engines | signed | complete | rows | cost | beware |", "|---" * 8 + "|"]
    for m in spanwise.list_methods():
        rows = "token, span" if m.token_matrix else "span"
        signed, complete = ("yes" if flag else "no" for flag in (m.signed, m.complete))
        cells = (f"`{m.name}`", m.family, ", ".join(m.engines), signed, complete, rows, m.cost, m.caveat)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def refusals() -> str:
    """Returns a list of the engines that lack a method, with the reason."""
    return "\n".join(
        f"* `{m.name}` on {engine}: {m.refused[engine]}"
        for m in spanwise.list_methods()
        for engine in ENGINES
        if engine in m.refused
    )


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="measure these methods; the others as the page has them"
    )
    only = [find_method(name).name for name in parser.parse_args().only]
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    page = f"""# Methods

## What they are

{method_table()}

`F` features, `T` rows. `spanwise methods NAME` prints the paper, the equation and the options.

## Enough steps, enough samples

`integrated_gradients` on Captum takes `n_steps="auto"`: 8, 16, 32, ... points until the completeness gap is under
`tolerance` (0.01), at most `max_steps` (256). Gauss-Legendre points of two orders have none in common, so each order is
computed anew; together they cost less than twice the last one. The gap is the sum's error: single scores can be further
off. `shapley_value_sampling` and `kernel_shap` take `n_samples="auto"`: until the largest standard error is under
`tolerance` (0.05) of the largest |score|, at most `max_samples` (1024 orders, 4096 subsets). `provenance.used` says
what it came to; a run with that number gives the same scores. Where the limit comes first, the result warns and says
so.

`result.standard_error` says for every sampled method on Captum how far another seed would move each score. Measured by
hand, the spread over 60 to 100 seeds divided by the standard error:

* `shapley_value_sampling`, the spread over orders: 0.94 to 1.05.
* `kernel_shap`, the regression's sandwich (HC2): 0.95 to 1.11; `NaN` where subsets are fewer than features.
* `lime`, 50 resampled Lassos: 0.89 to 1.15; 0.7 with fewer than two subsets a feature.
* `gradient_shap`, the spread over points: 0.93 to 0.95.
* `smoothgrad`, the spread of the gradients along their mean: 0.93 to 1.06; 0.8 with 5 copies.

Below 1 the standard error is too large. It is `None` for methods that do not sample and on Inseq, which hands back
means alone (so for `reagent`); `NaN` for one sample, and in `by(...)` for columns that were added up, since the scores
of one sample move together. It says nothing on what the method itself gets wrong.

## Where they work

Small random models, each at float32, bfloat16 and nf4 on the CPU.

{support_table(only)}

## What an engine lacks

{refusals()}

## How they point

On held-out prompts of the bundled model, whose causes are planted: pointing says how often the source token with the
largest absolute score is a cause, mass how much of the scores lies on causes, reciprocal rank where the first cause
comes; 95 % intervals in brackets. By `spanwise benchmark ground-truth --all`; [ground-truth.md](ground-truth.md) has
every metric, each family of prompts, nf4 and what the figures mean.

{pointing_table()}

Made by `python docs/make_methods_page.py`; nothing in the tables is written by hand.
"""
    with writing(PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
