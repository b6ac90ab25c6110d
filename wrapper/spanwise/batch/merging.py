"""`Merged`: tables of `spanwise.aggregate` over parts of a run, put together into the table over all of it."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


@dataclass
class _Category:
    """Sums over the results so far; `squares` are squared differences from the mean."""

    count: int = 0
    results: int = 0
    mean: float = 0.0
    squares: float = 0.0
    share: float = 0.0
    strongest: float = 0.0

    def add(self, line: dict[str, Any], result_count: int) -> None:
        own, before = int(line["results"]), self.results
        spread = float(line["std"]) ** 2 * (own - 1) if own > 1 else 0.0
        difference = float(line["mean"]) - self.mean
        self.results += own
        # Chan, Golub and LeVeque (1979): mean and squares of two samples put together.
        self.mean += difference * own / self.results
        self.squares += spread + difference**2 * before * own / self.results
        self.count += int(line["count"])
        self.share += float(line["share"]) * result_count
        self.strongest += float(line["strongest"]) * result_count


@dataclass
class Merged:
    """A table that grows by the tables of more results.

    Attributes:
        categories: The sums of each.
        result_count: Results so far.
    """

    categories: dict[str | int, _Category] = field(default_factory=dict)
    result_count: int = 0

    def add(self, table: "pandas.DataFrame", result_count: int) -> None:
        """Adds the table of that many more results."""
        self.result_count += result_count
        for line in table.to_dict("records"):
            self.categories.setdefault(line["category"], _Category()).add(line, result_count)

    def lines(self) -> tuple[dict[str, Any], ...]:
        """Returns the whole table, with the columns and in the order of `spanwise.aggregate`; None for a NaN."""
        found = []
        for name, sums in self.categories.items():
            std = math.sqrt(sums.squares / (sums.results - 1)) if sums.results > 1 else None
            found.append(
                {
                    "category": name,
                    "count": sums.count,
                    "results": sums.results,
                    "mean": sums.mean,
                    "std": std,
                    "stderr": None if std is None else std / math.sqrt(sums.results),
                    "share": sums.share / self.result_count,
                    "strongest": sums.strongest / self.result_count,
                }
            )
        if found and isinstance(found[0]["category"], str):
            return tuple(sorted(found, key=lambda line: (-line["share"], line["category"])))
        return tuple(sorted(found, key=lambda line: line["category"]))
