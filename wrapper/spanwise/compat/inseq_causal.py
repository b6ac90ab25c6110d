"""Inseq's model for decoder-only models, around one that is already loaded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from inseq import FeatureAttributionOutput
from inseq.attr.feat import FeatureAttribution
from inseq.data import BatchEncoding
from jaxtyping import Float, Int
from torch import Tensor

from spanwise.compat.inseq_models import Guarded, ids_set
from spanwise.compat.inseq_shared import SharedSteps, objective_of
from spanwise.compat.inseq_texts import Texts
from spanwise.engines.inseq_model import LoadedModel
from spanwise.model.kept import kept
from spanwise.model.language_model import LanguageModel


class CausalModel(Guarded, LoadedModel):  # type: ignore[misc] # Inseq's `device` is a text
    """Inseq's model for decoder-only models.

    Sequences are attributed one at a time, so that nothing is padded: where several are padded together, Inseq counts
    positions of the prompt as generated, and drops every token that is spelled like the padding.
    """

    def __init__(self, lm: LanguageModel, device: Any, attribution_method: str | None, **method_options: Any) -> None:
        with kept(lm.model), ids_set(lm):
            LoadedModel.__init__(self, lm, lambda logits: None)
        self._texts = Texts(lm)
        self.bos_token_id, self.bos_token = self._texts.bos_id, self._texts.bos
        self._options = {}  # a step function may read every position's logits
        Guarded.setup(self, device, attribution_method, **method_options)

    def setup(self, device: object = None, attribution_method: str | None = None, **kwargs: Any) -> None:
        """Waits until the model is made, which Inseq's constructor does not."""
        self.is_distributed = False

    def encode(
        self,
        texts: str | Sequence[str],
        as_targets: bool = False,
        return_baseline: bool = False,
        include_eos_baseline: bool = False,
        add_bos_token: bool = True,
        add_special_tokens: bool = True,
    ) -> BatchEncoding:
        """Returns texts as ids, padded on the left; a text that the model wrote has the ids that it wrote."""
        if as_targets:
            raise ValueError("Decoder-only models should use tokenization as source only.")
        rows = [
            self._texts.ids(text, special=add_special_tokens) for text in ([texts] if isinstance(texts, str) else texts)
        ]
        pad, unk = (getattr(self.tokenizer, name) or 0 for name in ("pad_token_id", "unk_token_id"))
        length = max(len(row) for row in rows)
        ids = torch.tensor([[pad] * (length - len(row)) + row for row in rows], device=self._lm.device)
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], device=self._lm.device)
        off = None
        if return_baseline:
            off = torch.full_like(ids, unk)
            if not include_eos_baseline:
                off = torch.where(ids == self.eos_token_id, ids, off)
        tokens = [self.tokenizer.convert_ids_to_tokens(row) for row in ids.tolist()]
        return BatchEncoding(input_ids=ids, input_tokens=tokens, attention_mask=mask, baseline_ids=off)

    def embed_ids(
        self, ids: Int[Tensor, "*batch source"], as_targets: bool = False
    ) -> Float[Tensor, "*batch source hidden"]:
        """Returns embeddings in float32, so that the methods' own arithmetic is float32."""
        return super().embed_ids(ids, as_targets).float()

    @staticmethod
    def output2logits(forward_output: Any) -> Float[Tensor, "batch vocab"]:
        """Returns the last position's logits in float32."""
        return forward_output.logits[:, -1, :].float()

    def validate_attribute_args(
        self, input_texts: list[str], generated_texts: list[str], *args: Any, **kwargs: Any
    ) -> int | None:
        """Returns the number of sequences at once: 1."""
        return 1

    def _attributed(self, texts: list[str], targets: list[str] | None, **arguments: Any) -> FeatureAttributionOutput:
        generation, size = arguments.pop("generation_args"), arguments.pop("batch_size")
        special = not arguments["skip_special_tokens"]
        texts = self._texts.checked(texts)
        padding, self.pad_token = self.pad_token, None  # Inseq drops every token spelled like it
        try:
            written = targets is None
            if targets is None:
                targets = self._texts.written(texts, size or len(texts), generation, special=special)
            elif len(targets) == len(texts):
                targets = self._texts.checked_targets(texts, targets, special=special)
            output = super()._attributed(texts, targets, generation_args={}, **arguments)
        finally:
            self.pad_token = padding
            self._texts.forget()
        output.info.update(generation_args=generation, constrained_decoding=not written)
        return output

    @contextmanager
    def _running(self, chosen: FeatureAttribution) -> Iterator[None]:
        """As above; and where the scorer can do the work, has it done by the scorer."""
        own, own_step = chosen.attribute, chosen.attribute_step

        def attribute(
            batch: Any, attributed_fn: Any, attr_pos_start: Any = None, attr_pos_end: Any = None, **more: Any
        ) -> Any:
            length = batch.input_ids.shape[1]
            wanted = (chosen, attributed_fn, more["attributed_fn_args"], more["attribution_args"])
            objective = objective_of(*wanted, self._lm.hidden_size)
            start, end = _positions(attr_pos_start, attr_pos_end, length)
            if objective is not None and 0 < start < end:
                steps = SharedSteps(self._lm, chosen, batch, start, end, objective)
                chosen.attribute_step = steps.step
            try:
                return own(batch, attributed_fn, attr_pos_start, attr_pos_end, **more)
            finally:
                chosen.attribute_step = own_step

        chosen.attribute = attribute
        try:
            with super()._running(chosen):
                yield
        finally:
            del chosen.attribute
            chosen.__dict__.pop("attribute_step", None)


def _positions(start: int | None, end: int | None, length: int) -> tuple[int, int]:
    """Returns first and last position as Inseq counts them: from the end where they are negative."""
    start, end = start or 0, length if end is None or end > length else end
    return start + length * (start < 0), end + length * (end < 0)
