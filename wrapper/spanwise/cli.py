"""The command line: `spanwise attribute`, `spanwise methods`, `spanwise demo`."""

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import rich
import rich.table
import typer

from spanwise._version import __version__
from spanwise.errors import AttributionError, FileError, OptionError
from spanwise.methods import METHODS, MethodInfo, find_method, list_methods

app = typer.Typer(
    help="Which parts of the input made this language model write that span?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DEMO_PROMPT = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"
DEMO_TARGET = " painting, traveling to different countries, and volunteering at community events."
DEMO_SPAN = "traveling to different countries"


def main() -> None:
    """Runs the command line; user errors are one line and exit code 2."""
    try:
        app(prog_name="spanwise")
    except AttributionError as error:
        if "--debug" in sys.argv:
            raise
        print(f"spanwise: error: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _version(asked: bool | None) -> None:
    if asked:
        typer.echo(f"spanwise {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = None,
) -> None:
    pass


@app.command()
def attribute(
    model: Annotated[str, typer.Option(help="A model folder, a name on the hub, or 'tiny' (bundled).")] = "tiny",
    prompt: Annotated[str | None, typer.Option(help="What the model was given.")] = None,
    prompt_file: Annotated[Path | None, typer.Option(help="A file that holds the prompt.")] = None,
    target: Annotated[str | None, typer.Option(help="What it wrote; left out: the model generates it.")] = None,
    target_file: Annotated[Path | None, typer.Option(help="A file that holds the target.")] = None,
    span: Annotated[list[str] | None, typer.Option(help="Part of the target to explain; may be repeated.")] = None,
    occurrence: Annotated[str | None, typer.Option(help="Which one of a repeated span: 0, 1, ... or 'all'.")] = None,
    method: Annotated[
        str, typer.Option(help="See `spanwise methods`.", autocompletion=lambda: list(METHODS))
    ] = "integrated_gradients",
    engine: Annotated[str, typer.Option(help="'auto', or the engine to insist on.")] = "auto",
    objective: Annotated[str, typer.Option(help="log_prob (nats), prob, logit or entropy.")] = "log_prob",
    baseline: Annotated[
        str | None, typer.Option(help="unk, zero, pad, mean, mask, delete or token:TEXT; default: the method's.")
    ] = None,
    rows: Annotated[str, typer.Option(help="token, span or auto.")] = "auto",
    prefix: Annotated[str, typer.Option(help="The generated prefix: fixed or attributed.")] = "fixed",
    frozen: Annotated[str, typer.Option(help="special: special tokens get no score; none: they do.")] = "special",
    strict_boundary: Annotated[bool, typer.Option(help="Refuse a token that straddles prompt and target.")] = False,
    option: Annotated[
        list[str] | None, typer.Option(help="The method's own, as name=value: --option n_steps=100. May be repeated.")
    ] = None,
    quantization: Annotated[str | None, typer.Option(help="nf4, fp4 or int8.")] = None,
    compute_dtype: Annotated[str | None, typer.Option(help="In which 4-bit layers multiply.")] = None,
    double_quant: Annotated[bool, typer.Option(help="Quantize the 4-bit scales too.")] = False,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, ...; default: the checkpoint's.")] = None,
    device_map: Annotated[str | None, typer.Option(help="auto, balanced, ..., cpu, or a device.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Length of a target that is generated, in tokens.")] = 25,
    batch_size: Annotated[str, typer.Option(help="Sequences a forward, or auto.")] = "auto",
    seed: Annotated[int, typer.Option(help="For methods that sample.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Write a heatmap: .png, .svg or .pdf.")] = None,
    bars: Annotated[Path | None, typer.Option(help="Write bars: .png, .svg or .pdf.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the whole result: .safetensors.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to standard output.")] = False,
    progress: Annotated[bool | None, typer.Option(help="Show a progress bar; default: on a terminal.")] = None,
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    """Attribute a target, or spans of it, to the prompt.

    Example: spanwise attribute --prompt "The keys to the cabinet" --target " are on the table." --span are
    """
    import spanwise
    from spanwise.exports import to_json
    from spanwise.storage import check_result_path
    from spanwise.views.figures import check_format

    for path in (plot, bars):
        if path is not None:
            check_format(path)
    if save is not None:
        check_result_path(save)
    text = _text("prompt", prompt, prompt_file)
    if text is None:
        raise OptionError("a prompt is needed: --prompt TEXT or --prompt-file FILE.")
    wanted = _text("target", target, target_file)
    with _quiet(as_json):
        lm = spanwise.load_model(
            model,
            quantization=quantization,
            compute_dtype=compute_dtype,
            double_quant=double_quant,
            dtype=dtype,
            device_map=device_map,
        )
        result = spanwise.attribute(
            lm,
            text,
            wanted,
            span=span or None,
            occurrence=_occurrence(occurrence),
            method=method,
            engine=engine,
            objective=objective,
            baseline=baseline,
            rows=rows,  # type: ignore[arg-type] # checked by attribute
            prefix=prefix,  # type: ignore[arg-type]
            frozen=frozen,  # type: ignore[arg-type]
            strict_boundary=strict_boundary,
            method_options=_options(option or []),
            generation_options={"max_new_tokens": max_new_tokens} if wanted is None else None,
            batch_size=_number(batch_size),
            seed=seed,
            progress=progress,
        )
    if plot:
        result.plot(plot)
    if bars:
        result.plot(bars, kind="bars")
    if save:
        result.save(save)
    if as_json:
        typer.echo(json.dumps(to_json(result), ensure_ascii=False))
        return
    result.show()
    for path in (plot, bars, save):
        if path is not None:
            typer.echo(f"wrote {path}")


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="One method, with its options and what is known about it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the methods: what each is, costs and promises."""
    rows = [find_method(name)] if name else list_methods()
    if as_json:
        typer.echo(json.dumps([row.as_dict() for row in rows], ensure_ascii=False))
    elif name:
        rich.print(_method_page(rows[0]))
    else:
        rich.print(_method_table())
        typer.echo("\n`spanwise methods NAME` says more: paper, cost, promises, options, and what is known against it.")


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="The folder to write to; made if it is not there.")] = Path("out/demo"),
    quantization: Annotated[str, typer.Option(help="nf4, fp4 or int8.")] = "nf4",
) -> None:
    """Run the main job on the bundled 4-bit model: offline, a few seconds."""
    import spanwise

    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot make the folder {output}: {error.strerror}.") from error
    with _quiet(False):
        lm = spanwise.load_model("tiny", quantization=quantization)
        typer.echo(f"loaded {lm}")
        for method in ("feature_ablation", "integrated_gradients"):
            result = spanwise.attribute(lm, DEMO_PROMPT, DEMO_TARGET, span=DEMO_SPAN, rows="token", method=method)
            result.show()
    result.plot(output / "heatmap.png")
    result.plot(output / "bars.png", kind="bars")
    result.save(output / "attribution.safetensors")
    for name in ("heatmap.png", "bars.png", "attribution.safetensors"):
        typer.echo(f"wrote {output / name}")
    typer.echo(f"""
The same in Python:
  lm = spanwise.load_model("tiny", quantization="{quantization}")
  result = spanwise.attribute(lm, "{DEMO_PROMPT}", "{DEMO_TARGET}", span="{DEMO_SPAN}")
  result.show(); result.plot("bars.png", kind="bars"); result.save("attribution.safetensors")""")


@contextmanager
def _quiet(json_only: bool) -> Iterator[None]:
    """Keeps loading bars and log lines of the libraries away, and prints our warnings as one line."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        yield
    for warning in caught:
        from spanwise.errors import AttributionWarning

        if issubclass(warning.category, AttributionWarning):
            print(f"spanwise: warning: {warning.message}", file=sys.stderr)  # noqa: T201


def _text(what: str, text: str | None, file: Path | None) -> str | None:
    if file is None:
        return text
    if text is not None:
        raise OptionError(f"--{what} and --{what}-file were both given; one is allowed.")
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"cannot read the {what} from {file}: {error}.") from error


def _occurrence(asked: str | None) -> Any:
    return _number(asked) if asked is not None else None


def _number(text: str) -> Any:
    """Returns an integer or a number where the text is one, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _options(pairs: list[str]) -> dict[str, Any]:
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise OptionError(f"--option takes name=value, not {pair!r}.")
        options[name] = _number(value)
    return options


def _method_table() -> rich.table.Table:
    table = rich.table.Table(box=None, pad_edge=False)
    for heading in ("method", "engines", "what it is"):
        table.add_column(heading, no_wrap=heading == "method")
    for row in list_methods():
        table.add_row(row.name, ", ".join(row.engines), row.summary)
    return table


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (", ".join(value) if isinstance(value, tuple) else value) or "none"


def _method_page(row: MethodInfo) -> rich.table.Table:
    page = rich.table.Table(box=None, show_header=False, pad_edge=False, title=None)
    page.add_column(no_wrap=True)
    page.add_column()
    for key in (
        "name",
        "family",
        "summary",
        "paper",
        "engines",
        "signed",
        "complete",
        "cost",
        "unit",
        "baselines",
        "needs",
        "caveat",
    ):
        value = getattr(row, key)
        page.add_row(key, _shown(value))
    for key, option in row.options.items():
        allowed = f"; one of {', '.join(option.choices)}" if option.choices else ""
        page.add_row(f"option {key}", f"{option.doc} (default {option.default}{allowed})")
    return page
