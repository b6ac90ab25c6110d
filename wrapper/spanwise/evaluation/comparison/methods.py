"""Which methods are compared, on which engines, with which options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spanwise.engines.registry import choose_engine
from spanwise.errors import MethodError, OptionError, one_of
from spanwise.methods import MethodInfo, find_method

DEFAULT_METHODS = ("saliency", "integrated_gradients", "feature_ablation", "attention_rollout")
"""Of each family, cheap, and on every model that has it: one without and one with a sign, one that removes, one that
reads attention."""


@dataclass(frozen=True)
class Asked:
    """A method that was asked for.

    Attributes:
        name: In the comparison: the method's, with "@engine" where an engine was named.
        info: The method.
        engine: As `attribute` takes it.
        options: Its own.
    """

    name: str
    info: MethodInfo
    engine: str
    options: Mapping[str, Any]

    def of(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what `attribute` is asked: the question all methods share, and what is the method's own."""
        own = dict(question)
        if not self.info.uses_baseline:
            own["baseline"] = None
        if not self.info.reads_objective:
            own["objective"] = "log_prob"
        return own | {"method": self.info.name, "engine": self.engine, "method_options": dict(self.options)}


def asked_methods(methods: Any, options: Mapping[str, Any]) -> list[Asked]:
    """Returns the methods with their options, checked.

    An engine that lacks a method is no error here: `attribute` refuses it, with the reason.

    Raises:
        OptionError: No list, an unknown method, engine or option, fewer than two methods, or one given twice.
    """
    if isinstance(methods, str) or not isinstance(methods, Sequence):
        raise OptionError(f"methods is a list of names, not {methods!r}.")
    parts = [_parts(given) for given in methods]
    if len(parts) < 2:
        raise OptionError(f"a comparison needs at least two methods; given: {', '.join(map(str, methods)) or 'none'}.")
    infos = [find_method(name) for name, _ in parts]
    engines = [one_of("engine", engine, ("auto", "captum", "inseq", "native")) for _, engine in parts]
    names = [
        info.name if engine == "auto" else f"{info.name}@{engine}" for info, engine in zip(infos, engines, strict=True)
    ]
    _check_twice(infos, engines)
    own = _options_of(names, infos, options)
    return [Asked(name, info, engine, own[name]) for name, info, engine in zip(names, infos, engines, strict=True)]


def _parts(given: Any) -> tuple[str, str]:
    """Returns method and engine of a name, "name@engine" or (name, engine)."""
    if isinstance(given, str):
        name, at, engine = given.partition("@")
        return name, engine if at else "auto"
    if isinstance(given, Sequence) and len(given) == 2 and all(isinstance(part, str) for part in given):
        return given[0], given[1]
    raise OptionError(f'a method is a name, "name@engine" or (name, engine), not {given!r}.')


def _check_twice(infos: Sequence[MethodInfo], engines: Sequence[str]) -> None:
    seen = set()
    for info, engine in zip(infos, engines, strict=True):
        try:
            found = (info.name, choose_engine(info, engine))
        except MethodError:
            found = (info.name, engine)
        if found in seen:
            raise OptionError(
                f"{found[0]} on the engine {found[1]!r} was given twice. To compare a method at several options, make "
                "the results with attribute() and give them to Comparison.of({name: result, ...})."
            )
        seen.add(found)


def _options_of(
    names: Sequence[str], infos: Sequence[MethodInfo], options: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Returns for each name its options: those of the method, and over them those of the name with an engine."""
    known = dict.fromkeys([info.name for info in infos] + list(names))
    own: dict[str, dict[str, Any]] = {name: {} for name in names}
    for given in sorted(options, key=lambda given: "@" in str(given)):
        try:
            key = find_method(given).name
        except OptionError:
            key = given
        one_of("method in method_options", key, known)
        if not isinstance(options[given], Mapping):
            raise OptionError(f"method_options[{given!r}] is a mapping from names to values, not {options[given]!r}.")
        for name, info in zip(names, infos, strict=True):
            if key in (name, info.name):
                own[name] |= options[given]
    for name, info in zip(names, infos, strict=True):
        info.checked_options(own[name])
    return own
