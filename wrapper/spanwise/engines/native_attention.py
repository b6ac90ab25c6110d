"""Methods that read attention weights: raw attention, attention rollout and attention flow.

Weights are those of the position that predicts a target token: target k is predicted at position P-1+k of a prompt of P
tokens. They do not depend on the objective. A span's row is the mean over its target tokens, since weights are shares
of one look at the input and not effects that add up.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from spanwise.engines.protocol import Runner
from spanwise.errors import MethodError, OptionError
from spanwise.model.attentions import attention_looks, attention_weights
from spanwise.scoring.scorer import Scorer

FLOW_EDGE_LIMIT = 10_000_000_000
"""Edges of all flow graphs of one call together; about 20 million a second on one core, so some ten minutes."""

_UNIT = 2**30
"""Flow is computed in integers of this size, so an edge is off by at most 2^-31 (int32 holds no more)."""


def attention(scorer: Scorer, options: Mapping[str, Any]) -> Float[Tensor, "row feature"]:
    """Raw attention weight: Bahdanau et al. 2015 (arXiv:1409.0473), eq. 6; Vaswani et al. 2017 (1706.03762), eq. 1."""
    layers = _weights(scorer, attention_looks)
    chosen = layers[_index("layer", options["layer"], len(layers))]
    queries = _queries(scorer)
    looks = [_one_head(layer[:, queries.to(layer.device)].float(), options["head"]).cpu() for layer in chosen]
    return _per_feature(scorer, torch.stack(looks).mean(0))


def attention_rollout(scorer: Scorer, options: Mapping[str, Any]) -> Float[Tensor, "row feature"]:
    """Attention rollout: Abnar & Zuidema 2020 (arXiv:2005.00928), eq. 1, heads averaged."""
    return _per_feature(scorer, rollout(_mean_over_heads(_weights(scorer)))[_queries(scorer)])


def attention_flow(scorer: Scorer, options: Mapping[str, Any]) -> Float[Tensor, "row feature"]:
    """Attention flow: Abnar & Zuidema 2020 (arXiv:2005.00928), section 3, heads averaged; flows are not normalized."""
    layers = _weights(scorer)
    queries, sinks = _queries(scorer).tolist(), (scorer.features[: scorer.length] >= 0).nonzero().flatten().tolist()
    _refuse_too_large(scorer.length, len(layers), queries, sinks)
    of_query = torch.zeros(len(queries), scorer.length)
    of_query[:, sinks] = flow(_mean_over_heads(layers), queries, sinks)
    return _per_feature(scorer, of_query)


RUNNERS: dict[str, Runner] = {
    "attention": attention,
    "attention_rollout": attention_rollout,
    "attention_flow": attention_flow,
}


def rollout(attentions: Float[Tensor, "layer source source"]) -> Float[Tensor, "source source"]:
    """Returns how much of each input token reaches each position of the top layer: the product over the layers.

    Abnar & Zuidema 2020, eq. 1: rollout(l) = A(l) rollout(l - 1), with A = 0.5 W + 0.5 I.

    Args:
        attentions: W of each layer from the lowest to the top, rows over the positions that are looked at.

    Example:
        >>> rollout(torch.tensor([[[1.0, 0.0], [0.5, 0.5]]]))
        tensor([[1.0000, 0.0000],
                [0.2500, 0.7500]])
    """
    product = torch.eye(attentions.shape[-1], dtype=attentions.dtype, device=attentions.device)
    for layer in with_residual(attentions):
        product = layer @ product
    return product


def flow(
    attentions: Float[Tensor, "layer source source"], queries: Sequence[int], sinks: Sequence[int]
) -> Float[Tensor, "query sink"]:
    """Returns the largest flow from each query's node in the top layer to each sink's input token.

    Abnar & Zuidema 2020, section 3: node (l, i) has an edge to node (l - 1, j) of capacity A(l)[i, j], with
    A = 0.5 W + 0.5 I; every query and sink has a flow of its own.

        layer 2   (2,0) (2,1) (2,2)   a query
        layer 1   (1,0) (1,1) (1,2)
        layer 0   (0,0) (0,1) (0,2)   a sink

    With L layers of N positions one flow is Dinic's algorithm over V = (L + 1) N nodes and E <= L N^2 edges: O(V^2 E)
    at worst, in measurements about E.

    Args:
        attentions: W of each layer from the lowest to the top, rows over the positions that are looked at.
        queries: Positions in the top layer.
        sinks: Positions of the input.

    Example:
        >>> flow(torch.tensor([[[1.0, 0.0], [0.5, 0.5]]]), [1], [0, 1])
        tensor([[0.2500, 0.7500]])
    """
    from scipy.sparse.csgraph import maximum_flow

    capacities = (with_residual(attentions.double()) * _UNIT).round().to(torch.int32).cpu()
    causal = not capacities.triu(1).any()
    flows = torch.zeros(len(queries), len(sinks))
    for column, sink in enumerate(sinks):
        first = sink if causal else 0  # in a causal model nothing before the sink leads to it
        graph, count = _graph(capacities[:, first:, first:])
        for row, query in enumerate(queries):
            if query >= first:
                start = len(attentions) * count + query - first
                flows[row, column] = maximum_flow(graph, start, sink - first, method="dinic").flow_value / _UNIT
    return flows


def with_residual(attentions: Float[Tensor, "layer source source"]) -> Float[Tensor, "layer source source"]:
    """Returns A = 0.5 W + 0.5 I of each layer, its rows made to sum to 1: half of what a position has is its own.

    Softmax rows sum to 1 already, up to the rounding of 16-bit models; those of models with attention sinks do not.
    """
    identity = torch.eye(attentions.shape[-1], dtype=attentions.dtype, device=attentions.device)
    mixed = 0.5 * attentions + 0.5 * identity
    return mixed / mixed.sum(-1, keepdim=True)


def _graph(capacities: Int[Tensor, "layer source source"]) -> tuple[Any, int]:
    """Returns the attention graph as a sparse matrix, and the nodes in a layer; node (l, i) has index l * count + i."""
    from scipy.sparse import csr_matrix

    layers, count, _ = capacities.shape
    layer, query, looked_at = (index.numpy() for index in capacities.nonzero(as_tuple=True))
    values = capacities[layer, query, looked_at].numpy()
    nodes = (layers + 1) * count
    ends = ((layer + 1) * count + query, layer * count + looked_at)
    return csr_matrix((values, ends), shape=(nodes, nodes)), count


def _refuse_too_large(length: int, layers: int, queries: Sequence[int], sinks: Sequence[int]) -> None:
    """Refuses more than `FLOW_EDGE_LIMIT` edges: for each query and sink, those between the positions from sink on."""
    edges = len(queries) * sum(layers * (length - sink) * (length - sink + 1) // 2 for sink in sinks)
    if edges > FLOW_EDGE_LIMIT:
        raise MethodError(
            f"attention_flow was asked for {len(queries)} target tokens x {len(sinks)} input tokens over a graph of "
            f"{(layers + 1) * length:,} nodes ({layers} layers, {length} positions): {edges:,} edges in all, and at "
            f"most {FLOW_EDGE_LIMIT:,} are allowed. Ask for a shorter span, or use attention_rollout."
        )


def _weights(
    scorer: Scorer, read: Callable[..., list[Tensor]] = attention_weights
) -> list[Float[Tensor, "head source source"]]:
    """Returns the attention weights of every layer at the unchanged input, and counts the forward."""
    ids = [*scorer.prompt_ids, *scorer.target_ids][: scorer.length]
    weights = read(scorer.lm, torch.tensor([ids], device=scorer.lm.device), scorer.encoder_length)
    scorer.counts.calls += 1
    scorer.counts.forwards += 1
    scorer.tick(1)
    return weights


def _asked(scorer: Scorer) -> Int[Tensor, " query"]:
    """Returns the target tokens that some row has."""
    return scorer.rows.any(0).nonzero().flatten()


def _queries(scorer: Scorer) -> Int[Tensor, " query"]:
    """Returns the positions that predict those tokens."""
    return _asked(scorer) + len(scorer.prompt_ids) - 1


def _per_feature(scorer: Scorer, of_query: Float[Tensor, "query source"]) -> Float[Tensor, "row feature"]:
    """Averages over each row's target tokens, then adds up each feature's positions."""
    members = scorer.rows[:, _asked(scorer)].float()
    rows = members / members.sum(1, keepdim=True) @ of_query
    return scorer.add_positions(rows.to(scorer.embeddings.device))


def _mean_over_heads(layers: Sequence[Float[Tensor, "head source source"]]) -> Float[Tensor, "layer source source"]:
    return torch.stack([layer.float().mean(0).cpu() for layer in layers])


def _one_head(weights: Float[Tensor, "head query source"], head: str | int) -> Float[Tensor, "query source"]:
    return weights.amax(0) if head == "max" else weights[_index("head", head, len(weights))].mean(0)


def _index(what: str, asked: str | int, count: int) -> slice:
    """Returns which of `count` layers or heads are averaged.

    Raises:
        OptionError: There is none of that number.
    """
    if isinstance(asked, str):
        return slice(count) if asked == "mean" else slice(count - 1, count)
    if not 0 <= asked < count:
        raise OptionError(f"attention's option {what} is {asked}; the model has {count}, numbered 0 to {count - 1}.")
    return slice(asked, asked + 1)
