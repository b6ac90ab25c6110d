"""Hierarchical ablation: leave one out from the coarse to the fine, and only inside what mattered.

After the hierarchical attribution of AttriBoT, Liu et al. 2025, arXiv:2411.15102. The features form a tree:

    prompt -> messages -> paragraphs -> sentences -> features        a level with one part only is left out;
                                                                     more than 16 parts get runs of parts in between
1. Switch each part of the prompt off, one at a time, everything else on: its effect is the objective's drop.
2. Open the group whose effect on any row is the largest: switch its parts off, one at a time.
3. Again, among all groups tried and not yet opened, wherever they are, until the forwards are spent.

A feature that was switched off alone has that effect, exactly the one of feature_ablation. All others share the effect
of the smallest group around them evenly: it says where they lie, not what each of them does. The paper goes level by
level, opens a given number of paragraphs, and drops the others from the prompt before it goes on; here they stay in, so
that effects are those of feature_ablation, and the strongest group comes next whatever its level.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.engines.protocol import Found, Runner
from spanwise.scoring.scorer import Scorer

_MOST_PARTS = 16
"""More parts than that get groups in between."""


def hierarchical_ablation(scorer: Scorer, options: Mapping[str, Any]) -> Found:
    """Drop of each row when a feature, or the smallest group around it that was tried, is off, shared over the group.

    The question adds the option "levels", [level feature]: how features lie in the text, from the coarsest level.
    """
    levels = options["levels"].tolist()
    search = Search(scorer, options["forwards"], options["expand"])
    if scorer.feature_count <= search.left:
        search.open([Group(tuple(range(scorer.feature_count)), [Group((i,)) for i in range(scorer.feature_count)])])
    else:
        search.run(grow(range(scorer.feature_count), levels))
    return Found(search.scores, remark=search.told)


RUNNERS: dict[str, Runner] = {"hierarchical_ablation": hierarchical_ablation}


@dataclass(frozen=True, eq=False)
class Group:
    """Features that are switched off together, and the groups that they are made of; a single feature has none."""

    features: tuple[int, ...]
    parts: Sequence["Group"] = ()


def grow(features: Sequence[int], levels: Sequence[Sequence[int]]) -> Group:
    """Returns the tree of features.

    Args:
        features: In their order.
        levels: For each level, the coarsest first, the number of the part that each feature lies in.
    """
    if len(features) == 1:
        return Group((features[0],))
    if not levels:
        return _group([Group((each,)) for each in features])
    parts = [list(run) for _, run in groupby(features, key=levels[0].__getitem__)]
    if len(parts) == 1:
        return grow(features, levels[1:])
    return _group([grow(part, levels[1:]) for part in parts])


def _group(parts: Sequence[Group]) -> Group:
    """Returns a group of these parts; where they are many, of runs of them, about as many as each has parts."""
    if len(parts) > _MOST_PARTS:
        depth = math.ceil(math.log(len(parts), _MOST_PARTS))
        size = math.ceil(len(parts) / math.ceil(len(parts) ** (1 / depth)))
        runs = [parts[at : at + size] for at in range(0, len(parts), size)]
        parts = [_group(run) if len(run) > 1 else run[0] for run in runs]
    return Group(tuple(each for part in parts for each in part.features), parts)


@dataclass
class Search:
    """Opens groups while forwards are left.

    Attributes:
        scorer: Of the rows.
        left: Inputs that may still be tried.
        expand: Groups opened at a time.
        scores: What is known of each feature, [row feature].
        strength: Of each group that was switched off: its largest effect on a row, without sign.
    """

    scorer: Scorer
    left: int
    expand: int = 1
    scores: Float[Tensor, "row feature"] = field(init=False)
    strength: dict[Group, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._whole = self.scorer.scores(torch.ones(1, self.scorer.feature_count)).float().cpu()  # [1, row]
        self.scores = torch.zeros(self.scorer.row_count, self.scorer.feature_count)

    def run(self, root: Group) -> None:
        """Opens the strongest groups, and so on, until no group's parts fit into what is left."""
        closed, chosen = [root], [root]
        while chosen:
            self.open(chosen)
            closed = [group for group in closed if group not in chosen]
            closed += [part for group in chosen for part in group.parts if part.parts]
            chosen = self._strongest(closed)

    def open(self, groups: Sequence[Group]) -> None:
        """Switches the parts of the groups off, each alone, all in one call."""
        parts = [part for group in groups for part in group.parts]
        if not parts:
            return
        gates = torch.ones(len(parts), self.scorer.feature_count)
        for gate, part in zip(gates, parts, strict=True):
            gate[list(part.features)] = 0.0
        effects = self._whole - self.scorer.scores(gates).float().cpu()  # [part, row]
        self.left -= len(parts)
        for part, effect in zip(parts, effects, strict=True):
            self.strength[part] = float(effect.abs().max())
            self.scores[:, list(part.features)] = (effect / len(part.features))[:, None]

    @property
    def told(self) -> str:
        """Says how many features have an effect of their own; "" where all have."""
        alone, features = sum(not group.parts for group in self.strength), self.scorer.feature_count
        if alone == features:
            return ""
        return f"{alone} of {features} features were switched off alone; the others share their group's effect evenly"

    def _strongest(self, groups: Sequence[Group]) -> list[Group]:
        """Returns the strongest groups whose parts still fit, the strongest first."""
        found: list[Group] = []
        left = self.left
        for group in sorted(groups, key=self.strength.__getitem__, reverse=True):
            if len(group.parts) <= left and len(found) < self.expand:
                found.append(group)
                left -= len(group.parts)
        return found
