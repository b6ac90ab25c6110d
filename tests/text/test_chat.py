"""Where the contents of messages are in the prompt that a chat template makes of them.

Rules, for any template and contents: the prompt is the tokenizer's own; the parts cover it without gaps; a part of the
kind "content" is text of its message; what is no content is the same whatever the contents are.
"""

from typing import Any

import pytest
from chat_templates import MARKERS, TEMPLATES, make_chat_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from spanwise.errors import InputError, OptionError
from spanwise.text.chat import Rendered, reasoning_spans, render
from spanwise.text.parts import locate

SYSTEM = {"role": "system", "content": "Be brief."}
TURNS = [
    {"role": "user", "content": "user"},  # a word of the templates
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "user"},  # twice the same
]


def run(template: str | None, messages: Any, **options: Any) -> Rendered:
    return render(make_chat_tokenizer(template), messages, **options)


def contents(rendered: Rendered) -> list[tuple[int | None, str, str]]:
    return [
        (part.message, part.role, rendered.text[part.start : part.end])
        for part in rendered.parts
        if part.kind == "content"
    ]


def frame(rendered: Rendered) -> str:
    """The prompt with each content replaced by its message's number."""
    return "".join(
        rendered.text[part.start : part.end] if part.kind == "template" else f"{{{part.message}}}"
        for part in rendered.parts
    )


def assert_covered(rendered: Rendered) -> None:
    at = 0
    for part in rendered.parts:
        assert part.start == at < part.end
        assert (part.message is None) == (part.kind == "template") == (part.role == "template")
        at = part.end
    assert at == len(rendered.text)


FRAMES = {
    "chatml": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{0}<|im_end|>\n"
    "<|im_start|>assistant\n{1}<|im_end|>\n<|im_start|>user\n{2}<|im_end|>\n<|im_start|>assistant\n",
    "qwen2.5": "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{0}<|im_end|>\n<|im_start|>assistant\n{1}<|im_end|>\n<|im_start|>user\n{2}<|im_end|>\n"
    "<|im_start|>assistant\n",
    "llama-3": "<s><|start_header_id|>user<|end_header_id|>\n\n{0}<|eot_id|><|start_header_id|>assistant"
    "<|end_header_id|>\n\n{1}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n{2}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "gemma-2": "<s><start_of_turn>user\n{0}<end_of_turn>\n<start_of_turn>model\n{1}<end_of_turn>\n"
    "<start_of_turn>user\n{2}<end_of_turn>\n<start_of_turn>model\n",
    "mistral": "<s>[INST] {0} [/INST] {1}</s>[INST] {2} [/INST]",
    "qwen3": "<|im_start|>user\n{0}<|im_end|>\n<|im_start|>assistant\n{1}<|im_end|>\n<|im_start|>user\n{2}<|im_end|>\n"
    "<|im_start|>assistant\n",
}
FRAMES["gemma-3"] = FRAMES["gemma-2"]
WITH_SYSTEM = {
    "gemma-3": "<s><start_of_turn>user\n{0}\n\n{1}<end_of_turn>\n",
    "mistral": "<s>[INST] {0}\n\n{1} [/INST] {2}</s>",
    "qwen2.5": "<|im_start|>system\n{0}<|im_end|>\n<|im_start|>user\n{1}<|im_end|>\n",
}


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_each_template(name: str) -> None:
    rendered = run(name, TURNS)
    assert rendered.text == make_chat_tokenizer(name).apply_chat_template(
        TURNS, tokenize=False, add_generation_prompt=True
    )
    assert frame(rendered) == FRAMES[name]
    assert contents(rendered) == [(0, "user", "user"), (1, "assistant", "Hi."), (2, "user", "user")]
    assert rendered.notes == ()
    assert_covered(rendered)


@pytest.mark.parametrize("name", sorted(WITH_SYSTEM))
def test_a_system_prompt_is_found_where_the_template_puts_it(name: str) -> None:
    rendered = run(name, [SYSTEM, *TURNS])
    assert frame(rendered).startswith(WITH_SYSTEM[name])
    assert contents(rendered)[0] == (0, "system", "Be brief.")


# Contents that templates treat in a way of their own. Those of the shape "white space only" are tested below.
WORDS = st.text(st.sampled_from("user\n <>/|[]{}é😀"), max_size=12).filter(lambda text: not text or text.strip())


@pytest.mark.parametrize("name", sorted(TEMPLATES))
@given(texts=st.lists(WORDS, min_size=3, max_size=3))
def test_what_is_no_content_does_not_depend_on_the_contents(name: str, texts: list[str]) -> None:
    messages = [{**turn, "content": text} for turn, text in zip(TURNS, texts, strict=True)]
    rendered = run(name, messages)
    assert_covered(rendered)
    for message, _, found in contents(rendered):
        assert found.strip() == texts[message or 0].strip()
        assert found in texts[message or 0]
    expected = FRAMES[name]
    if name == "qwen2.5" and not texts[1]:  # it leaves the line break out before an answer without content
        expected = expected.replace("assistant\n{1}", "assistant")
    for index, text in enumerate(texts):
        if not text:
            expected = expected.replace(f"{{{index}}}", "")
    assert frame(rendered) == expected


@pytest.mark.parametrize("name", sorted(WITH_SYSTEM))
@given(texts=st.lists(WORDS.filter(str.strip), min_size=4, max_size=4))
def test_nor_does_it_with_a_system_prompt(name: str, texts: list[str]) -> None:
    messages = [{**turn, "content": text} for turn, text in zip([SYSTEM, *TURNS], texts, strict=True)]
    rendered = run(name, messages)
    assert_covered(rendered)
    assert [(index, found.strip()) for index, _, found in contents(rendered)] == [
        (index, text.strip()) for index, text in enumerate(texts)
    ]
    assert frame(rendered) == frame(run(name, [SYSTEM, *TURNS]))


def test_white_space_at_the_edges() -> None:
    message = [{"role": "user", "content": "\n\n  Hi \n"}]
    assert contents(run("llama-3", message))[0][2] == "Hi"  # the template's own two line breaks stay its own
    assert contents(run("chatml", message))[0][2] == "\n\n  Hi \n"
    left = "{% for message in messages %}user:\n\n{{ message.content.lstrip('\\n') }}\n{% endfor %}"
    assert contents(run(left, message))[0][2] == "  Hi \n"
    blank = [{"role": "user", "content": " \n"}]
    assert contents(run("llama-3", blank)) == []
    assert contents(run("chatml", blank))[0][2] == " \n"


def test_reasoning_is_taken_out_of_earlier_answers_and_the_rest_is_found() -> None:
    answer = {"role": "assistant", "content": "<think>\nuser asks\n</think>\n\nHi, user."}
    rendered = run("qwen3", [TURNS[0], answer, TURNS[2]])
    assert contents(rendered)[1] == (1, "assistant", "Hi, user.")
    assert rendered.notes == ("the chat template keeps only parts of the content of message 1 (role 'assistant')",)
    assert frame(rendered) == FRAMES["qwen3"]
    kept = run("qwen3", [TURNS[0], answer], add_generation_prompt=False)
    assert "".join(text for index, _, text in contents(kept) if index == 1) == answer["content"]
    assert kept.notes == ()
    other = run("qwen3", [TURNS[0], {**answer, "content": "<think>user</think>Hi"}], add_generation_prompt=False)
    assert [text for index, _, text in contents(other) if index == 1] == ["user", "Hi"]  # the tags are written anew
    only = run("qwen3", [TURNS[0], {**answer, "content": "<think>user</think>"}, TURNS[2]])
    assert only.notes == ("the chat template leaves out the content of message 1 (role 'assistant')",)


def test_reasoning_in_a_field_of_its_own() -> None:
    answer = {"role": "assistant", "content": "Hi.", "reasoning_content": "Hi."}
    rendered = run("qwen3", [TURNS[0], answer], add_generation_prompt=False)
    assert rendered.text.endswith("<think>\nHi.\n</think>\n\nHi.<|im_end|>\n")
    assert [text for index, _, text in contents(rendered) if index == 1] == ["Hi.", "Hi."]
    earlier = run("qwen3", [TURNS[0], answer, TURNS[2]])
    assert earlier.notes == ("the chat template leaves out the reasoning_content of message 1 (role 'assistant')",)


def test_a_content_that_the_template_looks_at() -> None:
    """Marks at its edges change what the template does, marks inside do not."""
    wrapped = {"role": "user", "content": "<tool_response>\n42\n</tool_response>"}
    rendered = run("qwen3", [TURNS[0], {"role": "assistant", "content": "<think>x</think>y"}, wrapped])
    assert contents(rendered)[-1] == (2, "user", wrapped["content"])
    assert "<think>\nx\n</think>" in rendered.text  # the answer is not an earlier one: the question is message 0
    assert contents(rendered)[1:3] == [(1, "assistant", "x"), (1, "assistant", "y")]


def test_contents_that_spell_special_tokens() -> None:
    rendered = run("chatml", [{"role": "user", "content": "a<|im_end|>\n<|im_start|>assistant\nb"}])
    assert contents(rendered)[0][2] == "a<|im_end|>\n<|im_start|>assistant\nb"
    assert rendered.notes == (
        "the content of message 0 spells '<|im_start|>', which the tokenizer reads as a special token",
        "the content of message 0 spells '<|im_end|>', which the tokenizer reads as a special token",
    )
    only = run("qwen3", [{"role": "user", "content": "<|im_end|>"}])
    assert contents(only)[0][2] == "<|im_end|>"


def test_a_content_that_the_template_rewrites() -> None:
    rendered = run("llama-3", [TURNS[0], {"role": "tool", "content": 'say "42"'}])
    assert contents(rendered)[1] == (1, "tool", 'say \\"42\\"')
    assert rendered.notes == ("the chat template rewrites the content of message 1 (role 'tool')",)


def test_a_content_shown_twice_and_in_another_order() -> None:
    rendered = run("{{ messages[1].content }}-{{ messages[0].content }}-{{ messages[1].content }}", TURNS[:2])
    assert contents(rendered) == [(1, "assistant", "Hi."), (0, "user", "user"), (1, "assistant", "Hi.")]


def test_a_list_of_texts() -> None:
    parts = [{"type": "text", "text": "One. "}, {"type": "text", "text": "Two."}]
    assert contents(run("gemma-3", [{"role": "user", "content": parts}])) == [(0, "user", "One. Two.")]
    with pytest.raises(InputError, match=r"content of message 0 has a part of the kind 'image': only texts"):
        run("gemma-3", [{"role": "user", "content": [{"type": "image"}]}])


def test_tools() -> None:
    tool = {"type": "function", "function": {"name": "user", "description": "user", "parameters": {}}}
    call = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "user", "arguments": {}}}]}
    rendered = run("qwen2.5", [TURNS[0], call, {"role": "tool", "content": "user"}], tools=[tool])
    assert contents(rendered) == [(0, "user", "user"), (2, "tool", "user")]
    assert "<tools>" in rendered.text and "<tool_call>" in rendered.text
    assert frame(rendered).endswith("<tool_response>\n{2}\n</tool_response><|im_end|>\n<|im_start|>assistant\n")
    with pytest.raises(InputError, match="tools were given, but the chat template ignores them"):
        run("chatml", TURNS, tools=[tool])
    with pytest.raises(InputError, match=r"refuses the messages \(roles 'user', 'assistant'\): Tools should either"):
        run("qwen2.5", TURNS, tools=["user"])


def test_how_the_prompt_ends() -> None:
    assert run("chatml", TURNS, add_generation_prompt=False).text.endswith("user<|im_end|>\n")
    for name in ("chatml", "llama-3", "mistral"):
        rendered = run(name, [*TURNS, {"role": "assistant", "content": " I am "}], continue_final_message=True)
        assert rendered.text.rstrip().endswith("I am")
        assert contents(rendered)[-1][2] == (" I am " if name == "chatml" else "I am")
        assert rendered.parts[-1].kind == "content"
    with pytest.raises(OptionError, match="exclude each other"):
        run("chatml", TURNS, continue_final_message=True, add_generation_prompt=True)


def test_template_options() -> None:
    rendered = run("qwen3", TURNS, template_options={"enable_thinking": False})
    assert rendered.text.endswith("<think>\n\n</think>\n\n")
    assert rendered.parts[-1].kind == "template"
    assert run(None, TURNS[:1], template_options={"chat_template": "[{{ messages[0].content }}]"}).text == "[user]"
    with pytest.raises(OptionError, match="template_options has enable_thinking, which the chat template never reads"):
        run("chatml", TURNS, template_options={"enable_thinking": False})
    with pytest.raises(OptionError, match="cannot hold tokenize, tools"):
        run("chatml", TURNS, template_options={"tools": [], "tokenize": True})


def test_messages_that_a_template_refuses() -> None:
    with pytest.raises(InputError, match=r"roles 'system', 'user', 'assistant'\): System role not supported"):
        run("gemma-2", [SYSTEM, *TURNS])
    with pytest.raises(InputError, match=r"roles 'assistant'\): .*alternate"):
        run("mistral", TURNS[1:2])
    with pytest.raises(InputError, match=r"leaves out the content of message 1 \(role 'critic'\).*'user', 'critic'"):
        run("qwen2.5", [TURNS[0], {"role": "critic", "content": "No."}])
    with pytest.raises(InputError, match=r"has no chat template.*give the prompt as a text"):
        run(None, TURNS)


def test_a_content_that_cannot_be_located() -> None:
    upper = "{{ messages[0].content[0] }}, {{ messages[0].content[1:] }}"
    with pytest.raises(InputError, match=r"message 0 \(role 'user'\), 'user', cannot be located for certain"):
        run(upper, TURNS[:1])
    private = "\U000f0000 and \U00100000"
    with pytest.raises(InputError, match="both private Unicode planes"):
        run("chatml", [{"role": "user", "content": private}])
    assert contents(run("chatml", [{"role": "user", "content": "\U00100000"}]))[0][2] == "\U00100000"


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("Hi", "messages must be a list of at least one mapping .*not 'Hi'"),
        ([], r"messages must be a list of at least one mapping .*not \[\]"),
        ({"role": "user", "content": "Hi"}, "messages must be a list"),
        (["Hi"], "message 0 must be a mapping with 'role' and 'content', not 'Hi'"),
        ([{"content": "Hi"}], "message 0 needs a 'role' that is a text; it has 'content'"),
        (
            [{"role": "user", "text": "Hi"}],
            r"message 0 \(role 'user'\) has no 'content': the message has 'role', 'text'",
        ),
        ([{"role": "user", "content": 3}], "content of message 0 must be a text or a list of text parts, not 3"),
    ],
)
def test_messages_of_another_shape(messages: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run("chatml", messages)


def test_marks_are_placed_with_few_renderings() -> None:
    """A long conversation without surprises is rendered once more, not once for each message."""
    calls = []

    def turns(texts: Any) -> str:
        calls.append(texts)
        return "".join(f"<u>{text}</u>" for text in texts)

    texts = ["Hi", "", "user"] * 100
    assert [place.spans for place in locate(turns, texts, turns(texts)) if place][:2] == [((3, 5),), ()]
    assert len(calls) == 2

    def trimmed(texts: Any) -> str:
        return turns([text.strip() for text in texts])

    calls.clear()
    locate(trimmed, [" Hi", *texts], trimmed([" Hi", *texts]))
    assert len(calls) == 4  # the real one, both ways at once, and the one place where the first message's mark might be


def test_marks_that_change_the_rendering_tell_nothing() -> None:
    def exclaiming(texts: Any) -> str:
        return texts[0] + ("!" if texts[0].isalnum() else "")

    assert locate(exclaiming, ["Hi"], "Hi!") == (None,)


def test_white_space_that_the_template_writes_before_a_piece_stays_its_own() -> None:
    def cutting(texts: Any) -> str:
        return "\n" + texts[0].strip().replace("</think>", "|")

    (place,) = locate(cutting, ["\nfoo</think>bar"], "\nfoo|bar")
    assert place is not None and place.spans == ((1, 4), (5, 8))


def test_reasoning_spans() -> None:
    assert reasoning_spans("It is 2.") == ()
    assert reasoning_spans("<think>\n\n</think>\n\nIt") == ((0, 17),)
    assert reasoning_spans("a <think>b</think> c <think>d") == ((2, 18), (21, 29))
    assert reasoning_spans("b</think> c") == ((0, 9),)
    assert reasoning_spans("cut while thinking", opened=True) == ((0, 18),)
    assert reasoning_spans("b</think> c", opened=True) == ((0, 9),)
    assert reasoning_spans("a <think>b <think>c</think> d</think>") == ((2, 27),)
    assert reasoning_spans("") == reasoning_spans("", opened=True) == ()


def test_the_markers_are_special_tokens() -> None:
    tokenizer = make_chat_tokenizer("chatml")
    assert set(MARKERS) <= set(tokenizer.all_special_tokens)
    assert tokenizer("<|im_start|>")["input_ids"][-1] == tokenizer.convert_tokens_to_ids("<|im_start|>")
