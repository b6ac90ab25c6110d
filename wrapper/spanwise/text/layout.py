"""The axes of a result: which positions are columns, which of them are features, and what each row may see.

Example, prompt of 3 tokens (the first is BOS), target of 3, prefix="attributed":

    columns   BOS  p1  p2  t0  t1        t2 is never an input, so it is no column
    feature    -1   0   1   2   3        -1: frozen
    row t0      .   x   x   .   .        x: a score    .: NaN
    row t1      .   x   x   x   .
    row t2      .   x   x   x   x
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from spanwise.attribution import Rows, Span, Token
from spanwise.errors import InputError, MethodError, one_of
from spanwise.methods import MethodInfo
from spanwise.text.encoding import Encoding
from spanwise.text.spans import SpanLike, resolve_spans, whole_target


@dataclass(frozen=True)
class Axes:
    """Rows and columns of a result.

    Attributes:
        rows: What a row is.
        spans: The spans asked for.
        source: The columns.
        table: For each row the target tokens whose objective is added.
        mask: Where a score is defined.
        features: For each source position the index of its feature, or -1.
    """

    rows: Rows
    spans: tuple[Span, ...]
    source: tuple[Token, ...]
    table: Bool[Tensor, "row target"]
    mask: Bool[Tensor, "row source"]
    features: Int[Tensor, " source"]

    @property
    def feature_count(self) -> int:
        """Number of features."""
        return int(self.features.max()) + 1

    def spread(self, scores: Float[Tensor, "row feature"]) -> Float[Tensor, "row source"]:
        """Returns the features' scores at their source positions, NaN where none is defined."""
        return torch.where(self.mask, scores[:, self.features.clamp(min=0)], torch.nan)

    def span_scores(self, scores: Float[Tensor, "row source"], *, linear: bool) -> Float[Tensor, "span source"]:
        """Returns one row a span: the scores themselves, or the sum of token rows where the method is linear."""
        if self.rows == "span":
            return scores
        sums = torch.full((len(self.spans), len(self.source)), torch.nan)
        if linear:
            for row, span in enumerate(self.spans):
                part = scores[span.first_token : span.last_token]
                sums[row] = torch.where(part.isnan().all(0), torch.nan, part.nansum(0))
        return sums


def make_axes(
    encoding: Encoding,
    info: MethodInfo,
    *,
    span: SpanLike | Sequence[SpanLike] | None,
    occurrence: int | str | None,
    rows: str,
    frozen: str,
    prefix: str,
) -> Axes:
    """Returns the axes of the result that was asked for; the arguments are those of `spanwise.attribute`.

    Raises:
        SpanError: A span is not in the target, or is there several times.
        MethodError: The method has no token rows.
        InputError: Every position is frozen.
        OptionError: An unknown name.
    """
    one_of("rows", rows, ("auto", "token", "span"))
    one_of("frozen", frozen, ("special", "none"))
    one_of("prefix", prefix, ("fixed", "attributed"))
    if rows == "token" and not info.token_matrix:
        raise MethodError(f"{info.name} gives span scores only: rows='token' was asked, 'span' and 'auto' are allowed.")
    spans: tuple[Span, ...] = ()
    if span is not None:
        spans = resolve_spans(span, encoding.target_text, encoding.target_tokens, occurrence)
    kind: Rows = "token" if rows == "token" or (rows == "auto" and not spans and info.token_matrix) else "span"
    if kind == "span" and not spans:
        spans = (whole_target(encoding.target_text, encoding.target_tokens),)
    source = source_tokens(encoding, frozen=frozen, prefix=prefix)
    table = row_table(kind, spans, len(encoding.target_ids))
    mask = defined(source, len(encoding.prompt_ids), table)
    return Axes(kind, spans, source, table, mask, feature_index(mask))


def source_tokens(encoding: Encoding, *, frozen: str, prefix: str) -> tuple[Token, ...]:
    """Returns the columns: the prompt, then the generated prefix, each token marked frozen or not.

    Args:
        encoding: Prompt and target.
        frozen: "special": special tokens are frozen; "none": they are not.
        prefix: "fixed": the generated prefix is frozen; "attributed": it is not.

    Raises:
        InputError: Every position is frozen.
    """
    columns = [
        dataclasses.replace(token, frozen=frozen == "special" and token.special) for token in encoding.prompt_tokens
    ]
    for token in encoding.target_tokens[:-1]:
        still = prefix == "fixed" or (frozen == "special" and token.special)
        columns.append(dataclasses.replace(token, role="prefix", frozen=still))
    if all(token.frozen for token in columns):
        raise InputError(
            f"nothing is left to attribute to: all {len(encoding.prompt_tokens)} tokens of the prompt are special "
            "tokens, which are frozen. frozen='none' attributes to them."
        )
    return tuple(columns)


def row_table(rows: Rows, spans: Sequence[Span], target_count: int) -> Bool[Tensor, "row target"]:
    """Returns for each row the target tokens whose objective is added."""
    if rows == "token":
        return torch.eye(target_count, dtype=torch.bool)
    table = torch.zeros(len(spans), target_count, dtype=torch.bool)
    for row, span in enumerate(spans):
        table[row, span.first_token : span.last_token] = True
    return table


def defined(
    source: Sequence[Token], prompt_count: int, table: Bool[Tensor, "row target"]
) -> Bool[Tensor, "row source"]:
    """Returns where a score is defined: not frozen, and before the last target token of the row."""
    last = torch.tensor([int(row.nonzero().max()) for row in table])
    position = torch.arange(len(source))
    free = torch.tensor([not token.frozen for token in source])
    return free & (position < (prompt_count + last)[:, None])


def feature_index(mask: Bool[Tensor, "row source"]) -> Int[Tensor, " source"]:
    """Returns for each source position the index of its feature, or -1 where no row has a score for it."""
    used = mask.any(0)
    return torch.where(used, used.cumsum(0) - 1, -1)
