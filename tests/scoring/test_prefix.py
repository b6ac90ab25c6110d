"""Kept keys and values: the same scores as without them, fewer positions through the model, and refused where wrong."""

from collections.abc import Callable

import pytest
import torch
from conftest import PROMPT, TARGET, few, make_model, make_tokenizer

import spanwise
from spanwise.model import prefix
from spanwise.question import Question

pytestmark = pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")


@pytest.fixture(autouse=True)
def tried_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "_exact", type(prefix._exact)())


def positions_read(lm: spanwise.LanguageModel, work: Callable[[], spanwise.Attribution]) -> tuple:
    """The result, and how many positions went through the first layer."""
    read = 0

    def count(module: torch.nn.Module, args: tuple, output: torch.Tensor) -> None:
        nonlocal read
        read += output.shape[0] * output.shape[1]

    handle = lm.embedding.register_forward_hook(count)
    try:
        return work(), read
    finally:
        handle.remove()


def both(lm: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch, **asked: object) -> tuple:
    """Result and positions read, without and with kept keys."""

    def work() -> spanwise.Attribution:
        return spanwise.attribute(lm, PROMPT, TARGET, **asked)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Question, "_repeats_a_beginning", lambda self: False)
        plain, all_read = positions_read(lm, work)
    kept, read = positions_read(lm, work)
    return plain, kept, all_read, read


def assert_same(plain: spanwise.Attribution, kept: spanwise.Attribution) -> None:
    assert torch.equal(plain.scores.isnan(), kept.scores.isnan())
    scale = float(plain.scores.nan_to_num().abs().max())
    # attention over the same keys, added up in blocks of other sizes
    torch.testing.assert_close(kept.scores.nan_to_num(), plain.scores.nan_to_num(), rtol=0, atol=1e-5 * max(scale, 1.0))


@pytest.mark.parametrize("baseline", ["pad", "zero", "mask", "delete"])
def test_ablation_is_the_same_and_reads_about_half(
    any_lm: spanwise.LanguageModel, baseline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"method": "feature_ablation", "baseline": baseline, "batch_size": 3}
    plain, kept, all_read, read = both(any_lm, monkeypatch, **asked)
    assert_same(plain, kept)
    assert read < 0.8 * all_read


@pytest.mark.parametrize("method", ["integrated_gradients", "saliency", "gradient_shap", "shapley_value_sampling"])
@pytest.mark.parametrize("rows", ["token", "span"])
def test_the_end_of_a_prompt_alone(
    any_lm: spanwise.LanguageModel, method: str, rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = len(any_lm.tokenizer(PROMPT)["input_ids"])
    asked = {"method": method, "rows": rows, "source": spanwise.tokens(count - 4, count), "method_options": few(method)}
    plain, kept, all_read, read = both(any_lm, monkeypatch, **asked)
    assert_same(plain, kept)
    assert read < all_read or method == "saliency"  # one forward, and the one that tries whether kept keys are exact


def test_features_of_words_and_the_generated_prefix(
    lm: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for asked in ({"features": "word"}, {"prefix": "attributed"}, {"span": "different", "features": "sentence"}):
        plain, kept, *_ = both(lm, monkeypatch, method="feature_ablation", **asked)
        assert_same(plain, kept)


def test_a_contrast(lm: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"method": "feature_ablation", "span": "different", "objective": spanwise.contrast("foreign")}
    asked["batch_size"] = 3
    plain, kept, all_read, read = both(lm, monkeypatch, **asked)
    assert_same(plain, kept)
    assert read < all_read


def test_four_bit_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = spanwise.load_model("tiny", quantization="nf4", compute_dtype="float32")
    plain, kept, all_read, read = both(lm, monkeypatch, method="feature_ablation", batch_size=3)
    assert_same(plain, kept)
    assert read < 0.9 * all_read  # a short prompt


def test_checkpointing(lm: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"method": "saliency", "source": spanwise.tokens(10, 14), "checkpointing": True}
    plain, kept, *_ = both(lm, monkeypatch, **asked)
    assert_same(plain, kept)


def test_wrong_keys_are_noticed_and_not_used(lm: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prefix.Kept.before
    monkeypatch.setattr(prefix.Kept, "before", lambda self, count: whole(self, max(count - 1, 1)))
    plain, kept, _, _ = both(lm, monkeypatch, method="feature_ablation", batch_size=3)
    assert torch.equal(plain.scores.nan_to_num(), kept.scores.nan_to_num())


def test_a_cache_of_another_kind_is_left_alone(lm: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, count: int) -> None:
        raise TypeError("no such cache")

    monkeypatch.setattr(prefix.Kept, "before", broken)
    plain, kept, _, _ = both(lm, monkeypatch, method="feature_ablation", batch_size=3)
    assert torch.equal(plain.scores.nan_to_num(), kept.scores.nan_to_num())


def test_no_memory_for_the_trial_decides_nothing(lm: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, count: int) -> None:
        raise torch.OutOfMemoryError("simulated: out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(prefix.Kept, "before", full)
        spanwise.attribute(lm, PROMPT, TARGET, method="feature_ablation", batch_size=3)
    assert prefix._exact[lm.model] == {}
    plain, kept, all_read, read = both(lm, monkeypatch, method="feature_ablation", batch_size=3)
    assert_same(plain, kept)
    assert read < 0.9 * all_read


def test_models_without_such_a_cache() -> None:
    pair = spanwise.LanguageModel(make_model("t5"), make_tokenizer(), name="t5")
    assert prefix.empty_cache(pair) is None
    assert prefix.empty_cache(spanwise.load_model("tiny", quantization="int8")) is None


def test_a_batch_size_that_was_named_is_kept(lm: spanwise.LanguageModel) -> None:
    seen = []
    handle = lm.embedding.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    spanwise.attribute(lm, PROMPT, TARGET, method="feature_ablation", batch_size=3)
    handle.remove()
    assert max(seen) == 3


def test_a_batch_out_of_memory_is_halved_behind_kept_keys_too(
    lm: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = spanwise.attribute(lm, PROMPT, TARGET, method="feature_ablation")

    def small(module: torch.nn.Module, args: tuple, output: torch.Tensor) -> None:
        if len(output) > 4:
            raise torch.OutOfMemoryError("simulated: out of memory")

    assert expected.provenance.batch_size > 4
    handle = lm.embedding.register_forward_hook(small)
    found = spanwise.attribute(lm, PROMPT, TARGET, method="feature_ablation")
    handle.remove()
    assert_same(expected, found)
    assert any("memory ran out" in note for note in found.provenance.notes)
