"""Source columns put together: scores summed over words, sentences, paragraphs or messages."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.attribution import Attribution, Token
from spanwise.errors import InputError, one_of
from spanwise.methods import list_methods

GroupLevel: TypeAlias = Literal["word", "sentence", "paragraph", "message"]
LEVELS: tuple[GroupLevel, ...] = ("word", "sentence", "paragraph", "message")  # finest first
_NOTE = "source columns are sums over "


def by(result: Attribution, level: GroupLevel) -> Attribution:
    """Returns the result with its source columns put together; a column's score is the sum of its tokens' scores.

    What is put together is what `attribute(features=level)` takes as one feature: frozen and special tokens stay
    columns of their own, and nothing joins the prompt and the generated prefix, two messages, or a message and the
    chat template. A token belongs to the segment that holds its first character that is not white space. A column's
    text is without white space at its edges; " … " stands where a frozen token interrupts it.

    Args:
        result: Of columns that are no coarser than `level`. At `level` already: comes back as it is.
        level: "word", "sentence" or "paragraph" of the prompt and of the generated prefix, as
            `spanwise.text.segments` cuts them; "message": one column a message of the chat, one for the prefix, and
            one for each stretch of template between them.

    Returns:
        The same rows and target. NaN only where no token of a column has a score. A note in the provenance says what
        the columns are, and where a sum of scores is not what the method would give the whole.

    Raises:
        OptionError: There is no such level.
        InputError: "message" for a result without messages, or columns that are coarser than asked.

    Example:
        >>> import spanwise
        >>> lm = spanwise.load_model("tiny")
        >>> result = spanwise.attribute(lm, "The keys to the cabinet", " are", method="saliency", span=" are")
        >>> [token.text for token in by(result, "word").source]
        ['The', 'keys', 'to', 'the', 'cabinet']
    """
    from spanwise.text.columns import grouped
    from spanwise.text.composing import Composed

    one_of("level", level, LEVELS)
    if level_of(result) == level:
        return result
    _check(result, level)
    numbered = [replace(token, positions=(column,)) for column, token in enumerate(result.source)]
    joined, _ = grouped(numbered, result.target_text, Composed(result.prompt, level=level))
    positions = _positions(result)
    return replace(
        result,
        scores=_summed(result.scores, joined),
        span_scores=_summed(result.span_scores, joined),
        standard_error=_errors(result.standard_error, joined),
        source=tuple(_column(result, column, numbered, positions) for column in joined),
        provenance=replace(result.provenance, notes=_notes(result, level)),
    )


def level_of(result: Attribution) -> str:
    """Returns what a source column is: a level that `by` put the columns together to, or the features attributed to."""
    noted = [note for note in result.provenance.notes if note.startswith(_NOTE)]
    by_note = (level for level in LEVELS if noted and noted[-1].startswith(f"{_NOTE}{level}s "))
    return next(by_note, result.provenance.features)


def _check(result: Attribution, level: GroupLevel) -> None:
    """Refuses messages where there are none, and columns that cannot be told apart by level."""
    now = level_of(result)
    if now in LEVELS[LEVELS.index(level) :]:
        raise InputError(
            f"by({level!r}) was asked, but the source columns are {now}s, which are coarser. Allowed: by() on the "
            "result that they were made from, or attribute() with finer features."
        )
    if level == "message":
        if all(token.message is None for token in result.source):
            raise InputError(
                "by('message') was asked, but no source token belongs to a message: the prompt was not given as "
                f"messages. Allowed here: {', '.join(LEVELS[:-1])}."
            )
    elif now not in LEVELS:
        _check_columns(result, level)


def _check_columns(result: Attribution, level: Literal["word", "sentence", "paragraph"]) -> None:
    from spanwise.text.segments import segments

    cuts: dict[str, tuple[tuple[int, int], ...]] = {}
    for token in result.source:
        if len(token.positions) > 1 and not token.frozen:
            text = _text(result, token)
            cut = cuts[text] = cuts.get(text) or segments(text, level)
            covered = sum(start < token.end and token.start < end for start, end in cut)
            if covered > 1:
                raise InputError(
                    f"by({level!r}) was asked, but the source column {token.text!r} is coarser: it stands for "
                    f"{len(token.positions)} positions and reaches over {covered} {level}s. Allowed: a coarser level, "
                    "or attribute() with finer features."
                )


def _notes(result: Attribution, level: str) -> tuple[str, ...]:
    made = result.provenance
    unit = made.features if made.features in ("token", *LEVELS) else "feature"
    note = f"{_NOTE}{level}s of {unit} scores"
    families = {info.name: info.family for info in list_methods()}  # a method brought in from elsewhere has none
    if families.get(made.method) == "perturbation":
        note += (
            f"; {made.method} measures what a change to one {unit} does, and the sum of such effects is not the effect "
            f"of the whole {level}, which features={level!r} measures"
        )
    return (*(earlier for earlier in made.notes if not earlier.startswith(_NOTE)), note)


def _positions(result: Attribution) -> list[tuple[int, ...]]:
    """Returns each column's positions: its own, or its number where the columns are known to be single tokens."""
    made, columns = result.provenance, len(result.source)
    unknown = made.prompt_ids and not any(token.positions for token in result.source)
    if unknown and columns in (len(made.prompt_ids), len(made.prompt_ids) + len(made.target_ids) - 1):
        return [(column,) for column in range(columns)]
    return [token.positions for token in result.source]


def _column(
    result: Attribution, joined: Token, numbered: Sequence[Token], positions: Sequence[tuple[int, ...]]
) -> Token:
    """Returns a new column; `joined.positions` are the numbers of the old ones that it is made of."""
    from spanwise.text.columns import places

    old = [result.source[column] for column in joined.positions]
    names = {token.name for token in old}
    new = replace(
        old[0],
        name=old[0].name if len(names) == 1 else "",
        special=all(token.special for token in old),
        template=all(token.template for token in old),
        positions=tuple(sorted(position for column in joined.positions for position in positions[column])),
    )
    if len(old) == 1:
        text = new.text.strip()
        start, end = new.start + new.text.find(text), new.end - len(new.text) + len(new.text.rstrip())
        return new if new.frozen or not text else replace(new, text=text, start=start, end=end)
    whole = _text(result, new)
    runs = [run for run in places(joined, numbered, whole) if run[0] < run[1]]
    if not runs:  # white space, kept as it is
        runs = [(new.start, max(token.end for token in old))]
    text = " … ".join(whole[start:end] for start, end in runs)
    return replace(new, text=text, id=-1, start=runs[0][0], end=runs[-1][1])


def _text(result: Attribution, token: Token) -> str:
    """Returns the text that a source token's characters are counted in."""
    return result.target_text if token.role == "prefix" else result.prompt


def _errors(errors: Float[Tensor, "row source"] | None, joined: Sequence[Token]) -> Float[Tensor, "row column"] | None:
    """Returns the standard errors: NaN where scores were added, since those of one sample move together."""
    if errors is None:
        return None
    alone = torch.tensor([len(column.positions) == 1 for column in joined])
    return torch.where(alone, _summed(errors, joined), torch.nan)


def _summed(scores: Float[Tensor, "row source"], joined: Sequence[Token]) -> Float[Tensor, "row column"]:
    """Returns the sums over the columns put together, NaN where none of them has a score."""
    new_of = torch.empty(scores.shape[1], dtype=torch.long)
    for number, column in enumerate(joined):
        new_of[list(column.positions)] = number
    shape = (len(scores), len(joined))
    sums = torch.zeros(shape, dtype=torch.float64).index_add_(1, new_of, scores.double().nan_to_num(0.0))
    known = torch.zeros(shape, dtype=torch.int64).index_add_(1, new_of, (~scores.isnan()).long())
    return torch.where(known > 0, sums, torch.nan).float()
