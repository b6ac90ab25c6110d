"""`attribute_many()`: a run over many prompts, that goes on where it was."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from spanwise.asking import Asked, check
from spanwise.batch.describing import described
from spanwise.batch.folder import Folder
from spanwise.batch.lines import open_lines
from spanwise.batch.processes import processes
from spanwise.batch.ray_runner import RayActors, RayRunner
from spanwise.batch.run import Run
from spanwise.batch.running import Plan, Runner
from spanwise.engines.registry import versions
from spanwise.errors import OptionError, at_least, require
from spanwise.model.language_model import LanguageModel
from spanwise.scoring.baselines import BaselineLike
from spanwise.scoring.contrast import Contrast
from spanwise.scoring.objectives import Objective, Value
from spanwise.text.composing import FeaturesLike
from spanwise.text.prompts import Template
from spanwise.text.spans import SpanLike
from spanwise.text.target_parts import TargetFeatures


def attribute_many(
    lm: LanguageModel,
    data: "str | os.PathLike[str] | Iterable[Mapping[str, Any]]",
    output: str | os.PathLike[str],
    *,
    prompt_column: str | None = None,
    messages_column: str | None = None,
    target_column: str | None = None,
    span_column: str | None = None,
    part_rows: int = 256,
    new_run: bool = False,
    actors: RayActors | None = None,
    tools: Sequence[Any] | None = None,
    template_options: Mapping[str, Any] | None = None,
    span: SpanLike | Sequence[SpanLike] | None = None,
    occurrence: int | Literal["all"] | None = None,
    method: str = "integrated_gradients",
    engine: str = "auto",
    objective: str | Objective | Contrast | Value = "log_prob",
    features: FeaturesLike = "token",
    target_features: TargetFeatures | None = None,
    source: SpanLike | Sequence[SpanLike] | None = None,
    frozen: Literal["special", "none"] = "special",
    prefix: Literal["fixed", "attributed"] = "fixed",
    baseline: BaselineLike | None = None,
    rows: Literal["auto", "token", "span"] = "auto",
    strict_boundary: bool = False,
    method_options: Mapping[str, Any] | None = None,
    generation_options: Mapping[str, Any] | None = None,
    batch_size: int | Literal["auto"] = "auto",
    checkpointing: bool = False,
    seed: int = 0,
    progress: bool | None = None,
) -> Run:
    """Returns the results of many prompts, written to a folder part by part; the same call goes on with it.

    Short prompts go through the model together where the method allows it, with the scores of `attribute`. A row that
    cannot be attributed is put down with its reason (`Run.failures`), and the run goes on. Under `accelerate launch`
    the processes share the parts. See docs/batch.md. Arguments that are not listed here are those of `attribute`.

    Args:
        lm: The model.
        data: A .jsonl, .csv or .parquet file, a data set of `datasets` or a folder it saved, or mappings from column
            names to values.
        output: A folder: new, empty, or of the same run.
        prompt_column: The column with the prompt; default: "prompt".
        messages_column: The column with messages, in its place; default: "messages".
        target_column: The column with the target; default: "target". Without one, and where it is null, the model
            generates it.
        span_column: The column with the span, or a list of several; default: "span". Other columns are carried through.
        part_rows: Rows of the input in a part, which is what a kill can cost.
        new_run: Start anew where the folder holds a run that was asked otherwise; that one is moved to `_earlier-N`.
        actors: Ray's, which then do the parts, with the same results; None: this process, or those of `accelerate
            launch`.
        tools: For all rows.
        template_options: For all rows.
        span: For all rows, where there is no such column.
        occurrence: For all rows.
        method: See `spanwise.list_methods()`.
        engine: As `attribute` takes it.
        objective: As `attribute` takes it.
        features: As `attribute` takes it.
        target_features: As `attribute` takes it.
        source: As `attribute` takes it.
        frozen: As `attribute` takes it.
        prefix: As `attribute` takes it.
        baseline: As `attribute` takes it.
        rows: As `attribute` takes it.
        strict_boundary: As `attribute` takes it.
        method_options: As `attribute` takes it.
        generation_options: As `attribute` takes it.
        batch_size: As `attribute` takes it; "auto" depends on the memory that is free.
        checkpointing: As `attribute` takes it.
        seed: As `attribute` takes it; each row begins with it.
        progress: As `attribute` takes it.

    Raises:
        OptionError: A column that is not there, a run that was asked otherwise, or what `attribute` refuses.
        FileError: The folder or the input cannot be used, the disk is full, or another run holds the folder.
        InputError: Lines of the input are not those of the parts that are there.

    Example:
        >>> import spanwise, tempfile
        >>> lm = spanwise.load_model("tiny")
        >>> rows = [{"prompt": "The keys to the cabinet", "target": " are", "span": "are"}]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = spanwise.attribute_many(lm, rows, folder, method="feature_ablation")
        ...     len(run), run.failures, run[0].spans[0].text
        (1, [], 'are')
    """
    require("pyarrow", "batch", "a run over many prompts")
    at_least("part_rows", part_rows, 1)
    if isinstance(features, Template):
        raise OptionError("a template makes the prompt, so that rows have none: write the prompts out.")
    asked = check(
        lm,
        method=method,
        engine=engine,
        objective=objective,
        method_options=method_options,
        generation_options=generation_options,
        baseline=baseline,
        batch_size=batch_size,
        checkpointing=checkpointing,
        seed=seed,
        strict_boundary=strict_boundary,
        composing={"features": features, "tools": tools, "template_options": template_options},
        axes={
            "occurrence": occurrence,
            "target_features": target_features,
            "source": source,
            "rows": rows,
            "frozen": frozen,
            "prefix": prefix,
        },
    )
    columns = {
        "prompt": prompt_column,
        "messages": messages_column,
        "target": target_column,
        "span": span_column,
    }
    lines = open_lines(data)
    command = {"input": lines.name, "part_rows": part_rows, "columns": columns, "span": described(span)}
    plan = Plan(asked, span, columns, part_rows, new_run, json.loads(json.dumps({**command, **_told(asked)})))
    run = plan, lines, Folder(output), processes(), progress
    return (Runner(*run) if actors is None else RayRunner(*run, data=data, actors=actors)).run()


def _told(asked: Asked) -> dict[str, Any]:
    """Returns what the index tells of the command and what must be the same when it is given again."""
    return {
        **asked.lm.facts,
        "method": asked.info.name,
        "engine": asked.engine,
        "method_options": described(asked.options),
        "objective": described(asked.objective),
        **{name: described(value) for name, value in asked.composing.items()},
        **{name: described(value) for name, value in asked.axes.items()},
        "strict_boundary": asked.strict_boundary,
        "generation_options": described(asked.generation_options),
        "baseline": described(asked.baseline),
        "batch_size": asked.batch_size,
        "checkpointing": asked.checkpointing,
        "seed": asked.seed,
        "versions": versions(),
    }
