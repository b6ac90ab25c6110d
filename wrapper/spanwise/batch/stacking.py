"""Which prompts go through the model together, and their answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from jaxtyping import Float
from torch import Tensor

from spanwise.asking import Asked
from spanwise.batch.joining import same_prompt, together
from spanwise.batch.stack import Stack
from spanwise.engines.protocol import as_found
from spanwise.engines.registry import find_runner
from spanwise.errors import AttributionError
from spanwise.model.planning.planner import TOKENS_AT_ONCE
from spanwise.model.prefix import keeps
from spanwise.model.seeding import seeded
from spanwise.question import Answer, Question
from spanwise.scoring.baselines import REMOVALS, baseline_embeddings, default_baseline
from spanwise.scoring.batching import Batches, choose_batches
from spanwise.scoring.checks import change_of, check_finite, gap_of
from spanwise.scoring.objectives import OBJECTIVES
from spanwise.scoring.scorer import Scorer
from spanwise.together import answer_together, shares

Found: TypeAlias = Answer | AttributionError
"""An answer, or why there is none for this row."""

STACKED = ("feature_ablation", "integrated_gradients", "input_x_gradient", "saliency")
"""Methods whose result for a prompt does not depend on the prompts beside it; those that sample draw for each."""

AT_EMBEDDINGS = ("input_x_gradient", "saliency")
"""Those of them that work on embeddings; the others switch features by gates."""

_MOST_VALUES = 2**26
"""Of the gradients at the embeddings of a stack: 256 MiB."""


@dataclass(frozen=True)
class Stacker:
    """Answers questions, those of short prompts several at a time.

    Attributes:
        asked: What all questions share.
        off: The embedding and the name of the baseline; None for a method without one.
        stacks: Whether prompts may be put together at all; else each goes alone.
    """

    asked: Asked
    off: tuple[Float[Tensor, "1 hidden"], str] | None
    stacks: bool

    def answers(self, questions: Sequence[Question], tick: Callable[[Sequence[int]], object]) -> list[Found]:
        """Returns the answer to each question. To be called inside the model's session.

        The same questions in the same order are put together in the same way.

        Args:
            questions: Of one run.
            tick: Called with the indices of the questions done since the last call.
        """
        found: dict[int, Found] = {}
        for units in self._stacks(questions):
            chosen = [i for unit in units for i in unit]
            answered = self._answer([[questions[i] for i in unit] for unit in units])
            found.update(zip(chosen, answered, strict=True))
            tick(chosen)
        return [found[i] for i in range(len(questions))]

    def _stacks(self, questions: Sequence[Question]) -> list[list[list[int]]]:
        """Returns which questions go together: those of one prompt, and prompts with as many rows and about as long.

        A prompt is filled up by an eighth of its length at most, where that costs less than another call.
        """
        stacks: list[list[list[int]]] = []
        fitting = [i for i, each in enumerate(questions) if self.stacks and self._is_short(each)]
        units: dict[Any, list[int]] = {}
        for i in fitting:
            units.setdefault(same_prompt(questions[i]), []).append(i)
        sized = []
        for unit in units.values():
            whole = together([questions[i] for i in unit])
            sized.append((len(whole.axes.table), _length(whole), unit))
        latest, tokens = (0, 0), 0  # rows and least length of the last stack; tokens in it
        for rows, length, unit in sorted(sized):
            room = min(_tokens_at_once(self.asked), _MOST_VALUES // (rows * self.asked.lm.hidden_size))
            if rows != latest[0] or length > latest[1] + latest[1] // 8 or tokens + length > room:
                stacks.append([])
                latest, tokens = (rows, length), 0
            stacks[-1].append(unit)
            tokens += length
        alone = sorted(set(range(len(questions))) - set(fitting))
        return stacks + [[[i] for i in group] for group in _sharing(questions, alone)]

    def _is_short(self, question: Question) -> bool:
        """Whether what the method asks of this prompt leaves room in a batch."""
        settings = {
            "feature_ablation": question.axes.feature_count,
            "integrated_gradients": int(self.asked.options.get("n_steps", 1)),
        }.get(self.asked.info.name, 1)
        if self.asked.info.family == "gradient":
            settings *= len(question.axes.table)
        return settings * _length(question) < _tokens_at_once(self.asked)

    def _answer(self, units: Sequence[Sequence[Question]]) -> list[Found]:
        questions = [question for unit in units for question in unit]
        if len(questions) > 1:
            try:
                stacked = self.stacks and self._is_short(questions[0])
                return self._answer_stack(units) if stacked else list(answer_together(questions))
            except AttributionError:
                pass  # each alone needs less, and says for itself what is wrong
        found: list[Found] = []
        for question in questions:
            try:
                found.append(question.answer())
            except AttributionError as error:
                found.append(error)
        return found

    def _answer_stack(self, units: Sequence[Sequence[Question]]) -> list[Found]:
        whole = [together(unit) for unit in units]
        batches = self._batches(whole)
        scorers = []
        for question in whole:
            off = self.off and self.off[0].expand(len(question.axes.features), -1)
            scorers.append(question.scorer(off, batches))
        stack = Stack(scorers, batches, side_by_side=self.asked.info.name in AT_EMBEDDINGS)
        info = self.asked.info
        with seeded(self.asked.seed):
            stack.read_references(keeping=self._keeps(scorers))
            told = as_found(find_runner(info, self.asked.engine)(stack, self.asked.options))
            scores = told.scores.float().cpu()
            change = change_of(stack) if info.complete else None
        found: list[Found] = []
        for k, unit in enumerate(units):
            of_prompt, begin = stack.part_of(k, scores), 0
            changes = None if change is None else change[stack.rows_of(k)]
            for question in unit:
                rows = slice(begin, begin + len(question.axes.table))
                found.append(self._one(question, stack, k, of_prompt[rows], None if changes is None else changes[rows]))
                begin = rows.stop
        return found

    def _keeps(self, scorers: Sequence[Scorer]) -> bool:
        """Whether that pays, and the model gives the same values with kept keys, which one scorer tries.

        A prompt of one token cannot try it. It says no even where another has tried it, so that a stack is read in the
        same way whatever was read before.
        """
        one = scorers[0]
        tries = one.reuse and len(one.prompt_ids) > 1
        if tries and keeps(one.lm) is None:
            one.reference()
        return tries and bool(keeps(one.lm))

    def _one(
        self, question: Question, stack: Stack, k: int, part: Tensor, change: Float[Tensor, " row"] | None
    ) -> Found:
        scores, target_scores = question.axes.spread(part), stack.references[k].cpu()
        try:
            check_finite(self.asked.lm, target_scores, scores, question.axes.mask)
        except AttributionError as error:
            return error
        gap = None if change is None else gap_of(scores, change)
        name = self.off[1] if self.off else None
        return Answer(scores, target_scores, gap, None, name, stack.batches, stack.counts_of(k))

    def _batches(self, questions: Sequence[Question]) -> Batches:
        return choose_batches(
            self.asked.lm,
            self.asked.batch_size,
            max(map(_length, questions)),
            max(len(each.encoding.target_ids) for each in questions),
            gradients=self.asked.info.family == "gradient",
            rows=max(len(each.axes.table) for each in questions),
            per_position=self.asked.info.name != "integrated_gradients",
        )


def stacker(asked: Asked) -> Stacker:
    """Returns what answers the questions of a run. To be called inside the model's session.

    Raises:
        OptionError: There is no such baseline.
    """
    lm, info, objective = asked.lm, asked.info, asked.objective
    stacks = (
        info.name in STACKED
        and asked.engine == "captum"
        and objective in OBJECTIVES.values()
        and not lm.is_encoder_decoder
        and lm.quantization != "int8"  # its layers pick outliers by batch
        and not asked.checkpointing
        and asked.options.get("internal_batch_size") is None
        and "auto" not in asked.options.values()
        and lm.model.get_output_embeddings() is not None  # type: ignore[operator] # a transformers model has it
    )
    off = None
    if info.uses_baseline:
        name = default_baseline(lm, info.baselines) if asked.baseline is None else asked.baseline
        removed = not isinstance(name, str) or name in REMOVALS or name.startswith("text:")
        if removed or asked.composing["features"].__class__.__name__ == "Template":
            stacks = False
        else:
            assert isinstance(name, str)
            row, told = baseline_embeddings(lm, name, 1)
            assert isinstance(row, Tensor)
            off = row, told
    return Stacker(asked, off, stacks)


def _length(question: Question) -> int:
    """Returns how many tokens the model reads: all before the last target token that is asked about."""
    last = int(question.axes.table.any(0).nonzero().max()) + 1
    return len(question.encoding.prompt_ids) + last - 1


def _tokens_at_once(asked: Asked) -> int:
    return TOKENS_AT_ONCE.get(asked.lm.device.type, TOKENS_AT_ONCE["cuda"])


def _sharing(questions: Sequence[Question], chosen: Sequence[int]) -> list[list[int]]:
    """Returns the chosen ones in groups: several targets of one prompt, where they can be read together."""
    groups: dict[Any, list[list[int]]] = {}
    for i in chosen:
        of_prompt = groups.setdefault(questions[i].encoding.prompt_ids, [])
        fitting = [group for group in of_prompt if shares(questions[group[0]], questions[i])]
        if fitting:
            fitting[0].append(i)
        else:
            of_prompt.append([i])
    return sorted(group for of_prompt in groups.values() for group in of_prompt)
