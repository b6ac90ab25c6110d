"""Averages over groups of samples, kept instead of the samples: for the errors of what is not a mean itself."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor


class Groups:
    """Gradients averaged over at most `room` groups of samples: single samples, if there are no more than that.

    The length of a mean gradient m moves with the samples as its projection on its own direction does (delta method):
    the error of |m| is that of the mean of m/|m| . g over the samples g, or over averages of some of them.
    """

    def __init__(self, samples: int, room: int) -> None:
        """Makes room for as many groups as are needed and allowed."""
        self._count = min(samples, room)
        self._sums: list[Tensor] = []
        self._sizes = torch.zeros(self._count)
        self._next = 0

    def add(self, gradients: Float[Tensor, "sample row source hidden"]) -> None:
        """Puts each sample into the next group."""
        for gradient in gradients:
            if len(self._sums) <= self._next:
                self._sums.append(gradient.clone())
            else:
                self._sums[self._next] += gradient
            self._sizes[self._next] += 1
            self._next = (self._next + 1) % self._count

    @property
    def mean(self) -> Float[Tensor, "row source hidden"]:
        """Over all samples."""
        total = self._sums[0].clone()
        for each in self._sums[1:]:
            total += each
        return total / float(self._sizes.sum())

    def parts(
        self, mean: Float[Tensor, "row source hidden"], reduction: str
    ) -> Iterator[tuple[Float[Tensor, "1 row source"], Float[Tensor, "1"]]]:
        """Yields for each group its part in the reduced mean, linearized, and how many samples it stands for."""
        length = mean.norm(dim=-1, keepdim=True)
        direction = mean / length.clamp(min=torch.finfo(mean.dtype).tiny)
        for each, size in zip(self._sums, self._sizes, strict=True):
            average = each / size.to(each)
            along = (average * direction).sum(-1) if reduction == "l2_norm" else average.sum(-1)
            yield along[None], size[None]
