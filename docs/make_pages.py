"""Writes the pages that are made from what is there: docs/choosing.md, recipes.md, api.md and images/rooms.svg.

    python docs/make_pages.py            # a second; runs no model
    python docs/make_pages.py --check    # writes nothing; says what is out of date, and ends with 1 if anything is

The tables come from `spanwise.list_methods()`, docs/ground-truth.md, the docstrings of recipes and examples, the
public names, and the order of rooms that tests/test_architecture.py keeps.
"""

import argparse
import ast
import re
import sys
from html import escape
from pathlib import Path

import spanwise
from spanwise.methods import MethodInfo

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PACKAGE = Path(spanwise.__file__).parent

# --- Choosing a method -------------------------------------------------------------------------------------------

FEATURES, TARGETS = 20, 4
"""Of the question whose cost the table gives: prompt tokens, and target tokens of its one span."""

CHOOSING = """# Choosing a method

**Unsure?** Take `feature_ablation`: its score is what changes without that part, and on the bundled model, where the
causes are known, its strongest token is one in {feature_ablation} of the cases. Where it finds nothing, parts may
back each other up: take `shapley_value_sampling` on words or sentences. `spanwise.compare` runs both;
`spanwise.evaluate` says whether the one you show beats chance.

The default of `attribute` is another one, `integrated_gradients`: it is what users of Captum and Inseq expect, both
have it, its cost does not grow with the prompt, its scores add up, and its completeness gap says whether it was
computed well enough. It is not the default for pointing best: its strongest token is a cause in
{integrated_gradients} of the same cases.

No method is right everywhere, and none is right because of its name. Take two that fail in different ways, compare
them, and put the claim to the model: [evaluation.md](evaluation.md).

## By what you ask

| you want to know | begin with | because |
|---|---|---|
| what changes if this part is not there | `feature_ablation` | the score is that change |
| the same, where one of several parts would do | `shapley_value_sampling`, or one feature for all of them | [ablation \
gives each of them nothing](reading.md#parts-that-back-each-other-up) while the others stay |
| shares that add up to the whole change | `shapley_value_sampling`, `integrated_gradients` | they are complete, \
[which is not faithful](reading.md#adding-up-is-not-being-right) |
| a first look at a long input or a large model | `saliency` | one backward, whatever the length; no sign |
| the same, with effects | `hierarchical_ablation` | opens only what matters, within a budget of forwards |
| which document or message | `feature_ablation` with `features=` documents or messages, `context_cite` | a forward a \
feature, or few random subsets of many features |
| why this word and not that one | any method, with `objective=spanwise.contrast(...)` | what speaks for both cancels |
| where the model looks | `attention` | [it says that, and no more](reading.md#attention-is-where-it-looks) |

Where a model has no backward (some quantized ones), perturbation methods run: they need forwards alone. Encoder-decoder
models have Captum's methods and the native ones.

## The table

One row a method, on the first of its engines.

* *Passes*: forwards + backwards, at most, at the default options, for a prompt of {features} tokens and one span of
  {targets} tokens. With frozen weights, as here, a backward takes about as long as a forward.
* *Points at a cause*: how often the strongest token is a planted cause of the bundled model, with its 95 % interval. A
  random token is one in {random} of the cases, the rarest token of the prompt in {frequency}.
* *Mass*: the share of the absolute scores that lies on planted causes.

{table}

{notes}

Planted causes are words whose exchange changes the answer, which is close to what ablation measures: expect it to do
less well where causes overlap, or where the unknown token means something else to the model.

## What the ground truth says

{findings}

{limits}

Every family, the nf4 model and the other figures: [ground-truth.md](ground-truth.md). Where each method runs, and what
an engine lacks: [methods.md](methods.md). Papers, equations and options: `spanwise methods NAME`.

Made by `python docs/make_pages.py` from the table of methods and [ground-truth.md](ground-truth.md).
"""


def pointing() -> dict[tuple[str, str], tuple[str, str]]:
    """Returns for each method and engine the pointing accuracy and the mass in the float32 table of ground-truth.md."""
    text = (DOCS / "ground-truth.md").read_text(encoding="utf-8")
    part = text.split("## All prompts, float32")[1].split("\n## ")[0]
    found = {}
    for line in part.splitlines():
        if line.startswith("| `"):
            name, engine, points, *_, mass, _rank = (cell.strip() for cell in line.strip("| ").split("|"))
            found[name.strip("`"), engine] = points, mass
    return found


def passes(info: MethodInfo) -> str:
    """Returns forwards and backwards of the question that the table is about, at most."""
    engine = info.engines[0]
    features, targets = FEATURES, 1
    if engine == "inseq":  # every position, one target token after the other
        features, targets = FEATURES + TARGETS, TARGETS
    options = info.checked_options({})
    if info.name == "shapley_values":
        return "2^F"
    forwards, backwards = info.work_in_all(engine, features, targets, options)
    return f"{forwards:,}" + (f" + {backwards:,}" if backwards else "")


def method_table(known: dict[tuple[str, str], tuple[str, str]]) -> str:
    """Returns a row for each method, those that point best first, unmeasured ones last."""
    rows = []
    for info in spanwise.list_methods():
        points, mass = known.get((info.name, info.engines[0]), ("not measured", ""))
        signed = "yes" if info.signed else "no"
        complete = "yes" if info.complete else "no"
        cells = (f"`{info.name}`", passes(info), points, mass.split(" ")[0], signed, complete, info.caveat)
        rows.append((-float(points.split()[0]) if points[0].isdigit() else 1.0, f"| {' | '.join(cells)} |"))
    head = "| method | passes | points at a cause | mass | signed | complete | beware |\n|---|---|---|---|---|---|---|"
    return "\n".join([head, *(row for _, row in sorted(rows, key=lambda each: each[0]))])


def choosing() -> str:
    """Returns docs/choosing.md."""
    known = pointing()
    text = (DOCS / "ground-truth.md").read_text(encoding="utf-8")
    findings = [
        line.replace("float32: ", "", 1) for line in re.findall(r"^\* (float32: .*)$", text, flags=re.MULTILINE)
    ]
    limits = re.search(r"^How far this goes: .*$", text, flags=re.MULTILINE)
    missing = [info.name for info in spanwise.list_methods() if (info.name, info.engines[0]) not in known]
    notes = ["* `shapley_values` visits every subset of F features, and takes 8 at most."]
    notes.append(
        "* `reagent` stops as soon as its probes have found what they look for, mostly long before that number."
    )
    only_few = [name for name in missing if name != "shapley_values"]
    if only_few:
        listed = ", ".join(f"`{name}`" for name in only_few)
        notes.append(f"* Not in ground-truth.md as it stands, so without a figure: {listed}.")
    return CHOOSING.format(
        features=FEATURES,
        targets=TARGETS,
        random=known["random", ""][0].split()[0],
        frequency=known["frequency", ""][0].split()[0],
        feature_ablation=known["feature_ablation", "captum"][0].split()[0],
        integrated_gradients=known["integrated_gradients", "captum"][0].split()[0],
        table=method_table(known),
        notes="\n".join(notes),
        findings="\n".join(f"* {_capital(line)}" for line in findings),
        limits=limits.group() if limits else "",
    )


# --- Examples and recipes ----------------------------------------------------------------------------------------

RECIPES = """# Examples and recipes

## Examples

At most 40 lines and one idea each, in seconds on the CPU with the bundled model: `python examples/quick_start.py`.

{examples}

`examples/notebook.ipynb` shows a result in a notebook, as a table and as a figure.

## Recipes

Scripts that answer a question, with what was expected and what came out at their top. `--help` says what each takes.

{recipes}

## Training scripts

How the bundled models were made; they are needed to make others.

{training}

Made by `python docs/make_pages.py` from the docstrings.
"""


def docstring(path: Path) -> str:
    """Returns a file's docstring."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def recipes() -> str:
    """Returns docs/recipes.md."""
    examples = ["| example | question | shows |", "|---|---|---|"]
    for path in sorted((ROOT / "examples").glob("*.py")):
        question, shows = docstring(path).split("\nShows: ")
        examples.append(f"| `examples/{path.name}` | {_cell(question)} | {_cell(shows)} |")
    done, training = [], []
    for path in sorted((ROOT / "recipes").glob("*.py")):
        told = docstring(path)
        question = _cell(told.split("\n\n")[0].removeprefix("Question: "))
        needs = re.search(r"Hardware: ([^.]+)\. Time: (.+?)[.;]( |$)", told.replace("\n", " "))
        cells = (f"`recipes/{path.name}`", question, f"{needs.group(2)}; {needs.group(1)}" if needs else "")
        if path.stem not in ("common",):
            (training if path.stem.startswith("train_") else done).append(f"| {' | '.join(cells)} |")
    head = "| recipe | question | time, hardware |\n|---|---|---|"
    return RECIPES.format(
        examples="\n".join(examples),
        recipes="\n".join([head, *done]),
        training="\n".join([head.replace("question", "what it makes"), *training]),
    )


# --- API ---------------------------------------------------------------------------------------------------------

GROUPS = {
    "Models": ("load_model", "LanguageModel", "plan", "Plan"),
    "Attribution": (
        "attribute", "Attribution", "Provenance", "Token", "Span", "preview", "Preview", "explain", "aggregate",
    ),
    "What is pointed at": ("tokens", "role", "documents", "template", "product_baselines"),
    "Objectives": ("contrast", "kl", "probe"),
    "Methods": ("list_methods", "MethodInfo"),
    "Trust": (
        "evaluate", "Evaluation", "sanity", "Sanity", "compare", "Comparison", "checklist", "Checklist",
        "compare_precision", "Drift", "ground_truth", "Example",
    ),
    "Errors": ("AttributionError", "AttributionWarning"),
}  # fmt: skip


def api() -> str:
    """Returns docs/api.md: every public name, from its docstring."""
    placed = {name for names in GROUPS.values() for name in names}
    others = tuple(name for name in spanwise.__all__ if name not in placed and name != "__version__")
    parts = ["# API", "Everything here is in `import spanwise`; the page is made from the docstrings."]
    for title, names in {**GROUPS, "More": others}.items():
        if names:
            parts += [f"## {title}", *(f"::: spanwise.{name}" for name in names if name in spanwise.__all__)]
    parts += [
        "## Modules of their own",
        "::: spanwise.errors\n    options:\n      members: false\n      show_root_full_path: true",
        "::: spanwise.compat.captum\n    options:\n      members: false\n      show_root_full_path: true",
        "::: spanwise.compat.inseq\n    options:\n      members: false\n      show_root_full_path: true",
        "The names in these two are those of Captum and of Inseq: [migrating.md](migrating.md).",
    ]
    return "\n\n".join(parts) + "\n"


# --- The picture of the rooms ------------------------------------------------------------------------------------

COLORS = {"engines": "#e8c4bf", "methods": "#e8c4bf", "scoring": "#c9dbe8", "question": "#dde3c8"}


def order() -> list[list[str]]:
    """Returns the rooms, level by level, as tests/test_architecture.py has them."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ORDER":
            return [sorted(level) for level in ast.literal_eval(node.value)]
    raise SystemExit("tests/test_architecture.py has no ORDER")


def first_line(room: str) -> str:
    """Returns what a room says it is; "" for one that is not there."""
    for path in (PACKAGE / f"{room}.py", PACKAGE / room / "__init__.py"):
        if path.is_file():
            return docstring(path).split("\n")[0].split(". ")[0].rstrip(".").replace("`", "")
    return ""


def rooms() -> str:
    """Returns docs/images/rooms.svg: who imports whom, a line a room, users' doors on top."""
    levels = [[room for room in level if room[0] != "_" and first_line(room)] for level in reversed(order())]
    levels = [level for level in levels if level]
    y, parts = 34, []
    for number, level in enumerate(levels):
        height = 30 * len(level) + 6
        fill = "#f4f6f7" if number % 2 else "#e9edef"
        parts.append(f'<rect x="10" y="{y}" width="880" height="{height}" fill="{fill}"/>')
        for room in level:
            parts.append(_room(room, 24, y + 5))
            y += 30
        y += 6
    y += 10
    parts.append(f'<rect x="10" y="{y}" width="880" height="36" fill="none" stroke="#607d8b" stroke-dasharray="5 4"/>')
    parts.append(_room("views", 24, y + 5))
    parts.append(
        f'<text x="14" y="{y + 56}" fill="#455a64">views stands beside: it may import attribution, errors, storage and '
        "progress alone, and is imported inside functions.</text>"
    )
    parts.insert(0, '<text x="14" y="22" fill="#455a64">A room imports only rooms below its own band.</text>')
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 {y + 70}" font-family="system-ui, sans-serif" '
        f'font-size="13">\n<title>The rooms of wrapper/spanwise, and who imports whom</title>\n'
        f'<rect width="900" height="{y + 70}" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _room(name: str, x: int, y: int) -> str:
    told = escape(first_line(name))
    squeeze = f' textLength="{720}" lengthAdjust="spacingAndGlyphs"' if len(told) > 112 else ""
    return (
        f'<rect x="{x}" y="{y}" width="118" height="26" rx="4" fill="{COLORS.get(name, "#fff")}" stroke="#607d8b"/>'
        f'<text x="{x + 59}" y="{y + 17}" text-anchor="middle" font-weight="600" fill="#263238">{name}</text>'
        f'<text x="{x + 132}" y="{y + 17}" fill="#263238" font-size="12"{squeeze}>{told}</text>'
    )


# --- All of them -------------------------------------------------------------------------------------------------


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def pages() -> dict[Path, str]:
    """Returns what each file should hold."""
    return {
        DOCS / "choosing.md": choosing(),
        DOCS / "recipes.md": recipes(),
        DOCS / "api.md": api(),
        DOCS / "images" / "rooms.svg": rooms(),
    }


def main() -> int:
    """Writes the pages, or says which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a page is out of date")
    check = parser.parse_args().check
    stale = []
    for path, text in pages().items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(ROOT).as_posix())
            if not check:
                path.write_text(text, encoding="utf-8")
    if check and stale:
        print(f"out of date: {', '.join(stale)}; run python docs/make_pages.py")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
