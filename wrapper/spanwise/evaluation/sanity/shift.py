"""A model whose embeddings have another origin, and which computes the same function all the same."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spanwise.evaluation.sanity.case import Case
from spanwise.model.language_model import LanguageModel


def shift_of(case: Case) -> Float[Tensor, " hidden"]:
    """Returns a random vector, always the same, as long as an embedding of the prompt is on average."""
    lm = case.question.lm
    ids = torch.tensor([case.question.encoding.prompt_ids], device=lm.device)
    with torch.no_grad():
        length = lm.embedding(ids).float().norm(dim=-1).mean()
    direction = torch.randn(lm.hidden_size, generator=torch.Generator().manual_seed(0)).to(length.device)
    shift: Tensor = direction / direction.norm() * length
    return shift


class Shifted(LanguageModel):
    """A model whose embeddings are shifted by a vector, which is taken away right behind the embedding layer.

    The model itself is not touched: the shift is in what we read of the embedding layers, and in what we put there.
    """

    def __init__(self, lm: LanguageModel, shift: Float[Tensor, " hidden"]) -> None:
        super().__init__(lm.model, lm.tokenizer, name=lm.name, revision=lm.revision)
        layers = lm.embeddings
        shifted = {id(layer): _ShiftedLayer(layer, shift) for layer in layers}
        self._layers = tuple(shifted[id(layer)] for layer in layers)

    @property
    def embeddings(self) -> tuple[nn.Module, ...]:
        """The embedding layers: what they give is shifted, and what a hook puts there is shifted back."""
        return self._layers


class _ShiftedLayer(nn.Module):
    """Stands for an embedding layer, without being a part of the model."""

    layer: Any
    shift: Tensor

    def __init__(self, layer: nn.Module, shift: Tensor) -> None:
        super().__init__()
        vars(self)["layer"] = layer  # past torch, which would make it a part of this module
        vars(self)["shift"] = shift
        if hasattr(layer, "_hf_hook"):
            vars(self)["_hf_hook"] = layer._hf_hook

    def forward(self, ids: Tensor) -> Tensor:
        return self._moved(self.layer(ids))

    def parameters(self, recurse: bool = True) -> Any:
        """Returns those of the layer."""
        return self.layer.parameters(recurse)

    def register_forward_hook(self, hook: Callable[..., Any], **options: Any) -> Any:
        """Puts a hook on the layer: it sees the shifted output, and what it gives is shifted back."""

        def back(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            given: Tensor = hook(module, args, self._moved(output))
            return (given - self._by(output)).to(output.dtype)

        return self.layer.register_forward_hook(back, **options)

    def _moved(self, output: Tensor) -> Tensor:
        return output.float() + self._by(output)

    def _by(self, output: Tensor) -> Tensor:
        return self.shift.to(output.device)
