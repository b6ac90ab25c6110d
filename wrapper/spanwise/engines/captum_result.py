"""Our results as Captum's, and Captum's as ours."""

import torch
from captum.attr import LLMAttributionResult

from spanwise.attribution import Attribution, Provenance, Span, Token


def to_captum(attribution: Attribution) -> LLMAttributionResult:
    """Returns the scores of the source tokens that were attributed to, as Captum's result.

    `seq_attr` is the sum of the rows, as Captum has it for the whole target, or the first span's scores where the rows
    are spans. A column with NaN in some rows (a generated prefix that was attributed) has 0 there: Captum cannot say
    "not defined".
    """
    kept = [i for i in range(len(attribution.source)) if not attribution.scores[:, i].isnan().all()]
    scores = attribution.scores[:, kept].nan_to_num(0.0)
    by_token = attribution.rows == "token"
    probabilities = attribution.target_scores.exp() if attribution.provenance.objective == "log_prob" else None
    return LLMAttributionResult(
        input_tokens=[attribution.source_tokens[i] for i in kept],
        output_tokens=attribution.target_tokens if by_token else attribution.row_labels,
        seq_attr=scores.sum(0) if by_token else scores[0],
        token_attr=scores,
        output_probs=probabilities if by_token else None,
    )


def from_captum(output: LLMAttributionResult) -> Attribution:
    """Returns a result of Captum as ours: rows are target tokens, or one span where Captum has no token rows.

    Captum keeps the tokens as texts. Their ids are unknown (-1), and characters are counted over the joined texts.
    """
    source = _tokens(output.input_tokens, "prompt")
    target = _tokens(output.output_tokens, "target")
    target_text = "".join(output.output_tokens)
    by_token = output.token_attr is not None
    given = output.token_attr if by_token else output.seq_attr[None]
    scores = given.detach().float().cpu()
    known = output.output_probs is not None
    return Attribution(
        scores=scores,
        span_scores=torch.empty(0, len(source)) if by_token else scores,
        target_scores=output.output_probs.float().cpu().log() if known else torch.full((len(target),), torch.nan),
        source=source,
        target=target,
        spans=() if by_token else (Span(target_text, 0, len(target_text), 0, len(target)),),
        rows="token" if by_token else "span",
        prompt="".join(output.input_tokens),
        target_text=target_text,
        completeness_gap=None,
        provenance=Provenance(
            model="unknown",
            architecture="unknown",
            method="unknown",
            engine="captum",
            objective="log_prob",
            baseline=None,
            options={},
            seed=0,
            notes=("from a result of Captum, which keeps neither ids nor the method",),
        ),
    )


def _tokens(texts: list[str], role: str) -> tuple[Token, ...]:
    tokens, at = [], 0
    for text in texts:
        tokens.append(Token(text, -1, at, at + len(text), role))
        at += len(text)
    return tuple(tokens)
