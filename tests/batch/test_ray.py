"""A run on Ray: the same parts as one process makes, byte for byte."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import spanwise
from spanwise.batch.ray_runner import Actor, RayActors, _cause
from spanwise.cli import app
from spanwise.errors import DependencyError, InputError, ModelError, OptionError

MISSING = importlib.util.find_spec("ray") is None
needs_ray = pytest.mark.skipif(MISSING, reason="ray is not installed: pip install 'spanwise[ray]'")
ROWS = [{"prompt": f"The {i} keys to the cabinet", "target": " are new.", "span": "are", "n": i} for i in range(20)]
ROWS[7]["span"] = "is not there"


def written(place: Path) -> Path:
    path = place / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted(folder.glob("*.parquet"))}


def told(lm: spanwise.LanguageModel, place: Path, **changed: Any) -> dict[str, Any]:
    """What `RayRunner` hands to an actor, for a run that is there already but for one part."""
    from dataclasses import fields

    from spanwise.asking import Asked, check
    from spanwise.batch.columns import Names

    composing = {"features": "token", "tools": None, "template_options": None}
    axes = {
        "occurrence": None,
        "target_features": None,
        "source": None,
        "rows": "auto",
        "frozen": "special",
        "prefix": "fixed",
    }
    same = {"method_options": None, "generation_options": None, "baseline": None, "objective": "log_prob"}
    asked = check(
        lm, method="saliency", engine="auto", batch_size="auto", checkpointing=False, seed=0, strict_boundary=False,
        composing=composing, axes=axes, **same,
    )  # fmt: skip
    return {
        "load": {"name_or_path": "tiny"},
        "asked": {each.name: getattr(asked, each.name) for each in fields(Asked) if each.name != "lm"},
        "facts": lm.facts,
        "names": Names("prompt", None, "target", "span", {"n": "int"}),
        "span": None,
        "part_rows": 5,
        "data": str(place / "in.jsonl"),
        "folder": str(place / "out"),
        "threads": torch.get_num_threads(),
        **changed,
    }


def test_an_actor_makes_the_same_parts(tmp_path: Path) -> None:
    """Without Ray: what an actor does with the numbers of parts, in any order."""
    lm = spanwise.load_model("tiny")
    path = written(tmp_path)
    spanwise.attribute_many(lm, path, tmp_path / "out", method="saliency", part_rows=5, progress=False)
    expected = contents(tmp_path / "out")
    for number in (1, 3, 0):
        (tmp_path / "out" / f"part-{number:05d}.parquet").unlink()
    actor = Actor(told(lm, tmp_path))
    counts = {name: list(values) for name, values in actor({"item": [1, 3, 0]}).items()}
    assert counts["rows"] == [5, 5, 5] and counts["failures"] == [1, 0, 0] and min(counts["tokens"]) > 0
    assert contents(tmp_path / "out") == expected


def test_an_actor_with_another_model_is_refused(tmp_path: Path) -> None:
    lm = spanwise.load_model("tiny")
    (tmp_path / "out").mkdir()
    written(tmp_path)
    with pytest.raises(ModelError, match="dtype is 'float32', not 'bfloat16'"):
        Actor(told(lm, tmp_path, facts={**lm.facts, "dtype": "bfloat16"}))


def test_what_is_refused(tmp_path: Path) -> None:
    lm = spanwise.load_model("tiny")
    with pytest.raises(OptionError, match="number of Ray's actors must be an integer of at least 1, not 0"):
        RayActors({"name_or_path": "tiny"}, 0)
    expected: tuple[type[Exception], str] = (
        (DependencyError, r"spanwise\[ray\]") if MISSING else (InputError, "a file or a folder, which each actor reads")
    )
    with pytest.raises(expected[0], match=expected[1]):
        spanwise.attribute_many(lm, ROWS, tmp_path / "out", method="saliency", actors=RayActors({}))
    refused = CliRunner().invoke(app, ["batch", str(written(tmp_path)), "--output", "x", "--runner", "slurm"])
    assert "unknown runner 'slurm'" in str(refused.exception)
    asked = ["batch", str(written(tmp_path)), "--output", "x", "--method", "saliency", "--runner", "ray"]
    for actors, message in (
        ("2-", "a number such as 8"),
        ("many", "not 'many'"),
        ("8-2", "at least 8"),
        ("0", "at least 1"),
    ):
        refused = CliRunner().invoke(app, [*asked, "--actors", actors])
        assert isinstance(refused.exception, OptionError) and message in str(refused.exception)


def test_our_own_error_is_found_in_rays() -> None:
    inner, outer = InputError("no rows"), RuntimeError("task failed")
    outer.cause = inner  # type: ignore[attr-defined] # as RayTaskError has it
    assert _cause(outer) is inner
    assert _cause(ValueError("other")).args == ("other",)


@needs_ray
@pytest.mark.parametrize("actors", ["2", "1-2"])
def test_two_actors_make_the_same_bytes(actors: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    for name, more in (("plain", ()), ("ray", ("--runner", "ray", "--actors", actors))):
        asked = (str(path), "--method", "saliency", "--part-rows", "5", "--output", str(tmp_path / name))
        done = subprocess.run(
            [sys.executable, "-m", "spanwise", "batch", *asked, *more],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 3, done.stderr  # the row whose span is not there
        assert "19 results in 4 parts, 1 failures" in done.stdout
    assert contents(tmp_path / "plain") == contents(tmp_path / "ray")
    assert json.loads((tmp_path / "ray" / "index.json").read_text())["state"] == "done"
