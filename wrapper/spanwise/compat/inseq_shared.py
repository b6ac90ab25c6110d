"""What Inseq computes step by step, computed for all steps at once by the scorer, and handed out step by step.

A causal model's target tokens do not see what follows them, so one forward over the whole sequence stands for the
forwards of all steps: row k of the gradients at [prompt, target] is what step k gets at [prompt, target[:k]].

    step k    p0 p1 ... pP-1 t0 ... tk-1        row k    p0 p1 ... pP-1 t0 ... tk-1 | tk ... (always 0, cut off)
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from inseq.attr import step_functions
from inseq.attr.feat import FeatureAttribution
from inseq.data import CoarseFeatureAttributionStepOutput, DecoderOnlyBatch, GranularFeatureAttributionStepOutput
from jaxtyping import Float
from torch import Tensor

from spanwise.model.language_model import LanguageModel
from spanwise.scoring.batching import choose_batches
from spanwise.scoring.objectives import find_objective
from spanwise.scoring.scorer import Scorer

_OPTIONS: dict[str, set[str]] = {
    "saliency": {"abs"},
    "input_x_gradient": set(),
    "integrated_gradients": {"n_steps", "method", "internal_batch_size"},
    "occlusion": {"perturbations_per_eval", "show_progress"},
}
"""The methods, and the options with which the scorer's numbers are Inseq's."""

_AT_ONCE = 2**26
"""Numbers in [steps, target, source, hidden] that are held at once: 256 MiB."""


class SharedSteps:
    """All steps of one sequence.

    Args:
        lm: The model, inside its session.
        method: Inseq's, whose Captum class does the arithmetic.
        batch: The one sequence.
        start: Position of the first target token.
        end: One past the position of the last.
        objective: As `spanwise.attribute` takes it.
    """

    def __init__(
        self,
        lm: LanguageModel,
        method: FeatureAttribution,
        batch: DecoderOnlyBatch,
        start: int,
        end: int,
        objective: str,
    ) -> None:
        self._lm, self._method, self._start, self._objective = lm, method, start, objective
        self._ids: list[int] = batch.input_ids[0, :end].tolist()
        off = batch.baseline_embeds
        self._baseline = None if off is None else off[0, : end - 1].detach().float()
        self._table: Tensor | None = None  # [target, source, hidden] or [target, source]

    def step(self, main: Mapping[str, Any], arguments: dict[str, Any]) -> Any:
        """Returns a step's output as Inseq's own `attribute_step` does, by which it is called."""
        if self._method.method_name == "occlusion":
            arguments.setdefault("sliding_window_shapes", (1, main["inputs"][0].shape[-1]))  # Inseq records its default
        if self._table is None:
            by_name = {"occlusion": self._occlusion, "integrated_gradients": self._integrated}
            self._table = by_name.get(self._method.method_name, self._gradient)(dict(arguments))
        length = main["inputs"][0].shape[1]
        found = self._table[length - self._start, :length][None].clone()
        if self._method.method_name == "occlusion":
            return CoarseFeatureAttributionStepOutput(source_attributions=None, target_attributions=found)
        return GranularFeatureAttributionStepOutput(source_attributions=None, target_attributions=found, step_scores={})

    def _gradient(self, arguments: dict[str, Any]) -> Float[Tensor, "target source hidden"]:
        """Saliency and gradient times input."""
        scorer = self._scorer(gradients=True)
        captum = self._captum(lambda inputs: scorer.embedding_gradients(inputs[:, 0]))
        leaf = scorer.embeddings[None, None].clone().requires_grad_()
        found: Tensor = captum.attribute(leaf, **arguments)[0]  # [target, source, hidden]
        return found.detach().cpu()

    def _integrated(self, arguments: dict[str, Any]) -> Float[Tensor, "target source hidden"]:
        scorer = self._scorer(gradients=True)
        captum = self._captum(scorer.embedding_gradients)
        most = max(1, _AT_ONCE // (scorer.row_count * scorer.embeddings.numel()))
        if arguments.get("internal_batch_size") is None and most < arguments.get("n_steps", 50):
            arguments["internal_batch_size"] = most
        found: Tensor = captum.attribute(
            scorer.embeddings[None], baselines=scorer.baseline_embeddings[None], **arguments
        )[0]
        return found.detach().cpu()

    def _occlusion(self, arguments: dict[str, Any]) -> Float[Tensor, "target source"]:
        """The absolute change of each target token when one position is at the baseline, as Inseq has it."""
        scorer = self._scorer(gradients=False)
        whole = scorer.scores(torch.ones(1, scorer.feature_count))
        off = scorer.scores(1 - torch.eye(scorer.feature_count))  # [source, target]
        return (whole - off).T.abs().cpu()

    def _captum(self, gradients: Callable[[Tensor], Tensor]) -> Any:
        captum: Any = copy.copy(self._method.method)

        def gradient_func(forward_fn: object, inputs: tuple[Tensor], *args: object, **kwargs: object) -> tuple[Tensor]:
            return (gradients(inputs[0].detach()),)

        captum.gradient_func = gradient_func
        return captum

    def _scorer(self, *, gradients: bool) -> Scorer:
        prompt, target = self._ids[: self._start], self._ids[self._start :]
        rows, length = torch.eye(len(target), dtype=torch.bool), len(self._ids) - 1
        batches = choose_batches(
            self._lm, "auto", length, len(target), gradients=gradients, rows=len(target), per_position=gradients
        )
        aim = find_objective(self._objective)
        return Scorer(self._lm, prompt, target, aim, rows, torch.arange(length), self._baseline, batches)


def objective_of(
    method: FeatureAttribution,
    attributed: Callable[..., Any],
    arguments: Mapping[str, Any],
    options: Mapping[str, Any],
    hidden: int,
) -> str | None:
    """Returns the scorer's name of what is attributed, or None where the work is Inseq's own to do.

    Args:
        method: Inseq's.
        attributed: The step function.
        arguments: The step function's.
        options: The method's.
        hidden: Width of an embedding.
    """
    if method.method_name not in _OPTIONS:
        return None
    defaults = {"return_convergence_delta": False, "sliding_window_shapes": (1, hidden)}
    given = {name for name, value in options.items() if name not in defaults or value != defaults[name]}
    if not given <= _OPTIONS[method.method_name]:
        return None
    if attributed is step_functions.probability_fn and arguments.keys() <= {"logprob"}:
        return "log_prob" if arguments.get("logprob") else "prob"
    names = {step_functions.logit_fn: "logit", step_functions.entropy_fn: "entropy"}
    return None if arguments else names.get(attributed)
