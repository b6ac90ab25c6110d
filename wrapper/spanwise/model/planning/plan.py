"""`Plan`: what a model and a method need, as numbers and as sentences."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from spanwise.model.devices import Device
from spanwise.model.module_sizes import readable


@dataclass(frozen=True)
class DevicePlan:
    """One device.

    Attributes:
        device: Index of an accelerator, "cpu" or "disk".
        bytes: What it has; None for the disk.
        weights_bytes: Weights on it.
        activation_bytes: The most held beside them, at the plan's batch size.
        largest_batch: The most sequences at once for which it has memory; 0 where not even one fits.
    """

    device: Device
    bytes: int | None
    weights_bytes: int
    activation_bytes: int
    largest_batch: int

    @property
    def peak_bytes(self) -> int:
        """Weights and activations."""
        return self.weights_bytes + self.activation_bytes


@dataclass(frozen=True)
class Plan:
    """What it takes to load a model and run a method on it. Sizes are bytes.

    Attributes:
        model: Name, or the class of its config.
        quantization: "nf4", "fp4", "int8" or None.
        double_quant: The 4-bit scales are quantized too.
        dtype: Of what is not quantized.
        compute_dtype: In which 4-bit layers multiply; None where there are none.
        method: Its name.
        engine: On which it runs.
        options: The method's own.
        prompt_tokens: Of the prompt.
        target_tokens: Of the target.
        rows: "span": one row; "token": one a target token.
        weights_bytes: Of all weights, scales and tables of quantized layers included, tied ones once.
        by_dtype: The same by type.
        by_quantization: The same by quantization.
        by_module: The same by part: "embedding", "head", "norms", each block by its name, "other".
        devices: What each device has and needs.
        device_map: Where each module would be.
        max_memory: What `load_model(max_memory=...)` takes to make that map on devices of these sizes.
        activation_bytes: The most held beside the weights at `batch_size`, over all devices.
        bytes_per_sequence: What one more sequence in a batch adds to it.
        batch_size: Sequences in a batch, as "auto" picks it or as asked.
        largest_batch: The most for which every device has memory; 0 where not even one fits.
        forwards: Sequences forward, in all.
        backwards: Sequences backward for one row each, in all.
        peak_bytes: Weights and activations over all devices.
        fits: Everything is on devices that have memory for it, nothing on the disk.
        reasons: Why not, in sentences.
        notes: What the reader should know beside the numbers.
        tokens_per_second: Measured on a loaded model: forward, and backward; else None.
        seconds: The time that all forwards and backwards take at that rate; None where no model is loaded.
    """

    model: str
    quantization: str | None
    double_quant: bool
    dtype: str
    compute_dtype: str | None
    method: str
    engine: str
    options: Mapping[str, Any]
    prompt_tokens: int
    target_tokens: int
    rows: str
    weights_bytes: int
    by_dtype: Mapping[str, int]
    by_quantization: Mapping[str, int]
    by_module: Mapping[str, int]
    devices: tuple[DevicePlan, ...]
    device_map: Mapping[str, Device]
    max_memory: Mapping[Device, int]
    activation_bytes: int
    bytes_per_sequence: int
    batch_size: int
    largest_batch: int
    forwards: int
    backwards: int
    peak_bytes: int
    fits: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    tokens_per_second: Mapping[str, float] | None = None
    seconds: float | None = None

    def __repr__(self) -> str:
        kind = self.quantization or self.dtype
        verdict = "fits" if self.fits else "does not fit"
        return (
            f"Plan({self.model!r}, {kind}: weights {readable(self.weights_bytes)}, {self.method} "
            f"{readable(self.activation_bytes)} at batch {self.batch_size}; {verdict})"
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns the plan as values that JSON has, with `weights_bytes` at the top level."""
        values = asdict(self)
        for plan, each in zip(self.devices, values["devices"], strict=True):
            each["peak_bytes"] = plan.peak_bytes
        return values
