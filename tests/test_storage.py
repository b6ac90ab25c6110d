"""Results as files: lossless, never half-written, and refused when they are not ours."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from conftest import PROMPT, TARGET
from safetensors.torch import save_file

import spanwise
from spanwise import storage
from spanwise.errors import FileError, InputError


@pytest.fixture
def result(lm: spanwise.LanguageModel) -> spanwise.Attribution:
    prompt = PROMPT + "\n日本語 😀 [bold] $x_1$"
    return spanwise.attribute(
        lm, prompt, TARGET, span=["painting", "different"], method="feature_ablation", prefix="attributed", rows="token"
    )


def test_round_trip_is_lossless(result: spanwise.Attribution, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    result.save(path)
    again = spanwise.Attribution.load(path)
    for field in dataclasses.fields(result):
        one, other = getattr(result, field.name), getattr(again, field.name)
        if isinstance(one, torch.Tensor):
            assert torch.equal(one.isnan(), other.isnan()) and torch.equal(one.nan_to_num(), other.nan_to_num())
        else:
            assert one == other, field.name
    assert [each.name for each in tmp_path.iterdir()] == ["run.safetensors"]


def header(version: int) -> dict[str, str]:
    return {"spanwise": json.dumps({"format": storage.FORMAT, "version": version})}


def test_what_is_not_ours_is_refused(result: spanwise.Attribution, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no file"):
        spanwise.Attribution.load(tmp_path / "nothing.safetensors")
    path = tmp_path / "run.safetensors"
    result.save(path)
    whole = path.read_bytes()
    for size in (0, 7, 200, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(FileError, match="truncated or not a safetensors file"):
            spanwise.Attribution.load(path)
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(FileError, match="not a result of spanwise"):
        spanwise.Attribution.load(path)
    save_file({"scores": torch.zeros(2)}, path, metadata=header(99))
    with pytest.raises(FileError, match="format version 99; this spanwise reads up to 2"):
        spanwise.Attribution.load(path)
    save_file({"scores": torch.zeros(2)}, path, metadata=header(1))
    with pytest.raises(FileError, match="is damaged"):
        spanwise.Attribution.load(path)


def test_nothing_is_half_written(result: spanwise.Attribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.safetensors"
    result.save(path)
    before = path.read_bytes()

    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        result.save(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["run.safetensors"]


def test_where_it_cannot_write(result: spanwise.Attribution, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot write"):
        result.save(tmp_path / "no folder" / "run.safetensors")
    with pytest.raises(FileError, match=r"'.safetensors' files, not 'run.pkl'"):
        result.save(tmp_path / "run.pkl")


@pytest.mark.usefixtures("unchecked_types")
def test_a_result_checks_itself(result: spanwise.Attribution) -> None:
    with pytest.raises(InputError, match=r"scores has shape \(1, 1\), but the tokens and spans need"):
        dataclasses.replace(result, scores=torch.zeros(1, 1))
    with pytest.raises(InputError, match="must be float32 on the CPU"):
        dataclasses.replace(result, scores=result.scores.double())
    with pytest.raises(InputError, match="infinite"):
        dataclasses.replace(result, scores=torch.full_like(result.scores, torch.inf))


def test_dataframe(result: spanwise.Attribution) -> None:
    pytest.importorskip("pandas", reason="needs the dataframe extra")
    frame = result.to_dataframe()
    assert len(frame) == result.scores.numel()
    column = torch.tensor(frame["score"].to_numpy(), dtype=torch.float32).reshape(result.scores.shape)
    assert torch.equal(column.nan_to_num(), result.scores.nan_to_num())
    assert frame["source_text"][0] == "Mi"
