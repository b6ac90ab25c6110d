"""Templates with slots, and documents: the prompt they make and where its parts are.

Rules: the characters of a slot or a document are its text; with every slot on, a filled template is its prompt; what
Captum's `TextTemplateInput` and `ProductBaselines` make of the same, ours make too.
"""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import ProductBaselines, TextTemplateInput
from hypothesis import given
from hypothesis import strategies as st

from spanwise.errors import InputError, OptionError
from spanwise.text.prompts import Template, documents, product_baselines, template

TEXT = "Name {name} lives in {city}, {state}; {name} enjoys"
VALUES = {"name": "Dave", "city": "Palm Coast", "state": "FL"}
NAMES = ["Ann", "Tom"]
CITIES = [("Austin", "Texas"), ("Reno", "Nevada"), ("Boise", "Idaho")]


def test_slots_are_where_their_values_are() -> None:
    made = template(TEXT, **VALUES)
    assert made.prompt == "Name Dave lives in Palm Coast, FL; Dave enjoys"
    assert {slot: [made.prompt[a:b] for a, b in spans] for slot, spans in made.slots.items()} == {
        "name": ["Dave", "Dave"],
        "city": ["Palm Coast"],
        "state": ["FL"],
    }
    assert template("{{{a}}} }}{{", a="{b}").prompt == "{{b}} }{"
    assert template("{a}", a="x").fill([]) == ""


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4), st.data())
def test_any_values(values: list[str], data: st.DataObject) -> None:
    slots = {f"s{number}": value for number, value in enumerate(values)}
    order = [*data.draw(st.permutations(list(slots))), *data.draw(st.lists(st.sampled_from(list(slots)), max_size=3))]
    literal = st.text(max_size=4).map(lambda text: text.replace("{", "{{").replace("}", "}}"))
    made = template("".join(data.draw(literal) + f"{{{slot}}}" for slot in order), **slots)
    for slot, spans in made.slots.items():
        assert len(spans) == order.count(slot)
        assert all(made.prompt[start:end] == slots[slot] for start, end in spans)
    assert made.fill(slots) == made.fill(dict.fromkeys(slots, True)) == made.prompt


@pytest.mark.parametrize("baselines", [None, {"name": "Ann", "city": "Reno", "state": "NV"}])
def test_filled_as_captum_fills_it(baselines: dict[str, str] | None) -> None:
    made = template(TEXT, baselines, **VALUES)
    captum = TextTemplateInput(TEXT, values=VALUES, baselines=baselines)
    for on in itertools.product([0, 1], repeat=3):
        ours = made.fill({slot: bool(state) for slot, state in zip(VALUES, on, strict=True)})
        assert ours == captum.to_model_input(torch.tensor([on]))
        assert ours == made.fill({slot for slot, state in zip(VALUES, on, strict=True) if state})


def test_baselines() -> None:
    assert template(TEXT, "x", **VALUES).fill(["city"]) == "Name x lives in Palm Coast, x; x enjoys"
    partly = template(TEXT, {"name": "Ann"}, **VALUES)
    assert partly.fill({"city": True}) == "Name Ann lives in Palm Coast, ; Ann enjoys"  # unnamed: empty
    assert partly.fill(["city"], {"state": "TX"}) == "Name  lives in Palm Coast, TX;  enjoys"
    drawn = iter(["Ann", "Tom"])
    sampled = template("{name}!", lambda: {"name": next(drawn)}, name="Dave")
    assert [sampled.fill([]), sampled.fill([])] == ["Ann!", "Tom!"]


def test_product_baselines_draw_what_captum_draws() -> None:
    choices = {"name": NAMES, ("city", "state"): CITIES}
    np.random.seed(0)
    ours, captum = product_baselines(choices), ProductBaselines(choices)
    draws = [tuple(sorted(ours().items())) for _ in range(600)]
    assert set(draws) == {tuple(sorted(captum().items())) for _ in range(600)}
    counts = [draws.count(draw) for draw in set(draws)]
    assert len(counts) == 6
    assert min(counts) > 60  # 100 expected, standard deviation 9


def test_product_baselines_follow_the_seed() -> None:
    def draws(**options: Any) -> list[Any]:
        draw = product_baselines({"name": [str(number) for number in range(1000)]}, **options)
        return [draw() for _ in range(5)]

    np.random.seed(1)
    first = draws()
    assert draws() != first
    np.random.seed(1)
    assert draws() == first
    assert draws(generator=np.random.default_rng(3)) == draws(generator=np.random.default_rng(3))


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("{a} {b}", {"a": "x", "c": "y"}, "the slots of the template are 'a', 'b'; without a value: 'b'; .*slot: 'c'"),
        ("{a} {b}", {"a": "x"}, "without a value: 'b'; values without a slot: none"),
        ("no slot", {}, "'no slot' has no slots"),
        ("{baselines}", {}, "a slot cannot be called 'baselines'"),
        ("{}", {}, r"the template has \{\}, but a slot is a name and nothing else"),
        ("{0}", {}, r"the template has \{0\}"),
        ("{a.b}", {"a": "x"}, r"has \{a\.b\}"),
        ("{a[0]}", {"a": "x"}, r"has \{a\[0\]\}"),
        ("{a:>5}", {"a": "x"}, r"has \{a:>5\}"),
        ("{a!r}", {"a": "x"}, r"has \{a!r\}"),
        ("{a", {"a": "x"}, r"'\{a' cannot be read: .*Write \{\{ and \}\} for braces"),
        ("{a}", {"a": 3}, "the value of the slot 'a' must be a text, not 3"),
        ("{a}", {"a": ""}, "the value of the slot 'a' is empty"),
    ],
)
def test_templates_that_cannot_be_filled(text: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        template(text, **values)


@pytest.mark.usefixtures("unchecked_types")
def test_baselines_that_do_not_fit() -> None:
    with pytest.raises(OptionError, match="baselines names 'town'; the slots are 'name', 'city', 'state'"):
        template(TEXT, {"town": "x"}, **VALUES)
    with pytest.raises(OptionError, match="baseline of the slot 'city' must be a text, not 3"):
        template(TEXT, {"city": 3}, **VALUES)
    with pytest.raises(OptionError, match=r"must give a mapping from slots to texts, not \['x'\]"):
        template(TEXT, lambda: ["x"], **VALUES).draw()
    with pytest.raises(OptionError, match="baselines names 'town'"):
        template(TEXT, lambda: {"town": "x"}, **VALUES).fill([])
    with pytest.raises(OptionError, match="on names 'town'"):
        template(TEXT, **VALUES).fill(["town"])
    with pytest.raises(OptionError, match="baselines names 'town'"):
        template(TEXT, **VALUES).fill(["city"], {"town": "x"})


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({}, "takes a mapping from slots to lists of texts, not {}"),
        ({"a": []}, r"at least one choice for 'a', not \[\]"),
        ({"a": "xy"}, "at least one choice for 'a', not 'xy'"),
        ({"a": ["x"], ("a", "b"): [("x", "y")]}, "the slot 'a' twice"),
        ({("a", "b"): [("x",)]}, r"a tuple of 2 texts for \('a', 'b'\), not \('x',\)"),
        ({"a": [1]}, "needs a text for 'a', not 1"),
    ],
)
def test_choices_that_do_not_fit(choices: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        product_baselines(choices)


def test_documents_are_put_in_as_they_are() -> None:
    made = documents(["{prompt} one", "two {0}\n"], separator=" | ", template="<{documents}> {{Q}}: {prompt}{{")
    built = made.build("{documents}?")
    assert built.text == "<{prompt} one | two {0}\n> {Q}: {documents}?{"
    assert [built.text[start:end] for start, end in built.spans] == ["{prompt} one", "two {0}\n"]
    assert built.text[slice(*built.question)] == "{documents}?"
    assert built.names == ("document 1", "document 2")
    reverse = documents(["a", "b"], names=["x", "y"], template="{prompt}: {documents}").build("Q")
    assert (reverse.text, reverse.spans, reverse.names) == ("Q: a\n\nb", ((3, 4), (6, 7)), ("x", "y"))


@pytest.mark.usefixtures("unchecked_types")
def test_documents_that_cannot_be_used() -> None:
    for texts in ([], "one text", None):
        with pytest.raises(InputError, match="documents must be a list of at least one text"):
            documents(texts)
    for text in ("", " \n", 3):
        with pytest.raises(InputError, match="document 2 of 2 must be a text that is not empty"):
            documents(["a", text])
    for names in (["a"], ["a", "a"]):
        with pytest.raises(OptionError, match="2 documents need as many different names"):
            documents(["a", "b"], names=names)
    for text in ("{prompt}", "{documents}", "{documents}{prompt}{prompt}", "{documents}{prompt}{other}"):
        with pytest.raises(OptionError, match=r"must have \{documents\} and \{prompt\} once each, not '"):
            documents(["a"], template=text)
    with pytest.raises(OptionError, match="cannot be read"):
        documents(["a"], template="{documents}{prompt}{")
    with pytest.raises(InputError, match="the prompt must be a text that is not empty, not ''"):
        documents(["a"]).build("")


def test_a_template_is_a_value() -> None:
    assert template("{a}", a="x") == Template("{a}", {"a": "x"})
