"""What the figures of the ground-truth benchmark say, in sentences made from the figures."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from spanwise.evaluation.benchmark.result import FREQUENCY, OVERALL, RANDOM, BenchmarkLine, GroundTruthReport

KINDS = ("gradient", "perturbation", "attention")


def read_out(report: GroundTruthReport) -> Iterator[str]:
    """Yields sentences on who points better than chance and who does not, precision by precision.

    "Better" is an interval of the pointing accuracy that lies wholly above the other's; a method's own interval says
    nothing of other models or prompts.
    """
    for precision in dict.fromkeys(line.precision for line in report.lines):
        lines = [line for line in report.lines if line.precision == precision]
        yield from (f"{precision}: {sentence}" for sentence in _of_precision(lines))
    yield from _between(report)


def _of_precision(lines: Sequence[BenchmarkLine]) -> Iterator[str]:
    overall = [line for line in lines if line.prompts_of == OVERALL and line.is_method]
    chance, rarity = (_find(lines, name, "", OVERALL) for name in (RANDOM, FREQUENCY))
    misses = {line.label: _misses(lines, line) for line in overall}
    for kind in KINDS:
        good = [line for line in overall if line.family == kind and not misses[line.label]]
        if good:
            yield f"{kind} methods that point better than random in every family: {_list(good)}."
        elif any(line.family == kind for line in overall):
            yield f"no {kind} method points better than random in every family."
    some = [line for line in overall if misses[line.label] and line.pointing.above(chance.pointing)]
    if some:
        told = _list(some, {line.label: f" (not in {', '.join(misses[line.label])})" for line in some})
        yield f"better than random ({chance.pointing.mean:.2f}) overall, but not in every family: {told}."
    worse = {line.label: _families(lines, line, above=False) for line in overall}
    losers = [line for line in overall if worse[line.label]]
    if losers:
        told = _list(losers, {line.label: f" (in {', '.join(worse[line.label])})" for line in losers})
        yield f"worse than random in a family, whatever the figure overall: {told}."
    bad = [line for line in overall if not line.pointing.above(chance.pointing)]
    if bad:
        yield f"not clearly better than random ({chance.pointing.mean:.2f}) even overall: {_list(bad)}."
    rare = [line for line in overall if line not in bad and not line.pointing.above(rarity.pointing)]
    if rare:
        rival = f"pointing at the rarest token ({rarity.pointing.mean:.2f})"
        yield f"not clearly better overall than {rival}: {_list(rare)}."


def _between(report: GroundTruthReport) -> Iterator[str]:
    """Yields what the precision changes, by the first of them."""
    first, *rest = dict.fromkeys(line.precision for line in report.lines)
    for precision in rest:
        changed = []
        for line in report.lines:
            if line.precision == first and line.prompts_of == OVERALL and line.is_method:
                other = report.line(line.method, line.engine, precision=precision)
                if other.pointing.above(line.pointing) or other.pointing.below(line.pointing):
                    changed.append(f"{line.label} ({line.pointing.mean:.2f} to {other.pointing.mean:.2f})")
        who = ", ".join(changed) or "no method"
        yield f"{precision} against {first}: the intervals of the pointing accuracy lie apart for {who}."


def _misses(lines: Sequence[BenchmarkLine], overall: BenchmarkLine) -> list[str]:
    """Returns the families in which a method points no better than random."""
    better = _families(lines, overall, above=True)
    names = dict.fromkeys(line.prompts_of for line in lines if line.prompts_of != OVERALL)
    return [name for name in names if name not in better]


def _families(lines: Sequence[BenchmarkLine], overall: BenchmarkLine, *, above: bool) -> list[str]:
    """Returns the families in which a method's interval lies above that of random, or below it."""
    found = []
    for line in lines:
        if line.label == overall.label and line.prompts_of != OVERALL:
            chance = _find(lines, RANDOM, "", line.prompts_of).pointing
            if line.pointing.above(chance) if above else line.pointing.below(chance):
                found.append(line.prompts_of)
    return found


def _find(lines: Sequence[BenchmarkLine], method: str, engine: str, prompts_of: str) -> BenchmarkLine:
    return next(line for line in lines if (line.method, line.engine, line.prompts_of) == (method, engine, prompts_of))


def _list(lines: Sequence[BenchmarkLine], notes: Mapping[str, str] = MappingProxyType({})) -> str:
    """Returns methods, the best first, each once for all engines on which the same is to be said."""
    engines: dict[tuple[str, str, str], list[str]] = {}
    for line in sorted(lines, key=lambda line: -line.pointing.mean):
        said = (line.method, f"{line.pointing.mean:.2f}", notes.get(line.label, ""))
        engines.setdefault(said, []).append(line.engine)
    return ", ".join(f"{name} {mean}{note}" for name, mean, note in _named(engines))


def _named(engines: Mapping[tuple[str, str, str], list[str]]) -> Iterator[tuple[str, str, str]]:
    for (method, mean, note), names in engines.items():
        yield f"{method} ({', '.join(names)})", mean, note
