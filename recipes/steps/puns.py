"""Of `pun_probe.py`: hidden states, a linear probe on them, and its output without some tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from common import absent
from grammars.puns import Story
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression

import spanwise


@torch.no_grad()
def states(lm: spanwise.LanguageModel, ids: Sequence[int]) -> torch.Tensor:
    """Return the hidden state that the word behind the story is predicted from: `[layer, hidden]`."""
    outputs = lm.model(input_ids=torch.tensor([list(ids)], device=lm.device), output_hidden_states=True)
    return torch.stack([state[0, -1] for state in outputs.hidden_states]).float().cpu()


def trained(
    lm: spanwise.LanguageModel, train: Sequence[Story], test: Sequence[Story]
) -> tuple[int, LogisticRegression, list[float]]:
    """Return the first layer with a probe within .01 of the best on the test stories, that probe, and all shares."""
    seen, unseen = (
        torch.stack([states(lm, lm.tokenizer(s.prompt)["input_ids"]) for s in each]) for each in (train, test)
    )
    probes = []
    for layer in range(seen.shape[1]):
        probe = LogisticRegression(C=0.1, max_iter=2000).fit(seen[:, layer].numpy(), [s.made for s in train])
        probes.append((probe, float(probe.score(unseen[:, layer].numpy(), [s.made for s in test]))))
    best = max(right for _, right in probes)
    layer = next(i for i, (_, right) in enumerate(probes) if right >= best - 0.01)
    return layer, probes[layer][0], [right for _, right in probes]


def output_without(
    lm: spanwise.LanguageModel, ids: Sequence[int], removed: Sequence[int], probe: Any, layer: int
) -> float:
    """Return the probe's output with some tokens as `<unk>`, or as padding where a model has none."""
    unknown = absent(lm)[1]
    changed = [unknown if place in removed else each for place, each in enumerate(ids)]
    return float(probe.decision_function(states(lm, changed)[layer][None].numpy())[0])


def summary(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means over stories, and what share of the absolute scores each kind of token has."""
    ranks = [float(spearmanr(each["scores"], each["effects"]).statistic) for each in cases]
    table = spanwise.aggregate([each["result"] for each in cases], by=[each["kinds"] for each in cases])
    return {
        "fall_without_top": float(np.mean([each["top"] for each in cases])),
        "fall_without_bottom": float(np.mean([each["bottom"] for each in cases])),
        "rank_correlation": float(np.nanmean(ranks)),
        "share": dict(zip(table["category"], table["share"].round(4), strict=True)),
    }
