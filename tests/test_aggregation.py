"""Masses and aggregates of results small enough to add up by hand."""

import math
from dataclasses import replace

import pytest
import torch

import spanwise
from spanwise.aggregation import Mass, aggregate, mass, row_scores
from spanwise.attribution import Attribution, Provenance, Span, Token
from spanwise.errors import DependencyError, InputError, OptionError
from spanwise.grouping import by

NAN = math.nan
MADE = Provenance(
    model="m",
    architecture="A",
    method="saliency",
    engine="captum",
    objective="log_prob",
    baseline=None,
    options={},
    seed=0,
)


def token(text: str, role: str = "prompt", **fields: object) -> Token:
    return Token(text, 7, 0, len(text), role, **fields)


def result_of(source: list[Token], *rows: list[float], spans: tuple[Span, ...] = (), **made: object) -> Attribution:
    """Token rows, one a target token; positions in the order of the columns where they are not given."""
    target = tuple(Token(f" t{i}", 9, 3 * i, 3 * i + 3, "target") for i in range(len(rows)))
    placed = tuple(replace(token, positions=token.positions or (i,)) for i, token in enumerate(source))
    return Attribution(
        scores=torch.tensor(rows),
        span_scores=torch.full((len(spans), len(source)), NAN),
        target_scores=torch.zeros(len(rows)),
        source=placed,
        target=target,
        spans=spans,
        rows="token",
        prompt="",
        target_text="".join(token.text for token in target),
        completeness_gap=None,
        provenance=replace(MADE, **made),
    )


def same(found: tuple[Mass, ...], expected: list[tuple[str, int, bool, float]]) -> bool:
    shares = torch.tensor([part.share for part in found]).nan_to_num(-1)
    wanted = torch.tensor([share for *_, share in expected]).nan_to_num(-1)
    facts = [(part.group, part.tokens, part.frozen) for part in found]
    return facts == [tuple(each) for *each, _ in expected] and torch.allclose(shares, wanted)


KINDS = [
    token("<s>", special=True),
    token("user", "template", template=True),
    token("<|a|>", "template", template=True, special=True),
    token("Hi", "user", message=0),
    token(" you all", "user", message=0, positions=(4, 5)),
    token(" t0", "prefix"),
    token("<s>", "prefix", special=True),
]


def test_mass_by_kind() -> None:
    """Special tokens of the template count as special, all of the prefix as prefix."""
    result = result_of(KINDS, [4.0, -1.0, 2.0, 1.0, -5.0, 2.0, 1.0])
    expected = [("content", 3, False, 6 / 16), ("template", 1, False, 1 / 16), ("special", 2, False, 6 / 16)]
    assert same(mass(result), [*expected, ("prefix", 2, False, 3 / 16)])
    assert sum(part.share for part in mass(result)) == pytest.approx(1.0)


def test_mass_of_frozen_tokens() -> None:
    """They are counted, and their share is not 0 but unknown; a kind frozen in part is two entries."""
    frozen = [replace(each, frozen=i in (0, 2, 4, 5, 6)) for i, each in enumerate(KINDS)]
    result = result_of(frozen, [NAN, 1.0, NAN, -3.0, NAN, NAN, NAN])
    expected = [
        ("content", 1, False, 3 / 4),
        ("content", 2, True, NAN),
        ("template", 1, False, 1 / 4),
        ("special", 2, True, NAN),
        ("prefix", 2, True, NAN),
    ]
    assert same(mass(result), expected)
    assert mass(result_of([token("Hi")], [2.0])) == (Mass("content", 1, False, 1.0),)


def test_mass_of_a_row() -> None:
    """Tokens that the row's target could not see are left out of it; rows are added before signs are dropped."""
    source = [token("a"), token(" b"), token(" t0", "prefix")]
    result = result_of(source, [1.0, 3.0, NAN], [-1.0, 1.0, 2.0])
    assert same(mass(result, row=0), [("content", 2, False, 1.0)])
    assert same(mass(result, row=1), [("content", 2, False, 0.5), ("prefix", 1, False, 0.5)])
    assert same(mass(result), [("content", 2, False, 4 / 6), ("prefix", 1, False, 2 / 6)])


def test_mass_without_scores() -> None:
    assert same(
        mass(result_of([token("a"), token("b", "prefix")], [0.0, -0.0])),
        [("content", 1, False, 0.0), ("prefix", 1, False, 0.0)],
    )
    assert same(mass(result_of([token("a", frozen=True)], [NAN])), [("content", 1, True, NAN)])


def test_mass_is_kept_by_words() -> None:
    """Where all scores have one sign; the tokens are counted as before."""
    source = [
        Token("ca", 1, 0, 2, "prompt"),
        Token("ts", 2, 2, 4, "prompt"),
        Token("", 3, 4, 4, "prompt", special=True),
    ]
    result = replace(result_of(source, [1.0, 2.0, 1.0]), prompt="cats")
    assert len(by(result, "word").source) == 2
    assert mass(by(result, "word")) == mass(result)


def test_rows_are_those_of_top() -> None:
    source = [token("a"), token("b")]
    span = Span(" t1", 3, 6, 1, 2)
    result = result_of(source, [1.0, 5.0], [4.0, 2.0], [8.0, NAN], spans=(span,))
    assert row_scores(result).tolist() == [4.0, 2.0]  # the first span has no scores of its own: its rows
    assert row_scores(replace(result, span_scores=torch.tensor([[7.0, 6.0]]))).tolist() == [7.0, 6.0]
    assert row_scores(replace(result, spans=(), span_scores=torch.zeros(0, 2))).tolist() == [13.0, 7.0]
    assert row_scores(result, 0).tolist() == [1.0, 5.0]
    for row in (None, 0, 1):
        for one, score in result.top(2, row=row):
            assert row_scores(result, row)[result.source.index(one)] == score
    for call in (lambda row: mass(result, row=row), lambda row: aggregate([result], by="role", row=row)):
        with pytest.raises(OptionError, match="row 3 was asked, but scores has the rows 0 to 2"):
            call(3)
        with pytest.raises(OptionError, match="row must be an integer of at least 0, not -1"):
            call(-1)


# Shares of the absolute mass: A noun 3/8, verb 4/8, left out 1/8; B noun 2/10, noun 6/10, verb 2/10
A = result_of(
    [token(" cat"), token(" sat"), token("."), token("<s>", special=True, frozen=True)], [3.0, -4.0, 1.0, NAN]
)
B = result_of([token("cat "), token("Dog"), token(" ran")], [2.0, -6.0, -2.0])
SPEECH = [["noun", "verb", None, "verb"], ["noun", "noun", "verb"]]


def line(table: object, category: object) -> dict[str, float]:
    return table[table["category"] == category].iloc[0].to_dict()  # type: ignore[index]


def test_parts_of_speech() -> None:
    table = aggregate([A, B], by=SPEECH)
    assert list(table.columns) == ["category", "count", "results", "mean", "std", "stderr", "share", "strongest"]
    assert list(table["category"]) == ["noun", "verb"]  # by share
    # nouns: 3/8 in A, (2 - 6) / 2 / 10 = -1/5 in B; the deviation of two numbers is their distance / sqrt(2)
    noun = {"count": 3, "results": 2, "mean": 0.0875, "std": 0.575 / math.sqrt(2), "stderr": 0.575 / 2}
    assert line(table, "noun") == pytest.approx({"category": "noun", **noun, "share": 0.5875, "strongest": 0.5})
    verb = {"count": 2, "results": 2, "mean": -0.35, "std": 0.3 / math.sqrt(2), "stderr": 0.3 / 2}  # -1/2, -1/5
    assert line(table, "verb") == pytest.approx({"category": "verb", **verb, "share": 0.35, "strongest": 0.5})


def test_absolute_and_unnormalized() -> None:
    assert line(aggregate([A, B], by=SPEECH, absolute=True), "noun")["mean"] == pytest.approx((3 / 8 + 4 / 10) / 2)
    raw = aggregate([A, B], by=SPEECH, normalized=False)
    assert line(raw, "noun")["mean"] == pytest.approx((3 - 2) / 2)
    assert line(raw, "noun")["share"] == pytest.approx(0.5875)
    assert line(aggregate([A, B], by=SPEECH, normalized=False, absolute=True), "verb")["mean"] == pytest.approx(3.0)


def test_tokens() -> None:
    """The same word in two results is one category; a category that one result lacks has a share of 0 there."""
    table = aggregate([A, B], by="token")
    assert sorted(table["category"]) == [".", "Dog", "cat", "ran", "sat"]
    assert table["share"].sum() == pytest.approx(1.0) and table["strongest"].sum() == pytest.approx(1.0)
    dog = line(table, "Dog")
    assert (dog["count"], dog["results"], dog["share"]) == (1, 1, pytest.approx(0.3))
    assert math.isnan(dog["std"]) and math.isnan(dog["stderr"]) and dog["mean"] == pytest.approx(-0.6)
    blank = aggregate([result_of([token("\n"), token("")], [1.0, 2.0])], by="token")
    assert sorted(blank["category"]) == ["\n", "[7]"]


def test_a_function() -> None:
    table = aggregate([A, B], by=lambda one: "capital" if one.text[:1].isupper() else None)
    assert list(table["category"]) == ["capital"] and line(table, "capital")["share"] == pytest.approx(0.3)


def test_kinds_roles_and_messages() -> None:
    result = result_of(KINDS, [4.0, -1.0, 2.0, 1.0, -5.0, 2.0, 1.0])
    shares = aggregate([result], by="kind").set_index("category")["share"].to_dict()
    assert shares == pytest.approx({part.group: part.share for part in mass(result)})
    roles = aggregate([result], by="role").set_index("category")["count"].to_dict()
    assert roles == {"prompt": 1, "template": 2, "user": 2, "prefix": 2}
    messages = aggregate([result], by="message")
    assert messages["category"].tolist() == [0] and messages["count"].tolist() == [2]
    with pytest.raises(InputError, match="by='message' was asked, but no source token belongs to a message"):
        aggregate([A], by="message")


def test_positions() -> None:
    """Counted back from the first target token of the row, a feature from its last position."""
    source = [
        token("a"),
        token("b c", positions=(1, 2)),
        token("d", positions=(3,)),
        token(" t0", "prefix", positions=(4,)),
    ]
    result = result_of(source, [1.0, 2.0, 4.0, NAN], [1.0, 1.0, 1.0, 8.0])
    assert aggregate([result], by="position", row=0)["category"].tolist() == [1, 2, 4]
    table = aggregate([result], by="position", row=1)
    assert table["category"].tolist() == [1, 2, 3, 5]
    assert line(table, 1)["share"] == pytest.approx(8 / 11)
    assert aggregate([result], by="position")["category"].tolist() == [0, 1, 2, 4]  # the first target token is one
    spanned = replace(result, spans=(Span(" t1", 3, 6, 1, 2),), span_scores=torch.full((1, 4), 1.0))
    assert aggregate([spanned], by="position")["category"].tolist() == [1, 2, 3, 5]


def test_relative_positions() -> None:
    """The tenth that the middle of a column lies in; the prefix is no part of the prompt."""
    short = result_of([token(text) for text in "abcd"], [1.0, 2.0, 3.0, 4.0])  # middles 1/8, 3/8, 5/8, 7/8
    long = result_of([*(token(text) for text in "abcdefghij"), token(" t0", "prefix")], [1.0] * 11)
    assert aggregate([short], by="relative_position")["category"].tolist() == [1, 3, 6, 8]
    table = aggregate([short, long], by="relative_position")
    assert table["category"].tolist() == list(range(10)) and table["results"].tolist() == [1, 2, 1, 2, 1, 1, 2, 1, 2, 1]
    wide = result_of([token("ab", positions=(0, 1)), token("cd", positions=(2, 3))], [1.0, 1.0])
    assert aggregate([wide], by="relative_position")["category"].tolist() == [2, 7]


def test_ties_and_zeros() -> None:
    """Equally strong columns share being the strongest; where every score is 0 none is."""
    tied = aggregate([result_of([token("a"), token("b"), token("c")], [2.0, -2.0, 1.0])], by="token")
    assert tied.set_index("category")["strongest"].to_dict() == {"a": 0.5, "b": 0.5, "c": 0.0}
    zeros = aggregate([result_of([token("a")], [0.0])], by="token")
    assert zeros[["mean", "share", "strongest"]].values.tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("orientation", "source target"),
        ("objective", "prob"),
        ("reduction", "l2_norm"),
        ("normalization", "row"),
        ("coverage", "prompt and generated prefix"),
    ],
)
def test_results_that_measure_something_else(name: str, value: str) -> None:
    """Refused, normalized or not; the message tells which differ in what."""
    other = replace(A, provenance=replace(MADE, **{name: value}))
    for normalized in (True, False):
        with pytest.raises(InputError, match=rf"{name} is '.*' in results 0, 2, '{value}' in result 1\."):
            aggregate([A, other, B], by="token", normalized=normalized)


def test_differences_that_an_option_removes() -> None:
    """A unit is a scale, which normalizing takes away; a sign is taken away by absolute values."""
    unit = replace(A, provenance=replace(MADE, unit="nats per embedding unit"))
    aggregate([A, unit], by="token")
    with pytest.raises(InputError, match="unit is 'nats' in result 0, 'nats per embedding unit' in result 1"):
        aggregate([A, unit], by="token", normalized=False)
    unsigned = replace(A, provenance=replace(MADE, signed=False))
    aggregate([A, unsigned], by="token", absolute=True)
    with pytest.raises(InputError, match="signed is True in result 0, False in result 1"):
        aggregate([A, unsigned], by="token")


def test_columns_and_rows_of_another_kind() -> None:
    with pytest.raises(InputError, match="the source column is 'token' in result 0, 'word' in result 1"):
        aggregate([A, by(A, "word")], by="kind")
    aggregate([by(A, "word"), by(B, "word")], by="kind")
    span = Span(" t0", 0, 3, 0, 1)
    spans = replace(A, rows="span", spans=(span,), span_scores=A.scores)
    aggregate([A, spans], by="kind")  # both the whole target
    with pytest.raises(InputError, match="rows is 'token' in result 0, 'span' in result 1"):
        aggregate([A, spans], by="kind", row=0)


def test_many_differences_are_told_shortly() -> None:
    other = replace(A, provenance=replace(MADE, objective="prob", signed=False))
    with pytest.raises(InputError) as raised:
        aggregate([A] * 8 + [other], by="token")
    expected = (
        "the results do not compare: objective is 'log_prob' in results 0, 1, 2, 3, 4 and 3 more, 'prob' in result 8; "
        "signed is True in results 0, 1, 2, 3, 4 and 3 more, False in result 8. Aggregate those that agree."
    )
    assert str(raised.value) == expected


def test_labels_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="by= has labels for 1 results, but there are 2 results"):
        aggregate([A, B], by=SPEECH[:1])
    with pytest.raises(InputError, match="by= has 2 labels for result 1, which has 3 source columns"):
        aggregate([A, B], by=[SPEECH[0], ["noun", "verb"]])
    with pytest.raises(InputError, match="no source column with a score has a category: the function by= gave None"):
        aggregate([A, B], by=lambda one: None)
    with pytest.raises(OptionError, match=r"unknown category 'roles'. Did you mean 'role'"):
        aggregate([A], by="roles")


def test_bad_input(unchecked_types: None) -> None:
    for results in (A, [A, "B"], iter([A])):
        with pytest.raises(InputError, match="takes a list of results, not"):
            aggregate(results, by="role")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no results; at least one is needed"):
        aggregate([], by="role")
    with pytest.raises(InputError, match="a category is a text or None, but the function by= gave 1 in result 0"):
        aggregate([A], by=lambda one: 1)  # type: ignore[arg-type, return-value]
    with pytest.raises(OptionError, match=r"by= is one of role.*, a function.* not 3"):
        aggregate([A], by=3)  # type: ignore[arg-type]


def test_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"aggregate\(\) needs the package 'pandas'"):
        aggregate([A], by="role")


def test_of_real_results(lm: spanwise.LanguageModel) -> None:
    """The sink that a special token is: frozen it has no share, attributed to it has one."""
    prompts = ["The keys to the cabinet", "The dog near the cars"]
    results = [
        spanwise.attribute(lm, prompt, " are on the table.", span="table", method="saliency", prefix="attributed")
        for prompt in prompts
    ]
    table = aggregate(results, by="kind")
    shares = [{part.group: part.share for part in mass(result)} for result in results]
    for kind in ("content", "prefix"):
        assert line(table, kind)["share"] == pytest.approx(sum(each[kind] for each in shares) / 2)
    words = aggregate([by(result, "word") for result in results], by="token")
    assert {"The", "the", "keys", "cabinet", "dog", "cars"} <= set(words["category"])
