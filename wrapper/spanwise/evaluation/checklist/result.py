"""`Checklist`: every check of every method in one table."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from spanwise.errors import FileError, one_of, require
from spanwise.evaluation.comparison.comparison import Comparison
from spanwise.evaluation.faithfulness.evaluation import Evaluation
from spanwise.evaluation.sanity.result import Sanity, Status
from spanwise.storage import check_folder, writing

if TYPE_CHECKING:
    import pandas

_FORMATS = (".md", ".json")


@dataclass(frozen=True)
class Entry:
    """One check of one method.

    Attributes:
        check: Its name.
        method: Its name in the comparison.
        status: "pass"; "fail"; "warn" where the figure lies between the thresholds; or "not applicable".
        figure: What decided, in a few characters; "" where the check does not apply.
        summary: What was found, in words; where the check does not apply, why.
    """

    check: str
    method: str
    status: Status
    figure: str
    summary: str


@dataclass(frozen=True, eq=False, repr=False)
class Checklist:
    """The validation list of several methods on one prompt.

    Attributes:
        entries: Method by method within each check.
        titles: The checks by name, in order, in words.
        thresholds: What decides each check.
        model: Its name.
        prompt: As the model read it.
        target: The same.
        span: The part of the target that is explained.
        quick: Coarser curves, fewer random models and seeds.
        comparison: Of the methods.
        evaluations: By method.
        sanities: By method.
        notes: What a reader should know.
        seconds: It took.
    """

    entries: tuple[Entry, ...]
    titles: Mapping[str, str]
    thresholds: Mapping[str, str]
    model: str
    prompt: str
    target: str
    span: str
    quick: bool
    comparison: Comparison
    evaluations: Mapping[str, Evaluation]
    sanities: Mapping[str, Sanity]
    notes: tuple[str, ...]
    seconds: float

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that ran."""
        return self.comparison.names

    @property
    def statuses(self) -> Mapping[tuple[str, str], Status]:
        """The status of each (check, method)."""
        return MappingProxyType({(entry.check, entry.method): entry.status for entry in self.entries})

    def entry(self, check: str, method: str) -> Entry:
        """Returns one check of one method.

        Raises:
            OptionError: There is no such check or method.
        """
        one_of("check", check, self.titles)
        one_of("method of the checklist", method, self.methods)
        return next(entry for entry in self.entries if (entry.check, entry.method) == (check, method))

    def __repr__(self) -> str:
        told = "; ".join(f"{method}: {_counted(self, method)}" for method in self.methods)
        return f"Checklist({told})"

    def as_dict(self, *, details: bool = False) -> dict[str, Any]:
        """Returns the table as values that JSON has.

        Args:
            details: The comparison, evaluations and sanity checks behind it too.
        """
        found: dict[str, Any] = {
            "model": self.model,
            "prompt": self.prompt,
            "target": self.target,
            "span": self.span,
            "quick": self.quick,
            "methods": list(self.methods),
            "refused": dict(self.comparison.refused),
            "checks": [
                {"name": name, "title": title, "threshold": self.thresholds[name]}
                for name, title in self.titles.items()
            ],
            "entries": [asdict(entry) for entry in self.entries],
            "notes": list(self.notes),
            "seconds": self.seconds,
        }
        if details:
            found["comparison"] = self.comparison.as_dict()
            found["evaluations"] = {name: each.as_dict() for name, each in self.evaluations.items()}
            found["sanities"] = {name: each.as_dict() for name, each in self.sanities.items()}
        return found

    def to_dataframe(self) -> "pandas.DataFrame":
        """Returns a table, one line a check and method, with the fields of `Entry` as columns.

        Raises:
            DependencyError: pandas is not installed.
        """
        require("pandas", "dataframe", "to_dataframe()")
        import pandas

        return pandas.DataFrame([asdict(entry) for entry in self.entries])

    def to_markdown(self) -> str:
        """Returns the table, the thresholds and the reasons as Markdown; texts of users are escaped."""
        from spanwise.views.checklist import to_markdown

        return to_markdown(self.as_dict())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the checklist to a file.

        Args:
            path: Where to. ".md": `to_markdown`; ".json": `as_dict` with the details.

        Raises:
            FileError: Another suffix, or the folder does not exist or cannot be written.
        """
        check_path(path)
        if Path(path).suffix.lower() == ".json":
            text = json.dumps(self.as_dict(details=True), ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        else:
            text = self.to_markdown()
        with writing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def show(self) -> None:
        """Prints the table to the terminal, and below it what decided each check."""
        from spanwise.views.checklist import show

        show(self.as_dict())


def check_path(path: str | os.PathLike[str]) -> None:
    """Checks before any work that a checklist could be written to `path`.

    Raises:
        FileError: Another suffix than .md or .json, or the folder does not exist or cannot be written.
    """
    if isinstance(path, str | os.PathLike) and Path(path).suffix.lower() not in _FORMATS:
        raise FileError(f"a checklist is written as {' or '.join(_FORMATS)}, not {Path(path).name!r}.")
    check_folder(path)


def _counted(checklist: Checklist, method: str) -> str:
    own = [entry.status for entry in checklist.entries if entry.method == method]
    return f"{own.count('pass')} of {len(own) - own.count('not applicable')} passed"
