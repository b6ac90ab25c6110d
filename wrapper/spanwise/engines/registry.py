"""Which engine runs what. Engines are imported when they are used, not before."""

import importlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from spanwise.engines.protocol import Runner
from spanwise.errors import MethodError, one_of, require
from spanwise.methods import ENGINES, MethodInfo

_ROOMS = {
    "captum": ("spanwise.engines.captum_gradient", "spanwise.engines.captum_perturbation"),
    "inseq": ("spanwise.engines.inseq",),
    "native": (
        "spanwise.engines.native_attention",
        "spanwise.engines.native_context_cite",
        "spanwise.engines.native_hierarchical",
        "spanwise.engines.native_udig",
    ),
}
_PACKAGES = ("spanwise", "torch", "transformers", "captum", "inseq", "accelerate", "bitsandbytes")


def choose_engine(method: MethodInfo, engine: str) -> str:
    """Returns the engine that will run a method: the one asked for, or for "auto" the first of the method's row.

    Raises:
        OptionError: There is no such engine.
        MethodError: The engine lacks the method.
    """
    one_of("engine", engine, ("auto", *ENGINES))
    if engine == "auto":
        return method.engines[0]
    if engine not in method.engines:
        reason = method.refused.get(engine, "it does not have it")
        raise MethodError(
            f"{method.name} was asked on the engine {engine!r}, but {reason}. It runs on: {', '.join(method.engines)}."
        )
    return engine


def find_runner(method: MethodInfo, engine: str) -> Runner:
    """Returns the function that runs `method` on `engine`.

    Raises:
        DependencyError: A package the method needs is not installed.
    """
    for package in method.needs:
        require(package, {"sklearn": "surrogate", "scipy": "flow", "sentencex": "segments"}[package], method.name)
    if engine == "inseq":
        require("inseq", "inseq", "engine='inseq'")
    for room in _ROOMS[engine]:
        runners: dict[str, Runner] = importlib.import_module(room).RUNNERS
        if method.name in runners:
            return runners[method.name]
    raise AssertionError(f"{method.name} is in the table for {engine}, but has no runner there")


def versions() -> dict[str, str]:
    """Returns the installed versions of everything that can change a number."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    """Reading the packages' metadata takes longer than a forward of a small model."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
