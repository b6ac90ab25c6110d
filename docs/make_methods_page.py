"""Writes docs/methods.md: what every method is, where it was seen to work, and how it points on the planted causes.

    python docs/make_methods_page.py            # everything, some minutes on 2 cores
    python docs/make_methods_page.py --quick    # two prompts a family; prints, writes nothing

Nothing in the page's tables is written by hand: "ok" means that the method ran on a small random model of that
architecture and type and gave finite scores; otherwise the first line of the error stands there.
"""

import argparse
import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tqdm.auto import tqdm

import spanwise
from spanwise.evaluation.benchmark.benchmark import ground_truth_benchmark
from spanwise.methods import ENGINES, MethodInfo
from spanwise.storage import writing
from spanwise.views.benchmark import caption, short

PAGE = Path(__file__).parent / "methods.md"
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


def pairs() -> Iterator[tuple[MethodInfo, str]]:
    """Yields every method with every engine that has it."""
    for method in spanwise.list_methods():
        for engine in method.engines:
            yield method, engine


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


def support_table() -> str:
    """Returns the Markdown table of where each method works."""
    cells: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for architecture in tqdm(ARCHITECTURES, desc="architectures"):
        for dtype in DTYPES:
            lm = small_model(architecture, dtype)
            for method, engine in pairs():
                found = outcome(lm, method, engine)
                cells.setdefault((method.name, engine), {}).setdefault(architecture, {})[dtype] = found
    notes: list[str] = []
    lines = ["| method | engine | " + " | ".join(ARCHITECTURES) + " |", "|---" * (2 + len(ARCHITECTURES)) + "|"]
    for (method, engine), row in cells.items():
        lines.append(f"| `{method}` | {engine} | " + " | ".join(_cell(row[a], notes) for a in ARCHITECTURES) + " |")
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


def pointing_table(found: Mapping[str, Any]) -> str:
    """Returns the main figures of `spanwise benchmark ground-truth`, as its JSON holds them, at float32."""
    return f"{caption(found, PRECISION)}\n\n{short(found, PRECISION)}"


def benchmark(file: Path | None, per_family: int) -> Mapping[str, Any]:
    """Returns the benchmark's JSON: from a file, or run now."""
    if file is not None:
        return json.loads(file.read_text(encoding="utf-8"))
    return ground_truth_benchmark(all_engines=True, precisions=[PRECISION], per_family=per_family).as_dict()


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
    parser.add_argument("--quick", action="store_true", help="two prompts a family; prints, writes nothing")
    parser.add_argument("--per-family", type=int, default=12, help="prompts a family for the pointing table")
    parser.add_argument(
        "--ground-truth", type=Path, help="what `spanwise benchmark ground-truth --all --json` printed, in a file"
    )
    arguments = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    page = f"""# Methods

Made by `python docs/make_methods_page.py`; nothing in the tables is written by hand.

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

{support_table()}

## What an engine lacks

{refusals()}

## How they point

On held-out prompts of the bundled model, whose causes are planted: pointing says how often the source token with the
largest absolute score is a cause, mass how much of the scores lies on causes, reciprocal rank where the first cause
comes; 95 % intervals in brackets. By `spanwise benchmark ground-truth --all`; [ground-truth.md](ground-truth.md) has
every metric, each family of prompts, nf4 and what the figures mean.

{pointing_table(benchmark(arguments.ground_truth, 2 if arguments.quick else arguments.per_family))}
"""
    if arguments.quick:
        print(page)
        return
    with writing(PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
