"""The house as DESIGN draws it: who imports whom, what is public, what an import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import spanwise

ROOT = Path(spanwise.__file__).parent

# Each room may import the rooms on its left, and those of its own column never each other.
ORDER = [
    {"_version", "errors", "progress"},
    {"pieces"},
    {"attribution", "methods"},
    {"storage"},
    {"exports"},
    {"text"},
    {"grouping"},
    {"aggregation"},
    {"model"},
    {"scoring"},
    {"engines"},
    {"question"},
    {"asking", "together"},
    {"api", "previewing", "testing"},
    {"compat", "evaluation", "batch"},
    {"__init__"},
    {"cli"},
    {"__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
VIEWS_MAY = {"attribution", "errors", "storage", "progress"}
ENGINES = {
    "captum": ("engines/captum", "compat/captum"),
    "inseq": ("engines/inseq", "compat/inseq"),
    "bitsandbytes": ("model/",),
    "accelerate": ("model/", "batch/"),
    "matplotlib": ("views/",),
}


def imports(path: Path, *, lazy: bool) -> set[str]:
    """Names of imported modules; with `lazy`, those inside functions and under TYPE_CHECKING too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if lazy else tree.body
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def room_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def test_rooms_import_only_what_stands_before_them() -> None:
    for path in ROOT.rglob("*.py"):
        room = room_of(path)
        for name in imports(path, lazy=False):
            if not name.startswith("spanwise."):
                continue
            other = name.split(".")[1]
            if other == room or room == "__init__":
                continue
            if room == "views":
                assert other in VIEWS_MAY, f"{path} imports {name}"
            else:
                assert other in LEVEL and LEVEL[other] < LEVEL[room], f"{path} imports {name}"


def test_engines_and_heavy_libraries_stay_in_their_rooms() -> None:
    for path in ROOT.rglob("*.py"):
        place = path.relative_to(ROOT).as_posix()
        for name in imports(path, lazy=True):
            package = name.split(".")[0]
            if package in ENGINES:
                only_for_types = place in ("attribution.py",)
                assert place.startswith(ENGINES[package]) or only_for_types, f"{place} imports {package}"


def test_public_names() -> None:
    assert spanwise.__all__ == sorted(spanwise.__all__)
    assert set(spanwise.__all__) == {
        "Attribution",
        "AttributionError",
        "AttributionWarning",
        "Checklist",
        "Comparison",
        "Drift",
        "Evaluation",
        "Example",
        "LanguageModel",
        "MethodInfo",
        "Plan",
        "Preview",
        "Provenance",
        "Run",
        "Sanity",
        "Span",
        "Token",
        "__version__",
        "aggregate",
        "attribute",
        "attribute_many",
        "checklist",
        "compare",
        "compare_precision",
        "contrast",
        "documents",
        "evaluate",
        "explain",
        "ground_truth",
        "kl",
        "list_methods",
        "load_model",
        "open_run",
        "plan",
        "preview",
        "probe",
        "product_baselines",
        "role",
        "sanity",
        "template",
        "testing",
        "tokens",
    }


def test_import_is_light_and_silent() -> None:
    script = (
        "import sys, warnings; warnings.simplefilter('error'); import spanwise; "
        "heavy = {'captum', 'inseq', 'matplotlib', 'bitsandbytes', 'accelerate', 'pandas', 'sklearn', 'rich'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_rooms_are_small() -> None:
    """300 lines a file; the table of methods is data, and may be longer."""
    for path in ROOT.rglob("*.py"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 300 or path.name == "methods.py", f"{path.name} has {lines} lines"
