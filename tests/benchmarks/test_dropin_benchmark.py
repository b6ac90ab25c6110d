"""The drop-in benchmark's short form: scripts with the other import give the same numbers. Times are not judged."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "dropin.py"


def test_quick_form(tmp_path: Path) -> None:
    output = tmp_path / "rows.json"
    subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--threads", "1", "--json", str(output)],
        check=True,
        capture_output=True,
    )
    rows = json.loads(output.read_text())
    assert len(rows) == 8
    for row in rows:
        assert row["difference"] < 2e-5, row  # float32 sums in another order, through four layers
