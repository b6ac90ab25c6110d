"""The processes of a run: one, or those of `accelerate launch`."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from spanwise.errors import AttributionError, OptionError, require

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """Which process this is.

    Attributes:
        rank: Its number; 0 keeps the index.
        count: How many there are.
        local: Its number on this machine.
    """

    rank: int = 0
    count: int = 1
    local: int = 0

    def from_first(self, work: Callable[[], T]) -> T:
        """Returns in every process what the first one's `work` returned.

        Raises:
            AttributionError: The first one's, in every process.
        """
        if self.count == 1:
            return work()
        from accelerate import PartialState
        from accelerate.utils import broadcast_object_list

        state = PartialState(cpu=not torch.accelerator.is_available())
        assert state.num_processes == self.count, "accelerate sees the launcher's processes"
        told: list[object] = [None, None]
        if self.rank == 0:
            try:
                told[0] = work()
            except AttributionError as error:
                told[1] = error
        broadcast_object_list(told, from_process=0)
        if isinstance(told[1], BaseException):
            raise told[1]
        return told[0]  # type: ignore[return-value] # what work returned


def processes() -> Processes:
    """Returns which process this is, as its launcher says.

    Raises:
        DependencyError: There are several, but no accelerate.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Processes()
    require("accelerate", "batch", "a run of several processes")
    rank = int(os.environ["RANK"])
    return Processes(rank, count, int(os.environ.get("LOCAL_RANK", rank)))


def devices_of(which: Processes, each: int) -> list[int]:
    """Returns the accelerators of a process that has `each` of them to itself; none on a machine without.

    Raises:
        OptionError: The machine has too few.
    """
    there = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    if not there:
        return []
    wanted = list(range(which.local * each, (which.local + 1) * each))
    if wanted[-1] >= there:
        raise OptionError(
            f"process {which.local} of this machine was to have the devices {wanted}, but there are {there}: launch "
            f"{there // each} processes a machine, or give each fewer devices."
        )
    return wanted
