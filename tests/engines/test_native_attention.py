"""Attention methods against graphs worked out by hand, against networkx, and against plain eager forwards.

Tolerances: 1e-6 for sums of a few float32 numbers below 1; flows are computed in integers of 2^-30.
"""

import copy

import networkx
import pytest
import torch
import transformers
from conftest import PROMPT, SHAPE, TARGET, make_model, make_tokenizer

import spanwise
from spanwise.engines import native_attention
from spanwise.engines.native_attention import RUNNERS, flow, rollout
from spanwise.errors import MethodError, OptionError
from spanwise.model.attentions import attention_weights, eager_attention
from spanwise.scoring.batching import Batches
from spanwise.scoring.objectives import find_objective
from spanwise.scoring.scorer import Scorer

# Three tokens, two layers. With A = 0.5 W + 0.5 I:
#   A(1) = 1            A(2) = 1
#          .25 .75             .4  .6
#          .1  .2  .7          .3  .1  .6
HAND_MADE = torch.tensor(
    [
        [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.2, 0.4, 0.4]],
        [[1.0, 0.0, 0.0], [0.8, 0.2, 0.0], [0.6, 0.2, 0.2]],
    ]
)


def random_attention(layers: int, source: int, sharpness: float = 3.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(layers, source, source, generator=generator) * sharpness
    return logits.masked_fill(torch.ones(source, source).triu(1).bool(), -torch.inf).softmax(-1)


def make_scorer(lm: spanwise.LanguageModel, rows: torch.Tensor | None = None, frozen: int = 0) -> Scorer:
    """One feature a prompt token, but for the first `frozen`; rows are the target tokens, or what is given."""
    prompt_ids, target_ids = lm.tokenizer.encode(PROMPT), lm.tokenizer.encode(TARGET)
    features = torch.full((len(prompt_ids) + len(target_ids) - 1,), -1)
    features[frozen : len(prompt_ids)] = torch.arange(len(prompt_ids) - frozen)
    table = torch.eye(len(target_ids), dtype=torch.bool) if rows is None else rows
    return Scorer(lm, prompt_ids, target_ids, find_objective("log_prob"), table, features, None, Batches(4))


def plain_attentions(lm: spanwise.LanguageModel, scorer: Scorer) -> torch.Tensor:
    """[layer, head, source, source] of a second model, made with eager attention from the start."""
    config = copy.deepcopy(lm.model.config)
    config._attn_implementation = "eager"
    twin = type(lm.model)(config).eval()
    twin.load_state_dict(lm.model.state_dict())
    ids = torch.tensor([[*scorer.prompt_ids, *scorer.target_ids][: scorer.length]])
    with torch.no_grad():
        return torch.stack(twin(input_ids=ids, output_attentions=True, use_cache=False).attentions)[:, 0]


def run(scorer: Scorer, method: str, **options: object) -> torch.Tensor:
    defaults = {"layer": "mean", "head": "mean"} if method == "attention" else {}
    with scorer.lm.session():
        return RUNNERS[method](scorer, {**defaults, **options})


def test_flow_on_a_hand_made_graph() -> None:
    """In two layers each path has a middle node of its own: the flow is the sum over them of the narrower edge.

    From token 2: to 0 min(.3, 1) + min(.1, .25) + min(.6, .1) = .5; to 1 min(.1, .75) + min(.6, .2) = .3; to 2
    min(.6, .7) = .6. From token 1: to 0 min(.4, 1) + min(.6, .25) = .65; to 1 min(.6, .75) = .6; to 2 nothing.
    """
    expected = torch.tensor([[0.5, 0.3, 0.6], [0.65, 0.6, 0.0], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(flow(HAND_MADE, [2, 1, 0], [0, 1, 2]), expected, atol=1e-6, rtol=0)


def test_flow_through_a_shared_edge() -> None:
    """Three layers: all of token 2 passes (3,2)->(2,2) .5 and (3,2)->(2,1) .5, and to input 0 one edge of .5 only.

    A(3) row 2 = [0, .5, .5]; A(2) rows 1, 2 = [.5, .5, 0], [0, .5, .5]; A(1) rows 0, 1, 2 = [1, 0, 0], [0, 1, 0],
    [0, 0, 1]. To input 0 only (2,1)->(1,0) leads: .5. To 1: (2,1)->(1,1) .5 and (2,2)->(1,1) .5: 1. To 2:
    (2,2)->(1,2): .5. Products along the paths would say .25, .5, .25.
    """
    identity = torch.eye(3)
    shift = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    weights = torch.stack([identity, shift, shift])
    torch.testing.assert_close(flow(weights, [2], [0, 1, 2]), torch.tensor([[0.5, 1.0, 0.5]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(rollout(weights)[2], torch.tensor([0.25, 0.5, 0.25]))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("sharpness", [1.0, 4.0])
def test_flow_equals_networkx(causal: bool, sharpness: float) -> None:
    """networkx computes with floats, on a graph built here the slow way."""
    weights = random_attention(4, 7, sharpness)
    weights = weights if causal else weights.flip(1, 2) * 0.5 + weights * 0.5
    capacity = 0.5 * weights.double() + 0.5 * torch.eye(7)
    graph = networkx.DiGraph()
    for layer, query, looked_at in capacity.nonzero().tolist():
        value = float(capacity[layer, query, looked_at])
        graph.add_edge((layer + 1, query), (layer, looked_at), capacity=value)
    queries, sinks = [6, 3], [0, 2, 3, 6]

    def flow_of(query: int, sink: int) -> float:
        reached = not causal or query >= sink
        return networkx.maximum_flow_value(graph, (4, query), (0, sink)) if reached else 0.0

    expected = [[flow_of(query, sink) for sink in sinks] for query in queries]
    torch.testing.assert_close(flow(weights, queries, sinks), torch.tensor(expected), atol=1e-6, rtol=0)


def test_rollout_equals_the_closed_form() -> None:
    lower, upper = (0.5 * layer + 0.5 * torch.eye(3) for layer in HAND_MADE)
    torch.testing.assert_close(rollout(HAND_MADE), upper @ lower)
    # row 2 by hand: .3 A(1)[0] + .1 A(1)[1] + .6 A(1)[2]
    torch.testing.assert_close(rollout(HAND_MADE)[2], torch.tensor([0.385, 0.195, 0.42]))


def test_properties_of_rollout() -> None:
    rolled = rollout(random_attention(5, 9))
    torch.testing.assert_close(rolled.sum(-1), torch.ones(9))
    assert not rolled.triu(1).any()
    assert torch.equal(rollout(torch.eye(4).expand(6, 4, 4)), torch.eye(4))
    # rows that do not sum to 1, as with an attention sink, are made to
    torch.testing.assert_close(rollout(random_attention(5, 9) * 0.7).sum(-1), torch.ones(9))


def test_properties_of_flow() -> None:
    weights = random_attention(5, 9)
    flows = flow(weights, range(9), range(9))
    assert not flows.triu(1).any()
    assert float(flows.max()) <= 1 + 1e-6
    assert (flows >= rollout(weights) - 1e-6).all()  # rollout's own flow obeys every capacity
    assert torch.equal(flow(torch.eye(4).expand(6, 4, 4), range(4), range(4)), torch.eye(4))


@pytest.mark.parametrize("head", ["mean", "max", 1])
@pytest.mark.parametrize("layer", ["mean", "last", 0])
def test_attention_equals_a_plain_eager_forward(any_lm: spanwise.LanguageModel, layer: object, head: object) -> None:
    scorer = make_scorer(any_lm)
    weights = plain_attentions(any_lm, scorer)  # [layer, head, source, source]
    by_head = {"mean": weights.mean(1), "max": weights.amax(1)}.get(head, weights[:, 1])
    chosen = {"mean": by_head.mean(0), "last": by_head[-1]}.get(layer, by_head[0])
    prompt = len(scorer.prompt_ids)
    expected = chosen[prompt - 1 : prompt - 1 + len(scorer.target_ids), :prompt]
    torch.testing.assert_close(run(scorer, "attention", layer=layer, head=head), expected, atol=1e-6, rtol=1e-5)
    assert (scorer.counts.calls, scorer.counts.forwards, scorer.counts.backwards) == (1, 1, 0)


def test_rollout_and_flow_of_a_model(any_lm: spanwise.LanguageModel) -> None:
    scorer = make_scorer(any_lm)
    weights = plain_attentions(any_lm, scorer).mean(1)
    prompt, asked = len(scorer.prompt_ids), len(scorer.target_ids)
    rolled = rollout(weights)[prompt - 1 : prompt - 1 + asked, :prompt]
    torch.testing.assert_close(run(scorer, "attention_rollout"), rolled, atol=1e-6, rtol=1e-5)
    flows = run(scorer, "attention_flow")
    for row, column in [(0, 0), (asked - 1, prompt - 1), (2, 5)]:
        expected = flow(weights, [prompt - 1 + row], [column])
        torch.testing.assert_close(flows[row, column], expected[0, 0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", sorted(RUNNERS))
def test_a_span_is_the_mean_of_its_tokens(lm: spanwise.LanguageModel, method: str) -> None:
    matrix = run(make_scorer(lm), method)
    span = torch.zeros(2, len(matrix), dtype=torch.bool)
    span[0, 2:5] = span[1, 1] = True
    expected = torch.stack([matrix[2:5].mean(0), matrix[1]])
    torch.testing.assert_close(run(make_scorer(lm, span), method), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("method", sorted(RUNNERS))
def test_frozen_positions_and_features_of_several_tokens(lm: spanwise.LanguageModel, method: str) -> None:
    matrix = run(make_scorer(lm), method)
    torch.testing.assert_close(run(make_scorer(lm, frozen=3), method), matrix[:, 3:])
    pairs = make_scorer(lm)
    pairs.features = torch.where(pairs.features >= 0, pairs.features // 2, -1)
    pairs.__post_init__()
    sums = torch.zeros(len(matrix), pairs.feature_count).index_add_(1, torch.arange(matrix.shape[1]) // 2, matrix)
    torch.testing.assert_close(run(pairs, method), sums)


@pytest.mark.parametrize("method", sorted(RUNNERS))
def test_bfloat16(any_lm: spanwise.LanguageModel, method: str) -> None:
    half = spanwise.LanguageModel(copy.deepcopy(any_lm.model).bfloat16(), any_lm.tokenizer)
    scores = run(make_scorer(half), method)
    assert scores.dtype == torch.float32
    # bfloat16 keeps 8 bits; these models' logits are a few units, so weights move by some percent of the largest
    assert float((scores - run(make_scorer(any_lm), method)).abs().max()) < 0.1


def test_the_implementation_is_put_back(any_lm: spanwise.LanguageModel) -> None:
    before = any_lm.model.config._attn_implementation
    assert before == ("eager" if any_lm.name == "gemma2" else "sdpa")  # else this test shows nothing
    with eager_attention(any_lm.model):
        assert any_lm.model.config._attn_implementation == "eager"
    assert any_lm.model.config._attn_implementation == before
    with pytest.raises(RuntimeError, match="in the middle"), eager_attention(any_lm.model):
        raise RuntimeError("in the middle")
    run(make_scorer(any_lm), "attention")
    assert any_lm.model.config._attn_implementation == before


def test_sub_configs_are_put_back_each_to_its_own() -> None:
    vision = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4
    )
    config = transformers.LlavaConfig(vision_config=vision, text_config=transformers.LlamaConfig(**SHAPE))
    model = transformers.LlavaForConditionalGeneration(config)
    model.set_attn_implementation({"text_config": "sdpa", "vision_config": "eager"})
    parts = (model.config, model.config.text_config, model.config.vision_config)
    before = [part._attn_implementation for part in parts]
    assert before[1:] == ["sdpa", "eager"]
    with eager_attention(model):
        assert model.config.text_config._attn_implementation == "eager"
    assert [part._attn_implementation for part in parts] == before


def test_a_model_without_attention_weights_is_refused() -> None:
    config = transformers.MambaConfig(vocab_size=384, hidden_size=16, state_size=4, num_hidden_layers=1)
    lm = spanwise.LanguageModel(transformers.MambaForCausalLM(config).eval(), make_tokenizer())
    with pytest.raises(MethodError, match="MambaForCausalLM returns none, not even with attn_implementation='eager'"):
        attention_weights(lm, torch.tensor([[5, 6, 7]]))


def test_layers_and_heads_that_do_not_exist(lm: spanwise.LanguageModel) -> None:
    with pytest.raises(OptionError, match="option layer is 2; the model has 2, numbered 0 to 1"):
        run(make_scorer(lm), "attention", layer=2)
    with pytest.raises(OptionError, match="option head is 4; the model has 4, numbered 0 to 3"):
        run(make_scorer(lm), "attention", head=4)


def test_a_flow_that_would_take_hours_is_refused(lm: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = make_scorer(lm)
    prompt, tokens = len(scorer.prompt_ids), len(scorer.target_ids)
    edges = tokens * sum(2 * (scorer.length - j) * (scorer.length - j + 1) // 2 for j in range(prompt))
    monkeypatch.setattr(native_attention, "FLOW_EDGE_LIMIT", edges)
    run(scorer, "attention_flow")
    monkeypatch.setattr(native_attention, "FLOW_EDGE_LIMIT", edges - 1)
    message = rf"{tokens} target tokens x {prompt} input tokens .* {3 * scorer.length:,} nodes .*{edges:,} edges in all"
    with pytest.raises(MethodError, match=message):
        run(scorer, "attention_flow")


def test_nf4(tmp_path: object) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the quantization extra")
    make_model("llama").save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    lm = spanwise.load_model(str(tmp_path), quantization="nf4", dtype=torch.float32)
    scores = run(make_scorer(lm), "attention")
    plain = run(make_scorer(spanwise.LanguageModel(make_model("llama"), make_tokenizer())), "attention")
    assert 0 < float((scores - plain).abs().max()) < 0.2  # other weights, but the same model
