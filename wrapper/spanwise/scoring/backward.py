"""Where the backward of several rows begins."""

import torch
from torch import Tensor


def begin_backward(values: Tensor, below_head: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns where the backward for each row begins, and what it begins with.

    A target's value depends on the head's input at its own position only. So one backward of the sum of all values
    gives every target's gradient there, and the rows' backwards can leave out the head, the widest layer of the model.

    Args:
        values: [batch, target], with a graph.
        below_head: The head's input, [batch, target, hidden]; or None to begin at the values.

    Returns:
        A tensor of the graph and the gradient of the sum of all values with respect to it, [batch, target, ...].
    """
    if below_head is None:
        return values, torch.ones_like(values)
    return below_head, torch.autograd.grad(values.sum(), below_head, retain_graph=True)[0]
