"""Results made by hand: texts that are hard to print, frozen tokens, a generated prefix."""

import math

import torch

from spanwise.attribution import Attribution, Provenance, Span, Token

SOURCE = ["The", " keys", "日本語", " 😀", "\n", "<s>", " $x_1$", " [bold]", "\t", " counterrevolutionaries", "."]
TARGET = [" painting", ",", " tra", "vel", " 日本", " $a_b$", " to", " different", " countries"]


def _tokens(texts: list[str], count: int, role: str) -> tuple[Token, ...]:
    tokens, at = [], 0
    for i in range(count):
        text = texts[i % len(texts)]
        special = text == "<s>"
        tokens.append(Token(text, i, at, at + len(text), role, special=special, frozen=special))
        at += len(text)
    return tuple(tokens)


def random_result(
    source: int = 11, target: int = 9, *, spans: int = 0, rows: str = "token", prefix: bool = False, signed: bool = True
) -> Attribution:
    """A result with random scores; the tokens "<s>" are frozen, the generated prefix too unless `prefix`."""
    prompt, written = _tokens(SOURCE, source, "prompt"), _tokens(TARGET, target, "target")
    text = "".join(token.text for token in written)
    before = tuple(Token(t.text, t.id, t.start, t.end, "prefix", frozen=not prefix) for t in written[:-1])
    columns = prompt + before
    scores = torch.randn(target, len(columns), generator=torch.Generator().manual_seed(0))
    scores = scores if signed else scores.abs()
    scores[:, [i for i, token in enumerate(columns) if token.frozen]] = math.nan
    if prefix:
        for row in range(target):
            scores[row, source + row :] = math.nan
    asked = []
    for i in range(spans):
        first = min(2 * i, target - 1)
        last = min(first + 2, target)
        start, end = written[first].start, written[last - 1].end
        asked.append(Span(text[start:end], start, end, first, last))
    span_scores = torch.zeros(spans, len(columns))
    for i, span in enumerate(asked):
        span_scores[i] = scores[span.first_token : span.last_token].sum(0)
    return Attribution(
        scores=span_scores.clone() if rows == "span" else scores,
        span_scores=span_scores,
        target_scores=torch.zeros(target),
        source=columns,
        target=written,
        spans=tuple(asked),
        rows=rows,
        prompt="".join(token.text for token in prompt),
        target_text=text,
        completeness_gap=0.0034,
        provenance=Provenance(
            model="a/model",
            architecture="A",
            method="integrated_gradients",
            engine="captum",
            objective="log_prob",
            baseline="zero",
            options={},
            seed=0,
            signed=signed,
            forwards=52,
            backwards=50,
            seconds=3.25,
        ),
    )
