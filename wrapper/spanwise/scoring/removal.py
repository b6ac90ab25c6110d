"""Features that are hidden, left out, or other text: what the model reads instead of the unchanged input."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from spanwise.errors import MethodError
from spanwise.model.language_model import LanguageModel
from spanwise.model.reading import check_length
from spanwise.text.rewriting import Rewriting


@dataclass(frozen=True)
class Removal:
    """One prompt and target without some of their features.

    Attributes:
        lm: The model.
        how: "mask", "delete", or what writes the prompt without them.
        ids: The unchanged input.
        features: For each position the index of its feature, or -1 where it is frozen.
        prompt_count: Positions of the prompt.
        target_ids: Ids of the target, as far as rows ask for it.
        encoder_length: Where the decoder's part begins; 0 for a causal model.
    """

    lm: LanguageModel
    how: str | Rewriting
    ids: Int[Tensor, " source"]
    features: Int[Tensor, " source"]
    prompt_count: int
    target_ids: Sequence[int]
    encoder_length: int

    def there(self, gates: Float[Tensor, "batch feature"]) -> Bool[Tensor, "batch source"]:
        """Returns which positions are there.

        Raises:
            MethodError: Under "mask" nothing of the prompt is: attention to nothing becomes attention to everything.
        """
        on = gates.to(self.ids.device)[:, self.features.clamp(min=0)] > 0.5
        there = on | (self.features < 0)
        blind = not there[:, : self.encoder_length or self.prompt_count].any(1).all()
        attention = getattr(self.lm.model.config, "_attn_implementation", None)
        if self.how == "mask" and blind and (self.encoder_length or attention != "sdpa"):
            raise MethodError(
                f"baseline='mask' leaves nothing of the prompt to attend to, and attn_implementation={attention!r} "
                "attends to hidden tokens then. Keep a part of the prompt frozen (a BOS token, say), or use a token "
                "as baseline."
            )
        return there

    def sequences(self, gates: Float[Tensor, "batch feature"]) -> list[tuple[Int[Tensor, " left"], int]]:
        """Returns for each setting of the gates the ids that the model reads, and where the decoder's begin.

        Raises:
            MethodError: Nothing of the prompt is left, or the decoder's first token is to be left out.
            LengthError: A rewritten prompt is longer than the model's context.
        """
        if isinstance(self.how, Rewriting):
            return [self._rewritten(self.how, row) for row in (gates > 0.5).tolist()]
        return [self._left(there) for there in self.there(gates)]

    def _left(self, there: Bool[Tensor, " source"]) -> tuple[Int[Tensor, " left"], int]:
        if self.encoder_length and not there[self.encoder_length]:
            raise MethodError("baseline='delete' cannot leave out the decoder's first token: leave frozen='none' out.")
        prompt = int(there[: self.encoder_length or self.prompt_count].sum())
        if prompt == 0:
            raise MethodError(
                "baseline='delete' leaves nothing of the prompt to predict the target from. Keep a part of it "
                "frozen (a BOS token, say), or use baseline='mask'."
            )
        return self.ids[there], prompt if self.encoder_length else 0

    def _rewritten(self, rewriting: Rewriting, on: list[bool]) -> tuple[Int[Tensor, " left"], int]:
        prompt = self.ids[: self.prompt_count].tolist() if all(on) else rewriting.ids(tuple(on))
        check_length(self.lm, len(prompt), len(self.target_ids))
        ids = torch.tensor([*prompt, *self.target_ids[:-1]], device=self.ids.device)
        return ids, len(prompt) - 1 if self.encoder_length else 0
