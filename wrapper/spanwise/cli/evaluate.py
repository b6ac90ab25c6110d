"""`spanwise evaluate`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spanwise.cli.common import Debug, Json, Occurrence, Prompt, PromptFile, Spans, TargetFile, number, quiet, text_of
from spanwise.cli.loading import Load, loads_a_model, model_of
from spanwise.errors import OptionError
from spanwise.methods import METHODS

if TYPE_CHECKING:
    from spanwise.attribution import Attribution


@loads_a_model
def evaluate(
    results: Annotated[
        list[Path] | None, typer.Argument(help="Saved results, .safetensors; left out: --prompt is attributed first.")
    ] = None,
    prompt: Prompt = None,
    prompt_file: PromptFile = None,
    target: Annotated[str | None, typer.Option(help="What it wrote; left out: the model generates it.")] = None,
    target_file: TargetFile = None,
    span: Spans = None,
    occurrence: Occurrence = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="See `spanwise methods`; default: integrated_gradients.", autocompletion=lambda: list(METHODS)
        ),
    ] = None,
    row: Annotated[int | None, typer.Option(help="Row of the scores; default: the first span.")] = None,
    removed: Annotated[
        list[str] | None,
        typer.Option(help="unk, pad, delete, mask, mean, zero or token:TEXT; repeat it. Default: two that can be had."),
    ] = None,
    k: Annotated[int | None, typer.Option(help="Features that the top-k figure removes; default: 5.")] = None,
    steps: Annotated[int, typer.Option(help="Blocks of a curve at most.")] = 10,
    n_random: Annotated[int, typer.Option(help="Random rankings, an even number; a verdict needs 20.")] = 20,
    *,
    load: Load,
    batch_size: Annotated[str, typer.Option(help="Sequences a forward, or auto.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the random rankings, and of methods that sample.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Write the curves: .png, .svg or .pdf.")] = None,
    as_json: Json = False,
    progress: Annotated[bool | None, typer.Option(help="Show a progress bar; default: on a terminal.")] = None,
    debug: Debug = False,
) -> None:
    """Check how faithful an attribution is: remove what it calls important, beside random rankings.

    Example: spanwise evaluate --prompt "The keys to the cabinet" --target " are on the table." --span are

    A saved one: spanwise evaluate result.safetensors --model tiny --removed unk --removed mask --plot curves.png
    """
    import spanwise
    from spanwise.evaluation.faithfulness.evaluate import evaluate as evaluated
    from spanwise.views.figures import check_format

    if plot is not None:
        check_format(plot)
    asked: dict[str, Any] = {
        "--target": target,
        "--target-file": target_file,
        "--span": span or None,
        "--occurrence": occurrence,
        "--method": method,
    }
    saved = _saved(results, {"--prompt": prompt, "--prompt-file": prompt_file}, asked)
    text, wanted = text_of("prompt", prompt, prompt_file), text_of("target", target, target_file)
    with quiet(as_json):
        lm = model_of(load, progress)
        if saved is None:
            saved = [
                spanwise.attribute(
                    lm,
                    text,
                    wanted,
                    span=span or None,
                    occurrence=number(occurrence) if occurrence is not None else None,
                    method=method or "integrated_gradients",
                    batch_size=number(batch_size),
                    seed=seed,
                    progress=progress,
                )
            ]
        found = evaluated(
            lm,
            saved,
            row=row,
            removed=removed or None,
            k=k,
            steps=steps,
            n_random=n_random,
            batch_size=number(batch_size),
            seed=seed,
            progress=progress,
        )
    if plot:
        found.plot(plot)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), ensure_ascii=False, allow_nan=False))
        return
    found.show()
    if plot:
        typer.echo(f"wrote {plot}")


def _saved(
    paths: list[Path] | None, prompts: Mapping[str, Any], asked: Mapping[str, Any]
) -> "list[Attribution] | None":
    """Returns the saved results, or None where a prompt is to be attributed.

    Args:
        paths: Of results.
        prompts: What gives a prompt, by the option's name.
        asked: Options that only the attribution of a prompt uses, by name.

    Raises:
        OptionError: Both were given, or neither; or an option without a use.
        FileError: One cannot be read.
    """
    from spanwise.attribution import Attribution

    if bool(paths) == any(given is not None for given in prompts.values()):
        found = "both were" if paths else "neither was"
        raise OptionError(f"a saved result (RESULT.safetensors) or a prompt (--prompt TEXT) is needed; {found} given.")
    useless = [name for name, given in asked.items() if given is not None]
    if paths and useless:
        raise OptionError(
            f"{', '.join(useless)} was given beside a saved result, which has its own: only with --prompt it has a use."
        )
    return [Attribution.load(path) for path in paths] if paths else None
