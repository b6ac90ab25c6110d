"""The benchmark's short form: that it runs, and that what it compares is equal. Times are not judged."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "engines.py"


def test_quick_form(tmp_path: Path) -> None:
    output = tmp_path / "rows.json"
    subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--threads", "1", "--json", str(output)],
        check=True,
        capture_output=True,
    )
    rows = json.loads(output.read_text())
    assert len(rows) == 6
    for row in rows:
        assert row["difference"] < 1e-5, row  # float32 sums in another order
        assert row["ratio"] > 0 and row["forwards"] > 0
