"""Every example runs, and prints what its docstring claims."""

import ast
import os
import re
import runpy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import spanwise

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py"))
Ran = tuple[dict[str, Any], str]


@pytest.fixture
def ran(request: pytest.FixtureRequest, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """The names and the output of the example that the test's name ends with, run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    found = runpy.run_path(str(EXAMPLES / f"{request.node.name.removeprefix('test_')}.py"), run_name="__main__")
    return found, capsys.readouterr().out


def figures(line: str) -> list[float]:
    """The numbers in a line."""
    return [float(number) for number in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", line)]


def line_of(output: str, start: str) -> str:
    """The first line that begins with that text."""
    return next(line for line in output.splitlines() if line.startswith(start))


def test_each_is_short_and_says_what_it_shows() -> None:
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert set(SCRIPTS) <= tests, "an example without a test"
    for name in SCRIPTS:
        text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 40, name
        told = ast.get_docstring(ast.parse(text))
        assert told and len(told.splitlines()) == 2 and told.splitlines()[1].startswith("Shows: "), name


def test_quick_start(ran: Ran, tmp_path: Path) -> None:
    names, output = ran
    assert names["result"].top(1)[0][0].text == " France"
    assert "span:  »Paris«." in output
    [drop] = figures(line_of(output, "Without ' France'"))
    assert drop == pytest.approx(names["score"], abs=0.05) and drop > 2
    assert (tmp_path / "paris.png").read_bytes().startswith(b"\x89PNG")


def test_four_bit(ran: Ran) -> None:
    names, output = ran
    assert names["result"].provenance.quantization == "nf4"
    assert [line_of(output, name).split()[1] for name in ("float32", "nf4")] == ["France", "France"]
    assert not torch.equal(*(scores.nan_to_num() for scores in names["scores"].values()))
    assert figures(line_of(output, "correlation"))[0] > 0.95


def test_device_map(ran: Ran) -> None:
    names, output = ran
    assert line_of(output, "on the disk") == "on the disk: model.layers.2, model.layers.3"
    assert figures(line_of(output, "largest difference"))[0] < 1e-5
    assert names["whole"].scores.nan_to_num().abs().max() > 1e-3


def test_span(ran: Ran) -> None:
    _, output = ran
    assert "text and regex agree: True" in output
    phrases = ["painting", "traveling to different countries", "and volunteering at community events"]
    assert line_of(output, "rows") == f"rows: {phrases}"
    assert max(figures(line_of(output, "'software' off"))) < 0.1
    assert figures(line_of(output, "both off"))[0] > 3


def test_chat(ran: Ran) -> None:
    names, output = ran
    scored = [token for token in names["mine"].source if not token.frozen]
    assert [token.text for token in scored] == ["The", "capital", "of", "France", "is", "called"]
    assert names["mine"].top(1)[0][0].text == "France"
    shares = [int(share) for share in re.findall(r"(\d+)% of the attention", output)]
    assert len(shares) == 3 and 98 <= sum(shares) <= 102
    assert shares[1] + shares[2] > 30  # template and special tokens: what freezing them keeps out


def test_contrast(ran: Ran) -> None:
    names, output = ran
    assert "strongest for 'her': told" in output and "strongest for 'her, not his': Susan" in output
    assert names["against"].provenance.objective == "contrast('his', log_prob)"


def test_compare(ran: Ran, tmp_path: Path) -> None:
    names, output = ran
    assert output.startswith("integrated_gradients and shapley_value_sampling agree beyond chance")
    assert "input_x_gradient stands apart" in output
    table = [line for line in output.splitlines() if re.match(r"\w+ +\w+ +-?\d\.\d\d$", line)]
    assert len(table) == len(names["together"].pairs) == 6
    assert "saliency" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_evaluate(ran: Ran) -> None:
    _, output = ran
    assert output.splitlines() == [
        "feature_ablation: beats random rankings: True; top token is a cause: 6 of 6",
        "input_x_gradient: beats random rankings: False; top token is a cause: 1 of 6",
    ]


def test_drop_in_captum(ran: Ran) -> None:
    names, output = ran
    assert "Captum's own LLMAttributionResult, 4 target tokens by 6 source tokens" in output
    ours = spanwise.attribute(
        names["lm"], "The capital of France is called", " Paris.", rows="span", method="feature_ablation"
    )
    assert names["result"].seq_attr.argmax() == 3 and "France" in line_of(output, "France")
    assert ours.top(1)[0][0].text == " France"


def test_drop_in_inseq(ran: Ran) -> None:
    names, output = ran
    assert "Inseq's own GranularFeatureAttributionSequenceOutput; 'P', probability 0.998" in output
    out = names["out"]
    assert type(out).__module__.startswith("inseq.")
    assert out.target_attributions.shape[:2] == (10, 4)  # prompt and target tokens, target tokens
    shares = {line.split()[0]: figures(line)[0] for line in output.splitlines()[1:]}
    assert list(shares) == ["The", "capital", "of", "France", "is", "called"]
    assert max(shares, key=shares.__getitem__) == "France" and sum(shares.values()) == pytest.approx(1, abs=0.003)


def test_pipeline(ran: Ran) -> None:
    names, output = ran
    assert "generated: 'The capital of France is called Paris.'" in output
    assert "strongest for ' Paris.': ' France'" in output
    assert names["found"].provenance.generated is False  # the pipeline wrote it; its ids were given


def test_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a kernel of its own; the outputs that it shows are those it was saved with."""
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel: pip install nbclient ipykernel")
    pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel: pip install nbclient ipykernel")
    import nbformat

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(spanwise.__file__).parent.parent)]))
    saved = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    notebook = nbformat.from_dict(saved)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jupyter's own: sockets and event loops
        nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    before, after = ([shown(cell) for cell in each.cells if cell.cell_type == "code"] for each in (saved, notebook))
    assert len(after) == 3
    assert after[0]["text/plain"] == "Attribution(feature_ablation of 1 span, 9 source tokens, tiny float32)"
    assert "France" in after[0]["text/html"] and "<script" not in after[0]["text/html"]
    assert after[1]["text/plain"] == before[1]["text/plain"] and " France" in after[1]["text/plain"]
    assert after[2]["image/png"]


def shown(cell: Any) -> Any:
    """What the last line of a cell showed."""
    return next(output.data for output in cell.outputs if output.output_type == "execute_result")
