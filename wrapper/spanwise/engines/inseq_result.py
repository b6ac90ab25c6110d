"""Results of Inseq as ours, and ours as Inseq's.

Inseq lists one sequence, prompt and target behind one another, and scores [sequence, attributed target tokens]; ours
are [target source]. What Inseq has no place for travels in `info["spanwise"]`, so that a result comes back as it went.
"""

import json
from dataclasses import replace
from typing import Any

import torch
from inseq import FeatureAttributionOutput
from inseq.data.attribution import CoarseFeatureAttributionSequenceOutput
from inseq.utils.typing import TokenWithId
from jaxtyping import Float
from tokenizers.decoders import ByteLevel
from torch import Tensor

from spanwise.attribution import Attribution, Provenance, Token
from spanwise.errors import InputError
from spanwise.exports import to_json
from spanwise.storage import built

_OBJECTIVES = {"probability": "prob", "logit": "logit", "entropy": "entropy"}
_UNITS = {"prob": "probability", "logit": "logit", "entropy": "nats"}
_UNSIGNED = ("saliency", "occlusion", "attention", "value_zeroing", "reagent")
_METHODS = {"occlusion": "feature_ablation"}


def to_inseq(attribution: Attribution) -> FeatureAttributionOutput:
    """Returns the scores as Inseq's result, which shows, saves and aggregates them in Inseq.

    Where rows are spans, the spans stand behind the source tokens as if they were generated. Undefined scores are NaN,
    which Inseq has for tokens that a target could not see.

    Raises:
        InputError: Tokens of the generated prefix are put together to features, and rows are target tokens.
    """
    by_token = attribution.rows == "token"
    source = [TokenWithId(token.text or f"[{token.id}]", token.id) for token in attribution.source]
    if by_token:
        start = sum(token.role != "prefix" for token in attribution.source)
        if len(attribution.source) - start != len(attribution.target) - 1:
            raise InputError("Inseq has a column for each generated token, but here some are put together to features.")
        last = TokenWithId(attribution.target_tokens[-1], attribution.target[-1].id)
        sequence, per_row = [*source, last], attribution.target_scores
    else:
        start = len(source)
        sequence = source + [TokenWithId(span.text, -1) for span in attribution.spans]
        parts = [attribution.target_scores[span.first_token : span.last_token].sum() for span in attribution.spans]
        per_row = torch.stack(parts)
    scores = torch.full((len(sequence), len(attribution.scores)), torch.nan)
    scores[: len(source)] = attribution.scores.T
    output = CoarseFeatureAttributionSequenceOutput(
        source=sequence[:start],
        target=sequence,
        target_attributions=scores,
        step_scores={attribution.provenance.objective: per_row.clone()},
        sequence_scores={},
        attr_pos_start=start,
        attr_pos_end=len(sequence),
    )
    return FeatureAttributionOutput([output], info=_info(attribution, start, len(sequence)))


def from_inseq(output: FeatureAttributionOutput, *, index: int = 0) -> Attribution:
    """Returns a result of Inseq for a causal model as ours.

    Hidden units are summed, with their signs and without normalization; layers and heads are averaged. `target_scores`
    are NaN where Inseq was not asked for the objective as a step score.

    Args:
        output: As `attribute` of Inseq's models or `FeatureAttributionOutput.load` gives it.
        index: Which of its sequences.

    Raises:
        InputError: There is no such sequence, or it is an encoder-decoder model's.
    """
    if not 0 <= index < len(output.sequence_attributions):
        raise InputError(f"sequence {index} was asked; the output has {len(output.sequence_attributions)}.")
    found = output.sequence_attributions[index]
    if found.source_attributions is not None or found.target_attributions is None:
        raise InputError("only results of causal models can be read: scores of the target's own prefix, no others.")
    values = found.target_attributions.float()  # [sequence, target, ...]
    known = json.loads(output.info.get("spanwise", "null")) if index == 0 else None  # merging keeps the first's info
    if known and _unchanged(known, found):
        return _ours(known, values[: len(known["source"])].T.contiguous())
    return _theirs(output.info, found, values, index, known)


def _info(attribution: Attribution, start: int, end: int) -> dict[str, Any]:
    made = attribution.provenance
    ours = {name: value for name, value in to_json(attribution).items() if name != "scores"}
    return {
        "attribution_method": made.method,
        "attributed_fn": made.objective,
        "attr_pos_start": start,
        "attr_pos_end": end,
        "constrained_decoding": not made.generated,
        "exec_time": made.seconds,
        "input_texts": [attribution.prompt],
        "generated_texts": [attribution.prompt + attribution.target_text],
        "model_class": made.architecture,
        "model_name": made.model,
        "spanwise": json.dumps(ours),
    }


def _unchanged(known: dict[str, Any], found: Any) -> bool:
    """Whether rows and columns are those that `to_inseq` gave; Inseq's aggregation merges some."""
    rows = len(known["target"] if known["rows"] == "token" else known["spans"])
    columns = len(known["source"])
    ids = [each.id for each in found.target[:columns]]
    same_size = tuple(found.target_attributions.shape[1:]) == (rows,) and len(found.target_attributions) >= columns
    return same_size and ids == [token["id"] for token in known["source"]]


def _made(known: dict[str, Any]) -> Provenance:
    tuples = {name: tuple(known["provenance"][name]) for name in ("prompt_ids", "target_ids", "notes")}
    return Provenance(**{**known["provenance"], **tuples})


def _ours(known: dict[str, Any], scores: Float[Tensor, "row source"]) -> Attribution:
    tensors = {
        "scores": scores,
        "span_scores": _tensor(known["span_scores"]).reshape(len(known["spans"]), scores.shape[1]),
        "target_scores": _tensor(known["target_scores"]),
    }
    if known.get("standard_error") is not None:
        tensors["standard_error"] = _tensor(known["standard_error"]).reshape(scores.shape)
    return built(known, tensors, "Inseq's result")


def _theirs(info: dict[str, Any], found: Any, values: Tensor, index: int, known: Any) -> Attribution:
    start, end = found.attr_pos_start, found.attr_pos_end
    columns = start if known and known["rows"] == "span" else end - 1  # spans are no source of one another
    texts = info.get("generated_texts") or ()
    text = texts[index] if index < len(texts) else None
    tokens, text = _placed([(each.token, each.id) for each in found.target[:end]], text)
    cut = tokens[start].start
    target = tuple(_moved(token, cut, "target") for token in tokens[start:])
    source = (*tokens[:start], *(_moved(token, cut, "prefix") for token in tokens[start:columns]))
    mean = bool(found._num_dimensions)
    for _ in range(values.ndim - 2):
        values = values.mean(-1) if mean else values.sum(-1)
    provenance = _provenance(info, "mean" if mean else "sum", tokens, start)
    if known:
        provenance = replace(_made(known), notes=(*_made(known).notes, "changed in Inseq since"))
    scores = {_OBJECTIVES.get(name, name): each for name, each in (found.step_scores or {}).items()}
    return Attribution(
        scores=values[:columns].T.contiguous(),
        span_scores=torch.empty(0, len(source)),
        target_scores=scores.get(provenance.objective, torch.full((len(target),), torch.nan)).float(),
        source=source,
        target=target,
        spans=(),
        rows="token",
        prompt=text[:cut],
        target_text=text[cut:],
        completeness_gap=None,
        provenance=provenance,
    )


def _provenance(info: dict[str, Any], reduction: str, tokens: list[Token], start: int) -> Provenance:
    name = str(info.get("attributed_fn", "unknown")).removesuffix("_fn")
    objective, method = _OBJECTIVES.get(name, name), str(info.get("attribution_method", "unknown"))
    return Provenance(
        model=str(info.get("model_name") or info.get("model_class", "unknown")),
        architecture=str(info.get("model_class", "unknown")),
        method=_METHODS.get(method, method),
        engine="inseq",
        objective=objective,
        baseline=None,
        options={name: value for name, value in (info.get("attribution_args") or {}).items()},
        seed=0,
        dtype="unknown",
        reduction=reduction,
        coverage="prompt and generated prefix",
        signed=method not in _UNSIGNED,
        unit=_UNITS.get(objective, "objective"),
        prompt_ids=tuple(token.id for token in tokens[:start]),
        target_ids=tuple(token.id for token in tokens[start:]),
        generated=not info.get("constrained_decoding", True),
        seconds=float(info.get("exec_time", 0.0)),
        notes=("brought in from Inseq, which does not record seed, type and baseline",),
    )


def _placed(pairs: list[tuple[str, int]], text: str | None) -> tuple[list[Token], str]:
    """Returns the tokens at their characters of the text, and the text; without a text, the tokens' own in a row."""
    placed, at, own = [], 0, ""
    for name, id_ in pairs:
        readings = (name, ByteLevel().decode([name]), name.replace("▁", " "))
        if text is None:
            read = readings[1] if "�" not in readings[1] else name
            own += read
        else:
            # A token that is not found there (BOS, part of a character) covers no characters.
            read = next((each for each in readings if text.startswith(each, at)), "")
        placed.append(Token(read, id_, at, at + len(read), "prompt"))
        at += len(read)
    return placed, own if text is None else text


def _moved(token: Token, cut: int, role: str) -> Token:
    return Token(token.text, token.id, token.start - cut, token.end - cut, role)


def _tensor(values: list[Any]) -> Tensor:
    rows = [[_number(each) for each in row] if isinstance(row, list) else _number(row) for row in values]
    return torch.tensor(rows, dtype=torch.float32)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
