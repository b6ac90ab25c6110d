"""The README's blocks run, and print what they say; docstring examples too; the method table is the real one."""

import doctest
import importlib
import importlib.util
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner

import spanwise
from spanwise.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = (
    "README.md",
    "docs/install.md",
    "docs/tour.md",
    "docs/reading.md",
    "docs/pointing.md",
    "docs/big-models.md",
    "docs/migrating.md",
    "docs/evaluation.md",
    "docs/report.md",
    "docs/figures.md",
    "docs/batch.md",
    "docs/regression-tests.md",
    "docs/studies.md",
)


def blocks(page: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: language and text."""
    return re.findall(r"```(\w+)\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_print_what_they_show(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page are one doctest session, in their order."""
    monkeypatch.chdir(tmp_path)
    session = "\n".join(text for language, text in blocks(page) if language == "python")
    assert session.count(">>>") >= 3
    test = doctest.DocTestParser().get_doctest(session, {}, page, page, 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    failed, _ = runner.run(test, out=report.append)
    assert not failed, "".join(report)


@pytest.mark.parametrize("page", [page for page in PAGES if any(language == "sh" for language, _ in blocks(page))])
def test_shell_blocks_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that begin with `spanwise`; `make`, `git` and `pip` lines are how this test got here.

    Those of the README each in a process of its own, as a user has it; the others in this one, which spares the start.
    """
    monkeypatch.chdir(tmp_path)
    lines = [line for language, text in blocks(page) if language == "sh" for line in _joined(text)]
    assert lines
    for line in lines:
        words = shlex.split(line, comments=True)
        assert words[0] in ("spanwise", "make", "git", "cd", "pip"), line
        if words[0] == "spanwise" and page == "README.md":
            done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        elif words[0] == "spanwise":
            with warnings.catch_warnings():
                warnings.simplefilter("default")
                ran = CliRunner().invoke(app, words[1:])
            assert ran.exit_code == 0, (line, ran.output, ran.exception)


def _joined(text: str) -> list[str]:
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]


def test_methods_are_listed() -> None:
    """Most of them in the README, all of them on the page that a script makes."""
    names = [method.name for method in spanwise.list_methods()]
    assert sum(f"`{name}`" in README for name in names) >= 15
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    for method in spanwise.list_methods():
        for engine in method.engines:
            assert f"| `{method.name}` | {engine} |" in page, f"{method.name}: run docs/make_methods_page.py"
    assert len(README.splitlines()) <= 130


def test_images_of_the_readme_are_there() -> None:
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize("name", sorted(m.name for m in pkgutil.walk_packages(spanwise.__path__, "spanwise.")))
def test_docstring_examples(name: str) -> None:
    if name.endswith("__main__"):
        return
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert not failed


def test_the_extras_are_listed() -> None:
    """The page has every extra of pyproject.toml, and says which ones `all` leaves out."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", page, flags=re.MULTILINE))
    assert {name for cell in rows for name in re.findall(r"`(\w+)`", cell)} == set(extras)
    inside = re.findall(r"\w+", extras["all"][0].split("[")[1])
    assert set(re.findall(r"`(\w+)`", rows["`all`"])) == set(extras) - set(inside) - {"all", "dev"}


def test_rows_of_the_page_of_methods_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not measured anew stands there as before; a method that is neither there nor asked for is told."""
    spec = importlib.util.spec_from_file_location("make_methods_page", ROOT / "docs" / "make_methods_page.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.PAGE.read_text(encoding="utf-8")
    tried: list[str] = []
    monkeypatch.setattr(module, "measured", lambda asked: tried.extend(f"{m.name} {e}" for m, e in asked) or {})
    assert module.support_table(["lime", "saliency"]) in page and "note 1" in module.support_table(["lime"])
    assert tried[:3] == ["saliency captum", "saliency inseq", "lime captum"]
    assert module.pointing_table() in page and module.method_table() in page
    monkeypatch.setattr(module, "on_the_page", dict)
    with pytest.raises(SystemExit, match=r"not on the page: .*saliency, input_x_gradient"):
        module.support_table(["lime"])
