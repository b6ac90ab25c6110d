"""What was asked, as values that JSON has and that are the same in every process."""

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from re import Pattern
from typing import Any

from torch import Tensor


def described(value: Any) -> Any:
    """Returns an argument of `attribute` as JSON has it; equal for arguments that mean the same."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): described(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [described(each) for each in value]
    if isinstance(value, Tensor):
        found = value.detach().cpu().contiguous().float().numpy().tobytes()
        return f"tensor{list(value.shape)} {hashlib.sha256(found).hexdigest()[:16]}"
    if isinstance(value, Pattern):
        return f"regex {value.pattern!r} {value.flags}"
    if is_dataclass(value) and not isinstance(value, type):
        kept = {each.name: described(getattr(value, each.name)) for each in fields(value)}
        return {"kind": type(value).__name__, **kept}
    name = getattr(value, "__qualname__", None)
    return f"{value.__module__}.{name}" if name else type(value).__qualname__
