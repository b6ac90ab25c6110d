"""Of `validation_protocol.py`: what failed, and the appendix as a text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import spanwise
from spanwise.attribution import Provenance


def failures(lists: Sequence[spanwise.Checklist], methods: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one line a method and check that failed anywhere, and one for prompts that a method misses."""
    lines = []
    for method, own in methods.items():
        for check, title in lists[0].titles.items():
            failed = [each.entry(check, method) for each in lists if each.entry(check, method).status == "fail"]
            if failed:
                which = "" if len(failed) == 1 else " the first:"
                count = f"failed on {len(failed)} of {len(lists)} prompts;{which}"
                lines.append(f"{method}, {title}: {count} {failed[0].figure}")
        if own["against_random"] != "better":
            verdict = {"worse": "worse than", "no different": "no different from"}.get(
                own["against_random"], "undecided against"
            )
            lines.append(f"{method}, all prompts: {verdict} random rankings, p {own['p_random']:.2g}")
        if own["missed"]:
            lines.append(f"{method}: the strongest token is no planted cause in {len(own['missed'])} prompts")
    return lines


def appendix(concept: str, lists: Sequence[spanwise.Checklist], found: Mapping[str, Any], first: Provenance) -> str:
    """Return the appendix in Markdown; `first` says how a result was made."""
    lines = [
        "# Validation of attributions", "",
        f"Concept: {concept}. Model: {first.model}, {first.quantization or first.dtype}. Objective: {first.objective}. "
        f"{found['prompts']} held-out prompts, of which {len(lists)} went through the whole checklist. Baseline "
        f"{first.baseline}. spanwise {first.versions.get('spanwise', '')}.", "",
        "## Over all prompts", "",
        "| method | NAOPC (mask) | random rankings | p | verdict | planted cause on top (95 %) |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for method, own in found["methods"].items():
        top = own["planted_cause_on_top"]
        lines.append(
            f"| {method} | {own['naopc']:.2f} | {own['naopc_random']:.2f} | {own['p_random']:.2g} | "
            f"{own['against_random']} | {top['mean']:.2f} ({top['low']:.2f} to {top['high']:.2f}) |"
        )
    lines += [f"| a random token | | | | | {found['random_on_top']:.2f} |", "", "## Agreement", ""]
    for pair, own in found["agreement"].items():
        lines.append(f"* {pair}: |Spearman| {own['mean']:.2f} ({own['low']:.2f} to {own['high']:.2f})")
    lines += ["", "## What failed", "", *(f"* {line}" for line in found["failures"])]
    for number, each in enumerate(lists, 1):
        inner = re.sub("^#", "##", each.to_markdown(), flags=re.MULTILINE)
        lines += ["", re.sub("^## ", f"## Prompt {number}. ", inner, count=1).strip()]
    return "\n".join(lines) + "\n"
