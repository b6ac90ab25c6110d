"""The training recipe's short form: it trains, evaluates and writes a model that loads."""

import subprocess
import sys
from pathlib import Path

import spanwise

SCRIPT = Path(__file__).parents[2] / "recipes" / "train_tiny_model.py"


def test_quick_form(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--out", str(tmp_path / "model")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Held-out accuracy" in done.stdout and "nf4, chat" in done.stdout
    lm = spanwise.load_model(tmp_path / "model")
    assert spanwise.attribute(lm, "The keys", " are", method="saliency").scores.isfinite().any()
