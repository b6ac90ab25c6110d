"""The question that a result answers, made again from the result, so that its model can be asked more."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spanwise.aggregation import row_scores
from spanwise.attribution import Attribution
from spanwise.engines.registry import choose_engine
from spanwise.errors import InputError, OptionError, SpanError
from spanwise.methods import METHODS, find_method
from spanwise.model.language_model import LanguageModel
from spanwise.model.reading import read
from spanwise.question import Question
from spanwise.scoring.contrast import Contrast
from spanwise.scoring.objectives import OBJECTIVES, Objective, Value, find_objective
from spanwise.text.composing import Composed
from spanwise.text.encoding import Encoding
from spanwise.text.layout import Axes, defined, feature_index, row_table
from spanwise.text.spans import whole_target

_FACTS = ("model", "architecture", "revision", "quantization", "dtype", "compute_dtype")
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
_LOW_PRECISION_TOLERANCE = 0.1
"""How far the target's scores may lie from the result's, relative to the largest (at least 1): other threads or
another machine add up in another order; a changed model is further away."""


def question_of(
    lm: LanguageModel,
    result: Attribution,
    *,
    objective: "Objective | Contrast | Value | None" = None,
    method: str | None = None,
    table: Bool[Tensor, "row target"] | None = None,
) -> Question:
    """Returns the question that `result` answers, ready to be put again.

    Args:
        lm: The model that the result is of.
        result: Made by `attribute`, or loaded.
        objective: As it was given to `attribute`; None: the one that the provenance names.
        method: Another method, at its default options; None: the result's own, at its own.
        table: Other rows than the result's: for each the target tokens whose objective is added; see `one_row`.

    Raises:
        InputError: The result is of another model or tokenizer, or does not know its ids and positions, or has no
            source token with a score.
        OptionError: The objective cannot be had from its name, or is another one.
    """
    if not isinstance(lm, LanguageModel):
        raise InputError(f"a LanguageModel is needed, not {type(lm).__name__}.")
    if not isinstance(result, Attribution):
        raise InputError(f"an Attribution is needed, not {type(result).__name__}.")
    made = result.provenance
    check_model(lm, result)
    aim = _objective(result, objective)
    encoding = _encoding(lm, result)
    axes = axes_of(result, table)
    if method is None:
        if made.method not in METHODS:
            raise InputError(f"the result's method {made.method!r} is none of ours, so it cannot be run again.")
        info, engine, options = METHODS[made.method], made.engine, dict(made.options)
    else:
        info = find_method(method)
        engine, options = choose_engine(info, "auto"), info.checked_options({})
    return Question(
        lm=lm,
        info=info,
        engine=engine,
        options=options,
        objective=aim,
        encoding=encoding,
        composed=Composed(result.prompt, level=made.features),
        axes=axes,
        baseline=made.baseline if info.uses_baseline and made.method == info.name else None,
        checkpointing=made.checkpointing,
        seed=made.seed,
        progress=False,
    )


def check_model(lm: LanguageModel, result: Attribution) -> None:
    """Checks that a result is of this model.

    Raises:
        InputError: It is of another; the message names both.
    """
    facts, made = lm.facts, result.provenance
    different = [name for name in _FACTS if facts[name] != getattr(made, name)]
    if different:
        theirs = ", ".join(f"{name} {getattr(made, name)!r}" for name in different)
        ours = ", ".join(f"{name} {facts[name]!r}" for name in different)
        raise InputError(
            f"the result is of another model: it has {theirs}; the model given has {ours}. Give the model that made "
            "it (LanguageModel(..., name=...) where only the name differs; the same quantization and types)."
        )


def check_scores(lm: LanguageModel, result: Attribution, reference: Float[Tensor, " target"]) -> None:
    """Checks that the model still gives the target the scores that the result has.

    Raises:
        InputError: Its weights are others.
    """
    expected = result.target_scores
    allowed = _TOLERANCE.get(lm.dtype, _LOW_PRECISION_TOLERANCE) * max(1.0, float(expected.abs().max()))
    worst = int((reference - expected).abs().argmax())
    if float((reference - expected).abs()[worst]) > allowed:
        raise InputError(
            f"the model is not as it was when the result was made: target token {worst} "
            f"({result.target_tokens[worst]!r}) had the score {float(expected[worst]):.4g}, and has "
            f"{float(reference[worst]):.4g} now."
        )


def one_row(result: Attribution, row: int | None = None) -> Bool[Tensor, "1 target"]:
    """Returns the target tokens whose objective `aggregation.row_scores(result, row)` explains.

    Raises:
        OptionError: There is no such row.
    """
    row_scores(result, row)  # checks the row
    spans = result.spans or (whole_target(result.target_text, result.target),)
    if row is not None:
        return row_table(result.rows, spans, len(result.target))[[row]]
    return row_table("span", spans[:1], len(result.target))


def axes_of(result: Attribution, table: Bool[Tensor, "row target"] | None = None) -> Axes:
    """Returns the columns of a result, and its rows or those of `table`.

    Raises:
        InputError: The result does not know its positions, or no source token has a score.
    """
    if any(not token.positions for token in result.source):
        raise InputError("the result does not know the positions of its source tokens (it was converted from another).")
    if not result.source or bool(result.scores.isnan().all()):
        raise InputError("the result has no source token with a score: nothing can be checked.")
    spans = result.spans or (whole_target(result.target_text, result.target),)
    if table is None:
        table = row_table(result.rows, spans, len(result.target))
    prompt_count = len(result.provenance.prompt_ids)
    mask: Bool[Tensor, "row source"] = defined(result.source, prompt_count, table)
    count = sum(len(token.positions) for token in result.source)
    used = mask.any(0)
    return Axes(
        rows=result.rows,
        spans=result.spans,
        source=result.source,
        table=table,
        mask=mask,
        features=feature_index(result.source, used, count),
        groups=(-1,) * int(used.sum()),
    )


def _objective(result: Attribution, given: "Objective | Contrast | Value | None") -> Objective | Contrast:
    name = result.provenance.objective
    if given is None:
        if name not in OBJECTIVES:
            raise OptionError(
                f"the result's objective is {name}, of which a result keeps the name only: pass the same one again as "
                "objective=."
            )
        return OBJECTIVES[name]
    found = given if isinstance(given, Contrast) else find_objective(given)
    if found.name != name:
        raise OptionError(f"the result's objective is {name}, but {found.name} was given.")
    return found


def _encoding(lm: LanguageModel, result: Attribution) -> Encoding:
    """Returns prompt and target with the ids that the result has.

    Raises:
        InputError: This tokenizer gives others.
    """
    made = result.provenance
    if not made.prompt_ids or not made.target_ids:
        raise InputError("the result does not know its token ids (it was converted from another), so nothing repeats.")
    targets: list[Any] = [list(made.target_ids)] if made.generated else [result.target_text, list(made.target_ids)]
    for target in targets:
        try:
            found = read(lm, result.prompt, target)
        except (InputError, SpanError):
            continue
        if found.prompt_ids == made.prompt_ids and found.target_ids == made.target_ids:
            return found
    raise InputError(
        f"the result is of another tokenizer: {type(lm.tokenizer).__name__} of {lm.name!r} gives the prompt and target "
        f"other ids than the {len(made.prompt_ids)} + {len(made.target_ids)} that the result of {made.model!r} has."
    )
