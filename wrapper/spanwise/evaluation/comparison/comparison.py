"""`Comparison`: what several methods say of the same prompt and target, and how far they agree."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.attribution import Attribution
from spanwise.errors import OptionError, at_least, one_of, require
from spanwise.evaluation.comparison.chance import MEASURES, draw_orders
from spanwise.evaluation.comparison.checks import checked_results, choose_top_k
from spanwise.evaluation.comparison.pairs import Disputed, Pair, find_disputed, find_pairs
from spanwise.evaluation.comparison.sentences import LEVEL, notes_on, sentences
from spanwise.exports import to_json

if TYPE_CHECKING:
    import pandas

DISPUTED = 3
"""How many disputed source tokens are named."""


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Several methods on the same prompt and target.

    Attributes:
        results: The attributions by the methods' names, in the order asked for.
        refused: Methods that could not run here, with the reason.
        pairs: How far each two methods agree.
        disputed: The source columns on which the methods differ most.
        top_k: How many of the largest absolute scores the overlap compares.
        permutations: Orders that each agreement was compared with.
        exact: These are all orders there are, so that p-values are exact; else random ones.
        notes: What a reader should know.
    """

    results: Mapping[str, Attribution]
    refused: Mapping[str, str]
    pairs: tuple[Pair, ...]
    disputed: tuple[Disputed, ...]
    top_k: int
    permutations: int
    exact: bool
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        results: Sequence[Attribution] | Mapping[str, Attribution],
        *,
        refused: Mapping[str, str] | None = None,
        top_k: int | None = None,
        n_permutations: int = 1000,
        seed: int = 0,
        notes: Sequence[str] = (),
    ) -> "Comparison":
        """Returns the comparison of results that are there already.

        Args:
            results: At least two, of one model, prompt, target and objective, with the same rows and source columns;
                a mapping gives them names (the same method with other options, say).
            refused: Methods without a result, with the reason.
            top_k: How many of the largest absolute scores the overlap compares; None: 5, or half of the scores where
                there are fewer than 10.
            n_permutations: Orders that an agreement is compared with.
            seed: Of random orders.
            notes: Put in front of the comparison's own.

        Raises:
            InputError: Fewer than two results, or results that do not compare.
            OptionError: Two results of the same name, or `top_k` above the number of scores in a row.
            DependencyError: SciPy is not installed.

        Example:
            >>> import spanwise
            >>> from spanwise.evaluation.comparison.comparison import Comparison
            >>> lm = spanwise.load_model("tiny")
            >>> asked = {"prompt": "The keys to the cabinet", "target": " are", "method": "integrated_gradients"}
            >>> few, many = (spanwise.attribute(lm, **asked, method_options={"n_steps": n}) for n in (16, 64))
            >>> Comparison.of({"16 steps": few, "64 steps": many}).pairs[0].spearman > 0.9
            True
        """
        require("scipy", "flow", "a comparison")
        at_least("n_permutations", n_permutations, 1)
        at_least("seed", seed, 0)
        named = checked_results(results)
        scores = next(iter(named.values())).scores
        chosen = choose_top_k(scores, top_k)
        orders = draw_orders(~scores.isnan(), n_permutations, seed)
        pairs = find_pairs(named, chosen, orders)
        return cls(
            results=MappingProxyType(named),
            refused=MappingProxyType(dict(refused or {})),
            pairs=pairs,
            disputed=find_disputed(named, DISPUTED),
            top_k=chosen,
            permutations=len(orders.columns),
            exact=orders.exact,
            notes=(*notes, *notes_on(named, pairs, orders)),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The methods that ran."""
        return tuple(self.results)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Which methods agree, which stands apart, where they differ, and which were refused. None is picked."""
        return sentences(self.names, self.pairs, self.disputed, self.refused)

    def pair(self, one: str, other: str) -> Pair:
        """Returns how far two methods agree.

        Raises:
            OptionError: One of them did not run, or both are the same.
        """
        for name in (one, other):
            one_of("method of the comparison", name, self.names)
        if one == other:
            raise OptionError(f"a pair is of two methods, but {one!r} was given twice.")
        return next(pair for pair in self.pairs if {pair.one, pair.other} == {one, other})

    def matrix(self, measure: str = "spearman") -> Float[Tensor, "method method"]:
        """Returns a measure for every two methods, in the order of `names`; 1 on the diagonal, NaN where there is none.

        Args:
            measure: "spearman", "kendall" or "overlap"; with "_p" or "_holm" the p-value (NaN on the diagonal).

        Raises:
            OptionError: There is no such measure.
        """
        one_of("measure", measure, [name + end for name in MEASURES for end in ("", "_p", "_holm")])
        found = torch.eye(len(self.names)) if measure in MEASURES else torch.full((len(self.names),) * 2, torch.nan)
        for pair in self.pairs:
            value = getattr(pair, measure)
            row, column = self.names.index(pair.one), self.names.index(pair.other)
            found[row, column] = found[column, row] = torch.nan if value is None else value
        return found

    def __repr__(self) -> str:
        told = ", ".join(f"{pair.one} ~ {pair.other} {_short(pair.spearman)}" for pair in self.pairs)
        return f"Comparison(Spearman correlation: {told})"

    def as_dict(self, *, results: bool = True) -> dict[str, Any]:
        """Returns everything as values that JSON has.

        Args:
            results: The attributions too.
        """
        found = {
            "methods": list(self.names),
            "refused": dict(self.refused),
            "top_k": self.top_k,
            "permutations": self.permutations,
            "exact": self.exact,
            "level": LEVEL,
            "pairs": [asdict(pair) for pair in self.pairs],
            "disputed": [asdict(token) for token in self.disputed],
            "sentences": list(self.sentences),
            "notes": list(self.notes),
        }
        if results:
            found["results"] = {name: to_json(result) for name, result in self.results.items()}
        return found

    def to_dataframe(self) -> "pandas.DataFrame":
        """Returns a table, one line a pair, with the fields of `Pair` as columns.

        Raises:
            DependencyError: pandas is not installed.
        """
        require("pandas", "dataframe", "to_dataframe()")
        import pandas

        return pandas.DataFrame([asdict(pair) for pair in self.pairs])

    def plot(self, path: str | os.PathLike[str], *, title: str | None = None) -> None:
        """Writes one figure: methods over source tokens, and how far each two methods agree.

        Args:
            path: Where to; the suffix decides the format: .png, .svg or .pdf.
            title: Above the figure; default: model and objective.

        Raises:
            FileError: The format is not supported or the folder cannot be written.
            DependencyError: matplotlib is not installed.
        """
        from spanwise.views.comparison import plot

        plot(path, self.results, self.as_dict(results=False), title=title)

    def report(self, path: str | os.PathLike[str], *, title: str | None = None) -> None:
        """Writes one HTML file with the methods beside each other. See docs/report.md.

        Raises:
            FileError: Another suffix than .html or .htm, or the folder cannot be written.
        """
        first, *others = self.results.values()
        first.report(path, others=others, checks={"comparison": self}, title=title)

    def _repr_html_(self) -> str:
        """Returns the results one below the other, for notebooks."""
        from spanwise.views.notebook import html

        return html(list(self.results.values()))

    def show(self) -> None:
        """Prints the sentences and one line a pair to the terminal."""
        from spanwise.views.comparison import show

        show(self.results, self.as_dict(results=False))


def _short(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
