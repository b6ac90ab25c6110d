"""`Question`: everything that decides the scores, ready to be answered, and to be put again with one thing changed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from spanwise.engines.protocol import Found, as_found
from spanwise.engines.registry import find_runner
from spanwise.errors import MethodError
from spanwise.methods import MethodInfo
from spanwise.model.checkpointing import checkpointed
from spanwise.model.language_model import LanguageModel
from spanwise.model.seeding import seeded
from spanwise.progress import progress_bar
from spanwise.scoring.baselines import BaselineLike, make_baseline
from spanwise.scoring.batching import Batches, choose_batches
from spanwise.scoring.checks import check_finite, completeness_gap
from spanwise.scoring.contrast import Contrast, ContrastScorer, apart, make_contrast
from spanwise.scoring.log_odds import CAREFUL_LOG_PROB
from spanwise.scoring.objectives import Objective
from spanwise.scoring.scorer import Counts, Scorer
from spanwise.text.composing import Composed
from spanwise.text.encoding import Encoding
from spanwise.text.layout import Axes
from spanwise.text.levels import nested_levels

LEAST_KEPT = 8
"""Fixed positions at the beginning from which on keeping their keys and values pays for a gradient method."""


@dataclass(frozen=True)
class Answer:
    """What a method found, and what it took.

    Attributes:
        scores: In the columns of the question; NaN where none is defined.
        target_scores: The objective at the unchanged input.
        completeness_gap: None for a method without that promise.
        contrast: The contrast at the input, where the objective is one.
        baseline: Its name; None for a method without one.
        batches: As they ended.
        counts: The work done.
        standard_error: Of the scores; None where the method does not sample or the engine does not say.
        used: What options that were asked as "auto" came to.
        note: What the method warns of; "" for nothing.
        remark: What the method has to say of it; "" for nothing.
        shared: How many targets the counts are of; see `answer_together`.
    """

    scores: Float[Tensor, "row source"]
    target_scores: Float[Tensor, " target"]
    completeness_gap: float | None
    contrast: float | None
    baseline: str | None
    batches: Batches
    counts: Counts
    standard_error: Float[Tensor, "row source"] | None = None
    used: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    remark: str = ""
    shared: int = 1


@dataclass(frozen=True)
class Question:
    """One prompt and target, the rows and columns of the result, and the method that is to fill them.

    Attributes:
        lm: The model.
        info: The method.
        engine: That runs it; not "auto".
        options: The method's own, checked and complete.
        objective: What is attributed.
        encoding: Prompt and target as the model reads them.
        composed: What the prompt was made of.
        axes: Rows and columns.
        baseline: As `attribute` takes it.
        batch_size: As `attribute` takes it.
        checkpointing: As `attribute` takes it.
        seed: For methods that sample.
        progress: As `attribute` takes it.
    """

    lm: LanguageModel
    info: MethodInfo
    engine: str
    options: Mapping[str, Any]
    objective: Objective | Contrast
    encoding: Encoding
    composed: Composed
    axes: Axes
    baseline: BaselineLike | None = None
    batch_size: int | Literal["auto"] = "auto"
    checkpointing: bool = False
    seed: int = 0
    progress: bool | None = None

    @property
    def aim(self) -> Objective:
        """The objective of each token; of a contrast, that of both sides."""
        return self.objective.objective if isinstance(self.objective, Contrast) else self.objective

    def answer(self) -> Answer:
        """Returns the method's scores. To be called inside the model's session.

        Raises:
            MethodError: The method cannot start from this baseline on this engine.
            NonFiniteError: The model gave NaN or infinite scores.
        """
        batches, runner = self.batches(), find_runner(self.info, self.engine)
        off, baseline = self.off()
        with self.working() as tick:
            scorer = self.scorer(off, batches, tick)
            scorer.reference()
            if isinstance(scorer, ContrastScorer) and self.engine == "inseq":
                found = Found(apart(lambda part: as_found(runner(part, self.options)).scores, scorer))
            else:
                found = as_found(runner(scorer, self._runner_options()))
            return self.answered(found, scorer, baseline)

    def off(self) -> tuple[Any, str | None]:
        """Returns what a feature becomes when it is off, as `Scorer.baseline` takes it, and its name.

        Raises:
            MethodError: The method cannot start from this baseline on this engine.
        """
        if not self.info.uses_baseline:
            return None, None
        off, name = make_baseline(self.lm, self.baseline, self.info, self.encoding, self.composed, self.axes)
        if self.engine == "inseq" and not isinstance(off, Tensor):
            raise MethodError(
                f"{self.info.name} on the engine 'inseq' needs embeddings as baseline, not {name!r}: name a "
                "token ('unk'), or ask for engine='captum'."
            )
        return off, name

    @contextmanager
    def working(self) -> Iterator[Callable[[int], object]]:
        """Sets the seed, checkpointing and the progress bar, which what it gives moves."""
        forgetful = checkpointed(self.lm.model) if self.checkpointing else nullcontext()
        with forgetful, progress_bar(self._work(), self.info.name, self.progress) as tick, seeded(self.seed):
            yield tick

    def answered(self, found: Found, scorer: Scorer, baseline: str | None) -> Answer:
        """Returns what a runner found, in the question's columns. To be called inside `working`.

        Raises:
            NonFiniteError: The model gave NaN or infinite scores.
        """
        scores, error = self.axes.spread(found.scores.float().cpu()), found.standard_error
        gap = found.gap
        if gap is None and self.info.complete:
            gap = completeness_gap(scorer, scores)
        check_finite(self.lm, scorer.reference(), scores, self.axes.mask)
        return Answer(
            scores,
            scorer.reference(),
            gap,
            scorer.at_input() if isinstance(scorer, ContrastScorer) else None,
            baseline,
            scorer.batches,
            scorer.counts,
            standard_error=None if error is None else self.axes.spread(error.float().cpu()),
            used=found.used,
            note=found.note,
            remark=found.remark,
        )

    def scorer(self, off: Any, batches: Batches, tick: Any = lambda done: None) -> Scorer:
        """Returns the scorer of the question's rows and features. To be called inside the model's session.

        Args:
            off: What a feature becomes when it is off, as `Scorer.baseline` takes it.
            batches: How inputs are cut.
            tick: Called with the work done.
        """
        ids, table, features = self.encoding, self.axes.table, self.axes.features
        scorer = Scorer(
            self.lm,
            ids.prompt_ids,
            ids.target_ids,
            CAREFUL_LOG_PROB if self.info.unit == "log-odds" else self.aim,
            table,
            features,
            off,
            batches,
            tick,
            reuse=self._repeats_a_beginning(),
        )
        if isinstance(self.objective, Contrast):
            return make_contrast(scorer, self.objective, self.encoding, self.axes)
        return scorer

    def _runner_options(self) -> dict[str, Any]:
        """Returns the method's options, and with them what a method that goes from level to level knows of the text."""
        if self.info.name != "hierarchical_ablation":
            return dict(self.options)
        return {**self.options, "levels": nested_levels(self.axes, self.encoding, self.composed)}

    def _repeats_a_beginning(self) -> bool:
        """Whether the inputs begin like the unchanged one, far enough to keep its keys and values."""
        if self.engine != "captum" and not (self.engine == "native" and self.info.family == "perturbation"):
            return False  # Inseq has a forward of its own, and attention is read from the whole
        fixed = int((self.axes.features >= 0).int().argmax())
        return self.info.family == "perturbation" or fixed >= LEAST_KEPT

    def batches(self) -> Batches:
        """Returns how inputs are cut."""
        return choose_batches(
            self.lm,
            self.batch_size,
            len(self.axes.features),
            len(self.encoding.target_ids),
            gradients=self.info.family == "gradient",
            rows=len(self.axes.table),
            per_position=self.info.name != "integrated_gradients",
        )

    def _work(self) -> int:
        """Returns forwards and backwards in all, for the progress bar.

        Inseq goes from target token to target token, and over every position.
        """
        each = (self.axes.feature_count, len(self.axes.table))
        if self.engine == "inseq":
            each = (len(self.axes.features) + 1, int(self.axes.table.any(0).sum()))
        in_all = sum(self.info.work_in_all(self.engine, *each, self.options))
        return in_all * (2 if isinstance(self.objective, Contrast) else 1)
