"""Completeness gaps of UDIG beside those of linear integrated gradients, at equal gradient evaluations.

    python benchmarks/udig.py            # the bundled model, half a minute on one core

The gap is the share of the change of the objective, from the baseline to the input, that the scores do not account for.
A row's paths all cost the same number of forwards and backwards. "anchors" are the words on UDIG's path; fewer of them
with `factor` midpoints between them follow the same gradients more closely.
"""

import argparse
import warnings

import rich.table
import torch
from rich.console import Console

import spanwise

PROMPT = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"
TARGET = " painting, traveling to different countries, and volunteering at community events."
UDIG, LINEAR = "uniform_discretized_integrated_gradients", "integrated_gradients"
QUADRATURES = ("riemann_left", "riemann_middle")


def gap(lm: spanwise.LanguageModel, name: str, baseline: str, evaluations: int, **options: object) -> float:
    """Returns the completeness gap of one run for the whole target, after checking what it cost."""
    result = spanwise.attribute(
        lm, PROMPT, TARGET, method=name, baseline=baseline, rows="span", method_options=options, progress=False
    )
    if result.provenance.backwards != evaluations:
        raise RuntimeError(f"{name} took {result.provenance.backwards} backwards, not {evaluations}.")
    assert result.completeness_gap is not None
    return result.completeness_gap


def table(lm: spanwise.LanguageModel, evaluations: int, neighbors: int) -> rich.table.Table:
    """Returns a row for each baseline and path, a column for each quadrature."""
    found = rich.table.Table(title=f"{lm.name}: completeness gap at {evaluations} gradient evaluations")
    for column in ("baseline", "path", *QUADRATURES):
        found.add_column(column, justify="left" if column in ("baseline", "path") else "right")
    for baseline in ("mean", "token:<unk>"):
        gaps = [gap(lm, LINEAR, baseline, evaluations, n_steps=evaluations, method=each) for each in QUADRATURES]
        found.add_row(baseline, "straight", *(f"{each:.1%}" for each in gaps))
        for strategy in ("greedy", "maxcount"):
            for factor in (0, 1, 2):
                steps = evaluations // 2**factor
                options = {"n_steps": steps, "factor": factor, "strategy": strategy, "neighbors": neighbors}
                gaps = [gap(lm, UDIG, baseline, evaluations, method=each, **options) for each in QUADRATURES]
                path = f"UDIG {strategy}, {steps - 1} anchors, factor {factor}"
                found.add_row(baseline, path, *(f"{each:.1%}" for each in gaps))
    return found


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="as spanwise.load_model takes it")
    parser.add_argument("--evaluations", type=int, default=48, help="gradient evaluations; a multiple of 4")
    parser.add_argument("--neighbors", type=int, default=50, help="words around each point of UDIG's line")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's threads")
    arguments = parser.parse_args()
    if arguments.evaluations < 4 or arguments.evaluations % 4:
        parser.error(f"--evaluations must be a multiple of 4, not {arguments.evaluations}")
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore", spanwise.AttributionWarning)  # the gaps are what is shown
    Console(width=110).print(table(spanwise.load_model(arguments.model), arguments.evaluations, arguments.neighbors))


if __name__ == "__main__":
    main()
