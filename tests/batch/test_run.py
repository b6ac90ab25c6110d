"""Nothing lost: killed, torn, full, locked, malformed; and read back without loss."""

import contextlib
import gc
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import spanwise
from spanwise.batch import folder as folders
from spanwise.batch.bar import bar_of
from spanwise.batch.running import older_objects_left_alone
from spanwise.cli import app
from spanwise.errors import AttributionWarning, FileError, InputError, OptionError

ROWS = [
    {
        "prompt": f"Michael has {number} keys to the cabinet",
        "target": " and likes Paris.",
        "span": "Paris",
        "id": number,
    }
    for number in range(24)
]
ASKED: dict[str, Any] = {"method": "saliency", "part_rows": 4, "progress": False}


def written(path: Path, rows: list[Any] = ROWS) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted(folder.glob("*.parquet"))}


@pytest.fixture(scope="module")
def tiny() -> spanwise.LanguageModel:
    return spanwise.load_model("tiny")


@pytest.fixture(scope="module")
def whole(tiny: spanwise.LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    place = tmp_path_factory.mktemp("whole")
    spanwise.attribute_many(tiny, written(place / "in.jsonl"), place / "out", **ASKED)
    return place


def command(place: Path, output: Path, *more: str) -> list[str]:
    asked = ("--method", "saliency", "--part-rows", "4", "--output", str(output))
    return [sys.executable, "-m", "spanwise", "batch", str(place / "in.jsonl"), *asked, *more]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_resumed_after_kills(tiny: spanwise.LanguageModel, whole: Path, tmp_path: Path) -> None:
    kill_at_random_moments(tiny, whole, tmp_path, 4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_resumed_after_twenty_kills(tiny: spanwise.LanguageModel, whole: Path, tmp_path: Path) -> None:
    for attempt in range(4):
        kill_at_random_moments(tiny, whole, tmp_path / str(attempt), 5)


def kill_at_random_moments(tiny: spanwise.LanguageModel, whole: Path, place: Path, kills: int) -> None:
    """Kills a run a random time after a part more is there: among others while one is written, or the index."""
    output, rng, expected = place / "out", random.Random(str(kills)), contents(whole / "out")
    for kill in range(kills):
        child = forked(lambda: spanwise.attribute_many(tiny, whole / "in.jsonl", output, **ASKED))
        ended = 0
        while len(list(output.glob("part-*"))) <= kill and not ended:
            ended, _ = os.waitpid(child, os.WNOHANG)
            time.sleep(0.001)
        assert not ended, "it ended before it was killed"
        time.sleep(rng.random() * 0.05)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert all(found == expected[name] for name, found in contents(output).items())
    spanwise.attribute_many(tiny, whole / "in.jsonl", output, **ASKED)
    assert contents(output) == expected
    assert not list(output.glob(".part-*"))
    run = spanwise.open_run(output)
    assert [entry.row for entry in run.entries()] == list(range(len(ROWS))) and run.done


def forked(work: Any) -> int:
    """Does some work in a process of its own, which shares the model that is loaded, and returns its number."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    return child


# `accelerate launch --cpu` starts one process only, unless MPI does it; --multi_gpu is its name for torchrun.
LAUNCHER = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1")
QUIETLY = ("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0")


def test_two_processes_one_killed(tiny: spanwise.LanguageModel, whole: Path, tmp_path: Path) -> None:
    """One of two processes is killed, and the same command goes on: the parts are those of one process alone."""
    pytest.importorskip("accelerate", reason="several processes need the batch extra")
    import psutil  # accelerate brings it

    output, slow = tmp_path / "out", {**ASKED, "method": "integrated_gradients"}
    spanwise.attribute_many(tiny, whole / "in.jsonl", tmp_path / "expected", **slow)
    more = command(whole, output, "--method", "integrated_gradients")[1:]
    arguments = [sys.executable, *LAUNCHER, *QUIETLY, *more]
    with subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        workers: list[int] = []
        while process.poll() is None and not (len(workers) == 2 and list(output.glob("part-*"))):
            time.sleep(0.001)
            with contextlib.suppress(psutil.NoSuchProcess):
                children = psutil.Process(process.pid).children(recursive=True)
                workers = [child.pid for child in children if "in.jsonl" in " ".join(child.cmdline())]
        assert len(workers) == 2
        os.kill(max(workers), signal.SIGKILL)
        process.communicate()
    expected = contents(tmp_path / "expected")
    assert 0 < len(contents(output)) < len(expected)
    again = subprocess.run(arguments, env=environment(), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert contents(output) == expected


def test_a_process_that_is_lost_has_its_part_taken_up(
    tiny: spanwise.LanguageModel, whole: Path, tmp_path: Path
) -> None:
    """Another process claims a part and dies: the run waits for it, then does the part itself."""
    code = (
        "import fcntl, os, sys, time; f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); "
        "fcntl.lockf(f, fcntl.LOCK_EX, 1, 2); print('held', flush=True); time.sleep(2)"
    )
    output = tmp_path / "out"
    output.mkdir()
    other = subprocess.Popen([sys.executable, "-c", code, output / ".parts.lock"], stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    spanwise.attribute_many(tiny, whole / "in.jsonl", output, **ASKED)
    assert other.wait() == 0
    other.stdout.close()
    assert contents(output) == contents(whole / "out")


def copied(whole: Path, output: Path) -> None:
    output.mkdir()
    for each in (whole / "out").iterdir():
        if not each.name.startswith("."):
            (output / each.name).write_bytes(each.read_bytes())


@pytest.mark.parametrize("damage", ["truncated", "zeroed", "empty", "swapped"])
def test_a_torn_part_is_done_again(tiny: spanwise.LanguageModel, whole: Path, tmp_path: Path, damage: str) -> None:
    output = tmp_path / "out"
    copied(whole, output)
    part = output / "part-00005.parquet"
    before = part.read_bytes()
    torn = {
        "truncated": before[: len(before) // 2],
        "zeroed": bytes(3000) + before[3000:],
        "empty": b"",
        "swapped": (output / "part-00004.parquet").read_bytes(),
    }
    part.write_bytes(torn[damage])
    (output / ".part-00005.parquet.abc.parquet").write_bytes(b"left by a killed run")
    with pytest.warns(AttributionWarning, match=r"torn, and done again: part-00005\.parquet"):
        spanwise.attribute_many(tiny, whole / "in.jsonl", output, **ASKED)
    assert contents(output) == contents(whole / "out")
    assert not list(output.glob(".part-*"))


def test_a_full_disk_stops_cleanly(tiny: spanwise.LanguageModel, whole: Path, tmp_path: Path) -> None:
    """A tmpfs with room for a few parts; where none may be mounted, a limit on the size of files."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if mounted.returncode:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        with pytest.raises(FileError, match=r"cannot write .*(No space left|File too large)"):
            spanwise.attribute_many(tiny, whole / "in.jsonl", disk / "out", **ASKED)
        assert not list((disk / "out").glob(".part-*"))
        kept = contents(disk / "out")
        assert mounted.returncode or len([name for name in kept if name.startswith("part")]) >= 1
        if not mounted.returncode:
            subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        spanwise.attribute_many(tiny, whole / "in.jsonl", disk / "out", **ASKED)
        assert contents(disk / "out") == contents(whole / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        if not mounted.returncode:
            subprocess.run(["umount", str(disk)], check=True)


def test_a_second_run_is_refused_by_a_lock(tiny: spanwise.LanguageModel, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    with folders.Folder(output).locked():
        done = subprocess.run(command(whole, output), env=environment(), capture_output=True, text=True)
        assert done.returncode == 2 and "another run is writing to" in done.stderr and str(os.getpid()) in done.stderr
        with pytest.raises(FileError, match="another run is writing"):
            spanwise.attribute_many(tiny, whole / "in.jsonl", output, **ASKED)
    assert not list(output.glob("*.parquet"))
    spanwise.attribute_many(tiny, whole / "in.jsonl", output, **ASKED)


def test_a_changed_command_is_refused(tiny: spanwise.LanguageModel, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    copied(whole, output)
    with pytest.raises(OptionError, match="method was 'saliency' and is 'input_x_gradient'"):
        spanwise.attribute_many(tiny, whole / "in.jsonl", output, **{**ASKED, "method": "input_x_gradient"})
    assert contents(output) == contents(whole / "out")
    changed = {**ASKED, "method": "input_x_gradient", "new_run": True}
    run = spanwise.attribute_many(tiny, whole / "in.jsonl", output, **changed)
    assert run[0].provenance.method == "input_x_gradient"
    assert contents(output / "_earlier-1") == contents(whole / "out")


def test_a_changed_input_is_refused(tiny: spanwise.LanguageModel, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    copied(whole, output)
    changed = [*ROWS[:9], {**ROWS[9], "prompt": "Another"}, *ROWS[10:]]
    for rows, told in ((changed, "rows 8 to 11 are others"), (ROWS[:12], "it ends before row 12")):
        with pytest.raises(InputError, match=f"the input has changed since part-0000.*{told}"):
            spanwise.attribute_many(tiny, written(tmp_path / "in.jsonl", rows), output, **ASKED)


BAD = [
    ('{"prompt": "The keys", "target": " are", "sp', "line 1 is not JSON"),
    ('["The keys", " are"]', "no JSON object with columns, but list"),
    ('{"prompt": "", "target": " are", "span": "are"}', "the prompt must be a text that is not empty"),
    ('{"prompt": "The keys", "target": " are", "span": "is"}', "the span 'is' is not in the target"),
    ('{"prompt": "The keys", "target": "", "span": null}', "the target is empty"),
    ('{"prompt": 3, "target": " are", "span": null}', "the prompt must be a text, not 3"),
    ('{"prompt": null, "target": " are", "span": null}', "the column 'prompt' is null"),
    ('{"target": " are", "span": null}', "has no column 'prompt'"),
    (json.dumps({"prompt": "keys " * 200_000, "target": " are", "span": None}), "more than the model's context"),
]


def test_the_collector_passes_over_what_was_there() -> None:
    gc.unfreeze()
    with older_objects_left_alone():
        assert gc.get_freeze_count() > 100_000
        with older_objects_left_alone():  # another run inside: the outer one decides
            assert gc.get_freeze_count() > 100_000
        assert gc.get_freeze_count() > 100_000
    assert gc.get_freeze_count() == 0


def test_what_a_line_leaves_out_is_null(tiny: spanwise.LanguageModel, tmp_path: Path) -> None:
    """Writers of JSONL drop nulls: the target is then generated, and the span is the whole target."""
    file = tmp_path / "in.jsonl"
    whole = {"prompt": "The keys to the cabinet", "target": " are on the table.", "span": "are"}
    rows = [whole, {"prompt": whole["prompt"]}, {"prompt": whole["prompt"], "target": None, "span": None}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    few = {"max_new_tokens": 3}
    run = spanwise.attribute_many(tiny, file, tmp_path / "out", method="saliency", generation_options=few)
    assert not run.failures
    assert [result.provenance.generated for result in run] == [False, True, True]
    assert (
        torch.equal(run[1].scores.nan_to_num(), run[2].scores.nan_to_num()) and run[1].target_text == run[2].target_text
    )
    with pytest.raises(InputError, match="row 3 is in no part of the run: its 1 parts end before row 3"):
        run.of_row(3)


def test_the_bar_tells_tokens_and_failures_of_rows_that_are_done(capsys: pytest.CaptureFixture[str]) -> None:
    with bar_of(100, "saliency", True) as bar:
        bar.skip(40, 3)
        assert "40/100" in str(bar._bar) and "0 tokens/s, 3 failed" in str(bar._bar)
        bar._began -= 10.0  # as if it took ten seconds
        bar._bar.start_t -= 10.0
        bar.update(5, 1000)
        shown = str(bar._bar)
    assert "45/100" in shown and ("100 tokens/s" in shown or "99 tokens/s" in shown)
    assert "2.00s/ rows" in shown  # five rows in ten seconds: those that were skipped say nothing of the speed


def test_ctrl_c_says_what_is_there(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, made = tmp_path / "out", []
    write = folders.Folder.write_part

    def writing(self: Any, *args: Any) -> None:
        write(self, *args)
        made.append(args)
        if len(made) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(folders.Folder, "write_part", writing)
    command = ["batch", str(whole / "in.jsonl"), "--output", str(output), "--method", "saliency", "--part-rows", "10"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 130
    assert f"stopped: 20 of {len(ROWS)} rows are in {output}, and the same command goes on." in done.stderr


@pytest.mark.usefixtures("unchecked_types")
def test_bad_rows_are_recorded_and_the_run_goes_on(tiny: spanwise.LanguageModel, tmp_path: Path) -> None:
    good = json.dumps({key: ROWS[0][key] for key in ("prompt", "target", "span")})
    lines = [line for line, _ in BAD]
    file = tmp_path / "in.jsonl"
    file.write_text("\n".join([*lines, "", good]) + "\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["batch", str(file), "--method", "saliency", "--output", str(tmp_path / "out")])
    assert result.exit_code == 3, result.output
    run = spanwise.open_run(tmp_path / "out")
    assert [entry.row for entry in run.entries()] == [len(BAD)]
    failures = run.failures
    assert [each.row for each in failures] == list(range(len(BAD)))
    for failure, (_, told) in zip(failures, BAD, strict=True):
        assert told.replace("line 1", failure.place) in failure.reason
        assert len(failure.content) <= 201 and len(failure.reason) < 1100
    with pytest.raises(InputError, match="row 3 has no result: the span 'is'"):
        run.of_row(3)
    import pandas

    table = pandas.read_parquet(tmp_path / "out" / "failures.parquet")
    assert list(table.columns) == ["row", "place", "error", "reason", "content"] and len(table) == len(BAD)


REFUSED = [
    ({"prompt_column": "promt"}, OptionError, r"column 'promt', but the input has .* Did you mean 'prompt'\?"),
    ({"span": "Paris"}, OptionError, "but the input has a column 'span' of spans"),
    ({"method": "salience"}, OptionError, "Did you mean 'saliency'"),
    ({"part_rows": 0}, OptionError, "part_rows must be an integer of at least 1"),
    ({"baseline": "unk"}, OptionError, "saliency has no baseline"),
]


@pytest.mark.parametrize(("asked", "kind", "told"), REFUSED, ids=[str(each[0]) for each in REFUSED])
def test_a_wrong_command_writes_no_part(
    tiny: spanwise.LanguageModel, tmp_path: Path, asked: Any, kind: Any, told: str
) -> None:
    with pytest.raises(kind, match=told):
        spanwise.attribute_many(tiny, ROWS, tmp_path / "out", **{**ASKED, **asked})
    assert not list(tmp_path.glob("out/part*"))


@pytest.mark.usefixtures("unchecked_types")
def test_wrong_columns(tiny: spanwise.LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"no column 'prompt' or 'messages' .* columns 'text', 'target'"):
        spanwise.attribute_many(tiny, [{"text": "The keys", "target": " are"}], tmp_path / "a", **ASKED)
    with pytest.raises(OptionError, match="columns 'scores' have names of the output's own"):
        spanwise.attribute_many(tiny, [{"prompt": "The keys", "scores": 1}], tmp_path / "b", **ASKED)
    with pytest.raises(InputError, match="row 0 is str, where a mapping"):
        spanwise.attribute_many(tiny, ["The keys"], tmp_path / "c", **ASKED)  # type: ignore[list-item]


def test_a_command_that_fits_no_row_stops(tiny: spanwise.LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="unknown baseline 'nothing'"):
        asked = {**ASKED, "method": "feature_ablation", "baseline": "nothing"}
        spanwise.attribute_many(tiny, ROWS, tmp_path / "out", **asked)
    assert not list(tmp_path.glob("out/part*"))


def test_folders_that_cannot_be_used(tiny: spanwise.LanguageModel, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for output, told in ((file, "cannot write the output folder"), (tmp_path, "holds 'file' but no run")):
        with pytest.raises(FileError, match=told):
            spanwise.attribute_many(tiny, ROWS, output, **ASKED)
    with pytest.raises(FileError, match="cannot write the output folder /proc/1/out"):
        spanwise.attribute_many(tiny, ROWS, "/proc/1/out", **ASKED)
    with pytest.raises(FileError, match="there is no folder"):
        spanwise.open_run(tmp_path / "none")
    with pytest.raises(FileError, match="holds no run"):
        spanwise.open_run(tmp_path)


def test_inputs_of_every_kind(tiny: spanwise.LanguageModel, whole: Path, tmp_path: Path) -> None:
    import pandas

    table = pandas.DataFrame(ROWS)
    table.to_csv(tmp_path / "in.csv", index=False)
    table.to_parquet(tmp_path / "in.parquet")
    inputs: dict[str, Any] = {
        "list": ROWS,
        "iterator": iter(ROWS),
        "csv": tmp_path / "in.csv",
        "parquet": tmp_path / "in.parquet",
    }
    expected = spanwise.open_run(whole / "out").to_dataframe()
    for name, given in inputs.items():
        found = spanwise.attribute_many(tiny, given, tmp_path / name, **ASKED).to_dataframe()
        assert list(found["id"]) == [str(i) if name == "csv" else i for i in range(len(ROWS))]
        drop = ["id", "provenance"]
        pandas.testing.assert_frame_equal(found.drop(columns=drop), expected.drop(columns=drop))


def test_messages_and_several_spans(tmp_path: Path, tiny: spanwise.LanguageModel) -> None:
    rows = [
        {"prompt": "The keys", "target": " are on the table.", "span": ["are", "table"], "more": {"a": [1, None]}},
        {"prompt": "The keys", "target": " are on the table.", "span": [1, 4], "more": "text"},
        {"prompt": "The keys", "target": " are on the table.", "span": None, "more": None},
        {"prompt": "The keys", "target": None, "span": None, "more": 3},
    ]
    asked = {"method": "input_x_gradient", "generation_options": {"max_new_tokens": 2}}
    run = spanwise.attribute_many(tiny, rows, tmp_path, **asked)
    assert [len(result.scores) for result in run] == [2, 1, len(run[2].target), 2]
    assert run[3].provenance.generated and [span.text for span in run[1].spans] == ["are"]
    assert [entry.extra["more"] for entry in run.entries()] == ['{"a": [1, null]}', '"text"', None, "3"]
    for result, row in zip(run, rows, strict=True):
        again = spanwise.attribute(
            tiny, row["prompt"], row["target"], span=tuple(row["span"]) if row["span"] == [1, 4] else row["span"],
            method="input_x_gradient", generation_options={"max_new_tokens": 2} if row["target"] is None else None,
        )  # fmt: skip
        torch.testing.assert_close(result.scores, again.scores, atol=1e-5, rtol=1e-5, equal_nan=True)
        assert (result.source, result.target, result.spans) == (again.source, again.target, again.spans)


def test_reading_is_lossless_and_lazy(tiny: spanwise.LanguageModel, whole: Path) -> None:
    run = spanwise.open_run(whole / "out")
    assert len(run) == len(ROWS) and run.done and not run.failures
    assert run[-1].prompt == ROWS[-1]["prompt"] and [each.prompt for each in run[:2]] == [r["prompt"] for r in ROWS[:2]]
    with pytest.raises(IndexError, match="has 24 results"):
        run[24]
    expected = spanwise.attribute(tiny, ROWS[5]["prompt"], ROWS[5]["target"], span="Paris", method="saliency")
    found = run[5].provenance.as_dict()
    for name, value in expected.provenance.as_dict().items():
        assert found[name] == value or name in ("seconds", "peak_memory_gib", "calls", "batch_size"), name
    assert sum(len(table) for table in run.tables(["scores"])) == len(ROWS)
    assert run.of_row(7).extra == {"id": 7}


def test_other_readers(whole: Path) -> None:
    files = str(whole / "out" / "part-*.parquet")
    polars = pytest.importorskip("polars", reason="reads the parts as its users would")
    duckdb = pytest.importorskip("duckdb", reason="reads the parts as its users would")
    assert polars.read_parquet(files)["id"].to_list() == list(range(len(ROWS)))
    assert duckdb.sql(f"select max(list_max(scores)), count(*) from '{files}'").fetchone()[1] == len(ROWS)
