"""Progress: on long work a bar with what is done, in all and left; never where nobody looks."""

import pytest
from conftest import PROMPT, TARGET, few

import spanwise
from spanwise.progress import progress_bar


def test_a_bar_says_what_is_done_and_in_all(lm: spanwise.LanguageModel, capsys: pytest.CaptureFixture[str]) -> None:
    spanwise.attribute(lm, PROMPT, TARGET, method="feature_ablation", progress=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "feature_ablation" in printed.err and "/24" in printed.err  # 23 features and the input


@pytest.mark.parametrize("progress", [None, False])
def test_silent_when_not_on_a_terminal(
    lm: spanwise.LanguageModel, progress: bool | None, capsys: pytest.CaptureFixture[str]
) -> None:
    spanwise.attribute(lm, PROMPT, TARGET, method="feature_ablation", progress=progress)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("method", [each.name for each in spanwise.list_methods()])
@pytest.mark.filterwarnings("ignore::spanwise.AttributionWarning")
def test_the_bar_never_passes_its_end(method: str, lm: spanwise.LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work announced is the work done, or more where a method stops early."""
    seen: dict[str, int] = {"done": 0}

    def counting(total: int, *args: object, **kwargs: object) -> object:
        seen["total"] = total
        bar = progress_bar(total, *args, **kwargs)
        tick = bar.__enter__()

        class Counting:
            def __enter__(self) -> object:
                def count(done: int) -> None:
                    seen["done"] += done
                    tick(done)

                return count

            def __exit__(self, *error: object) -> None:
                bar.__exit__(*error)

        return Counting()

    monkeypatch.setattr("spanwise.question.progress_bar", counting)
    prompt = "The keys" if method == "shapley_values" else PROMPT
    result = spanwise.attribute(
        lm, prompt, TARGET, span="painting", method=method, method_options=few(method), progress=False
    )
    assert 0 < seen["done"] <= seen["total"]
    counts = result.provenance
    assert seen["done"] == counts.forwards + counts.backwards
