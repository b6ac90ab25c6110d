"""`Asked`: what is the same for every row of a run, checked once; from a row to its question, and on to its result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from spanwise.api import _check_together, check_kinds
from spanwise.attribution import Attribution, Provenance
from spanwise.engines.registry import choose_engine, find_runner, versions
from spanwise.methods import MethodInfo, find_method
from spanwise.model.generation import told
from spanwise.model.language_model import LanguageModel
from spanwise.model.reading import check_length, read
from spanwise.question import Answer, Question
from spanwise.scoring.checks import GAP_WARNING, gap_note
from spanwise.scoring.contrast import Contrast
from spanwise.scoring.objectives import Objective, find_objective
from spanwise.text.composing import compose
from spanwise.text.encoding import DOUBLED_BOS
from spanwise.text.layout import make_axes

_LONG = 8
"""Characters a token of the model's context from which on tokens are counted first; texts have about 4."""


@dataclass(frozen=True)
class Asked:
    """The arguments of `spanwise.attribute` that all rows share.

    Attributes:
        lm: The model.
        info: The method.
        engine: That runs it.
        options: The method's own, complete.
        objective: What is attributed.
        composing: For `compose`: features, tools, template_options.
        axes: For `make_axes`: occurrence, target_features, source, rows, frozen, prefix.
        strict_boundary: As `attribute` takes it.
        generation_options: As `attribute` takes it.
        baseline: As `attribute` takes it.
        batch_size: As `attribute` takes it.
        checkpointing: As `attribute` takes it.
        seed: As `attribute` takes it.
    """

    lm: LanguageModel
    info: MethodInfo
    engine: str
    options: Mapping[str, Any]
    objective: Objective | Contrast
    composing: Mapping[str, Any]
    axes: Mapping[str, Any]
    strict_boundary: bool
    generation_options: Mapping[str, Any] | None
    baseline: Any
    batch_size: Any
    checkpointing: bool
    seed: int

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What every provenance tells of the model and the packages."""
        return {**self.lm.facts, "versions": versions()}

    def question(self, prompt: str | None, messages: Any, target: Any, span: Any) -> Question:
        """Returns the question of a row. To be called inside the model's session.

        Raises:
            AttributionError: The row cannot be asked: an empty prompt, a span that is not there, too many tokens, ...
        """
        composed = compose(self.lm.tokenizer, prompt, messages=messages, **self.composing)
        self._check_long(composed.text)
        generation = {} if target is not None else {"generation_options": self.generation_options}
        encoding = read(
            self.lm, composed.text, target, strict_boundary=self.strict_boundary, seed=self.seed, **generation
        )
        axes = make_axes(encoding, composed, self.info, span=span, **self.axes)
        return Question(
            self.lm,
            self.info,
            self.engine,
            self.options,
            self.objective,
            encoding,
            composed,
            axes,
            self.baseline,
            self.batch_size,
            self.checkpointing,
            self.seed,
            progress=False,
        )

    def _check_long(self, text: str) -> None:
        """Refuses a prompt of megabytes by its number of tokens alone: finding each token's characters takes long."""
        limit = self.lm.context_length
        if limit is not None and len(text) > _LONG * limit:
            ids = self.lm.tokenizer(text, add_special_tokens=True, verbose=False)["input_ids"]
            check_length(self.lm, len(ids), 1)

    def result(self, question: Question, found: Answer, *, generated: bool) -> Attribution:
        """Returns what `attribute` returns, but for time and memory, which differ from run to run and are left out."""
        axes, encoding = question.axes, question.encoding
        reduction = self.options.get("reduction", "sum")
        keeps_sign = self.engine not in self.info.unsigned_on
        return Attribution(
            scores=found.scores,
            span_scores=axes.span_scores(found.scores, linear=self.info.linear and reduction == "sum" and keeps_sign),
            target_scores=found.target_scores,
            source=axes.source,
            target=encoding.target_tokens,
            spans=axes.spans,
            rows=axes.rows,
            prompt=encoding.prompt,
            target_text=encoding.target_text,
            completeness_gap=found.completeness_gap,
            provenance=self._provenance(question, found, reduction, keeps_sign, generated),
        )

    def _provenance(
        self, question: Question, found: Answer, reduction: str, keeps_sign: bool, generated: bool
    ) -> Provenance:
        info, aim, encoding = self.info, question.aim, question.encoding
        return Provenance(
            **self.facts,
            method=info.name,
            engine=self.engine,
            objective=self.objective.name,
            baseline=found.baseline,
            options=dict(self.options),
            features=question.composed.level,
            seed=self.seed,
            reduction=reduction,
            coverage="prompt" if self.axes["prefix"] == "fixed" else "prompt and generated prefix",
            signed=reduction == "sum" if "reduction" in self.options else info.signed and keeps_sign,
            unit=info.unit.replace("objective", aim.unit),
            boundary=encoding.boundary,
            prompt_ids=encoding.prompt_ids,
            target_ids=encoding.target_ids,
            generated=generated,
            generation_options=told(self.generation_options or {}) if generated else {},
            batch_size=found.batches.size,
            checkpointing=self.checkpointing,
            calls=found.counts.calls,
            forwards=found.counts.forwards,
            backwards=found.counts.backwards,
            notes=self._notes(question, found),
        )

    def _notes(self, question: Question, found: Answer) -> tuple[str, ...]:
        axes, encoding, aim = question.axes, question.encoding, question.aim
        notes = [*self.lm.notes, *question.composed.notes, *(each.note for each in axes.spans if each.note)]
        if found.batches.note:
            notes.append(found.batches.note)
        if encoding.doubled_bos:
            notes.append(DOUBLED_BOS)
        if encoding.boundary != "clean":
            notes.append(f"{encoding.boundary}; the target was tokenized as a continuation")
        if found.contrast is not None:
            notes.append(
                f"the contrast at the input is {found.contrast:.4g} {aim.unit}; target_scores are the target's own part"
            )
        if aim.name == "prob" and axes.rows == "span":
            notes.append("a span's objective is the sum of its token probabilities, not their product")
        if found.completeness_gap is not None and found.completeness_gap > GAP_WARNING:
            notes.append(gap_note(self.lm, self.info, found.completeness_gap, found.baseline))
        return tuple(notes)


def check(
    lm: LanguageModel,
    *,
    method: str,
    engine: str,
    objective: Any,
    method_options: Any,
    generation_options: Any,
    baseline: Any,
    batch_size: Any,
    checkpointing: Any,
    seed: Any,
    strict_boundary: bool,
    composing: Mapping[str, Any],
    axes: Mapping[str, Any],
) -> Asked:
    """Returns the arguments that all rows share, checked before any work; those of `attribute`.

    Raises:
        OptionError: An unknown name, or a value out of range.
        MethodError: The method cannot do this with this model or engine.
        DependencyError: A package that the method needs is not installed.
    """
    check_kinds("", method_options, generation_options, seed, None, checkpointing)
    info = find_method(method)
    engine = choose_engine(info, engine)
    find_runner(info, engine)
    options = info.checked_options(method_options or {})
    _check_together(lm, info, engine, objective, baseline, None, generation_options)
    aim: Objective | Contrast = objective if isinstance(objective, Contrast) else find_objective(objective)
    return Asked(
        lm,
        info,
        engine,
        options,
        aim,
        composing,
        axes,
        strict_boundary,
        generation_options,
        baseline,
        batch_size,
        checkpointing,
        seed,
    )


def same_prompt(question: Question) -> tuple[Any, ...]:
    """Returns what two questions must share for one set of forwards to answer both."""
    encoding, axes = question.encoding, question.axes
    return encoding.prompt_ids, encoding.target_ids, tuple(axes.features.tolist())


def together(questions: Sequence[Question]) -> Question:
    """Returns one question with the rows of several about the same prompt and target."""
    first = questions[0]
    if len(questions) == 1:
        return first
    table = torch.cat([each.axes.table for each in questions])
    mask = torch.cat([each.axes.mask for each in questions])
    return replace(first, axes=replace(first.axes, table=table, mask=mask))
