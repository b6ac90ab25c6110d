"""A part of a run: from lines of the input to lines of the output."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spanwise.asking import Asked
from spanwise.attribution import Attribution
from spanwise.batch import parts
from spanwise.batch.bar import Bar
from spanwise.batch.columns import Names, Row, row_of
from spanwise.batch.lines import Line, digest
from spanwise.batch.parts import Failure, PartInfo
from spanwise.batch.stacking import stacker
from spanwise.errors import AttributionError, DependencyError, FileError, ModelError, OptionError
from spanwise.question import Question
from spanwise.scoring.checks import GAP_WARNING

_SHOWN = 200
"""Characters of a row that a failure shows."""


@dataclass(frozen=True)
class Made:
    """A part, ready to be written.

    Attributes:
        lines: Of the output.
        info: What it says of itself.
    """

    lines: list[dict[str, Any]]
    info: PartInfo


class Worker:
    """Makes parts.

    Args:
        asked: What all rows share.
        names: Which column is what.
        span: For inputs without a column of spans.
        bar: Told of the progress.
    """

    def __init__(self, asked: Asked, names: Names, span: Any, bar: Bar) -> None:
        self.asked, self.names, self.span, self.bar = asked, names, span, bar

    def make(self, number: int, first: int, lines: Sequence[Line]) -> Made:
        """Returns the part of these lines.

        The same lines give the same part, whatever was made before it and by which process.

        Raises:
            OptionError: No row could be asked so: it is the command that is wrong.
        """
        failures: list[Failure] = []
        self._errors: list[AttributionError] = []
        with self.asked.lm.session():
            rows = [(first + i, line, self._asked(first + i, line, failures)) for i, line in enumerate(lines)]
            asked = [(row, line, *found) for row, line, found in rows if found is not None]
            questions = [question for *_, question in asked]
            answers = stacker(self.asked).answers(questions, lambda done: self._count([questions[i] for i in done]))
        written: list[dict[str, Any]] = []
        results = gaps = 0
        for (row, line, values, question), found in zip(asked, answers, strict=True):
            if isinstance(found, AttributionError):
                self._failed(failures, row, line, found)
                continue
            result = self.asked.result(question, found, generated=values.target is None)
            written += parts.records(row, result, values.extra)
            results += 1
            gaps += _is_wide(result)
        if lines and len(self._errors) == len(lines) and all(isinstance(each, OptionError) for each in self._errors):
            raise self._errors[0]
        failures.sort(key=lambda failure: failure.row)
        last = first + len(lines)
        return Made(written, PartInfo(number, first, last, digest(lines), results, tuple(failures), gaps))

    def _asked(self, row: int, line: Line, failures: list[Failure]) -> tuple[Row, Question] | None:
        try:
            values = row_of(line, self.names, self.span)
            composed = self.asked.composed(values.prompt, values.messages)
            question = self.asked.question(composed, values.target, values.span)
        except (FileError, DependencyError, ModelError):
            raise
        except AttributionError as error:
            self._failed(failures, row, line, error)
            self.bar.update(1, 0)
            return None
        except Exception as error:
            error.add_note(f"while row {row} of the input ({line.place}) was read")
            raise
        return values, question

    def _count(self, done: Sequence[Question]) -> None:
        encodings = [question.encoding for question in done]
        tokens = sum(len(each.prompt_tokens) + len(each.target_tokens) for each in encodings)
        self.bar.update(len(done), tokens)

    def _failed(self, failures: list[Failure], row: int, line: Line, error: AttributionError) -> None:
        self._errors.append(error)
        shown = line.raw[: 4 * _SHOWN].decode("utf-8", errors="replace")
        content = shown[:_SHOWN] + ("…" if len(shown) > _SHOWN else "")
        reason = " ".join(str(error).split())
        if len(reason) > 1000:  # a message that quotes a prompt of a megabyte
            reason = f"{reason[:500]} … {reason[-500:]}"
        failures.append(Failure(row, line.place, type(error).__name__, reason, content))
        self.bar.failures += 1


def _is_wide(result: Attribution) -> bool:
    return result.completeness_gap is not None and result.completeness_gap > GAP_WARNING
