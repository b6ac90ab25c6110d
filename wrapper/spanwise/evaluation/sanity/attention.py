"""The counterfactual check of attention: permute the weights, and see whether the output moves."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from spanwise.evaluation.sanity.case import Case, Finding, NotApplicableError
from spanwise.evaluation.sanity.result import Value
from spanwise.model.attentions import eager_attention
from spanwise.model.forward import forward

PERMUTATIONS = 20
MOVED = 0.1
"""Total variation distance below which the output is said not to move: a tenth of the probability. Our own choice:
Jain & Wallace plot the medians and name no threshold."""


def attention_counterfactual(case: Case) -> Finding:
    """Jain & Wallace 2019 (arXiv:1902.10186), section 4.2.1, algorithm 2.

    For `attention`: in the layers and heads that it reads, the weights of the positions that predict the row's target
    tokens. For rollout and flow, which read everything: all weights. Each head and position for itself, over the
    positions that it sees.
    """
    info = case.question.info
    if info.family != "attention":
        raise NotApplicableError(f"{info.name} does not read attention weights.")
    before = _probabilities(case, None)
    distances = []
    for seed in range(PERMUTATIONS):
        after = _probabilities(case, _permuter(case, seed))
        distances.append(float((after - before).abs().sum(-1).mean() / 2))
    median = statistics.median(distances)
    good = median >= MOVED
    what = "of the positions that predict the target" if info.name == "attention" else "of all positions"
    told = (
        f"The attention weights {what} were permuted {PERMUTATIONS} times. The median distance (total variation) of "
        f"the next-token probabilities from the unchanged ones is {median:.2f}, where {MOVED} is asked. "
    )
    told += (
        "The output hangs on where the model looks, so the weights may explain it; this alone does not show it."
        if good
        else "Other weights give nearly the same output, so these weights explain little of it."
    )
    figures: dict[str, Value] = {"median_distance": median, "asked": MOVED, "least": min(distances)}
    return Finding("pass" if good else "fail", figures | {"largest": max(distances)}, told)


Permuter = Callable[[Float[Tensor, "batch head query key"], int], Tensor]
"""From the weights of a step of attention, and its number from the lowest, to others."""


def _permuter(case: Case, seed: int) -> Permuter:
    options, name = case.question.options, case.question.info.name
    generator = torch.Generator().manual_seed(seed)
    rows = _rows(case) if name == "attention" else None
    steps_a_layer = 2 if case.question.lm.is_encoder_decoder else 1
    layers = _layer_count(case) if options.get("layer") == "last" else 0

    def permute(weights: Tensor, step: int) -> Tensor:
        layer = step // steps_a_layer
        asked = layers - 1 if options.get("layer") == "last" else options.get("layer")
        if isinstance(asked, int) and layer != asked:
            return weights
        head = options.get("head")
        heads = slice(head, head + 1) if isinstance(head, int) else slice(None)
        chosen = slice(None) if rows is None else rows.to(weights.device)
        changed = weights.clone()
        changed[:, heads, chosen] = permuted(weights[:, heads, chosen], generator)
        return changed

    return permute


def permuted(
    weights: Float[Tensor, "batch head query key"], generator: torch.Generator
) -> Float[Tensor, "batch head query key"]:
    """Returns the weights of every head and query in another order over the keys that it sees (a weight above 0)."""
    unseen = (weights == 0).float()
    noise = torch.rand(weights.shape, generator=generator).to(weights.device)
    # Both orders have the seen keys first: one as they stand, one at random.
    standing, random = unseen.argsort(dim=-1, stable=True), (unseen + noise).argsort(-1)
    return weights.scatter(-1, random, weights.gather(-1, standing))


def _probabilities(case: Case, permute: Permuter | None) -> Float[Tensor, "target vocab"]:
    """Returns the next-token probabilities where the row's target tokens are predicted, by one forward."""
    question, asked = case.question, _asked(case)
    lm, encoding = question.lm, question.encoding
    ids = torch.tensor([[*encoding.prompt_ids, *encoding.target_ids][:-1]], device=lm.device)
    encoder_length = len(encoding.prompt_ids) - 1 if lm.is_encoder_decoder else 0
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(eager_attention(lm.model))
        if permute is not None:
            only_decoder = case.question.info.name == "attention" and lm.is_encoder_decoder
            stack.enter_context(_attention_changed(lm.model, permute, only_decoder))
        outputs, _ = forward(lm, ids, len(encoding.target_ids), encoder_length=encoder_length)
    case.work.forwards += 1
    found: Tensor = outputs.logits[0].float().softmax(-1).cpu()[asked]
    return found


@contextmanager
def _attention_changed(model: nn.Module, permute: Permuter, only_decoder: bool) -> Iterator[None]:
    """Has every step of attention use other weights inside the block; with `only_decoder`, not the encoder's."""
    changing = _Changing(permute, not only_decoder)
    handles = []
    if only_decoder:
        decoder: nn.Module = model.get_decoder()  # type: ignore[operator] # an encoder-decoder model has it
        handles.append(decoder.register_forward_pre_hook(lambda *args: changing.begin()))
    try:
        with changing:
            yield
    finally:
        for handle in handles:
            handle.remove()


class _Changing(TorchFunctionMode):
    """Changes what softmax gives where it is attention's: plain attention computes nothing else over four axes."""

    def __init__(self, permute: Permuter, begun: bool) -> None:
        super().__init__()
        self._permute, self._begun, self._step = permute, begun, 0

    def begin(self) -> None:
        """Changes from here on, counting steps from 0."""
        self._begun, self._step = True, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") != "softmax" or not self._begun or output.ndim != 4:
            return output
        self._step += 1
        return self._permute(output, self._step - 1)


def _asked(case: Case) -> Bool[Tensor, " target"]:
    return case.question.axes.table.any(0)


def _rows(case: Case) -> Tensor:
    """Returns the positions that predict the row's target tokens, as the part that writes them counts."""
    before = 0 if case.question.lm.is_encoder_decoder else len(case.question.encoding.prompt_ids) - 1
    return _asked(case).nonzero().flatten() + before


def _layer_count(case: Case) -> int:
    config = case.question.lm.model.config.get_text_config(decoder=True)  # type: ignore[union-attr, operator]
    return int(getattr(config, "decoder_layers", None) or config.num_hidden_layers)
