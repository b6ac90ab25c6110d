"""The command line: what it prints, what it writes, and one readable line with exit code 2 when it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer
from conftest import make_model, make_tokenizer
from typer.testing import CliRunner

import spanwise
from spanwise import cli
from spanwise.cli.demo import DEMO_SPAN

# As users run it: the command line hands strings on, and what they are is checked behind it.
pytestmark = pytest.mark.usefixtures("unchecked_types")

WITHOUT_EXAMPLE = ("methods", "doctor", "demo", "benchmark")  # they say in one line what they do
PROMPT, TARGET = "The keys to the cabinet", " are on the table."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model")
    make_model("qwen2").save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    return str(path)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["spanwise", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


def asked(folder: str, *more: str) -> tuple[str, ...]:
    return ("attribute", "--model", folder, "--prompt", PROMPT, "--target", TARGET, "--method", "saliency", *more)


def test_json_is_the_result_and_nothing_else(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *asked(folder, "--span", "are", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    lm = spanwise.LanguageModel(make_model("qwen2"), make_tokenizer())
    expected = spanwise.attribute(lm, PROMPT, TARGET, span="are", method="saliency")
    values = torch.tensor([[torch.nan if x is None else x for x in row] for row in found["scores"]])
    torch.testing.assert_close(values, expected.scores, equal_nan=True)
    assert found["spans"][0]["text"] == "are"
    assert found["provenance"]["model"] == folder


def test_files_and_terminal(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plot, bars, save = tmp_path / "h.png", tmp_path / "b.svg", tmp_path / "r.safetensors"
    assert run(monkeypatch, *asked(folder, "--plot", str(plot), "--bars", str(bars), "--save", str(save))) == 0
    out = capsys.readouterr().out
    assert plot.stat().st_size > 1000 and bars.stat().st_size > 1000
    assert spanwise.Attribution.load(save).prompt == PROMPT
    assert out.count("wrote ") == 3 and "cabinet" in out


def test_prompt_from_a_file_and_a_generated_target(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text(PROMPT, encoding="utf-8")
    arguments = ("attribute", "--model", folder, "--prompt-file", str(file), "--max-new-tokens", "3")
    assert run(monkeypatch, *arguments, "--method", "feature_ablation", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["provenance"]["generated"] and len(found["target"]) <= 3


REFUSED = [
    (("--span", "swim"), "the span 'swim' is not in the target"),
    (("--method", "salience"), "Did you mean 'saliency'?"),
    (("--engine", "tea"), "unknown engine 'tea'"),
    (("--objective", "loss"), "unknown objective 'loss'"),
    (("--quantization", "int4"), "unknown quantization 'int4'. Did you mean 'int8'?"),
    (("--option", "n_steps"), "--option takes name=value, not 'n_steps'"),
    (("--option", "reduction=mean"), "Allowed: l2_norm, sum"),
    (("--batch-size", "0"), "batch_size must be an integer of at least 1, not 0"),
    (("--dtype", "float8"), "unknown dtype 'float8'"),
    (("--plot", "heat.bmp"), "figures are written as .png, .svg, .pdf, not 'heat.bmp'"),
    (("--plot", "no/such/folder/heat.png"), "cannot write no/such/folder/heat.png"),
    (("--save", "no/such/folder/run.safetensors"), "cannot write no/such/folder/run.safetensors"),
    (("--save", "run.pkl"), "results are saved as '.safetensors' files"),
    (("--prompt-file", "no such file"), "--prompt and --prompt-file were both given"),
    (("--model", "./no such model"), "there is no model folder './no such model'"),
]


@pytest.mark.parametrize(("more", "message"), REFUSED, ids=[more[0] + " " + more[1] for more, _ in REFUSED])
def test_refusals(
    folder: str,
    more: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *asked(folder, *more)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err and printed.err.count("\n") == 1 and "Traceback" not in printed.err
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["spanwise", *asked(folder, "--span", "swim", "--debug")])
    with pytest.raises(spanwise.AttributionError):
        cli.main()


def test_methods(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "methods", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [method.name for method in spanwise.list_methods()]
    assert run(monkeypatch, "methods", "integrated_gradients") == 0
    assert "1703.01365" in capsys.readouterr().out
    assert run(monkeypatch, "methods", "shap") == 2


def test_help_teaches() -> None:
    app = typer.main.get_command(cli.app)
    runner = CliRunner()
    commands = ("", *app.commands, "benchmark ground-truth")  # type: ignore[attr-defined] # a group
    for name in commands:
        printed = runner.invoke(cli.app, [*name.split(), "--help"])
        assert printed.exit_code == 0 and "Usage: " in printed.stdout, name
        assert not name or "xample" in printed.stdout or name in WITHOUT_EXAMPLE, f"{name} shows no example"
    version = subprocess.run(
        [sys.executable, "-m", "spanwise", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.strip() == f"spanwise {spanwise.__version__}"


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("bitsandbytes", reason="the demo loads a 4-bit model: needs the quantization extra")
    output = tmp_path / "out" / "demo"
    assert run(monkeypatch, "demo", "--output", str(output)) == 0
    assert sorted(each.name for each in output.iterdir()) == ["attribution.safetensors", "bars.png", "heatmap.png"]
    out = capsys.readouterr().out
    assert "nf4" in out and "feature_ablation" in out and "integrated_gradients" in out
    assert spanwise.Attribution.load(output / "attribution.safetensors").spans[0].text == DEMO_SPAN
    code = out.split("The same in Python:\n")[1].replace('"bars.png"', repr(str(tmp_path / "b.png")))
    code = code.replace('"attribution.safetensors"', repr(str(tmp_path / "a.safetensors")))
    exec("\n".join(line.strip() for line in code.splitlines()), {"spanwise": spanwise})
    assert (tmp_path / "b.png").exists()
