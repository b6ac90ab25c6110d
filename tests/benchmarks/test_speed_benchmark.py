"""The benchmark's short form: that it runs, and that what it compares is equal. Times are not judged."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed.py"
ROWS = {"floor": 12, "engines": 8, "reuse": 5, "growth": 5}


def test_quick_form(tmp_path: Path) -> None:
    output = tmp_path / "rows.json"
    subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--threads", "1", "--tables", *ROWS, "--json", str(output)],
        check=True,
        capture_output=True,
    )
    rows = json.loads(output.read_text())["rows"]
    assert len(rows) >= sum(ROWS.values())
    for row in rows:
        # float32 sums in another order; bfloat16 rounds each product to 8 bits, and the loop adds up otherwise
        close = 5e-2 if row.get("precision") == "bfloat16" else 1e-5
        assert row["difference"] < close, row
        if "ratio" in row:
            assert row["ratio"] > 0
    work = {row["law"]: row["exponent of work"] for row in rows if "law" in row}
    assert abs(work["span, target length (flat: 0)"]) < 1e-6
    assert 0.5 < work["ablation, sentences (linear: 1)"] <= 1
