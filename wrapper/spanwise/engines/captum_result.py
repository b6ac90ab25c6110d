"""Our results as Captum's."""

from captum.attr import LLMAttributionResult

from spanwise.attribution import Attribution


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
