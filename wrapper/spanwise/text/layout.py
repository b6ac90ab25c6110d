"""The axes of a result: its columns, which of them are features, and what each row may see.

Example, prompt of 3 tokens (the first is BOS), target of 3, prefix="attributed":

    columns   BOS  p1  p2  t0  t1        t2 is never an input, so it is no column
    feature    -1   0   1   2   3        -1: frozen
    row t0      .   x   x   .   .        x: a score    .: NaN
    row t1      .   x   x   x   .
    row t2      .   x   x   x   x
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from spanwise.attribution import Rows, Span, Token
from spanwise.errors import MethodError, OptionError, one_of
from spanwise.methods import MethodInfo
from spanwise.text.chat import opens_reasoning
from spanwise.text.columns import grouped, source_tokens
from spanwise.text.composing import Composed
from spanwise.text.encoding import Encoding
from spanwise.text.spans import SpanLike, resolve_spans, whole_target
from spanwise.text.target_parts import TargetFeatures, target_parts


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
        groups: For each feature the index of its group in `Composed.groups`, or -1.
    """

    rows: Rows
    spans: tuple[Span, ...]
    source: tuple[Token, ...]
    table: Bool[Tensor, "row target"]
    mask: Bool[Tensor, "row source"]
    features: Int[Tensor, " position"]
    groups: tuple[int, ...]

    @property
    def feature_count(self) -> int:
        """Number of features."""
        return int(self.features.max()) + 1

    @property
    def feature_columns(self) -> list[Token]:
        """The columns that are features, in the features' order."""
        return [token for token, used in zip(self.source, self.mask.any(0), strict=True) if used]

    def spread(self, scores: Float[Tensor, "row feature"]) -> Float[Tensor, "row source"]:
        """Returns the features' scores in their columns, NaN where none is defined."""
        of_column = self.mask.any(0).cumsum(0) - 1
        return torch.where(self.mask, scores[:, of_column.clamp(min=0)], torch.nan)

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
    composed: Composed,
    info: MethodInfo,
    *,
    span: SpanLike | Sequence[SpanLike] | None = None,
    occurrence: int | str | None = None,
    target_features: TargetFeatures | None = None,
    source: SpanLike | Sequence[SpanLike] | None = None,
    rows: str = "auto",
    frozen: str = "special",
    prefix: str = "fixed",
) -> Axes:
    """Returns the axes of the result that was asked for; the arguments are those of `spanwise.attribute`.

    Raises:
        SpanError: A span is not in the target, or is there several times.
        MethodError: The method has no token rows.
        InputError: Every position is frozen.
        OptionError: An unknown name, or options that exclude each other.
    """
    one_of("rows", rows, ("auto", "token", "span"))
    one_of("frozen", frozen, ("special", "none"))
    one_of("prefix", prefix, ("fixed", "attributed"))
    if rows == "token" and not info.token_matrix:
        raise MethodError(f"{info.name} gives span scores only: rows='token' was asked, 'span' and 'auto' are allowed.")
    listed = target_features is not None and not isinstance(target_features, str)
    if listed and span is not None:
        raise OptionError("span and a list of target_features both name parts of the target: give one.")
    spans = asked_spans(encoding, composed, span, None if listed else occurrence)
    if target_features is not None:
        if rows == "token":
            raise OptionError("target_features make one row a part of the target, but rows='token' was asked.")
        spans = target_parts(target_features, spans, encoding, occurrence)
    kind: Rows = "token" if rows == "token" or (rows == "auto" and not spans and info.token_matrix) else "span"
    if kind == "span" and not spans:
        spans = (whole_target(encoding.target_text, encoding.target_tokens),)
    tokens = source_tokens(encoding, composed, frozen=frozen, prefix=prefix, source=source)
    columns, groups = grouped(tokens, encoding.target_text, composed)
    table = row_table(kind, spans, len(encoding.target_ids))
    mask = defined(columns, len(encoding.prompt_ids), table)
    used = mask.any(0)
    of_feature = tuple(group for group, there in zip(groups, used, strict=True) if there)
    return Axes(kind, spans, columns, table, mask, feature_index(columns, used, len(tokens)), of_feature)


def asked_spans(
    encoding: Encoding,
    composed: Composed,
    span: SpanLike | Sequence[SpanLike] | None,
    occurrence: int | str | None,
) -> tuple[Span, ...]:
    """Returns the spans asked for; none where no span was.

    Raises:
        SpanError: A span is not in the target, or is there several times.
        OptionError: An occurrence of no span.
    """
    if span is not None:
        opened = opens_reasoning(composed.text)
        return resolve_spans(span, encoding.target_text, encoding.target_tokens, occurrence, opened=opened)
    if occurrence is not None:
        raise OptionError(f"occurrence={occurrence!r} says which place of a span is meant, but no span was given.")
    return ()


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
    """Returns where a score is defined: not frozen, and beginning before the last target token of the row."""
    last = table.shape[1] - 1 - table.flip(1).int().argmax(1)
    first = torch.tensor([token.positions[0] for token in source])
    free = torch.tensor([not token.frozen for token in source])
    return free & (first < (prompt_count + last)[:, None])


def feature_index(source: Sequence[Token], used: Bool[Tensor, " source"], count: int) -> Int[Tensor, " position"]:
    """Returns for each of `count` positions the index of its feature, or -1 where no row has a score for it."""
    index = [-1] * count
    for feature, column in enumerate(used.nonzero().flatten().tolist()):
        for position in source[column].positions:
            index[position] = feature
    return torch.tensor(index)
