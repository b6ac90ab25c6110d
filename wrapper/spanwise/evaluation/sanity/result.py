"""`Sanity`: what the sanity checks found, one entry a check."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from spanwise.errors import OptionError, one_of, require

if TYPE_CHECKING:
    import pandas

Status: TypeAlias = Literal["pass", "warn", "fail", "not applicable"]
Value: TypeAlias = float | int | str | None


@dataclass(frozen=True)
class Check:
    """One check of one attribution.

    Attributes:
        name: As `sanity(checks=...)` takes it.
        status: "pass"; "fail"; "warn" where neither can be said; or "not applicable".
        figures: Behind the status, the deciding one first; empty where the check does not apply.
        summary: What was done and what the figures mean; where the check does not apply, why.
        source: The paper.
        details: One mapping a layer, baseline or seed.
    """

    name: str
    status: Status
    figures: Mapping[str, Value]
    summary: str
    source: str
    details: tuple[Mapping[str, Value], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields as values that JSON has."""
        return {
            "name": self.name,
            "status": self.status,
            "figures": dict(self.figures),
            "summary": self.summary,
            "source": self.source,
            "details": [dict(line) for line in self.details],
        }


@dataclass(frozen=True, repr=False)
class Sanity:
    """The sanity checks of one row of an attribution.

    Attributes:
        checks: In the order in which they were made.
        model: That was explained.
        method: That explained it.
        engine: That ran it.
        span: The target text that the row explains.
        top_k: How many of the strongest source tokens overlaps compare.
        seeds: Random models, and seeds of a sampled method.
        attributions: Made for the checks.
        forwards: Sequences through the model, forward.
        backwards: Sequences through the model, backward.
        seconds: In all.
    """

    checks: tuple[Check, ...]
    model: str
    method: str
    engine: str
    span: str
    top_k: int
    seeds: int
    attributions: int
    forwards: int
    backwards: int
    seconds: float

    @property
    def statuses(self) -> Mapping[str, Status]:
        """The status of each check, by its name."""
        return MappingProxyType({check.name: check.status for check in self.checks})

    def __getitem__(self, name: str) -> Check:
        names = [check.name for check in self.checks]
        return self.checks[names.index(one_of("check", name, names))]

    def __repr__(self) -> str:
        told = ", ".join(f"{name} {status}" for name, status in self.statuses.items())
        return f"Sanity({self.method} of {self.model}: {told})"

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as values that JSON has."""
        own = {name: value for name, value in vars(self).items() if name != "checks"}
        return {**own, "checks": [check.as_dict() for check in self.checks]}

    def to_dataframe(self, check: str | None = None) -> "pandas.DataFrame":
        """Returns a table: one line a check, or the details of one (a line a layer, baseline or seed).

        Args:
            check: A check's name; None: all checks.

        Raises:
            OptionError: There is no such check, or it has no details.
            DependencyError: pandas is not installed.
        """
        require("pandas", "dataframe", "to_dataframe()")
        import pandas

        if check is None:
            columns = ("name", "status", "figure", "value", "summary", "source")
            lines = [(c.name, c.status, *_first(c.figures), c.summary, c.source) for c in self.checks]
            return pandas.DataFrame(lines, columns=list(columns))
        if not self[check].details:
            raise OptionError(f"the check {check!r} has no details: {self[check].summary}")
        return pandas.DataFrame([dict(line) for line in self[check].details])

    def show(self) -> None:
        """Prints the checks to the terminal, one line each, and the sentences below."""
        from spanwise.views.sanity import show

        show(self.as_dict())


def _first(figures: Mapping[str, Value]) -> tuple[str | None, Value]:
    return next(iter(figures.items()), (None, None))
