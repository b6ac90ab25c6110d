"""Keys and values of the unchanged input, computed once: what lies before a change need not be computed again.

A causal model's keys and values at a position depend on nothing behind it. Sequences that share their first positions
with the unchanged input begin with its kept keys and values, and only what follows goes through the model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from spanwise.model.forward import forward
from spanwise.model.language_model import LanguageModel

LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
_TOLERANCE = 1e-3
"""Between a value with and without kept keys: far above rounding in bfloat16 relative to its size, far below any use of
wrong positions or masks."""

_exact: "WeakKeyDictionary[nn.Module, dict[str, bool]]" = WeakKeyDictionary()


class _Behind(DynamicLayer):
    """A layer whose kept part stands before whatever it is given, and which keeps nothing of that."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
        """Returns the kept keys and values with the new ones behind them."""
        batch = len(key_states)
        assert self.keys is not None and self.values is not None
        return (
            torch.cat([self.keys.expand(batch, -1, -1, -1), key_states], dim=-2),
            torch.cat([self.values.expand(batch, -1, -1, -1), value_states], dim=-2),
        )


class _Growing(_Behind):
    """The same, but what it was given stays, once for each sequence."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
        """Returns the kept keys and values with the new ones behind them, and keeps both."""
        self.keys, self.values = super().update(key_states, value_states, *args, **options)
        return self.keys, self.values


@dataclass(frozen=True)
class Kept:
    """Keys and values of one sequence, or of each of a batch: one pair a layer, [batch, head, position, dimension]."""

    layers: tuple[tuple[Tensor, Tensor], ...]

    def before(self, count: int, sequences: Int[Tensor, " sequence"] | None = None) -> Cache:
        """Returns the cache of the first `count` positions.

        Args:
            count: Positions.
            sequences: Indices of those kept, one for each of a batch; None: the one that is kept, for batches of any
                size.
        """
        pairs = self._cut(count)
        if sequences is not None:  # layers may lie on several devices
            pairs = [(keys[sequences.to(keys.device)], values[sequences.to(values.device)]) for keys, values in pairs]
        return Cache(layers=[_Behind(*pair) for pair in pairs])

    def growing(self, count: int) -> Cache:
        """Returns the cache of the first `count` positions, to which a forward adds its own; see `grown`."""
        return Cache(layers=[_Growing(*pair) for pair in self._cut(count)])

    def _cut(self, count: int) -> list[tuple[Tensor, Tensor]]:
        return [(keys[..., :count, :], values[..., :count, :]) for keys, values in self.layers]


def grown(cache: Cache) -> Kept:
    """Returns what a growing cache holds after a forward."""
    return Kept(tuple((layer.keys, layer.values) for layer in cache.layers))


def empty_cache(lm: LanguageModel) -> DynamicCache | None:
    """Returns a cache to be filled by a forward of the unchanged input; None where the model's do not serve.

    An encoder-decoder model reads its source at once. int8 layers pick their outliers by batch, so that a shorter
    sequence would be rounded otherwise. Layers with a running state (Mamba) keep no positions.
    """
    config: Any = lm.model.config.get_text_config()  # type: ignore[union-attr, operator] # a transformers model's
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if lm.is_encoder_decoder or lm.quantization == "int8" or not kinds <= LAYERS:
        return None
    return DynamicCache()  # without the config, so that sliding layers keep every position


def kept_in(
    lm: LanguageModel,
    cache: DynamicCache,
    ids: Int[Tensor, "1 source"],
    expected: Float[Tensor, " target"],
    values: Callable[[Any], Float[Tensor, " target"]],
) -> Kept | None:
    """Returns what a forward of `ids` left in `cache`, where it gives this model's values again; else None.

    That is tried once for each model and attention implementation, by one more forward, which nobody counts.

    Args:
        lm: The model.
        cache: Filled.
        ids: The unchanged input.
        expected: The values of its last positions.
        values: From the model's outputs to these.
    """
    found = tuple((layer.keys, layer.values) for layer in cache.layers if layer.keys is not None)
    length, count = ids.shape[1], len(expected)
    first = max(1, length // 2 - count)
    whole = bool(found) and all(keys.shape[0] == 1 and keys.shape[-2] == length for keys, _ in found)
    if not whole or length - first < count:
        return None
    kept, tried, kind = Kept(found), _exact.setdefault(lm.model, {}), _attention_of(lm)
    if kind not in tried:
        try:
            outputs, _ = forward(lm, ids[:, first:], count, past=kept.before(first))
            difference = (values(outputs) - expected).abs().max()
            tried[kind] = bool(difference <= _TOLERANCE * _unit(lm) * (1 + expected.abs().max()))
        except torch.OutOfMemoryError:  # says nothing of the cache: tried again another time
            return None
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError):  # a cache of the model's own kind
            tried[kind] = False
    return kept if tried[kind] else None


def keeps(lm: LanguageModel) -> bool | None:
    """Whether this model gives its values again with kept keys; None where no call of `kept_in` has tried it yet."""
    return _exact.get(lm.model, {}).get(_attention_of(lm))


def _attention_of(lm: LanguageModel) -> str:
    return str(getattr(lm.model.config, "_attn_implementation", None))


def _unit(lm: LanguageModel) -> float:
    """Returns how much coarser than float32 a model is allowed to be: bfloat16 rounds each product to 8 bits."""
    coarse = lm.dtype in (torch.bfloat16, torch.float16) or "float16" in str(lm.compute_dtype)
    return 100.0 if coarse else 1.0
