"""A run on Ray: the same parts, handed to a pool of Ray Data's actors, which write them where one process would.

The first process keeps the lock, the index and the failures; Ray schedules the parts, gives those of a lost actor to
another, and grows and shrinks the pool. Only numbers of parts travel: each actor reads the input for itself, once.
"""

import itertools
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from spanwise.asking import Asked
from spanwise.batch import parts
from spanwise.batch.bar import Bar, bar_of
from spanwise.batch.columns import Names
from spanwise.batch.folder import Folder
from spanwise.batch.lines import Line, Lines, open_lines
from spanwise.batch.processes import Processes
from spanwise.batch.running import INDEX_EVERY, POLL, Plan, Runner
from spanwise.batch.working import Worker
from spanwise.errors import AttributionError, InputError, ModelError, at_least, require
from spanwise.model.loading import load_model


@dataclass(frozen=True)
class RayActors:
    """Ray's actors that do the parts of a run.

    Attributes:
        load: What `load_model` is given in each: `{"name_or_path": "tiny"}`, say. It has to load the model of the call.
        count: How many, or the least and the most of a pool that grows and shrinks.
        options: What each needs, in Ray's words: `{"num_cpus": 2}` or `{"num_gpus": 1}`.
    """

    load: Mapping[str, Any]
    count: int | tuple[int, int] = 2
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        least, most = self.bounds
        at_least("the most of Ray's actors", most, at_least("the number of Ray's actors", least, 1))

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the most."""
        return self.count if isinstance(self.count, tuple) else (self.count, self.count)


class RayRunner(Runner):
    """Does the parts of a run that are not there on Ray's actors.

    Args:
        plan: What to do.
        lines: The input.
        folder: Of the run; every actor has to see it.
        which: The one process.
        progress: As `attribute` takes it.
        data: The input as it was given: a file or folder that every actor can read.
        actors: Ray's.

    Raises:
        InputError: The input is neither, or there are several processes.
        DependencyError: Ray is not installed.
    """

    def __init__(
        self,
        plan: Plan,
        lines: Lines,
        folder: Folder,
        which: Processes,
        progress: bool | None,
        *,
        data: Any,
        actors: RayActors,
    ) -> None:
        require("ray", "ray", "a run on Ray")
        super().__init__(plan, lines, folder, which, progress)
        if self.which.count > 1:
            raise InputError("the run was started by accelerate launch and asked for Ray too; one of them is allowed.")
        if not isinstance(data, str | os.PathLike):
            raise InputError(
                f"on Ray the input is a file or a folder, which each actor reads, not {self.lines.name!r}."
            )
        self.data, self.actors = str(Path(data).resolve()), actors

    def _work(self, worker: Worker, bar: Bar, index: dict[str, Any]) -> None:
        """Goes through the input once, for what is there already; the rest is Ray's."""
        lines, number, count = self._start(), 0, 0
        left: list[int] = []
        while window := list(itertools.islice(lines, self.plan.part_rows)):
            count += len(window)
            if self.folder.part(number).exists():
                self._done(worker, bar, number, window)
            else:
                left.append(number)
            number += 1
        index["rows"] = count
        self._check_end(number)
        if left:
            self._hand_over(left, worker.names, bar, index)

    def _hand_over(self, left: list[int], names: Names, bar: Bar, index: dict[str, Any]) -> None:
        import ray
        import ray.data

        if not ray.is_initialized():
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False  # there is ours
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        asked = {each.name: getattr(self.plan.asked, each.name) for each in fields(Asked) if each.name != "lm"}
        told = {
            "load": dict(self.actors.load),
            "asked": asked,
            "facts": self.plan.asked.lm.facts,
            "names": names,
            "span": self.plan.span,
            "part_rows": self.plan.part_rows,
            "data": self.data,
            "folder": str(self.folder.path.resolve()),
            "threads": torch.get_num_threads(),
        }
        least, most = self.actors.bounds
        done = ray.data.from_items(left, override_num_blocks=len(left)).map_batches(
            Actor,
            fn_constructor_kwargs={"told": told},
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=least, max_size=most),
            **self.actors.options,
        )
        try:
            written = time.monotonic()
            for row in done.iter_rows():
                bar.failures += row["failures"]
                bar.update(row["rows"], row["tokens"])
                if time.monotonic() - written > INDEX_EVERY:
                    self.folder.write_index(index, done=False)
                    written = time.monotonic()
        except ray.exceptions.RayError as error:
            raise _cause(error) from error


class Actor:
    """A worker of the pool: makes the parts whose numbers it is given.

    Args:
        told: What `RayRunner` hands over.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        torch.set_num_threads(told["threads"])  # the same sums in the same order
        lm = load_model(**told["load"])
        differing = [name for name, value in told["facts"].items() if lm.facts.get(name) != value]
        if differing:
            shown = "; ".join(f"{name} is {lm.facts.get(name)!r}, not {told['facts'][name]!r}" for name in differing)
            raise ModelError(f"an actor loaded another model than the run was asked with: {shown}.")
        self._kept = ExitStack()
        bar = self._kept.enter_context(bar_of(None, "", False))
        self.worker = Worker(Asked(lm, **told["asked"]), told["names"], told["span"], bar)
        self.folder, self.rows = Folder(told["folder"]), told["part_rows"]
        self._kept.enter_context(self.folder.claiming())
        self.lines: Lines = open_lines(told["data"])
        self._next, self._ahead = 0, self.lines.start()

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[int]]:
        """Makes the parts and returns the rows, failures and tokens of each."""
        made = [self._make(int(number)) for number in batch["item"]]
        return {name: [each[name] for each in made] for name in ("rows", "failures", "tokens")}

    def _make(self, number: int) -> dict[str, int]:
        window, path = self._window(number), self.folder.part(number)
        before = self.worker.bar.tokens
        while not path.exists():
            with self.folder.claimed(number) as mine:
                if mine and not path.exists():
                    made = self.worker.make(number, number * self.rows, window)
                    self.folder.write_part(made.lines, self.worker.names.extra, made.info)
            if not mine:  # an actor that Ray has given up, and that is not dead yet
                time.sleep(POLL)
        failures = len(parts.read_info(path).failures)
        return {"rows": len(window), "failures": failures, "tokens": self.worker.bar.tokens - before}

    def _window(self, number: int) -> list[Line]:
        """Returns the lines of a part. Parts mostly come in order, so that the input is read once."""
        if number < self._next:
            self._next, self._ahead = 0, self.lines.start()
        skipped: Iterator[Line] = itertools.islice(self._ahead, (number - self._next) * self.rows)
        for _ in skipped:
            pass
        self._next = number + 1
        return list(itertools.islice(self._ahead, self.rows))


def _cause(error: BaseException) -> BaseException:
    """Returns the error of ours that Ray wraps, if there is one."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, AttributionError):
            return inner
        inner = getattr(inner, "cause", None) or inner.__cause__
    return error
