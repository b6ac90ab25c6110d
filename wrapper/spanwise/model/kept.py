"""Puts a model back as it was: hooks, flags, attributes, gradients and configs, on error and on Ctrl-C too."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


@contextmanager
def kept(model: nn.Module) -> Iterator[None]:
    """Puts hooks, training flags, attributes, gradients and configs of a model back when the block ends.

    transformers 5 hooks every layer for good at the first forward that asks for hidden states or attentions, and
    remembers that in an attribute; both are taken back.
    """
    undo = [_restorer(module) for module in model.modules()]
    undo += [_config_restorer(config) for config in configs(model)]
    parameters = [(each, each.requires_grad, each.grad) for each in model.parameters()]
    try:
        yield
    finally:
        for restore in undo:
            restore()
        for parameter, requires_grad, grad in parameters:
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad


def _restorer(module: nn.Module) -> Callable[[], None]:
    hooks = {name: dict(getattr(module, name)) for name in _HOOKS}
    names, training = set(vars(module)), module.training

    def restore() -> None:
        for name, before in hooks.items():
            found = getattr(module, name)
            found.clear()
            found.update(before)
        for name in set(vars(module)) - names:
            delattr(module, name)
        module.training = training

    return restore


def _config_restorer(config: Any) -> Callable[[], None]:
    before = dict(vars(config))

    def restore() -> None:
        vars(config).clear()
        vars(config).update(before)

    return restore


def configs(model: nn.Module) -> list[Any]:
    """Returns every config of the model and of its parts, each once."""
    waiting = [getattr(module, name, None) for module in model.modules() for name in ("config", "generation_config")]
    found: dict[int, Any] = {}
    while waiting:
        config = waiting.pop()
        if config is not None and id(config) not in found and hasattr(config, "__dict__"):
            found[id(config)] = config
            waiting += [getattr(config, name, None) for name in getattr(config, "sub_configs", ())]
    return list(found.values())
