"""What "removed" means in an evaluation, and the value of a subset of features under it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spanwise.errors import MethodError, NonFiniteError, OptionError, one_of
from spanwise.model.language_model import LanguageModel
from spanwise.question import Question
from spanwise.scoring.baselines import default_baseline, make_baseline
from spanwise.scoring.batching import choose_batches
from spanwise.scoring.scorer import Scorer

NAMES = ("unk", "pad", "delete", "mask", "mean", "zero")


@dataclass
class Remembered:
    """The row's value for subsets of kept features, each scored once.

    Attributes:
        scorer: Of the one row.
    """

    scorer: Scorer
    _known: dict[bytes, float] = field(default_factory=dict)

    def __call__(self, kept: Bool[Tensor, "subset feature"]) -> Float[Tensor, " subset"]:
        """Returns the values, in float64.

        Raises:
            NonFiniteError: One of them is NaN or infinite.
        """
        keys = [row.tobytes() for row in kept.numpy()]
        fresh = {key: row for key, row in zip(keys, kept, strict=True) if key not in self._known}
        if fresh:
            names, gates = list(fresh), torch.stack(list(fresh.values()))
            for same in self._together(gates):
                found = self._scored(gates[same])
                self._known |= {names[i]: value for i, value in zip(same, found, strict=True)}
        return torch.tensor([self._known[key] for key in keys], dtype=torch.float64)

    def _scored(self, gates: Bool[Tensor, "subset feature"]) -> list[float]:
        values = self.scorer.scores(gates.float())[:, 0].double().cpu()
        if not values.isfinite().all():
            worst = gates[int((~values.isfinite()).nonzero()[0])]
            raise NonFiniteError(
                f"the objective is NaN or infinite where {int((~worst).sum())} of {len(worst)} features are removed, "
                "so nothing can be evaluated."
            )
        return values.tolist()

    def _together(self, gates: Bool[Tensor, "subset feature"]) -> list[list[int]]:
        """Returns the rows that go through the model together: for "delete", those of one length."""
        if self.scorer.baseline != "delete":
            return [list(range(len(gates)))]
        sizes = torch.bincount(self.scorer.features[self.scorer.features >= 0], minlength=gates.shape[1])
        by_length: dict[int, list[int]] = {}
        for row, length in enumerate((gates.long() @ sizes).tolist()):
            by_length.setdefault(length, []).append(row)
        return [by_length[length] for length in sorted(by_length)]


def checked_removals(asked: object) -> tuple[str, ...] | None:
    """Returns the ways to remove that were asked for; None: the default.

    Raises:
        OptionError: An unknown one, none, or one twice.
    """
    if asked is None:
        return None
    names = (asked,) if isinstance(asked, str) else asked
    if not isinstance(names, Sequence) or not names:
        raise OptionError(f"removed is one or several of {', '.join(NAMES)} and token:TEXT, not {asked!r}.")
    for name in names:
        if not (isinstance(name, str) and name.startswith("token:") and name != "token:"):
            one_of("way to remove features", name, (*NAMES, "token:TEXT"))
    if len(set(names)) < len(names):
        raise OptionError(f"removed names a way twice: {', '.join(names)}.")
    return tuple(names)


def choose_removals(
    questions: Sequence[Question], asked: tuple[str, ...] | None, batch_size: int | Literal["auto"]
) -> tuple[dict[str, list[Remembered]], tuple[str, ...]]:
    """Returns for each way to remove the values of subsets, one a question, and notes on what could not be had.

    As asked, else by a token of the model's and by leaving features out. To be called inside the model's session.

    Raises:
        OptionError: The tokenizer has no such token.
        MethodError: One that was asked for cannot be had with these features.
    """
    if asked is not None:
        try:
            return {name: [_open(question, name, batch_size) for question in questions] for name in asked}, ()
        except MethodError as error:
            raise MethodError(f"removed={', '.join(asked)} was asked, and cannot be had here: {error}") from error
    token = _token_removal(questions[0].lm)
    found = {token: [_open(question, token, batch_size) for question in questions]}
    refused: list[Any] = []
    for name in ("delete", "mask", "mean", "zero"):
        if name == token:
            continue
        try:
            found[name] = [_open(question, name, batch_size) for question in questions]
            refused = [f"{name!r} stands in for {other!r} as the second way to remove: {why}" for other, why in refused]
            break
        except MethodError as error:
            refused.append((name, _reason(error)))
    return found, tuple(refused)


def _open(question: Question, name: str, batch_size: int | Literal["auto"]) -> Remembered:
    """Returns the values under a way to remove; that of everything removed, which is what may fail, is scored."""
    off, _ = make_baseline(question.lm, name, question.info, question.encoding, question.composed, question.axes)
    lengths = len(question.axes.features), len(question.encoding.target_ids)
    batches = choose_batches(question.lm, batch_size, *lengths, gradients=False, rows=1, per_position=False)
    value = Remembered(question.scorer(off, batches))
    value(torch.zeros(1, question.axes.feature_count, dtype=torch.bool))
    return value


def _reason(error: MethodError) -> str:
    """Returns why a way to remove cannot be had, without the advice that is for `attribute`."""
    return str(error).split(". ")[0].removeprefix("baseline=")


def _token_removal(lm: LanguageModel) -> str:
    """Returns "unk" or "pad" where the tokenizer has such a token that stands for nothing else, else "mean"."""
    if default_baseline(lm, ("unk", "mean")) == "unk":
        return "unk"
    own = lm.tokenizer
    return "pad" if own.pad_token_id not in (own.bos_token_id, own.eos_token_id, None) else "mean"
