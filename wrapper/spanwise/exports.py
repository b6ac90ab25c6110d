"""Results as the objects and files of other programs."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spanwise.attribution import Attribution
from spanwise.errors import FileError, require
from spanwise.storage import MAYBE, TENSORS, built, check_folder, check_version, described, tensors_of, writing

if TYPE_CHECKING:
    import pandas

FORMATS = (".csv", ".inseq.json", ".json", ".parquet")
_NEEDS = {
    ".csv": [("pandas", "dataframe")],
    ".parquet": [("pandas", "parquet"), ("pyarrow", "parquet")],
    ".inseq.json": [("inseq", "inseq")],
}


def to_dataframe(attribution: Attribution) -> "pandas.DataFrame":
    """Returns a long table, one line a row of `scores` and source token."""
    require("pandas", "dataframe", "to_dataframe()")
    import pandas

    labels, errors = attribution.row_labels, attribution.standard_error
    return pandas.DataFrame(
        {
            "row": row,
            "row_text": labels[row],
            "source_index": column,
            "source_text": token.text,
            "source_name": token.name,
            "source_id": token.id,
            "role": token.role,
            "message": token.message,
            "special": token.special,
            "template": token.template,
            "frozen": token.frozen,
            "start": token.start,
            "end": token.end,
            "score": float(attribution.scores[row, column]),
            "standard_error": math.nan if errors is None else float(errors[row, column]),
        }
        for row in range(len(labels))
        for column, token in enumerate(attribution.source)
    )


def to_json(attribution: Attribution) -> dict[str, Any]:
    """Returns the whole result as values that JSON has; NaN becomes None. `docs/attribution.schema.json` describes it.

    Nothing is lost: a float32 number is written with the digits that give the same one back.
    """
    return described(attribution) | {name: _numbers(tensor) for name, tensor in tensors_of(attribution).items()}


def from_json(values: Mapping[str, Any], name: str = "the JSON") -> Attribution:
    """Returns the result that `to_json` wrote.

    Raises:
        FileError: It is not a result of ours, of a newer version, or damaged; `name` says where it was read.
    """
    if not isinstance(values, Mapping):
        raise FileError(f"{name} holds {type(values).__name__}, not the object that a result is.")
    check_version(values, name)
    try:
        columns = len(values["source"])
        there = [*TENSORS, *(field for field in MAYBE if values.get(field) is not None)]
        tensors = {field: _tensor(values[field], () if field == "target_scores" else (columns,)) for field in there}
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FileError(f"{name} is damaged: {error}.") from error
    return built(values, tensors, name)


def export(attribution: Attribution, path: str | os.PathLike[str]) -> None:
    """Writes the result for other programs; see `Attribution.export`."""
    form = check_export_path(path)
    with writing(path) as temporary:
        if form == ".csv":
            to_dataframe(attribution).to_csv(temporary, index=False)
        elif form == ".parquet":
            _write_parquet(attribution, temporary)
        elif form == ".inseq.json":
            attribution.to_inseq().save(temporary, overwrite=True)
        else:
            text = json.dumps(to_json(attribution), ensure_ascii=False, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")


def check_export_path(path: str | os.PathLike[str]) -> str:
    """Returns the format that `path` asks for.

    Raises:
        FileError: None that there is, or the folder does not exist or cannot be written.
        DependencyError: It needs a package that is not installed.
    """
    name = Path(path).name.lower() if isinstance(path, str | os.PathLike) else ""
    form = next((suffix for suffix in FORMATS if name.endswith(suffix)), None)
    if name and form is None:
        raise FileError(f"results are exported as {', '.join(FORMATS)}, not {Path(path).name!r}.")
    check_folder(path)
    assert form is not None
    for package, extra in _NEEDS.get(form, ()):
        require(package, extra, f"a {form} file")
    return form


def _write_parquet(attribution: Attribution, path: Path) -> None:
    """Writes the long table, with everything else of the result as JSON in the file's metadata."""
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_pandas(to_dataframe(attribution), preserve_index=False)
    about = json.dumps(described(attribution), ensure_ascii=True)
    parquet.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), b"spanwise": about}), path)


def _numbers(values: Tensor) -> list[Any]:
    if values.ndim > 1:
        return [_numbers(row) for row in values]
    return [None if value != value else value for value in values.tolist()]


def _tensor(rows: Sequence[Any], shape: tuple[int, ...]) -> Tensor:
    """Returns numbers as float32; None is NaN."""
    flat = [math.nan if value is None else value for row in rows for value in (row if shape else [row])]
    return torch.tensor(flat, dtype=torch.float32).reshape(len(rows), *shape)
