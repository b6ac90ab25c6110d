"""Writes the pictures of docs/tour.md and docs/reading.md: the bundled model's answers.

python docs/make_tour_images.py                 # into docs/images, seconds on one core
python docs/make_tour_images.py --out FOLDER    # elsewhere
"""

import argparse
import warnings
from pathlib import Path

import torch
from matplotlib.figure import Figure

import spanwise

HERE = Path(__file__).parent
PROMPT = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"
TARGET = " painting, traveling to different countries, and volunteering at community events."
RUSSIA, RUBLE = "The currency of Russia, not of Vietnam, is called", " ruble."
BASELINES = ("unk", "zero", "pad", "mean")


def baselines(lm: spanwise.LanguageModel, path: Path) -> None:
    """Writes one panel of bars for each baseline: the same method, prompt and model."""
    figure = Figure((7.2, 5.4), layout="constrained")
    panels = figure.subplots(2, 2).flatten()
    for panel, baseline in zip(panels, BASELINES, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", spanwise.AttributionWarning)
            result = spanwise.attribute(lm, RUSSIA, RUBLE, span="ruble", baseline=baseline)
        gap = f"{result.completeness_gap:.1%}" if result.completeness_gap is not None else ""
        result.plot(ax=panel, kind="bars", title=f"baseline {baseline}: gap {gap}")
    figure.savefig(path, dpi=110)


def main(out: Path) -> None:
    """Writes everything into the folder `out`."""
    lm = spanwise.load_model("tiny")
    paris = spanwise.attribute(
        lm, "The capital of France is called", " Paris.", span="Paris", method="feature_ablation"
    )
    paris.plot(out / "tour-bars.png", kind="bars")
    words = spanwise.attribute(
        lm, PROMPT, TARGET, features="word", target_features="phrase", method="shapley_value_sampling"
    )
    words.plot(out / "tour-heatmap.png", width="page")
    job = spanwise.attribute(lm, PROMPT, TARGET, span="traveling to different countries", method="saliency")
    spanwise.evaluate(lm, job, removed="unk").plot(out / "tour-curves.png")
    baselines(lm, out / "reading-baselines.png")


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "images", help="The folder; default: docs/images.")
    main(parser.parse_args().out)
