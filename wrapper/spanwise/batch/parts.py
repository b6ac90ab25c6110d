"""Parts of a run as Parquet files: plain columns that any program reads, and everything a result needs to come back.

One line a span; a line a target token where token rows were asked for. `details` is on the first line of a result and
null on its others: what no other column holds, as JSON.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spanwise.attribution import Attribution, Token
from spanwise.errors import FileError
from spanwise.storage import FORMAT, FORMAT_VERSION, built, check_version

if TYPE_CHECKING:
    import pyarrow

ABOUT = b"spanwise.batch"
"""The key of what a part says of itself, in the file's metadata."""

COLUMNS = {
    "row": "int64",
    "span_index": "int32",
    "span": "text",
    "span_start": "int32",
    "span_end": "int32",
    "first_token": "int32",
    "last_token": "int32",
    "prompt": "text",
    "target": "text",
    "source_tokens": "texts",
    "source_ids": "ints",
    "source_roles": "texts",
    "source_special": "bools",
    "source_template": "bools",
    "scores": "floats",
    "standard_error": "floats",
    "target_tokens": "texts",
    "target_scores": "floats",
    "completeness_gap": "float",
    "provenance": "text",
    "details": "text",
}
"""The columns of a part, before the input's own; what they hold is in docs/batch.md."""


@dataclass(frozen=True)
class Failure:
    """A row without a result.

    Attributes:
        row: Index in the input.
        place: Where in the input: "line 17", say.
        error: The kind of error.
        reason: Its message.
        content: The beginning of the row as it was read.
    """

    row: int
    place: str
    error: str
    reason: str
    content: str


@dataclass(frozen=True)
class PartInfo:
    """What a part says of itself.

    Attributes:
        number: Of the part.
        first: Its first row of the input.
        last: One past its last.
        digest: Of the input's lines.
        results: Rows with a result.
        failures: Rows without.
        gaps: Results whose completeness gap is above 5 %.
    """

    number: int
    first: int
    last: int
    digest: str
    results: int
    failures: tuple[Failure, ...]
    gaps: int = 0

    def to_json(self) -> str:
        """Returns it as JSON."""
        return json.dumps(asdict(self), ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> "PartInfo":
        """Returns what `to_json` gave."""
        values = json.loads(text)
        return cls(**{**values, "failures": tuple(Failure(**each) for each in values["failures"])})


def schema(extra: Mapping[str, str]) -> "pyarrow.Schema":
    """Returns the columns of a part: ours, then the input's own."""
    import pyarrow

    kinds = {
        "bool": pyarrow.bool_(),
        "int": pyarrow.int64(),
        "int64": pyarrow.int64(),
        "int32": pyarrow.int32(),
        "float": pyarrow.float64(),
        "text": pyarrow.string(),
        "json": pyarrow.string(),
        "texts": pyarrow.list_(pyarrow.string()),
        "ints": pyarrow.list_(pyarrow.int64()),
        "bools": pyarrow.list_(pyarrow.bool_()),
        "floats": pyarrow.list_(pyarrow.float32()),
    }
    return pyarrow.schema([(name, kinds[kind]) for name, kind in {**COLUMNS, **extra}.items()])


def records(row: int, result: Attribution, extra: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the lines of one result."""
    source, target = result.source, result.target
    common = {
        "row": row,
        "prompt": result.prompt,
        "target": result.target_text,
        "source_tokens": result.source_tokens,
        "source_ids": [token.id for token in source],
        "source_roles": [token.role for token in source],
        "source_special": [token.special for token in source],
        "source_template": [token.template for token in source],
        "target_tokens": result.target_tokens,
        "target_scores": result.target_scores.tolist(),
        "completeness_gap": result.completeness_gap,
        "provenance": json.dumps(result.provenance.as_dict(), ensure_ascii=False),
        **extra,
    }
    lines = []
    for i, scores in enumerate(result.scores.tolist()):
        if result.rows == "token":
            place = (target[i].text, target[i].start, target[i].end, i, i + 1)
        else:
            span = result.spans[i]
            place = (span.text, span.start, span.end, span.first_token, span.last_token)
        where = dict(zip(("span", "span_start", "span_end", "first_token", "last_token"), place, strict=True))
        error = None if result.standard_error is None else result.standard_error[i].tolist()
        found = {"scores": scores, "standard_error": error}
        lines.append({**common, **where, **found, "span_index": i, "details": None})
    lines[0]["details"] = json.dumps(_details(result), ensure_ascii=False)
    return lines


def result_of(lines: Sequence[Mapping[str, Any]], name: str) -> Attribution:
    """Returns the result of its lines, without loss.

    Raises:
        FileError: They are damaged, or of a newer version; `name` says where they were read.
    """
    first = lines[0]
    try:
        details = json.loads(first["details"])
        check_version(details, name)
        tensors = {
            "scores": _floats([line["scores"] for line in lines], len(first["source_ids"])),
            "target_scores": torch.tensor(first["target_scores"], dtype=torch.float32),
        }
        if first["standard_error"] is not None:
            errors = [line["standard_error"] for line in lines]
            tensors["standard_error"] = _floats(errors, len(first["source_ids"]))
        spans = details.pop("span_scores")
        tensors["span_scores"] = tensors["scores"] if spans is None else _floats(spans, len(first["source_ids"]))
        header = {
            **details,
            "source": _unpacked(details["source"], len(first["source_ids"])),
            "target": _unpacked(details["target"], len(first["target_scores"])),
            "prompt": first["prompt"],
            "target_text": first["target"],
            "completeness_gap": first["completeness_gap"],
            "provenance": json.loads(first["provenance"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{name} is damaged: {error}.") from error
    return built(header, tensors, name)


def write(path: Path, lines: Sequence[Mapping[str, Any]], extra: Mapping[str, str], info: PartInfo) -> None:
    """Writes a part to a temporary path, as the same bytes for the same lines."""
    import pyarrow
    from pyarrow import parquet

    columns = schema(extra).with_metadata({ABOUT: info.to_json().encode()})
    table = pyarrow.Table.from_pylist([dict(line) for line in lines], schema=columns)
    parquet.write_table(table, path, compression="zstd", write_page_checksum=True)


def read_info(path: Path) -> PartInfo:
    """Returns what a part says of itself.

    Raises:
        FileError: It is torn, or not one of ours.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        return PartInfo.from_json((parquet.read_schema(path).metadata or {})[ABOUT])
    except (pyarrow.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise FileError(
            f"{path} is torn or no part of a run: {error} The run's command, given again, mends it."
        ) from error


def read(path: Path, columns: Sequence[str] | None = None) -> "pyarrow.Table":
    """Returns the lines of a part, its checksums compared.

    Raises:
        FileError: It is torn, or not one of ours.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path, page_checksum_verification=True).read(columns=columns)
    except (pyarrow.ArrowException, OSError) as error:
        raise FileError(f"{path} is torn or no part of a run: {error}.") from error


def _details(result: Attribution) -> dict[str, Any]:
    own = None if result.rows == "span" else [_nulls(row) for row in result.span_scores.tolist()]
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "source": _packed(result.source),
        "target": _packed(result.target),
        "spans": [asdict(span) for span in result.spans],
        "rows": result.rows,
        "span_scores": own,
    }


def _packed(tokens: Sequence[Token]) -> dict[str, Any]:
    """Returns tokens by field: a list, or the one value that all of them have."""
    found = {}
    for each in fields(Token):
        values = [getattr(token, each.name) for token in tokens]
        same = bool(values) and all(value == values[0] for value in values) and not isinstance(values[0], tuple)
        found[each.name] = values[0] if same else values
    return found


def _unpacked(packed: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    columns = {name: values if isinstance(values, list) else [values] * count for name, values in packed.items()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _nulls(values: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]


def _floats(rows: Sequence[Sequence[float | None]], width: int) -> Tensor:
    flat = [math.nan if value is None else value for row in rows for value in row]
    return torch.tensor(flat, dtype=torch.float32).reshape(len(rows), width)
