"""The 1.5 B demo in its short form: both sides run on one 4-bit checkpoint, and their scores are equal."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "demo_1_5b.py"


@pytest.mark.slow  # half a minute; test_speed_benchmark.py compares the same way, the quantization tests in nf4
def test_quick_form(tmp_path: Path) -> None:
    output = tmp_path / "rows.json"
    command = [sys.executable, str(SCRIPT), "--quick", "--output", str(tmp_path), "--json", str(output)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "times as fast as Captum" in done.stdout
    ours, theirs = json.loads(output.read_text())
    assert ours["target_tokens"] == theirs["target_tokens"] == 15
    largest = max(abs(score) for score in theirs["scores"])
    for mine, other in zip(ours["scores"], theirs["scores"], strict=True):
        assert abs(mine - other) <= 1e-5 * largest  # float32 sums in another order
