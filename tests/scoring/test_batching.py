"""Batches: cut, halved where memory runs out, put together again; and checkpointing, which changes no number."""

import itertools

import pytest
import torch
import transformers
from conftest import PROMPT, TARGET, few, make_model, make_tokenizer
from torch import Tensor

import spanwise
from spanwise.errors import OptionError, OutOfMemoryError
from spanwise.model.checkpointing import blocks
from spanwise.scoring import batching
from spanwise.scoring.batching import Batches

GRADIENTS = [each.name for each in spanwise.list_methods() if each.family == "gradient" and "captum" in each.engines]


class SmallMemory:
    """Work that fits `room` sequences, and says so as the CUDA and the CPU allocator do."""

    def __init__(self, room: int, error: Exception) -> None:
        self.room, self.error = room, error
        self.seen: list[int] = []

    def __call__(self, part: Tensor) -> Tensor:
        self.seen.append(len(part))
        if len(part) > self.room:
            raise self.error
        return part * 2


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:132] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes."),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "cpu", "python"])
def test_halves_and_goes_on_where_it_stopped(error: Exception) -> None:
    batches, work = Batches(8), SmallMemory(3, error)
    inputs = torch.arange(11.0)[:, None]
    assert torch.equal(batches.over(inputs, work), inputs * 2)
    assert work.seen == [8, 4, 2, 2, 2, 2, 2, 1]
    assert (batches.began, batches.size) == (8, 2)
    assert "batches of 8" in batches.note and "ended with 2" in batches.note


def test_late_ones_go_together() -> None:
    """An input of 20 positions that starts at s is read from the first start of its batch on, never from behind s."""
    starts = torch.randint(0, 20, (50,), generator=torch.Generator().manual_seed(0))
    read: list[tuple[int, int, int]] = []

    def work(part: Tensor, start: int) -> Tensor:
        assert (starts[part] >= start).all() and (part.sort().values == part).all()
        read.append((start, len(part), int((starts[part] - start).sum())))
        return part[:, None] * 2.0

    for size, call in ((8, 10), (64, 10), (64, 0), (1000, 10_000)):
        read.clear()
        found = Batches(size, call=call).over_late(starts, 20, work)
        assert torch.equal(found, torch.arange(50)[:, None] * 2.0)
        assert [start for start, *_ in read] == sorted(start for start, *_ in read)
        assert call or {again for *_, again in read} == {0}
    assert len(read) == 1  # where calls are dear, all go at once


@pytest.mark.parametrize("call", [0, 5, 64])
@pytest.mark.parametrize("counts", [[1] * 7, [3, 1, 4, 1, 5, 9, 2], [9, 1, 1, 1, 1, 1, 9]])
def test_late_ones_are_cut_at_the_least_cost(counts: list[int], call: int) -> None:
    """Against every way to cut seven starts."""
    starts, length, size = [0, 1, 2, 3, 5, 8, 9], 12, 1000
    found = Batches(size, call=call)._cut(starts, counts, length)
    assert sum(count for _, count in found) == sum(counts)

    def cost(borders: tuple[int, ...]) -> int:
        ends = [*borders[1:], len(starts)]
        return sum(call + sum(counts[a:b]) * (length - starts[a]) for a, b in zip(borders, ends, strict=True))

    every = [(0, *rest) for n in range(7) for rest in itertools.combinations(range(1, 7), n)]
    assert sum(call + count * (length - start) for start, count in found) == min(map(cost, every))


def test_a_size_that_was_asked_for_is_kept() -> None:
    with pytest.raises(OutOfMemoryError, match="a batch of 8 sequences: batch_size='auto'"):
        Batches(8, fixed=True).over(torch.zeros(9, 1), SmallMemory(3, ERRORS[0]))


def test_one_sequence_that_does_not_fit() -> None:
    with pytest.raises(OutOfMemoryError, match="one sequence: checkpointing=True"):
        Batches(2).over(torch.zeros(2, 1), SmallMemory(0, ERRORS[0]))


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        Batches(2).over(torch.zeros(2, 1), SmallMemory(0, RuntimeError("shapes cannot be multiplied")))


@pytest.mark.parametrize("method", ["integrated_gradients", "feature_ablation", "gradient_shap", "kernel_shap"])
def test_scores_do_not_change_and_the_size_is_recorded(
    lm: spanwise.LanguageModel, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"method": method, "span": "traveling", "method_options": few(method)}
    expected = spanwise.attribute(lm, PROMPT, TARGET, **options)
    whole = type(lm.model).forward

    def small(self: object, input_ids: Tensor, **rest: object) -> object:
        if len(input_ids) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(self, input_ids, **rest)

    monkeypatch.setattr(type(lm.model), "forward", small)
    found = spanwise.attribute(lm, PROMPT, TARGET, **options)
    # other batch sizes add float32 products in another order; the regression multiplies that by its condition number
    tolerance = 1e-3 if method == "kernel_shap" else 1e-5
    assert torch.allclose(found.scores, expected.scores, atol=tolerance, rtol=0, equal_nan=True)
    assert found.provenance.batch_size <= 3
    assert any("memory ran out" in note for note in found.provenance.notes)
    with pytest.raises(OutOfMemoryError, match="batch_size='auto'"):
        spanwise.attribute(lm, PROMPT, TARGET, **options, batch_size=5)


def test_auto_starts_from_the_plan(lm: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def began(free: int, gradients: bool = True) -> int:
        monkeypatch.setattr(batching, "free_memory", lambda model: free)
        return batching.choose_batches(
            lm, "auto", 32, 8, gradients=gradients, rows=1, per_position=False
        ).size  # fmt: skip

    each = batching.bytes_per_sequence(lm, 32, 8, gradients=True)
    assert began(2**40) == 1024 // 32
    assert began(each * 10) == 8  # 80 % of it
    assert began(each) == 1
    assert began(each * 10, gradients=False) > 8
    assert batching._at_most(lm, 32, 8, 1) > each


@pytest.mark.parametrize("asked", ["many", 0, -1, True, 1.5])
def test_bad_sizes(lm: spanwise.LanguageModel, asked: object, unchecked_types: None) -> None:
    with pytest.raises(OptionError, match="batch_size must be"):
        spanwise.attribute(lm, PROMPT, TARGET, batch_size=asked)


@pytest.mark.parametrize("architecture", ["qwen2", "gemma3", "gpt2", "t5", "bart"])
@pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")
def test_checkpointing_changes_no_number(architecture: str) -> None:
    lm = spanwise.LanguageModel(make_model(architecture), make_tokenizer())
    forwards = [vars(block).get("forward") for block in blocks(lm.model)]
    assert len(forwards) >= 2
    for method in GRADIENTS:
        options = {"method": method, "method_options": few(method), "span": "traveling"}
        plain = spanwise.attribute(lm, PROMPT, TARGET, **options)
        found = spanwise.attribute(lm, PROMPT, TARGET, **options, checkpointing=True)
        assert torch.equal(found.scores.nan_to_num(), plain.scores.nan_to_num()), method
        assert found.provenance.checkpointing and not plain.provenance.checkpointing
    assert [vars(block).get("forward") for block in blocks(lm.model)] == forwards


def test_checkpointing_keeps_less() -> None:
    """Counted in bytes that the graph holds between forward and backward, not in resident memory, which is noisy."""
    config = transformers.Qwen2Config(
        vocab_size=384, hidden_size=64, num_hidden_layers=8, num_attention_heads=4, num_key_value_heads=4
    )
    lm = spanwise.LanguageModel(transformers.Qwen2ForCausalLM(config).eval(), make_tokenizer())
    held = {}
    for checkpointing in (False, True):
        total = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel() * tensor.element_size() * (not isinstance(tensor, torch.nn.Parameter))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            spanwise.attribute(lm, PROMPT, TARGET, method="saliency", rows="span", checkpointing=checkpointing)
        held[checkpointing] = total
    assert held[True] < held[False] / 2
