"""Contrast: why this span and not that one? The span's objective minus a foil's, at the same place."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from spanwise.errors import InputError, MethodError
from spanwise.model.reading import check_length
from spanwise.scoring.objectives import Objective, find_objective
from spanwise.scoring.scorer import Scorer
from spanwise.text.encoding import Encoding, encode
from spanwise.text.layout import Axes


@dataclass(frozen=True)
class Contrast:
    """An objective that compares the span with a foil; made by `contrast`."""

    foil: str
    objective: Objective

    @property
    def name(self) -> str:
        """What the provenance calls it."""
        return f"contrast({self.foil!r}, {self.objective.name})"


def contrast(foil: str, objective: str = "log_prob") -> Contrast:
    """Returns an objective: the span's summed `objective` minus that of `foil` in its place.

    Args:
        foil: A text that could stand where the span stands, of any length.
        objective: "log_prob" (nats), "prob" or "logit", of each token; added over the span and over the foil.

    Example:
        >>> import spanwise
        >>> lm = spanwise.load_model("tiny")
        >>> why = spanwise.contrast("is")
        >>> result = spanwise.attribute(lm, "The keys to the cabinet", " are new.", span="are", objective=why,
        ...     method="feature_ablation")
        >>> result.provenance.objective
        "contrast('is', log_prob)"

    Raises:
        InputError: The foil is empty.

    Source: Yin & Neubig 2022, arXiv:2202.10419, section 3.
    """
    if not isinstance(foil, str) or not foil.strip():
        raise InputError(f"the foil must be a text that is not empty or only white space, not {foil!r}.")
    return Contrast(foil, find_objective(objective))


@dataclass
class ContrastScorer(Scorer):
    """A scorer whose one row is the span's value minus the foil's; the foil has a scorer of its own.

    Attributes:
        foil: Scores the foil behind the same prompt and the same target tokens before it.
        shared: Positions at the beginning that both read.
    """

    foil: Scorer = dataclasses.field(kw_only=True)
    shared: int = dataclasses.field(kw_only=True)

    def reference(self) -> Float[Tensor, " target"]:
        """Returns the objective of the target's own tokens; the foil's is remembered."""
        self.foil.reference()
        return super().reference()

    def at_input(self) -> float:
        """Returns the contrast at the unchanged input."""
        span, foil = self.reference()[self.rows[0]], self.foil.reference()[self.foil.rows[0]]
        return float(span.sum() - foil.sum())

    def scores(self, gates: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch row"]:
        """Returns the difference for each setting of the gates."""
        return super().scores(gates) - self.foil.scores(gates)

    def gate_gradients(self, gates: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch row feature"]:
        """Returns the difference's gradient with respect to the gates."""
        return super().gate_gradients(gates) - self.foil.gate_gradients(gates)

    def embedding_gradients(
        self, embeddings: Float[Tensor, "batch source hidden"]
    ) -> Float[Tensor, "batch row source hidden"]:
        """Returns the difference's gradient; the foil's part reaches the positions that both read."""
        gradients = super().embedding_gradients(embeddings)
        own = self.foil.embeddings[self.shared :].expand(len(embeddings), -1, -1)
        of_foil = self.foil.embedding_gradients(torch.cat([embeddings[:, : self.shared], own], dim=1))
        gradients[:, :, : self.shared] -= of_foil[:, :, : self.shared]
        return gradients


def make_contrast(scorer: Scorer, wanted: Contrast, encoding: Encoding, axes: Axes) -> ContrastScorer:
    """Returns the scorer of a contrast.

    Raises:
        MethodError: Not exactly one span, or token rows.
        InputError: The foil is empty, is the span itself, or cannot be tokenized in its place.
    """
    if axes.rows != "span" or len(axes.spans) != 1:
        raise MethodError(
            f"contrast compares one span with its foil, but {len(axes.spans)} spans with {axes.rows} rows were asked "
            "for: pass span=... and leave rows out."
        )
    span = axes.spans[0]
    if not wanted.foil.strip():
        raise InputError(f"the foil is empty or only white space: {wanted.foil!r}.")
    if wanted.foil.strip() == span.text.strip():
        raise InputError(f"the foil {wanted.foil!r} is the span itself: the contrast would be 0.")
    foil_ids = _foil_ids(scorer, wanted.foil, encoding, span.start, span.first_token)
    check_length(scorer.lm, len(scorer.prompt_ids), len(foil_ids))
    shared = len(scorer.prompt_ids) + span.first_token
    length = len(scorer.prompt_ids) + len(foil_ids) - 1
    features = torch.full((length,), -1)
    kept = min(shared, length, len(scorer.features))
    features[:kept] = scorer.features[:kept]
    baseline = scorer.baseline
    if isinstance(baseline, Tensor):  # behind the shared part nothing is switched off, so any row will do
        baseline = torch.cat([baseline[:kept], baseline[:1].expand(length - kept, -1)])
    rows = torch.zeros(1, len(foil_ids), dtype=torch.bool)
    rows[0, span.first_token :] = True
    given = {each.name: getattr(scorer, each.name) for each in dataclasses.fields(Scorer)}
    changed = {"target_ids": foil_ids, "rows": rows, "features": features, "baseline": baseline}
    return ContrastScorer(**given, foil=Scorer(**(given | changed)), shared=kept)


def apart(
    run: Callable[[Scorer], Float[Tensor, "row feature"]], scorer: ContrastScorer
) -> Float[Tensor, "row feature"]:
    """Returns a contrast by an engine that has a forward of its own: its scores of the span minus those of the foil.

    Exact for methods that are linear in the objective.
    """
    span = run(Scorer(**{each.name: getattr(scorer, each.name) for each in dataclasses.fields(Scorer)}))
    foil = run(scorer.foil)
    span[:, : foil.shape[1]] -= foil  # features behind the foil's place are not its own
    return span


def _foil_ids(scorer: Scorer, foil: str, encoding: Encoding, start: int, first_token: int) -> tuple[int, ...]:
    """Returns the target's ids before the span, then the foil's."""
    if scorer.lm.is_encoder_decoder:
        raise MethodError("contrast is for causal models.")
    before = encoding.target_text[:start]
    ids = encode(scorer.lm.tokenizer, encoding.prompt, before + foil).target_ids
    if ids[:first_token] != encoding.target_ids[:first_token] or len(ids) <= first_token:
        raise InputError(
            f"the foil {foil!r} cannot stand in the span's place: with it, the target before it is tokenized otherwise."
        )
    return ids
