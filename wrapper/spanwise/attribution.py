"""`Attribution`, the one result type, and the provenance that lets its reader repeat it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.errors import InputError, at_least
from spanwise.pieces import Provenance, Span, Token

if TYPE_CHECKING:
    import captum.attr
    import inseq
    import matplotlib.axes
    import pandas

    from spanwise.aggregation import Mass

__all__ = ["Attribution", "Provenance", "Rows", "Span", "Token"]

Rows = Literal["token", "span"]


@dataclass(frozen=True, eq=False, repr=False)
class Attribution:
    """Scores of source tokens for target tokens or spans, and how they came about.

    Attributes:
        scores: float32 on the CPU. One row a target token, or one a span where `rows == "span"`; one column a source
            token. NaN where the method defines nothing: a frozen token, or a token the row's target could not see.
        span_scores: One row a span. NaN where a span's scores do not follow from the token rows.
        target_scores: The objective's value at the full input for each target token (nats for `log_prob`).
        source: The columns: every token of the prompt, then of the generated prefix; tokens of one feature together.
        target: The target's tokens.
        spans: The spans asked for; one, the whole target, where `rows="span"` was asked for without a span.
        rows: What a row of `scores` is.
        prompt: The prompt as the model saw it.
        target_text: The target as text.
        completeness_gap: Sum over rows of |sum of scores - change of the objective|, divided by the sum of the
            |changes|, where the change is from the baseline to the full input. None for a method without that promise.
        provenance: Everything needed to repeat it.
        standard_error: Of each score: how far another seed would move it. NaN where unknown, None without sampling.
    """

    scores: Float[Tensor, "target source"]
    span_scores: Float[Tensor, "span source"]
    target_scores: Float[Tensor, " target_token"]
    source: tuple[Token, ...]
    target: tuple[Token, ...]
    spans: tuple[Span, ...]
    rows: Rows
    prompt: str
    target_text: str
    completeness_gap: float | None
    provenance: Provenance
    standard_error: Float[Tensor, "target source"] | None = None

    def __post_init__(self) -> None:
        row_count = len(self.target) if self.rows == "token" else len(self.spans)
        expected = {
            "scores": (row_count, len(self.source)),
            "span_scores": (len(self.spans), len(self.source)),
            "target_scores": (len(self.target),),
        }
        expected |= {} if self.standard_error is None else {"standard_error": expected["scores"]}
        for name, shape in expected.items():
            tensor = getattr(self, name)
            if tuple(tensor.shape) != shape:
                raise InputError(f"{name} has shape {tuple(tensor.shape)}, but the tokens and spans need {shape}.")
            if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
                raise InputError(f"{name} must be float32 on the CPU, not {tensor.dtype} on {tensor.device}.")
            if torch.isinf(tensor).any():
                raise InputError(f"{name} holds infinite values.")

    def __repr__(self) -> str:
        made = self.provenance
        rows = f"{len(self.scores)} {'target token' if self.rows == 'token' else 'span'}{'s'[: len(self.scores) != 1]}"
        model = f"{made.model} {made.quantization or made.dtype}"
        return f"Attribution({made.method} of {rows}, {len(self.source)} source tokens, {model})"

    @property
    def source_tokens(self) -> list[str]:
        """The name or text of each source column; for a token without text, its id in brackets."""
        return [token.name or token.text or f"[{token.id}]" for token in self.source]

    @property
    def target_tokens(self) -> list[str]:
        """The text of each target token."""
        return [token.text or f"[{token.id}]" for token in self.target]

    @property
    def row_labels(self) -> list[str]:
        """What each row of `scores` is about: target tokens, or the texts of the spans."""
        return self.target_tokens if self.rows == "token" else [span.text for span in self.spans]

    def top(self, k: int = 5, *, row: int | None = None) -> list[tuple[Token, float]]:
        """Returns the `k` source tokens with the largest absolute score.

        Args:
            k: How many.
            row: Of that row of `scores`; None: of the first span, or of the whole target where no span was asked for.
                Token rows are added where a span has no scores of its own.

        Returns:
            Pairs of token and score, largest first; frozen tokens are left out.

        Raises:
            OptionError: `k` is below 1, or there is no such row.
        """
        from spanwise.aggregation import row_scores

        at_least("k", k, 1)
        values = row_scores(self, row)
        order = torch.argsort(values.abs().nan_to_num(-1.0), descending=True)
        kept = [int(i) for i in order if not values[i].isnan()]
        return [(self.source[i], float(values[i])) for i in kept[:k]]

    def by(self, level: Literal["word", "sentence", "paragraph", "message"]) -> "Attribution":
        """Returns the result with source columns summed over words, say. See `spanwise.grouping.by`."""
        from spanwise.grouping import by

        return by(self, level)

    def mass(self, *, row: int | None = None) -> "tuple[Mass, ...]":
        """Returns the shares of content, template, special tokens and prefix. See `spanwise.aggregation.mass`."""
        from spanwise.aggregation import mass

        return mass(self, row=row)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the whole result to one safetensors file, without loss. See `spanwise.storage`."""
        from spanwise.storage import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Attribution":
        """Returns a result that `save` wrote.

        Raises:
            FileError: The file is missing, truncated, or not one of ours.
        """
        from spanwise.storage import load

        return load(path)

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        kind: Literal["heatmap", "bars", "strip"] = "heatmap",
        ax: "matplotlib.axes.Axes | None" = None,
        width: float | str | None = None,
        title: str | None = None,
        columns: tuple[int, int] | None = None,
        colorbar: bool = False,
    ) -> "matplotlib.axes.Axes | None":
        """Writes a figure to a PNG, SVG or PDF file, or draws it into axes of yours. See docs/figures.md.

        Args:
            path: Where to; the suffix decides the format; ".tex" too for a strip. One of `path` and `ax` is needed.
            kind: "heatmap" (rows x source), "bars" (one panel a span over the source) or "strip" (the source as
                colored text, a block a span or target token).
            ax: Axes to draw into, as large as they are.
            width: Inches, "column" (3.5), "page" (7.2) or None: as wide as needed. Letters are 6 points or larger.
            title: Above the figure; default: method, model and objective in a file, none in `ax`.
            columns: The source tokens to draw, half-open; default: those with the most score, where not all fit.
            colorbar: Whether `ax` gives room to a color bar; a file's heat map and strip have one.

        Returns:
            `ax`; None for a file.

        Raises:
            OptionError: An unknown kind or width, columns that are not there, or not exactly one of `path` and `ax`.
            FileError: The format is not supported or the folder cannot be written.
        """
        from spanwise.views.figures import plot

        return plot(self, path, kind=kind, ax=ax, width=width, title=title, columns=columns, colorbar=colorbar)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        others: "Attribution | Sequence[Attribution]" = (),
        checks: Mapping[str, Any] | None = None,
        title: str | None = None,
    ) -> None:
        """Writes one HTML file to look at in a browser, without network. See docs/report.md.

        Args:
            path: Where to: .html or .htm.
            others: Results of other methods, engines or precisions for the same prompt, target, spans and rows.
            checks: What was found out about the scores, by name ("evaluation", "sanity", ...): plain values, or
                anything with `as_dict()`; shown as tables.
            title: Above the page; default: method and model.

        Raises:
            InputError: The results do not answer one question.
            FileError: Another suffix, or the folder cannot be written.
        """
        from spanwise.methods import METHODS
        from spanwise.views.report import report

        linear = {name: info.linear for name, info in METHODS.items()}
        several = [others] if isinstance(others, Attribution) else others
        report([self, *several], path, linear=linear, checks=checks, title=title)

    def _repr_html_(self) -> str:
        """Returns the compact view of the report, for notebooks."""
        from spanwise.views.notebook import html

        return html(self)

    def show(self) -> None:
        """Prints the result to the terminal: the source colored by score, one block a span or row."""
        from spanwise.views.terminal import show

        show(self)

    def to_dataframe(self) -> "pandas.DataFrame":
        """Returns a long table: one line a row and source column, frozen ones with NaN.

        Columns: row, row_text, source_index, source_text, source_name, source_id, role, message, special, template,
        frozen, start, end, score, standard_error (NaN where the result has none).
        """
        from spanwise.exports import to_dataframe

        return to_dataframe(self)

    def to_json(self) -> dict[str, Any]:
        """Returns the whole result as values that JSON has, NaN as None: see `docs/attribution.schema.json`."""
        from spanwise.exports import to_json

        return to_json(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Attribution":
        """Returns the result that `to_json` gave, without loss.

        Raises:
            FileError: It is not one of ours, of a newer version, or damaged.
        """
        from spanwise.exports import from_json

        return from_json(values)

    def export(self, path: str | os.PathLike[str]) -> None:
        """Writes the result for other programs; the suffix decides the format.

        Args:
            path: Where to. ".csv": the table of `to_dataframe`; ".parquet": the same, and everything else as JSON in
                the file's metadata; ".json": what `to_json` gives; ".inseq.json": Inseq's own file, which its
                `FeatureAttributionOutput.load` reads.

        Raises:
            FileError: Another format, or the folder does not exist or cannot be written.
            DependencyError: The format needs a package that is not installed.
        """
        from spanwise.exports import export

        export(self, path)

    def to_captum(self) -> "captum.attr.LLMAttributionResult":
        """Returns Captum's result: the attributed source tokens only, since Captum has no word for a frozen one."""
        from spanwise.engines.captum_result import to_captum

        return to_captum(self)

    def to_inseq(self) -> "inseq.FeatureAttributionOutput":
        """Returns Inseq's result, which shows, saves and aggregates there; `from_inseq` gives this one back."""
        from spanwise.engines.inseq_result import to_inseq

        return to_inseq(self)

    @classmethod
    def from_inseq(cls, output: "inseq.FeatureAttributionOutput", *, index: int = 0) -> "Attribution":
        """Returns a result of Inseq for a causal model as ours.

        Args:
            output: Inseq's.
            index: Which of its sequences.

        Raises:
            InputError: A result of an encoder-decoder model, or of another shape than ours can hold.
        """
        from spanwise.engines.inseq_result import from_inseq

        return from_inseq(output, index=index)

    @classmethod
    def from_captum(cls, output: "captum.attr.LLMAttributionResult") -> "Attribution":
        """Returns a result of Captum as ours. What Captum does not keep (ids, the method) is left unknown."""
        from spanwise.engines.captum_result import from_captum

        return from_captum(output)
