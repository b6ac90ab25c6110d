"""Of `rag_citations.py`: from a cited document down to its words, and the answer without a document."""

from __future__ import annotations

from collections.abc import Sequence

from common import target_log_probs
from grammars import notes

import spanwise
from spanwise.text.prompts import Documents
from spanwise.text.segments import segments


def built(texts: Sequence[str]) -> Documents:
    """Return the notes as documents of a prompt."""
    return spanwise.documents(texts, separator=notes.SEPARATOR, template=notes.TEMPLATE)


def followed_down(
    lm: spanwise.LanguageModel, case: notes.Case, result: spanwise.Attribution, row: int, document: int, method: str
) -> dict[str, str]:
    """Return the sentence of the document and the word of that sentence with the most to do with one sentence."""
    prompt, span = built(case.notes).build(case.question), result.spans[row]
    start, end = prompt.spans[document]
    sentences = [(start + a, start + b) for a, b in segments(prompt.text[start:end], "sentence")]
    found, source = {}, (start, end)
    for level, features in (("sentence", sentences), ("token", "token")):
        asked = {"span": (span.start, span.end), "method": method, "features": features, "source": source}
        inner = spanwise.attribute(lm, prompt.text, result.target_text, **asked)
        best = inner.source[int(inner.scores[0].nan_to_num(float("-inf")).argmax())]
        found[level], source = prompt.text[best.start : best.end].strip(), (best.start, best.end)
    return found


def dropped(lm: spanwise.LanguageModel, case: notes.Case, result: spanwise.Attribution, document: int) -> list[float]:
    """Return by how much (nats) each sentence of the answer falls when a document is left out of the prompt."""
    prompts = (case.notes, [text for i, text in enumerate(case.notes) if i != document])
    before, after = (target_log_probs(lm, built(texts).build(case.question).text, result) for texts in prompts)
    return [float((before - after)[span.first_token : span.last_token].sum()) for span in result.spans]
