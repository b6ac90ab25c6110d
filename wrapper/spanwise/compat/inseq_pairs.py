"""Inseq's model for encoder-decoder models, around one that is already loaded."""

import copy
from typing import Any

import torch
from inseq import FeatureAttributionOutput
from inseq.models.huggingface_model import HuggingfaceEncoderDecoderModel
from jaxtyping import Float, Int
from torch import Tensor

from spanwise.compat.inseq_models import Guarded, ids_set
from spanwise.errors import InputError, ModelError
from spanwise.model.kept import kept
from spanwise.model.language_model import LanguageModel


class PairModel(Guarded, HuggingfaceEncoderDecoderModel):
    """All of the work is Inseq's, but for the scale of the embeddings.

    Some decoders scale the embeddings they are given (Marian's, Pegasus's), others do not; Inseq scales them always,
    and so twice.
    """

    def __init__(self, lm: LanguageModel, device: Any, attribution_method: str | None, **method_options: Any) -> None:
        self._lm = lm
        self._scales: dict[bool, float] = {}
        with kept(lm.model), ids_set(lm):
            HuggingfaceEncoderDecoderModel.__init__(
                self, lm.model, None, copy.deepcopy(lm.tokenizer), model_kwargs={}, tokenizer_kwargs={}
            )
        Guarded.setup(self, device, attribution_method, **method_options)

    def setup(self, device: object = None, attribution_method: str | None = None, **kwargs: Any) -> None:
        """Waits until the model is made, which Inseq's constructor does not."""
        self.is_distributed = False

    def embed_ids(
        self, ids: Int[Tensor, "*batch source"], as_targets: bool = False
    ) -> Float[Tensor, "*batch source hidden"]:
        """Returns the embeddings with which the model computes what it does from ids.

        Raises:
            ModelError: There is no scale with which it does.
        """
        if as_targets not in self._scales:
            self._scales[as_targets] = self._scale(as_targets)
        return self.get_embedding_layer()(ids) * self._scales[as_targets]

    def _scale(self, as_targets: bool) -> float:
        ids = torch.arange(2, 5, device=self._lm.device)[None]
        embedded = self.get_embedding_layer()(ids)
        names = ("decoder_input_ids", "decoder_inputs_embeds") if as_targets else ("input_ids", "inputs_embeds")
        other = {"input_ids" if as_targets else "decoder_input_ids": ids}
        with self._lm.session(), torch.no_grad():
            wanted = self._lm.model(**other, **{names[0]: ids}).logits
            for scale in (float(self.embed_scale), 1.0):
                found = self._lm.model(**other, **{names[1]: embedded * scale}).logits
                if torch.allclose(found, wanted, rtol=1e-2, atol=1e-3 * float(wanted.abs().max())):
                    return scale
        raise ModelError(f"{self._lm.architecture} computes something else from embeddings than from token ids.")

    def _attributed(self, texts: list[str], targets: list[str] | None, **arguments: Any) -> FeatureAttributionOutput:
        if not texts or not all(texts):
            raise InputError("an encoder-decoder model needs at least one input text, and none of them empty.")
        return super()._attributed(texts, targets, **arguments)
