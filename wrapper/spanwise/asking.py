"""`Asked`: the arguments of `attribute`, checked; from a prompt and target to the question, and on to the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from spanwise.attribution import Attribution, Provenance
from spanwise.engines.registry import choose_engine, find_runner, versions
from spanwise.errors import InputError, MethodError, OptionError, at_least
from spanwise.methods import MethodInfo, find_method
from spanwise.model.generation import told
from spanwise.model.language_model import LanguageModel
from spanwise.model.reading import check_length, read
from spanwise.question import Answer, Question
from spanwise.scoring.baselines import BaselineLike
from spanwise.scoring.checks import GAP_WARNING, gap_note
from spanwise.scoring.contrast import Contrast
from spanwise.scoring.objectives import Objective, find_objective
from spanwise.text.composing import Composed, compose
from spanwise.text.encoding import DOUBLED_BOS
from spanwise.text.layout import make_axes

_LONG = 8
"""Characters a token of the model's context from which on tokens are counted first; texts have about 4."""


@dataclass(frozen=True)
class Asked:
    """The arguments of `spanwise.attribute` but for prompt, target and span, which differ from row to row of a study.

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
        progress: As `attribute` takes it.
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
    baseline: BaselineLike | None
    batch_size: int | Literal["auto"]
    checkpointing: bool
    seed: int
    progress: bool | None = False

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What every provenance tells of the model and the packages."""
        return {**self.lm.facts, "versions": versions()}

    def composed(self, prompt: str | None, messages: Any) -> Composed:
        """Returns a prompt as the model will read it.

        Raises:
            AttributionError: It cannot be read: it is empty, a feature is not there, ...
        """
        return compose(self.lm.tokenizer, prompt, messages=messages, **self.composing)

    def question(self, composed: Composed, target: Any, span: Any) -> Question:
        """Returns the question of a prompt and target. To be called inside the model's session.

        Raises:
            AttributionError: It cannot be asked: a span that is not there, too many tokens, ...
        """
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
            self.progress,
        )

    def _check_long(self, text: str) -> None:
        """Refuses a prompt of megabytes by its number of tokens alone: finding each token's characters takes long."""
        limit = self.lm.context_length
        if limit is not None and len(text) > _LONG * limit:
            ids = self.lm.tokenizer(text, add_special_tokens=True, verbose=False)["input_ids"]
            check_length(self.lm, len(ids), 1)

    def result(self, question: Question, found: Answer, *, generated: bool, **measured: float | None) -> Attribution:
        """Returns what `attribute` returns.

        Args:
            question: That was asked.
            found: Its answer.
            generated: Whether the model wrote the target.
            measured: For the provenance: "seconds", "peak_memory_gib"; they differ from run to run.
        """
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
            provenance=self._provenance(question, found, reduction, keeps_sign, generated, measured),
            standard_error=found.standard_error,
        )

    def _provenance(
        self,
        question: Question,
        found: Answer,
        reduction: str,
        keeps_sign: bool,
        generated: bool,
        measured: Mapping[str, Any],
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
            used=dict(found.used),
            notes=self._notes(question, found),
            **measured,
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
        if found.remark:
            notes.append(found.remark)
        if found.shared > 1:
            notes.append(f"{found.shared} targets of this prompt were read together: the work is that of all of them")
        return (*notes, *self.warnings(found))

    def warnings(self, found: Answer) -> list[str]:
        """Returns what the reader of a result has to be warned of."""
        gap = found.completeness_gap
        notes = [found.note] if found.note else []
        if gap is not None and gap > GAP_WARNING:
            notes.append(gap_note(self.lm, self.info, gap, found.baseline, self.options))
        return notes


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
    target: Any = None,
    progress: Any = False,
) -> Asked:
    """Returns the arguments of `attribute`, checked before any work.

    Raises:
        OptionError: An unknown name, or a value out of range.
        MethodError: The method cannot do this with this model or engine.
        DependencyError: A package that the method needs is not installed.
    """
    if not isinstance(lm, LanguageModel):
        raise InputError(
            f"a LanguageModel is needed, not {type(lm).__name__}: spanwise.LanguageModel(model, tokenizer)."
        )
    check_kinds(target, method_options, generation_options, seed, progress, checkpointing)
    info = find_method(method)
    engine = choose_engine(info, engine)
    find_runner(info, engine)  # before any work: a package may be missing
    options = info.checked_options(method_options or {})
    _check_together(lm, info, engine, objective, baseline, target, generation_options)
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
        progress,
    )


def _check_together(
    lm: LanguageModel, info: MethodInfo, engine: str, objective: Any, baseline: Any, target: Any, generation: Any
) -> None:
    """Checks what excludes each other, before the model does any work."""
    if not info.uses_baseline and baseline is not None:
        raise OptionError(f"{info.name} has no baseline, but baseline={baseline!r} was given.")
    if not info.reads_objective and objective != "log_prob":
        raise OptionError(f"no objective changes what {info.name} reads, but objective={objective!r} was given.")
    if isinstance(objective, Contrast) and engine == "inseq" and (not info.linear or engine in info.unsigned_on):
        raise MethodError(f"{info.name} on Inseq has no contrast: its scores are not linear in the objective.")
    if info.family == "gradient" and lm.no_backward is not None:
        raise MethodError(
            f"{info.name} needs gradients, and the model gives none: {lm.no_backward}. Use a perturbation method."
        )
    if target is not None and generation:
        raise OptionError("generation_options were given, but so was the target: nothing is generated.")


def check_kinds(
    target: Any, method_options: Any, generation_options: Any, seed: Any, progress: Any, checkpointing: Any
) -> None:
    """Checks arguments that several functions take.

    Raises:
        InputError: The target is no text and no ids.
        OptionError: Another argument is of another kind than it must be.
    """
    if not (target is None or isinstance(target, str | Sequence | Tensor)):
        raise InputError(f"the target is a text, a sequence of token ids or None, not {target!r}.")
    for name, given in (("method_options", method_options), ("generation_options", generation_options)):
        if given is not None and not isinstance(given, Mapping):
            raise OptionError(f"{name} is a mapping from names to values, not {given!r}.")
    if at_least("seed", seed, 0) >= 2**32:
        raise OptionError(f"seed must be less than 2**32, not {seed}.")
    if not isinstance(checkpointing, bool):
        raise OptionError(f"checkpointing is True or False, not {checkpointing!r}.")
    if not (progress is None or isinstance(progress, bool)):
        raise OptionError(f"progress is None, True or False, not {progress!r}.")
