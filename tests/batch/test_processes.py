"""Which devices a process of a run has to itself."""

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import spanwise
from spanwise.batch.processes import Processes, devices_of
from spanwise.cli import app
from spanwise.errors import OptionError


@pytest.fixture
def four_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 4)


def test_without_accelerators() -> None:
    if torch.accelerator.is_available():
        pytest.skip("this machine has accelerators")
    assert devices_of(Processes(1, 2, 1), 2) == []


@pytest.mark.usefixtures("four_devices")
def test_each_has_its_own() -> None:
    assert [devices_of(Processes(rank, 4, rank), 1) for rank in range(4)] == [[0], [1], [2], [3]]
    assert [devices_of(Processes(rank, 4, rank % 2), 2) for rank in range(4)] == [[0, 1], [2, 3], [0, 1], [2, 3]]
    message = r"process 1 .* devices \[3, 4, 5\], but there are 4: launch 1 processes a machine"
    with pytest.raises(OptionError, match=message):
        devices_of(Processes(1, 2, 1), 3)


@pytest.mark.usefixtures("four_devices")
@pytest.mark.parametrize(
    ("options", "device_map", "memory"),
    [
        ([], 1, None),
        (["--devices-per-process", "2"], "auto", {2, 3}),
        (["--device-map", "cpu"], "cpu", None),
        (["--max-memory", "0=1GiB"], None, {"0"}),
    ],
)
def test_the_command_loads_there(
    options: list[str], device_map: Any, memory: set[Any] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two processes; what the user named himself is kept."""
    asked: dict[str, Any] = {}

    def load(**given: Any) -> None:
        asked.update(given)
        raise OptionError("nothing is loaded here.")

    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(spanwise, "load_model", load)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7 * 2**30, 8 * 2**30))
    file = tmp_path / "in.jsonl"
    file.write_text('{"prompt": "a", "target": " b"}\n', encoding="utf-8")
    command = ["batch", str(file), "--output", str(tmp_path / "out"), "--method", "saliency", *options]
    done = CliRunner().invoke(app, command)
    assert "nothing is loaded" in str(done.exception), done.output
    assert asked["device_map"] == device_map
    assert (None if asked["max_memory"] is None else set(asked["max_memory"])) == memory
