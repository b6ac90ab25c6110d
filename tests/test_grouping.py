"""Columns put together. Scores in these tests are powers of two, so that every sum tells which tokens it is of."""

import itertools
import math
import random
from dataclasses import replace

import pytest
import torch
from conftest import PROMPT, TARGET
from hypothesis import example, given, settings
from hypothesis import strategies as st

import spanwise
from spanwise.attribution import Attribution, Provenance, Token
from spanwise.errors import InputError, OptionError
from spanwise.grouping import LEVELS, by, level_of
from spanwise.text.assignment import assign
from spanwise.text.segments import segments

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


def tokens(*texts: str, role: str = "prompt", **fields: object) -> list[Token]:
    """Tokens in a row; "<s>" is special and has no characters, a text in brackets is frozen."""
    made, at = [], 0
    for number, text in enumerate(texts):
        special, frozen = text == "<s>", text.startswith("[")
        text = "" if special else text.strip("[]")
        made.append(Token(text, number, at, at + len(text), role, special=special, frozen=special or frozen, **fields))
        at += len(text)
    return made


def result_of(
    source: list[Token],
    target: tuple[str, ...] = (" x",),
    *,
    prefix: bool = False,
    scores: torch.Tensor | None = None,
    positions: bool = True,
    **made: object,
) -> Attribution:
    """Token rows over a prompt and the generated prefix; column i has 2 ** i in row 0, three times that in row 1."""
    prompt = "".join(token.text for token in source)
    written = tokens(*target, role="target")
    columns = [*source, *(replace(token, role="prefix", frozen=not prefix) for token in written[:-1])]
    if positions:
        columns = [replace(token, positions=token.positions or (i,)) for i, token in enumerate(columns)]
    if scores is None:
        scores = torch.stack([3.0**row * 2.0 ** torch.arange(len(columns)) for row in range(len(written))])
        for row in range(len(written)):
            scores[row, len(source) + row :] = math.nan
        scores[:, [i for i, token in enumerate(columns) if token.frozen]] = math.nan
    return Attribution(
        scores=scores,
        span_scores=torch.zeros(0, len(columns)),
        target_scores=torch.zeros(len(written)),
        source=tuple(columns),
        target=tuple(written),
        spans=(),
        rows="token",
        prompt=prompt,
        target_text="".join(target),
        completeness_gap=None,
        provenance=replace(MADE, **made),
    )


def shown(result: Attribution) -> list[tuple[str, float]]:
    return [(token.text, score) for token, score in zip(result.source, result.scores[0].tolist(), strict=True)]


def same(one: torch.Tensor, other: list[list[float]]) -> bool:
    return torch.equal(one.nan_to_num(-1.0), torch.tensor(other).nan_to_num(-1.0))


def test_assign() -> None:
    words = [(1, 4), (5, 6), (6, 8)]  # " Mic a.." as " Mic", "a", ".."
    given = [
        Token("", 0, 0, 0, "prompt", special=True),  # BOS: belongs to none
        Token(" ", 1, 0, 1, "prompt"),  # white space at the beginning: with the token after it
        Token("Mi", 2, 1, 3, "prompt"),
        Token("c", 3, 3, 4, "prompt"),
        Token("", 4, 4, 4, "prompt"),  # without text: with the token before it
        Token(" ", 5, 4, 5, "prompt"),
        Token("a.", 6, 5, 7, "prompt"),  # reaches into the next word: belongs to the first
        Token(" ", 7, 8, 9, "prompt"),
    ]
    assert assign(given, words) == [-1, 0, 0, 0, 0, 0, 1, 1]
    assert assign([Token(" .", 0, 5, 7, "prompt")], [(0, 5), (6, 7)]) == [1]  # its first letter counts, not its space


def test_assign_where_the_spans_leave_gaps() -> None:
    """White space does not reach from a span over other text, and belongs to the span it lies in."""
    given = tokens("ab", " ", "cd", " ", "ef")
    assert assign(given, [(0, 2), (6, 8)]) == [0, 0, -1, -1, 1]
    assert assign(given, [(2, 5)]) == [-1, 0, 0, 0, -1]
    assert assign(given, []) == [-1] * 5
    assert assign([], [(0, 1)]) == []


def test_words() -> None:
    result = result_of(tokens("<s>", "Mich", "ael", " works", ",", " ", " so", "."))
    words = by(result, "word")
    assert shown(words)[1:] == [("Michael", 6.0), ("works", 8.0), (",", 48.0), ("so", 64.0), (".", 128.0)]
    assert words.source[0] == result.source[0] and math.isnan(shown(words)[0][1])
    assert [token.positions for token in words.source] == [(0,), (1, 2), (3,), (4, 5), (6,), (7,)]
    assert [token.id for token in words.source] == [0, -1, 3, -1, 6, 7]
    for token in words.source:
        assert words.prompt[token.start : token.end] == token.text
    assert words.target == result.target and torch.equal(words.target_scores, result.target_scores)
    assert words.prompt == result.prompt and words.rows == "token"


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("sentence", [("One two.", 7.0), ("Three.", 24.0), ("Four", 96.0)]),
        ("paragraph", [("One two. Three.", 31.0), ("Four", 96.0)]),
    ],
)
def test_sentences_and_paragraphs(level: str, expected: list[tuple[str, float]]) -> None:
    result = result_of(tokens("One", " two", ".", " Three", ".\n\n", "Fo", "ur"))
    assert shown(by(result, level)) == expected


def test_the_prefix_is_cut_for_itself() -> None:
    """ "tab" of the prompt and "le" of the target are two columns; a row sums what its target could see."""
    result = result_of(tokens("the", " tab"), ("le", " tra", "vel", "ing"), prefix=True)
    words = by(result, "word")
    assert [(token.text, token.role) for token in words.source] == [
        ("the", "prompt"),
        ("tab", "prompt"),
        ("le", "prefix"),
        ("travel", "prefix"),  # the last token is never an input
    ]
    nan = math.nan
    assert same(words.scores, [[1, 2, nan, nan], [3, 6, 12, nan], [9, 18, 36, 72], [27, 54, 108, 27 * 24]])
    paragraphs = by(result, "paragraph")
    assert [token.text for token in paragraphs.source] == ["the tab", "le travel"]


def test_a_column_is_nan_only_where_all_its_tokens_are() -> None:
    scores = torch.tensor([[1.0, math.nan, math.nan, math.nan]])
    words = by(result_of(tokens("a", "b", " c", "d"), scores=scores), "word")
    assert same(words.scores, [[1.0, math.nan]])


def test_span_scores_are_summed_too() -> None:
    result = result_of(tokens("Mich", "ael", " is"))
    span = spanwise.Span(" x", 0, 2, 0, 1)
    result = replace(result, spans=(span,), span_scores=torch.tensor([[1.0, -4.0, math.nan]]))
    assert same(by(result, "word").span_scores, [[-3.0, math.nan]])


def test_frozen_tokens_stay_alone() -> None:
    """A sentence is one column, also where a frozen token lies in it; that one keeps its place."""
    sentences = by(result_of(tokens("A", " cat", "[ sat]", " on", " it")), "sentence")
    assert [token.text for token in sentences.source] == ["A cat … on it", " sat"]
    assert [token.positions for token in sentences.source] == [(0, 1, 3, 4), (2,)]
    assert [token.frozen for token in sentences.source] == [False, True]
    assert same(sentences.scores, [[27.0, math.nan]])


CHAT = (("system", "Be", " brief", ".", 0), ("user", "Hi", " you", "!", 1), ("user", "Go", " on", ".", 2))


def chat(*, frozen: bool) -> Attribution:
    """Three messages between template tokens, two of them of the same role."""
    source: list[Token] = []

    def add(text: str, role: str, **fields: object) -> None:
        at = source[-1].end if source else 0
        source.append(Token(text, len(source), at, at + len(text), role, **fields))

    for role, *texts, message in CHAT:
        add("<|a|>", "template", special=True, frozen=frozen, template=True)
        add(role, "template", frozen=frozen, template=True)
        add("\n", "template", frozen=frozen, template=True)
        for text in texts:
            add(text, role, message=message)
    return result_of(source)


def test_messages() -> None:
    result = chat(frozen=True)
    messages = by(result, "message")
    content = [token for token in messages.source if not token.template]
    assert [(token.text, token.role, token.message) for token in content] == [
        ("Be brief.", "system", 0),
        ("Hi you!", "user", 1),
        ("Go on.", "user", 2),
    ]
    assert len(messages.source) == 9 + 3
    columns = [column for column, token in enumerate(messages.source) if not token.template]
    assert messages.scores[0, columns].tolist() == [7.0 * 2**3, 7.0 * 2**9, 7.0 * 2**15]


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_joins_messages_or_the_template(level: str) -> None:
    """Not even where no white space parts them, and where the template is attributed to."""
    joined = by(chat(frozen=False), level)
    kept = chat(frozen=False).source
    for token in joined.source:
        parts = [kept[position] for position in token.positions]
        assert len({(part.message, part.template, part.special) for part in parts}) == 1
    between = [token.text for token in joined.source if token.template]
    assert between == ["<|a|>", "system", "<|a|>", "user", "<|a|>", "user"]
    assert joined.source[1].positions == (1, 2) and joined.source[1].id == -1


def test_messages_need_a_chat() -> None:
    with pytest.raises(InputError, match=r"by\('message'\).*no source token belongs to a message.*word, sentence"):
        by(result_of(tokens("Hi")), "message")


def test_an_unknown_level(unchecked_types: None) -> None:
    with pytest.raises(OptionError, match=r"unknown level 'words'. Did you mean 'word'"):
        by(result_of(tokens("Hi")), "words")  # type: ignore[arg-type]


def test_coarser_columns_are_refused() -> None:
    result = result_of(tokens("A", " dog", ".", " It", " ran", "."))
    sentences = by(result, "sentence")
    with pytest.raises(InputError, match=r"by\('word'\) was asked, but the source columns are sentences"):
        by(sentences, "word")
    with pytest.raises(InputError, match="the source columns are paragraphs"):
        by(replace(result, provenance=replace(MADE, features="paragraph")), "sentence")
    spans = replace(
        result,
        source=(replace(result.source[0], text="A dog", id=-1, end=5, positions=(0, 1)), *result.source[2:]),
        scores=result.scores[:, 1:],
        span_scores=result.span_scores[:, 1:],
        provenance=replace(MADE, features="spans"),
    )
    with pytest.raises(InputError, match=r"'A dog' is coarser: it stands for 2 positions and reaches over 2 words"):
        by(spans, "word")
    assert shown(by(spans, "sentence")) == [("A dog.", 6.0), ("It ran.", 56.0)]
    assert by(spans, "sentence").source[0].positions == (0, 1, 2)


def test_twice_is_once() -> None:
    """Also where a token reaches into the next word, so that a column holds two."""
    words = by(result_of(tokens("two", " hou", "ses.", " It")), "word")
    assert words.source[1].text == "houses." and by(words, "word") is words
    assert level_of(words) == "word"
    sentences = by(words, "sentence")
    assert shown(sentences) == [("two houses.", 7.0), ("It", 8.0)] and level_of(sentences) == "sentence"
    assert sum("sums over" in note for note in sentences.provenance.notes) == 1


def test_the_notes_say_what_a_sum_is() -> None:
    source = tokens("Mich", "ael")
    note = by(result_of(source, notes=("earlier",)), "word").provenance.notes
    assert note == ("earlier", "source columns are sums over words of token scores")
    note = by(result_of(source, method="feature_ablation"), "sentence").provenance.notes
    assert len(note) == 1 and note[0].startswith("source columns are sums over sentences of token scores; ")
    assert "not the effect of the whole sentence, which features='sentence' measures" in note[0]
    note = by(result_of(source, method="feature_ablation", features="word"), "paragraph").provenance.notes
    assert "a change to one word" in note[0] and "paragraphs of word scores" in note[0]
    for method in ("unknown", "a method of somebody else"):
        assert by(result_of(source, method=method), "word").provenance.notes == (
            "source columns are sums over words of token scores",
        )


def test_names() -> None:
    """Documents keep their names until they are joined with others."""
    source = [replace(token, name=name) for token, name in zip(tokens("On", "ly", " two"), "aab", strict=True)]
    assert [token.name for token in by(result_of(source), "word").source] == ["a", "b"]
    assert [token.name for token in by(result_of(source), "sentence").source] == [""]


def test_positions_that_a_result_does_not_tell() -> None:
    """Old files have none: the columns are the positions where their number says so. Else they stay unknown."""
    source = tokens("Mich", "ael", " is")
    known = result_of(source, positions=False, prompt_ids=(0, 1, 2), target_ids=(0,))
    assert [token.positions for token in by(known, "word").source] == [(0, 1), (2,)]
    foreign = result_of(source, positions=False)
    assert [token.positions for token in by(foreign, "word").source] == [(), ()]


def test_white_space_and_empty_texts_keep_their_text() -> None:
    result = result_of([Token("\n", 5, 0, 1, "prompt"), Token("\n", 6, 1, 2, "prompt")])
    assert shown(by(result, "word")) == [("\n", 1.0), ("\n", 2.0)]


TEXT = "".join(["Dr. Smith's dogs ran 3.14 km.  \n\nIt was 東京へ。 Fin", "e 👩‍👩‍👧! "])


@settings(deadline=None)
@example(cuts=[44, 45], rng=random.Random(0), level="paragraph")
@given(
    st.lists(st.integers(1, len(TEXT) - 1), unique=True), st.randoms(use_true_random=False), st.sampled_from(LEVELS[:3])
)
def test_sums_are_kept(cuts: list[int], rng: object, level: str) -> None:
    """However a text is cut into tokens: every token is in one column, and rows add up to the same."""
    ends = [0, *sorted(cuts), len(TEXT)]
    texts = [TEXT[start:end] for start, end in itertools.pairwise(ends)]
    made = [
        Token(text, 0, start, start + len(text), "prompt", frozen=rng.random() < 0.1)  # type: ignore[attr-defined]
        for text, start in zip(texts, ends[:-1], strict=True)
    ]
    scores = torch.tensor([[math.nan if token.frozen else float(rng.randint(-99, 99)) for token in made]])  # type: ignore[attr-defined]
    result = result_of(made, scores=scores)
    joined = by(result, level)
    assert sorted(position for token in joined.source for position in token.positions) == list(range(len(made)))
    assert joined.scores.nansum() == scores.nansum()  # integers: exact
    assert [token for token in joined.source if token.frozen] == [token for token in result.source if token.frozen]
    cut = segments(TEXT, level)  # type: ignore[arg-type]
    if any(sum(start < token.end and token.start < end for start, end in cut) > 1 for token in made):
        return  # of a token that reaches over a border, white space behind it may go either way
    again = by(by(result, "word"), level)  # no sentence ends inside a word
    assert [token.positions for token in again.source] == [token.positions for token in joined.source]
    assert same(again.scores, joined.scores.tolist())


def test_of_a_real_result(lm: spanwise.LanguageModel, tmp_path: object) -> None:
    """It is saved, loaded, printed and drawn like any other."""
    result = spanwise.attribute(lm, PROMPT, TARGET, method="saliency", span=["painting", "countries"])
    words = by(result, "word")
    expected = ["Michael", "works", "in", "Austin", ",", "Texas", ".", "In", "his", "free", "time", ",", "he", "enjoys"]
    assert [token.text for token in words.source if token.role == "prompt"] == expected
    torch.testing.assert_close(words.scores.nansum(1), result.scores.nansum(1))  # float32 sums in another order
    words.save(tmp_path / "words.safetensors")  # type: ignore[operator]
    loaded = spanwise.Attribution.load(tmp_path / "words.safetensors")  # type: ignore[operator]
    assert loaded.source == words.source and loaded.provenance == words.provenance
    words.show()
    words.plot(tmp_path / "words.png")  # type: ignore[operator]


def test_gradients_sum_to_those_of_the_features(lm: spanwise.LanguageModel) -> None:
    """What `features=` scores as one is what `by` adds up, where the method is a sum over positions."""
    asked = {"method": "input_x_gradient", "span": "painting"}
    words = by(spanwise.attribute(lm, PROMPT, TARGET, **asked), "word")
    features = spanwise.attribute(lm, PROMPT, TARGET, features="word", **asked)
    assert [token.positions for token in words.source] == [token.positions for token in features.source]
    torch.testing.assert_close(words.scores, features.scores, equal_nan=True, rtol=1e-5, atol=1e-7)  # float32 sums
