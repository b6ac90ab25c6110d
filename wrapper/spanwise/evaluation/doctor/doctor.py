"""`doctor()`: are the numbers right with the versions installed on this machine?"""

import importlib.util
import logging
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from spanwise.errors import DependencyError, MethodError, OutOfMemoryError
from spanwise.evaluation.doctor.case import Case, Check, Measured, NotCheckedError, Outcome, make_case
from spanwise.evaluation.doctor.checks import checks
from spanwise.evaluation.doctor.machine import installed, machine, machine_lines
from spanwise.methods import list_methods
from spanwise.progress import progress_bar

if TYPE_CHECKING:
    from rich.table import Table

_COLORS: dict[Outcome, str] = {
    "ok": "green",
    "warn": "yellow",
    "broken": "bold red",
    "not checked": "yellow",
    "not installed": "dim",
}


@dataclass(frozen=True)
class Finding:
    """One check and what came of it.

    Attributes:
        group: "scorer", "engines", "quantization", "methods" or "devices".
        check: What was checked.
        outcome: "ok", "warn", "broken" (a promise of spanwise does not hold here), "not checked" (there is nothing to
            compare with) or "not installed".
        figure: What was measured; None where nothing could be.
        unit: Of the figure.
        tolerance: The most the figure may be; None where no promise is made on it.
        detail: What the reader should know: a reason, an error, what to install.
        seconds: How long it took.
    """

    group: str
    check: str
    outcome: Outcome
    figure: float | None
    unit: str
    tolerance: float | None
    detail: str
    seconds: float


@dataclass(frozen=True)
class Diagnosis:
    """What `doctor` found.

    Attributes:
        findings: One a check.
        refused: Methods that an engine lacks: method, engine, reason.
        versions: Of Python and the packages that matter.
        machine: System, CPU, memory (GiB), CUDA devices, and whether bitsandbytes packs 4-bit weights here.
        model: What was checked on.
        seconds: How long all of it took, loading included.
    """

    findings: tuple[Finding, ...]
    refused: tuple[tuple[str, str, str], ...]
    versions: dict[str, str]
    machine: dict[str, Any]
    model: str
    seconds: float

    @property
    def broken(self) -> bool:
        """Whether a promise is broken."""
        return any(finding.outcome == "broken" for finding in self.findings)

    @property
    def summary(self) -> str:
        """One line: how many checks came out how."""
        count = Counter(finding.outcome for finding in self.findings)
        parts = [f"{count[outcome]} {outcome}" for outcome in _COLORS if count[outcome] or outcome in ("ok", "broken")]
        return f"{len(self.findings)} checks on {self.model}: {', '.join(parts)}; {self.seconds:.0f} seconds"

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as values that JSON has."""
        return {
            "broken": self.broken,
            "summary": self.summary,
            "model": self.model,
            "seconds": self.seconds,
            "findings": [_finite(asdict(finding)) for finding in self.findings],
            "refused": [dict(zip(("method", "engine", "reason"), row, strict=True)) for row in self.refused],
            "versions": self.versions,
            "machine": self.machine,
        }

    def show(self) -> None:
        """Prints machine, versions, a table of the checks, what needs a word, and the summary."""
        from rich.console import Console
        from rich.text import Text

        console = Console()
        for line in machine_lines(self.machine):
            console.print(Text(line))
        console.print(Text(", ".join(f"{name} {version}" for name, version in self.versions.items()), style="dim"))
        console.print(self._table())
        for finding in self.findings:
            if finding.outcome != "ok":
                told = f"{finding.outcome}: {finding.check}: {finding.detail}"
                console.print(Text(told, style=_COLORS[finding.outcome]))
        for line in _refusals(row for row in self.refused if row[1] != "native"):
            console.print(Text(line, style="dim"))
        console.print(Text(self.summary, style="bold red" if self.broken else "bold"))

    def _table(self) -> "Table":
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        table.add_column("check", overflow="fold")
        table.add_column("", no_wrap=True)
        table.add_column("found", overflow="fold")
        table.add_column("allowed", no_wrap=True)
        table.add_column("s", justify="right", no_wrap=True)
        group = ""
        for each in self.findings:
            if each.group != group:
                group = each.group
                table.add_row(Text(group, style="bold"))
            table.add_row(
                Text(f"  {each.check}"),
                Text(each.outcome, style=_COLORS[each.outcome]),
                Text(_figure(each)),
                Text("" if each.tolerance is None else f"{each.tolerance:.0e}"),
                Text(f"{each.seconds:.1f}"),
            )
        return table


def doctor(name_or_path: str = "tiny", *, device_map: str | None = None, progress: bool | None = None) -> Diagnosis:
    """Returns whether spanwise's promises hold with the versions installed on this machine. Offline, under a minute.

    It compares the scorer with plain forwards, our numbers with the engines' own classes, gradients of quantized layers
    with those of dequantized weights, and runs every method. A check that fails does not stop the others.

    Args:
        name_or_path: The model to check on: the bundled one, or a causal model of your own, which is loaded in float32
            (4 bytes a parameter) and again for each quantization.
        device_map: Where to put it, as `load_model` takes it.
        progress: None: a bar on a terminal after two seconds; True: always; False: never.

    Raises:
        ModelError: The model cannot be loaded, or is not a causal one.
    """
    started = time.perf_counter()
    with _quiet():
        case = make_case(name_or_path, device_map)
        asked = checks(case)
        with progress_bar(len(asked), "doctor", progress, unit=" checks") as tick:
            findings = []
            for check in asked:
                findings.append(_finding(case, check))
                tick(1)
    refused = [(info.name, engine, reason) for info in list_methods() for engine, reason in info.refused.items()]
    return Diagnosis(
        findings=tuple(findings),
        refused=tuple(refused),
        versions=installed(),
        machine=machine(),
        model=case.lm.name,
        seconds=time.perf_counter() - started,
    )


def _finding(case: Case, check: Check) -> Finding:
    started = time.perf_counter()
    found, outcome, detail = _attempt(case, check)
    return Finding(
        group=check.group,
        check=check.name,
        outcome=outcome,
        figure=found.figure if found else None,
        unit=found.unit if found else "",
        tolerance=found.tolerance if found else None,
        detail=detail,
        seconds=time.perf_counter() - started,
    )


def _attempt(case: Case, check: Check) -> tuple[Measured | None, Outcome, str]:
    try:
        found = check.run()
    except DependencyError as error:
        return None, "not installed", str(error)
    except NotCheckedError as error:
        return None, "not checked", str(error)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        missing = not package or importlib.util.find_spec(package) is None
        return None, "not installed" if missing else "broken", _one_line(error)
    except (MethodError, OutOfMemoryError) as error:
        # The bundled model is one that every method takes; another may be refused for a reason.
        return None, "broken" if case.bundled else "warn", _one_line(error)
    except Exception as error:
        return None, "broken", _one_line(error)
    detail = found.note
    if found.outcome == "broken":
        over = f"{found.figure:.2g} {found.unit}, where at most {found.tolerance:.0e} is allowed"
        detail = "; ".join(part for part in (over, found.note) if part)
    elif found.outcome == "warn" and not detail:
        detail = f"{found.figure:.2g} {found.unit}, more than {found.tolerance:.0e}"
    return found, found.outcome, detail


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _refusals(refused: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """Gives one line a reason, with every method it is the reason for."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for method, engine, reason in refused:
        reasons.setdefault((engine, reason), []).append(method)
    for (engine, reason), methods in reasons.items():
        yield f"not on {engine}: {', '.join(methods)} ({reason})"


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has neither infinity nor NaN."""
    figure = values["figure"]
    return values | {"figure": figure if figure is not None and abs(figure) < float("inf") else None}


def _figure(finding: Finding) -> str:
    if finding.figure is None:
        return ""
    return f"{finding.figure:.2g} {finding.unit}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps warnings and log lines of the libraries away; the caller's random numbers and settings are put back."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(record=True), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("always")
            yield
    finally:
        logging.disable(disabled)
