"""One step of Inseq's on the scorer's input, and how steps become rows.

Inseq attributes one target token at a time. Each step is handed our token ids and embeddings, our baseline and our
objective, and gives back scores for every source position that its target token could see:

    step k    p0 p1 ... pP-1 t0 ... tk-1   ->  [source, ...]      e.g. hidden units, or layers and heads

A row is the sum of its target tokens' steps: the gradient of a sum is the sum of the gradients. Then what is beyond the
source axis is reduced, and the positions of a feature are added. Texts are never handed over, so nothing is tokenized a
second time.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from inseq.attr.feat import FeatureAttribution
from inseq.data import BatchEmbedding, BatchEncoding, DecoderOnlyBatch
from jaxtyping import Float, Int
from torch import Tensor

from spanwise.engines.inseq_model import wrapped
from spanwise.errors import AttributionError, MethodError
from spanwise.scoring.scorer import Scorer

Step: TypeAlias = Callable[[int], Float[Tensor, "source ..."]]
Reduce: TypeAlias = Callable[[Float[Tensor, "source ..."]], Float[Tensor, " source"]]

_NONE: Mapping[str, Any] = MappingProxyType({})


@contextmanager
def running(scorer: Scorer, name: str, **arguments: Any) -> Iterator[FeatureAttribution]:
    """Gives Inseq's method on the scorer's model.

    Args:
        scorer: Its counts are updated with what Inseq does.
        name: As Inseq calls the method.
        arguments: For the method's constructor.

    Raises:
        MethodError: Inseq failed, here or in the block.
    """

    def forwarded(logits: Tensor) -> None:
        count(scorer, len(logits))
        if logits.requires_grad:
            logits.register_hook(lambda gradient: count(scorer, len(gradient), backward=True))

    options = {"output_hidden_states": True} if scorer.objective.hidden_states else {}
    try:
        with wrapped(scorer.lm, forwarded, **options) as model:
            yield FeatureAttribution.load(name, attribution_model=model, **arguments)
    except (AttributionError, MemoryError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:  # Inseq, Captum and the model raise anything
        reason = " ".join(str(error).split())[:300]
        raise MethodError(
            f"Inseq {version('inseq')} failed at {name} on {scorer.lm.architecture}: {type(error).__name__}: {reason}"
        ) from error


def step(
    scorer: Scorer,
    method: FeatureAttribution,
    target: int,
    arguments: Mapping[str, Any] = _NONE,
    *,
    baseline_ids: Int[Tensor, " source"] | None = None,
) -> Tensor:
    """Returns Inseq's scores of one target token, as it has them before any aggregation.

    Args:
        scorer: Prompt, target, embeddings and baseline.
        method: Inseq's.
        target: Index of the target token.
        arguments: The method's own.
        baseline_ids: For a method whose baseline is a token.

    Returns:
        [source, ...], the source being everything before the target token.
    """
    length = len(scorer.prompt_ids) + target
    ids = torch.tensor([[*scorer.prompt_ids, *scorer.target_ids][: length + 1]], device=scorer.lm.device)
    start = None if baseline_ids is None else baseline_ids[None, :length]
    off = None if scorer.baseline is None else scorer.baseline_embeddings[None, :length]
    inputs = scorer.embeddings[None, :length].clone().requires_grad_()  # without it Captum warns that it sets this
    found = method.filtered_attribute_step(
        DecoderOnlyBatch(
            BatchEncoding(ids[:, :length], torch.ones_like(ids[:, :length]), baseline_ids=start),
            BatchEmbedding(inputs, off),
        ),
        target_ids=ids[:, length:],
        attributed_fn=_objective(scorer, target),
        attribution_args=dict(arguments),  # Inseq adds its own to them
    )
    return found.target_attributions[0]


def last_step(scorer: Scorer, method: FeatureAttribution) -> Step:
    """Returns the steps of a method that needs but one forward: it scores [source, position, ...] at the last step.

    Target token k is predicted at position P - 1 + k, so its row is that position's.
    """
    every = step(scorer, method, int(scorer.rows.any(0).nonzero().max()))
    prompt = len(scorer.prompt_ids)
    return lambda target: every[: prompt + target, prompt + target - 1]


def rows(scorer: Scorer, take: Step, reduce: Reduce, *, mean: bool = False) -> Float[Tensor, "row feature"]:
    """Returns the rows: steps added, reduced to one score a position, positions added to features.

    Args:
        scorer: Which target tokens are in which row, and which positions in which feature.
        take: Gives the step of a target token; called once for each that is asked for.
        reduce: From what a row's steps add up to, to one score a position.
        mean: Average a row's steps instead.
    """
    scores = torch.zeros(scorer.row_count, scorer.length)
    sums: dict[int, Tensor] = {}
    for target in scorer.rows.any(0).nonzero().flatten().tolist():
        found = take(target)
        for row in scorer.rows[:, target].nonzero().flatten().tolist():
            total = found.clone()
            if row in sums:
                total[: len(sums[row])] += sums[row]
            sums[row] = total
            if not scorer.rows[row, target + 1 :].any():
                scores[row, : len(total)] = reduce(sums.pop(row) / (scorer.rows[row].sum() if mean else 1)).float()
    return scorer.add_positions(scores.to(scorer.embeddings.device))


def count(scorer: Scorer, batch: int, *, backward: bool = False) -> None:
    """Adds a batch to the scorer's counts, and moves the progress bar."""
    if backward:
        scorer.counts.backwards += batch
    else:
        scorer.counts.calls += 1
        scorer.counts.forwards += batch
    scorer.tick(batch)


def _objective(scorer: Scorer, target: int) -> Callable[[Any], Tensor]:
    """Returns the scorer's objective as Inseq's "step function": from a step's output to [batch]."""
    context = scorer.context_of(target, target + 1)

    def attributed(args: Any) -> Tensor:
        outputs = args.forward_output
        outputs.logits = outputs.logits[:, -1:].to(scorer.lm.device)
        return scorer.objective.value(outputs, context)[:, 0]

    return attributed
