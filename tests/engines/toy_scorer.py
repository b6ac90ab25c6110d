"""A scorer without a model: a known function of the gates, for methods to be held against closed forms."""

from collections.abc import Callable

import torch
from torch import Tensor

from spanwise.scoring.scorer import Scorer


class Toy(Scorer):
    """Scores `value`, from gates [batch, feature] to [batch, row], which has to be differentiable for path methods."""

    feature_count = property(lambda self: self._features)
    row_count = property(lambda self: self._rows)
    batch_size = property(lambda self: 8)

    def __init__(self, value: Callable[[Tensor], Tensor], features: int, rows: int = 1) -> None:
        self.value, self._features, self._rows = value, features, rows
        self.asked = 0

    def scores(self, gates: Tensor) -> Tensor:
        self.asked += len(gates)
        return self.value(gates.float())

    def gate_gradients(self, gates: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = gates.detach().float().requires_grad_()
            values = self.value(leaf).sum(0)
            return torch.stack([torch.autograd.grad(each, leaf, retain_graph=True)[0] for each in values], dim=1)


def interacting(features: int, rows: int = 1, seed: int = 0) -> Toy:
    """Returns one whose features act alone, in pairs, and all together."""
    draw = torch.Generator().manual_seed(seed)
    alone, output = torch.randn(features, rows, generator=draw), torch.randn(8, rows, generator=draw)
    pairs = torch.randn(features, features, rows, generator=draw) / features**0.5
    hidden = torch.randn(features, 8, generator=draw)

    def value(x: Tensor) -> Tensor:
        return x @ alone + torch.einsum("bi,bj,ijr->br", x, x, pairs) + torch.tanh(x @ hidden) @ output

    return Toy(value, features, rows)
