"""The site builds without a warning and asks nothing of the network; its generated pages are up to date; what the page
for those who change the code tells them to change works."""

import doctest
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import spanwise

ROOT = Path(__file__).parent.parent
PACKAGE = Path(spanwise.__file__).parent
EXTERNAL = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*\b(?:src|data)\s*=\s*[\"']?(?:https?:)?//[^\"'\s>]+"
    r"|<link\b[^>]*\brel=[\"']?(?:stylesheet|preload|preconnect|icon|modulepreload|dns-prefetch)[^>]*(?:https?:)?//[^>]+"
    r"|(?:url\(|@import\s+)[\"']?(?:https?:)?//[^\"')]+",
    flags=re.IGNORECASE,
)


def loaded(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def make_pages() -> ModuleType:
    return loaded("make_pages")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. A warning of MkDocs, a dead link or a name without a docstring among them, ends the build."""
    for package in ("mkdocs", "material", "mkdocstrings_handlers"):
        pytest.importorskip(package, reason="needs the extra docs: pip install -e .[docs]")
    out = tmp_path_factory.mktemp("site")
    # Material for MkDocs prints an advertisement of its successor unless this is set.
    known = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": "default"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env=known,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr, done.stderr
    return out


def test_generated_pages_are_up_to_date(make_pages: ModuleType) -> None:
    for path, text in make_pages.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python docs/make_pages.py"


def test_every_page_is_in_the_navigation() -> None:
    told = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"^ *- .+: ([\w-]+\.md)$", told, flags=re.MULTILINE))
    assert named == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_external_resources_are_seen() -> None:
    """What the next test looks for, it finds."""
    assert EXTERNAL.search('<script defer src="https://unpkg.com/x"></script>')
    assert EXTERNAL.search('<link rel="stylesheet" href="//fonts.example/css">')
    assert EXTERNAL.search("@import url(https://fonts.example/css)")
    assert not EXTERNAL.search('<a href="https://arxiv.org">')


def test_nothing_is_loaded_from_the_network(site: Path) -> None:
    """No page and no style sheet of ours names a resource elsewhere. (Mermaid, which would be fetched, is not used.)"""
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= 17
    for path in [*pages, *site.rglob("*.css")]:
        text = path.read_text(encoding="utf-8")
        found = EXTERNAL.search(text)
        assert not found, f"{path.relative_to(site)}: {found.group()}"
        assert 'class="mermaid"' not in text


def test_the_api_has_every_public_name(site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    for name in spanwise.__all__:
        if name != "__version__":
            assert f'id="spanwise.{name}"' in page, name
    for told in ("Parameters:", "Raises:", "Examples:", "baseline"):
        assert told in page
    for box in ("<summary>Example</summary>", 'admonition-title">Example<'):  # what "Example:" is without our reader
        assert box not in page, "docs/docstrings.py makes these sections with code"


def test_choosing_has_every_method(site: Path) -> None:
    page = (site / "choosing.html").read_text(encoding="utf-8")
    for method in spanwise.list_methods():
        assert page.count(f"<code>{method.name}</code>") >= 1, method.name


def test_pictures_are_there(site: Path) -> None:
    for path in site.glob("*.html"):
        for image in re.findall(r'<img [^>]*src="([^"]+)"', path.read_text(encoding="utf-8")):
            assert (site / image).is_file(), f"{path.name}: {image}"


def test_the_hook_and_the_reader_of_docstrings_do_what_they_say() -> None:
    for name in ("site_hook", "docstrings"):
        if name == "docstrings":
            pytest.importorskip("griffe", reason="needs the extra docs: pip install -e .[docs]")
        failed, tried = doctest.testmod(loaded(name))
        assert tried and not failed, name


def test_papers_are_links(site: Path) -> None:
    page = (site / "evaluation.html").read_text(encoding="utf-8")
    assert '<a href="https://arxiv.org/abs/1902.10186">arXiv:1902.10186</a>' in page


def test_the_copy_button_leaves_prompts_and_output_out(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the clipboard of a browser: what is copied runs as it is."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "views"))
    from browser import started

    with started() as browser:
        context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.goto((site / "install.html").as_uri())
        buttons = page.locator("[data-md-type=copy], .md-clipboard")
        copied = []
        for number in range(buttons.count()):
            buttons.nth(number).click(force=True)
            page.wait_for_timeout(200)
            copied.append(page.evaluate("navigator.clipboard.readText()"))
    (code,) = [text for text in copied if "load_model" in text]
    assert code.split("\n")[0] == "import spanwise" and "len(spanwise.list_methods()) >= 19" in code
    assert ">>>" not in code and "LanguageModel('tiny'" not in code and "True" not in code
    assert any(text.startswith("make demo") for text in copied)


# --- The changes on the page for those who change the code -------------------------------------------------------

CHECKS = """
import sys
import torch
import spanwise

sys.path[:0] = [{tests!r}, {engines!r}]
from conftest import make_model, make_tokenizer
from test_closed_forms import Additive, AdditiveConfig

assert spanwise.__file__.startswith({copy!r}), spanwise.__file__

from captum.attr import Occlusion
from toy_scorer import interacting
from spanwise.engines import captum_perturbation
vars(captum_perturbation)["Occlusion"] = Occlusion
exec({captum!r}, vars(captum_perturbation))
toy = interacting(5, rows=2)
one, known = (captum_perturbation.RUNNERS[name](toy, dict(window=1)) for name in ("occlusion", "feature_ablation"))
assert one.shape == (2, 5) and torch.allclose(one, known), (one, known)

torch.manual_seed(3)
lm = spanwise.LanguageModel(Additive(AdditiveConfig()).eval(), make_tokenizer())
how = dict(span="the", objective="logit", baseline="pad")
model, tokenizer = lm.model, lm.tokenizer
for method, engine in (("keep_one", "auto"), ("feature_ablation", "loop")):
    result = spanwise.attribute(lm, "The keys to", " the table", method=method, engine=engine, **how)
    ids = torch.tensor([token.id for token in result.source if not token.frozen])
    off = model.embed.weight[tokenizer.pad_token_id]
    effect = (model.embed.weight[ids] - off) @ model.direction  # of each token, whatever the others are
    assert effect.abs().max() > 0.01
    found = result.scores[0][: len(ids)]
    assert torch.allclose(found, effect.detach(), atol=1e-5), (method, found, effect)
    print(method, result.provenance.engine)

real = spanwise.LanguageModel(make_model("qwen2"), tokenizer)
result = spanwise.attribute(real, "The keys to", " the table", method="feature_ablation", objective="margin")
ids = torch.tensor([[*result.provenance.prompt_ids, *result.provenance.target_ids]])
logits = make_model("qwen2")(ids).logits[0, len(result.provenance.prompt_ids) - 1 : -1].float()
for row, (values, target) in enumerate(zip(logits, result.provenance.target_ids)):
    others = torch.cat([values[:target], values[target + 1 :]])
    assert torch.allclose(result.target_scores[row], values[target] - others.max(), atol=1e-4)
print("margin", result.provenance.unit)

from spanwise.evaluation.doctor import checks, doctor
named = ("margin equals", "logit equals", "keep_one on native", "feature_ablation on loop")
every = checks.checks
doctor.checks = lambda case: [each for each in every(case) if each.name.startswith(named)]
found = doctor.doctor(progress=False)
assert not found.broken, found.findings
print(*sorted(each.outcome for each in found.findings))
"""


FACING = ("tests/scoring/test_scorer.py", "tests/engines/test_contract.py", "tests/engines/test_closed_forms.py")
FACED = (
    "(test_target_scores_equal_plain_forwards and qwen2) or (keep_one and (closed_form or token_rows)) "
    "or (test_contract and keep_one and qwen2) or (test_closed_form and loop and pad)"
)
"""The tests that an addition meets on one architecture."""


def hunks(diff: str) -> list[tuple[str, list[str], list[str]]]:
    """Returns file, old lines and new lines of each hunk; the old lines of a new file are empty."""
    found: list[tuple[str, list[str], list[str]]] = []
    file = ""
    for line in diff.splitlines():
        if line.startswith("+++ b/"):
            file = line.removeprefix("+++ b/")
        elif line.startswith("@@"):
            found.append((file, [], []))
        elif not line.startswith("--- "):
            _, old, new = found[-1]
            if line[:1] in ("-", " ", ""):
                old.append(line[1:])
            if line[:1] in ("+", " ", ""):
                new.append(line[1:])
    return found


def apply(diff: str, source_root: Path) -> None:
    """Applies a diff without line numbers: the old lines of a hunk must be in the file, once."""
    for file, old, new in hunks(diff):
        path = source_root / file
        if not old:
            assert not path.exists(), file
            path.write_text("\n".join(new) + "\n", encoding="utf-8")
            continue
        text = path.read_text(encoding="utf-8")
        before, after = ("\n".join(lines) + "\n" for lines in (old, new))
        assert text.count(before) == 1, f"docs/changing.md: {text.count(before)} places in {file} like\n{before}"
        path.write_text(text.replace(before, after), encoding="utf-8")


def test_the_changes_on_the_page_work(tmp_path: Path) -> None:
    """All three applied to a copy of the package; their numbers are those of closed forms."""
    page = (ROOT / "docs" / "changing.md").read_text(encoding="utf-8")
    diffs = re.findall(r"```diff\n(.*?)```", page, flags=re.DOTALL)
    (captum,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(diffs) == 3
    shutil.copytree(PACKAGE, tmp_path / "wrapper" / "spanwise", ignore=shutil.ignore_patterns("__pycache__"))
    for diff in diffs:
        changed = sum(line[:1] in "+-" and line[:3] not in ("+++", "---") for line in diff.splitlines())
        assert changed <= 40, "short enough to be read"
        apply(diff, tmp_path)
    checks = CHECKS.format(
        tests=str(ROOT / "tests"),
        engines=str(ROOT / "tests" / "engines"),
        copy=str(tmp_path / "wrapper"),
        captum=captum,
    )
    known = os.environ | {"PYTHONPATH": str(tmp_path / "wrapper"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", checks], cwd=tmp_path, env=known, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *_, method, engine, objective, told, _ = done.stdout.split("\n")
    assert (method, engine, objective) == ("keep_one native", "feature_ablation loop", "margin logit")
    assert told == "not checked ok ok ok"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", "-k", FACED, *FACING],
        cwd=ROOT,
        env=known,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "not checked: no reference for 'margin'" in done.stdout
    counted = {kind: int(number) for number, kind in re.findall(r"(\d+) (passed|skipped)", done.stdout)}
    assert counted["passed"] >= 10, done.stdout
