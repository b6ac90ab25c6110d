"""Gradients of all target tokens at prompts, taken once and handed to Captum's methods as a linear function."""

from collections.abc import Callable

import torch
from captum.attr import TextTokenInput
from jaxtyping import Float, Int
from torch import Tensor

from spanwise.compat.captum_scores import token_log_probs
from spanwise.model.forward import embed
from spanwise.model.language_model import LanguageModel
from spanwise.scoring.batching import choose_batches
from spanwise.scoring.objectives import OBJECTIVES
from spanwise.scoring.scorer import Scorer


def make_scorer(
    lm: LanguageModel,
    inp: TextTokenInput,
    target: Int[Tensor, " target"],
    baseline: Int[Tensor, "1 prompt"],
    *,
    per_position: bool,
) -> Scorer:
    """Returns a scorer with one row a target token and one feature a token of the prompt that is not skipped.

    Args:
        lm: The model, inside its session.
        inp: The prompt.
        target: Ids of the target.
        baseline: Ids of the prompt with every feature off.
        per_position: Gradients are wanted at every embedding.
    """
    prompt = inp.inp_tensor[0].tolist()
    features = torch.full((len(prompt) + len(target) - 1,), -1)
    free = torch.ones(len(prompt), dtype=torch.bool) if inp.itp_mask is None else inp.itp_mask[0].cpu()
    features[: len(prompt)][free] = torch.arange(inp.n_itp_features)
    start = torch.zeros(len(features), lm.hidden_size, device=lm.device)  # the generated prefix keeps its own
    start[: len(prompt)] = embed(lm, baseline.to(lm.device))[0]
    batches = choose_batches(
        lm, "auto", len(features), len(target), gradients=True, rows=len(target), per_position=per_position
    )
    rows = torch.eye(len(target), dtype=torch.bool)
    return Scorer(lm, prompt, target.tolist(), OBJECTIVES["log_prob"], rows, features, start, batches)


class TokenPoints:
    """Prompts at which a method wants gradients, each sent through the model once for all target tokens.

    Args:
        lm: The model, inside its session.
        inp: The prompt.
        target: Ids of the target.
        values: The log-probabilities are wanted too, not their gradients only.
    """

    def __init__(self, lm: LanguageModel, inp: TextTokenInput, target: Tensor, values: bool) -> None:
        self._lm, self._inp, self._target, self._values_too = lm, inp, target, values
        self._scorer = make_scorer(lm, inp, target, inp.inp_tensor, per_position=True)
        self._slopes: dict[bytes, Tensor] = {}
        self._values: dict[bytes, Tensor] = {}

    def linear(self, index: int) -> Callable[[Tensor], Tensor]:
        """Returns the log-probability of a target token as a function of switches, [batch, feature].

        Value and gradient with respect to the embeddings are the model's; beyond them it is linear in the embeddings.
        """

        def forward(switches: Tensor) -> Tensor:
            ids = self._inp.to_model_input(switches).to(self._lm.device)
            found = torch.zeros(len(ids), device=ids.device)
            if self._values_too:
                found = found + torch.stack([self._value(row)[index] for row in ids])
            slopes = torch.stack([self._slope(row)[index] for row in ids]) if torch.is_grad_enabled() else None
            embedded = self._lm.embedding(ids)  # last, since Captum's hook keeps what the layer gave last
            if slopes is not None:
                found = found + ((embedded - embedded.detach()) * slopes).sum((1, 2))
            return found

        return forward

    def _slope(self, ids: Int[Tensor, " prompt"]) -> Float[Tensor, "target prompt hidden"]:
        key = ids.cpu().numpy().tobytes()
        if key not in self._slopes:
            point = self._scorer.embeddings.clone()
            point[: len(ids)] = embed(self._lm, ids[None])[0]
            self._slopes[key] = self._scorer.embedding_gradients(point[None])[0, :, : len(ids)].detach()
        return self._slopes[key]

    def _value(self, ids: Int[Tensor, " prompt"]) -> Float[Tensor, " target"]:
        key = ids.cpu().numpy().tobytes()
        if key not in self._values:
            self._values[key] = token_log_probs(self._lm, [ids], self._target, self._scorer.batches)[0]
        return self._values[key]
