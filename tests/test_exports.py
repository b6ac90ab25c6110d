"""Results for other programs: what is written, by an independent reader, and what is refused."""

import csv
import dataclasses
import json
from pathlib import Path

import inseq
import jsonschema
import pyarrow.parquet
import pytest
import torch
from conftest import PROMPT, TARGET

import spanwise
from spanwise.errors import DependencyError, FileError

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "attribution.schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def result(lm: spanwise.LanguageModel) -> spanwise.Attribution:
    prompt = PROMPT + '\n日本語 😀, "quoted", =1+1'
    return spanwise.attribute(
        lm, prompt, TARGET, span=["painting", "different"], method="feature_ablation", prefix="attributed", rows="token"
    )


def test_json_follows_its_schema_and_comes_back_without_loss(result: spanwise.Attribution, tmp_path: Path) -> None:
    result.export(tmp_path / "run.json")
    written = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    jsonschema.validate(written, SCHEMA)
    again = spanwise.Attribution.from_json(written)
    for field in dataclasses.fields(result):
        one, other = getattr(result, field.name), getattr(again, field.name)
        same = torch.equal(one.nan_to_num(9), other.nan_to_num(9)) if isinstance(one, torch.Tensor) else one == other
        assert same, field.name


def test_the_schema_refuses_what_is_no_result(result: spanwise.Attribution) -> None:
    for broken in ({"version": 3}, {"scores": [["1"]]}, {"extra": 1}, {"source": [{"text": "a"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(json.loads(json.dumps(result.to_json() | broken)), SCHEMA)


def test_without_spans_and_without_rows_of_spans(lm: spanwise.LanguageModel) -> None:
    result = spanwise.attribute(lm, PROMPT, TARGET, method="saliency")
    again = spanwise.Attribution.from_json(json.loads(json.dumps(result.to_json())))
    assert again.span_scores.shape == (0, len(result.source)) and again.provenance == result.provenance


def test_tables_hold_every_score(result: spanwise.Attribution, tmp_path: Path) -> None:
    result.export(tmp_path / "run.csv")
    result.export(tmp_path / "run.parquet")
    with (tmp_path / "run.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    table = pyarrow.parquet.read_table(tmp_path / "run.parquet")
    assert len(lines) == table.num_rows == result.scores.numel()
    expected = result.scores.flatten()
    found = torch.tensor([float(line["score"] or "nan") for line in lines])
    assert torch.equal(found.nan_to_num(9), expected.nan_to_num(9))
    assert [line["source_text"] for line in lines[: len(result.source)]] == [token.text for token in result.source]
    column = torch.tensor([float("nan") if v is None else v for v in table["score"].to_pylist()])
    assert torch.equal(column.nan_to_num(9), expected.nan_to_num(9))
    about = json.loads(table.schema.metadata[b"spanwise"])
    assert about["provenance"]["method"] == "feature_ablation" and about["prompt"] == result.prompt


def test_inseq_reads_its_own_file(result: spanwise.Attribution, tmp_path: Path) -> None:
    result.export(tmp_path / "run.inseq.json")
    again = spanwise.Attribution.from_inseq(inseq.FeatureAttributionOutput.load(tmp_path / "run.inseq.json"))
    assert torch.equal(again.scores.nan_to_num(9), result.scores.nan_to_num(9))
    assert again.provenance == result.provenance


def test_what_cannot_be_written_is_refused_before_any_work(
    result: spanwise.Attribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileError, match=r"exported as \.csv, \.inseq\.json, \.json, \.parquet, not 'run\.xlsx'"):
        result.export(tmp_path / "run.xlsx")
    with pytest.raises(FileError, match="there is no folder"):
        result.export(tmp_path / "missing" / "run.csv")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"\.parquet file needs the package 'pandas'.*spanwise\[parquet\]"):
        result.export(tmp_path / "run.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not a result of spanwise: its format is 'other'"),
        ({"version": 99}, "format version 99; this spanwise reads up to 2"),
        ({"scores": [[1.0]]}, "is damaged"),
        ({"scores": None}, "is damaged"),
        ({"source": None}, "is damaged"),
        ({"provenance": {}}, "is damaged"),
    ],
)
def test_json_that_is_not_ours_is_refused(result: spanwise.Attribution, change: dict, message: str) -> None:
    with pytest.raises(FileError, match=message):
        spanwise.Attribution.from_json(result.to_json() | change)


@pytest.mark.usefixtures("unchecked_types")
def test_json_of_another_shape_is_refused() -> None:
    with pytest.raises(FileError, match="holds list, not the object"):
        spanwise.Attribution.from_json([1])  # type: ignore[arg-type]
