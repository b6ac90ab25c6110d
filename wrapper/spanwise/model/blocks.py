"""A model's blocks: the layers that transformers says must stay on one device."""

from torch import nn


def named_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """Returns the blocks by their names, first to last; none where the model does not say what they are."""
    kinds = set(getattr(model, "_no_split_modules", None) or ())
    return {name: module for name, module in model.named_modules() if type(module).__name__ in kinds}
