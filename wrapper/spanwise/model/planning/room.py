"""What each device holds: weights, and what a batch needs beside them."""

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from spanwise.model.blocks import named_blocks
from spanwise.model.device_maps import device_of
from spanwise.model.devices import Device
from spanwise.model.module_sizes import readable
from spanwise.model.planning.activations import Pass, Setting, peak_activations
from spanwise.model.planning.plan import DevicePlan
from spanwise.model.planning.weights import Weights

MOST_SEQUENCES = 4096
"""No larger batch is looked for."""
_SOME = 16
"""Sequences of the larger of the two batches that are counted; others are on the line through the two."""
CUDA_CONTEXT = 512 * 2**20
"""Bytes that CUDA and its libraries take of a GPU before the first tensor."""
_HEAP = (
    "counted are tensors; on the CPU the process may grow by up to twice as much, since the C library keeps freed "
    "blocks (int8 kernels: four times). MALLOC_MMAP_THRESHOLD_=262144 in the environment gives them back, for 10 to "
    "30 % more time"
)
_EMBEDDINGS = 3
"""Copies of [source, hidden] in float32 that are there throughout: the input's, the baseline's, and one on the way."""


class Room:
    """The bytes of a model that is placed, for batches of one kind.

    Args:
        shape: The model on the meta device.
        one_pass: One batch.
        setting: How the model will be there.
        device_map: Where its modules are.
        weights: Their bytes.
        sizes: Bytes of each device.
    """

    def __init__(
        self,
        shape: Any,
        one_pass: Pass,
        setting: Setting,
        device_map: Mapping[str, Device],
        weights: Weights,
        sizes: Mapping[Device, int],
    ) -> None:
        self._shape, self._pass, self._setting, self._map = shape, one_pass, setting, device_map
        self._sizes = sizes
        self.weights: Counter[Device] = Counter()
        self._offloaded: dict[str, int] = {}
        for name, size in weights.by_name.items():
            place = device_of(name, device_map)
            assert place is not None, f"the map has no place for {name}"
            self.weights[place] += size
            if place not in self.computing:
                self._offloaded[name] = size
        self._held: dict[int, dict[Device, int]] = {}

    @cached_property
    def computing(self) -> tuple[Device, ...]:
        """The devices that compute: accelerators where the map has any, else the CPU."""
        places = dict.fromkeys(self._map.values())
        return tuple(each for each in places if isinstance(each, int)) or ("cpu",)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the offloaded part means, and what the CPU's allocator adds."""
        found = [_HEAP] if self.computing == ("cpu",) else []
        if self._offloaded:
            note = f"{readable(sum(self._offloaded.values()))} of the weights are copied to device {self.computing[0]} "
            how = "and are all there at once: the backward needs them" if self._pass.gradients else "a block at a time"
            found.append(f"{note}at every forward, {how}")
        return tuple(found)

    def held(self, batch: int) -> dict[Device, int]:
        """Returns the most bytes beside the weights, by device, for a batch of so many sequences."""
        if batch not in self._held:
            at = {name: place if place in self.computing else self.computing[0] for name, place in self._map.items()}
            found = Counter(peak_activations(self._shape, self._pass, batch, self._setting, at))
            hidden = int(self._shape.config.get_text_config().hidden_size)
            found[next(iter(at.values()))] += _EMBEDDINGS * self._pass.length * hidden * 4
            found[self.computing[0]] += self._copied()
            self._held[batch] = {place: size for place, size in found.items() if size}
        return self._held[batch]

    @cached_property
    def per_sequence(self) -> dict[Device, int]:
        """What one more sequence in a batch adds, by device, in bytes."""
        one, some = self.held(1), self.held(_SOME)
        return {place: (some.get(place, 0) - one.get(place, 0)) // (_SOME - 1) for place in some}

    def largest(self) -> int:
        """Returns the most sequences for which every device has memory; 0 where not even one fits."""
        return min(self._largest(place) for place in self.computing)

    def devices(self, batch: int) -> tuple[DevicePlan, ...]:
        """Returns what each device has and needs for a batch of so many sequences."""
        held = self.held(batch)
        return tuple(
            DevicePlan(
                place,
                self._sizes.get(place),
                self.weights[place],
                held.get(place, 0),
                self._largest(place) if place in self.computing else MOST_SEQUENCES,
            )
            for place in sorted({*self.weights, *held, *self._sizes}, key=lambda each: (isinstance(each, str), each))
        )

    def _largest(self, place: Device) -> int:
        free = self._sizes.get(place, 0) - self.weights[place] - (CUDA_CONTEXT if isinstance(place, int) else 0)
        one = self.held(1).get(place, 0)
        if one > free:
            return 0
        return min(MOST_SEQUENCES, 1 + (free - one) // max(1, self.per_sequence.get(place, 0)))

    def _copied(self) -> int:
        """Returns the bytes of offloaded weights that are on the first computing device at once."""
        if self._pass.gradients:
            return sum(self._offloaded.values())
        blocks = list(named_blocks(self._shape))
        parts: Counter[str] = Counter()
        for name, size in self._offloaded.items():
            parts[next((block for block in blocks if name.startswith(f"{block}.")), name)] += size
        return max(parts.values(), default=0)
