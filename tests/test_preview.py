"""`preview` and `spanwise tokens`: the same ids, roles, features and borders that `attribute` uses."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import PROMPT, TARGET, make_model, make_tokenizer
from rich.console import Console

import spanwise
from spanwise.errors import InputError, SpanError
from spanwise.previewing import preview
from spanwise.views.tokens import show

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is Austin?"}]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def chat_lm() -> spanwise.LanguageModel:
    tokenizer = make_tokenizer(bos=True)
    tokenizer = type(tokenizer)(
        tokenizer_object=tokenizer.backend_tokenizer, unk_token="<unk>", pad_token="<pad>", bos_token="<s>",
        eos_token="</s>", chat_template=TEMPLATE,
    )  # fmt: skip
    return spanwise.LanguageModel(make_model("llama"), tokenizer)


@pytest.mark.parametrize("features", ["token", "word", "message"])
def test_it_is_what_attribute_does(features: str) -> None:
    lm = chat_lm()
    asked = {"messages": CHAT, "target": " Texas", "features": features}
    shown = preview(lm, **asked)
    found = spanwise.attribute(lm, **asked, method="feature_ablation", rows="span")
    assert shown.prompt == found.prompt == "<s>[system] Be brief.</s>[user] Where is Austin?</s>[assistant]"
    assert [token.id for token in shown.source] == list(found.provenance.prompt_ids) + [
        token.id for token in found.target[:-1]
    ]
    assert found.provenance.prompt_ids.count(2) == 1  # one BOS: the template's
    free = [column for column in found.source if not column.frozen]
    assert [column.text.strip() or f"[{column.id}]" for column in free] == list(shown.feature_names)
    for index, column in enumerate(free):
        assert all(shown.features[position] == index for position in column.positions)
    assert sum(feature < 0 for feature in shown.features) == sum(token.frozen for token in shown.source)


def test_roles_and_kinds() -> None:
    shown = preview(chat_lm(), messages=CHAT)
    text = {role: "".join(token.text for token in shown.source if token.role == role) for role in ("system", "user")}
    assert text == {"system": "Be brief.", "user": "Where is Austin?"}
    assert {token.message for token in shown.source if token.role == "user"} == {1}
    assert all(token.frozen == (token.template or token.special) for token in shown.source)


def test_one_message_alone() -> None:
    found = spanwise.attribute(
        chat_lm(), messages=CHAT, target=" Texas", method="feature_ablation", source=spanwise.role("user"), rows="span"
    )
    assert {column.role for column in found.source if not column.frozen} == {"user"}
    with pytest.raises(InputError, match=r"role\('tool'\) selects nothing; the messages have: system, user"):
        spanwise.attribute(chat_lm(), messages=CHAT, target=" Texas", source=spanwise.role("tool"))


def test_template_tokens_on_request() -> None:
    lm = chat_lm()
    asked = {"messages": CHAT, "target": " Texas", "method": "saliency", "rows": "span"}
    shut = spanwise.attribute(lm, **asked)
    opened = spanwise.attribute(lm, **asked, frozen="none")
    in_prompt = torch.tensor([token.role != "prefix" for token in shut.source])
    assert shut.scores[0, in_prompt].isnan().any() and not opened.scores[0, in_prompt].isnan().any()
    kept = ~shut.scores.isnan()
    assert torch.allclose(shut.scores[kept], opened.scores[kept], atol=1e-6)


def test_documents_in_the_last_message() -> None:
    found = spanwise.attribute(
        chat_lm(), messages=CHAT, target=" Texas", method="feature_ablation", rows="span",
        features=spanwise.documents(["Austin is in Texas.", "Paris is in France."]),
    )  # fmt: skip
    assert [c.text for c in found.source if not c.frozen] == ["Austin is in Texas.", "Paris is in France."]


def test_borders_and_notes() -> None:
    shown = preview(make_tokenizer(), "12 + 3", "4 is", span="4")
    assert shown.spans[0].text == "4" and shown.boundary == "clean" and shown.notes == ()
    twice = make_tokenizer(bos=True)
    doubled = preview(twice, "<s> <s>Hello")
    assert any("two '<s>'" in note for note in doubled.notes) == (doubled.source[1].id == 2)


def test_errors() -> None:
    with pytest.raises(InputError, match="no target was given"):
        preview(make_tokenizer(), PROMPT, span="a")
    with pytest.raises(SpanError, match="is not in the target"):
        preview(make_tokenizer(), PROMPT, TARGET, span="Paris")


def test_the_table_shows_text_as_text() -> None:
    console = Console(width=160, record=True, color_system=None, file=io.StringIO())
    show(preview(make_tokenizer(), "a [bold]b\x1b[31m", " c\n", features="word"), console=console)
    text = console.export_text()
    assert "\x1b" not in text and "'['" in text
    assert "1 target tokens" in text or "2 target tokens" in text


def test_command(tmp_path: Path) -> None:
    messages = tmp_path / "chat.json"
    messages.write_text(json.dumps(CHAT))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "spanwise", "tokens", *words], capture_output=True, text=True)

    done = run("--prompt", PROMPT, "--target", TARGET, "--span", "different", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["spans"][0]["text"] == "different"
    done = run("--messages", str(messages))
    assert done.returncode == 0 and "user 1" in done.stdout
    done = run("--messages", str(tmp_path / "none.json"))
    assert done.returncode == 2 and "cannot read the messages" in done.stderr
