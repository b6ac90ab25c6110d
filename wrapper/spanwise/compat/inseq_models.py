"""Inseq's attribution models around a model that is already loaded: its loop and its results, our guards.

The user's model is held still inside the calls and comes back as it was; what fails in Inseq on today's transformers is
mended, and what gives wrong numbers there is refused.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from inseq import FeatureAttributionOutput
from inseq.attr.feat import FeatureAttribution

from spanwise.compat.inseq_methods import held_for, made, refuse
from spanwise.compat.inseq_step_functions import PERPLEXITY, mended
from spanwise.errors import AttributionWarning, ModelError
from spanwise.model.language_model import LanguageModel


class Guarded:
    """What both kinds of model have in common; stands before Inseq's class."""

    _lm: LanguageModel
    model: Any
    attribution_method: FeatureAttribution | None
    pad_token: str | None

    @property
    def device(self) -> str:
        """Where inputs go."""
        return str(self._lm.device)

    @device.setter
    def device(self, new_device: str | torch.device | None) -> None:
        """Moves the model; one that is quantized or spread over devices stays, or is an error where that is elsewhere.

        Raises:
            ModelError: See above.
        """
        if new_device is None or self._is_on(torch.device(new_device)):
            return
        if self._lm.quantization is not None or self._lm.device_map is not None:
            raise ModelError(
                f"device={str(new_device)!r} was asked, but the model is on {self.device!r} and cannot be moved: it is "
                f"{'quantized' if self._lm.quantization else 'spread over devices'}. Leave device out."
            )
        self.model.to(new_device)
        self._lm = LanguageModel(self.model, self._lm.tokenizer, name=self._lm.name, revision=self._lm.revision)

    def _is_on(self, device: torch.device) -> bool:
        found = self._lm.device
        return device.type == found.type and device.index in (None, found.index or 0)

    def setup(self, device: Any = None, attribution_method: str | None = None, **kwargs: Any) -> None:
        """Loads the method; Inseq's own moves the model and clears its gradients."""
        self.is_distributed = False
        self.device = device
        if attribution_method is not None:
            self.attribution_method = self.get_attribution_method(attribution_method, **kwargs)

    def get_attribution_method(
        self, method: str | None = None, override_default_attribution: bool | None = False, **kwargs: Any
    ) -> FeatureAttribution:
        """Returns Inseq's method of that name, or the one that is loaded.

        Raises:
            MethodError: It gives wrong numbers in Inseq; the message says what to use.
        """
        if method is not None:
            refuse(self, method)
        with made(method, kwargs) as options:
            return super().get_attribution_method(method, override_default_attribution, **options)  # type: ignore[misc]

    def generate(self, inputs: Any, return_generation_output: bool = False, **kwargs: Any) -> Any:
        """Returns the texts that the model writes, as Inseq's own; padded positions are hidden from the model."""
        if isinstance(inputs, str | list):
            inputs = self.encode(inputs, add_special_tokens=not kwargs.get("skip_special_tokens"))  # type: ignore[attr-defined]
        size = kwargs.pop("batch_size", None) or len(inputs.input_ids)
        hooked, self.is_hooked = getattr(self, "is_hooked", False), False  # nothing has to be unhooked for it
        found: list[Any] = []
        try:
            with self._lm.session():
                for first in range(0, len(inputs.input_ids), size):
                    part = inputs.slice_batch(slice(first, first + size))
                    mask = part.attention_mask.to(self._lm.device)
                    out = super().generate(part, return_generation_output, attention_mask=mask, **kwargs)  # type: ignore[misc]
                    found += out if isinstance(out, list) else [out]
        finally:
            self.is_hooked = hooked
        return found

    def attribute(
        self,
        input_texts: str | Sequence[str],
        generated_texts: str | Sequence[str] | None = None,
        method: str | None = None,
        override_default_attribution: bool | None = False,
        attr_pos_start: int | None = None,
        attr_pos_end: int | None = None,
        show_progress: bool = True,
        pretty_progress: bool = True,
        output_step_attributions: bool = False,
        attribute_target: bool = False,
        step_scores: Sequence[str] = (),
        include_eos_baseline: bool = False,
        attributed_fn: str | Callable[..., Any] | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        generate_from_target_prefix: bool = False,
        skip_special_tokens: bool = False,
        clean_special_chars: bool = False,
        generation_args: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> FeatureAttributionOutput:
        """Returns Inseq's result; the arguments are those of Inseq's `attribute`.

        `n_steps` and other options of a method are keywords too: `n_steps` is the number of integration steps, not of
        generated tokens, which is `generation_args={"max_new_tokens": ...}`. `attributed_fn` is by default the
        probability of each target token; the log-probability is `attributed_fn="probability", logprob=True`.

        Raises:
            InputError: The generated texts do not begin with the input texts, or a text cannot be used.
            MethodError: The method gives wrong numbers in Inseq, or cannot run on this model.
        """
        before = self.device
        chosen = self.get_attribution_method(method, override_default_attribution)
        if "perplexity" in (attributed_fn, *step_scores):
            warnings.warn(PERPLEXITY, AttributionWarning, stacklevel=2)
        with ExitStack() as held:
            self.device = device
            held.callback(setattr, self, "device", before)
            if note := held.enter_context(self._lm.session()):
                warnings.warn(note, AttributionWarning, stacklevel=2)
            held.enter_context(_quiet())
            held.enter_context(mended())
            held.enter_context(self._running(chosen))
            return self._attributed(
                _listed(input_texts) or [],
                _listed(generated_texts),
                generation_args=dict(generation_args or {}),
                batch_size=batch_size,
                skip_special_tokens=skip_special_tokens,
                attr_pos_start=attr_pos_start,
                attr_pos_end=attr_pos_end,
                show_progress=show_progress,
                pretty_progress=pretty_progress,
                output_step_attributions=output_step_attributions,
                attribute_target=attribute_target,
                step_scores=list(step_scores),
                include_eos_baseline=include_eos_baseline,
                attributed_fn=attributed_fn,
                generate_from_target_prefix=generate_from_target_prefix,
                clean_special_chars=clean_special_chars,
                **kwargs,
            )

    @contextmanager
    def _running(self, chosen: FeatureAttribution) -> Iterator[None]:
        """Has Inseq take `chosen` without loading it again, and the model hand out what the method needs."""
        default = self.attribution_method
        self.attribution_method = chosen
        try:
            with held_for(self, self._lm, chosen):
                yield
        finally:
            self.attribution_method = default

    def _attributed(self, texts: list[str], targets: list[str] | None, **arguments: Any) -> FeatureAttributionOutput:
        return super().attribute(texts, targets, **arguments)  # type: ignore[misc]


def _listed(texts: str | Sequence[str] | None) -> list[str] | None:
    if texts is None:
        return None
    return [texts] if isinstance(texts, str) else list(texts)


@contextmanager
def ids_set(lm: LanguageModel) -> Iterator[None]:
    """Gives the config the ids without which Inseq does not load; inside `kept`, which takes them back."""
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if getattr(lm.model.config, name, None) is None:
            setattr(lm.model.config, name, getattr(lm.tokenizer, name, None) or 0)
    yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Holds back what Inseq and Captum say about their inner workings."""
    with warnings.catch_warnings():
        for message in (
            r"Input Tensor \d did not already require gradients",  # parameters are frozen, so embeddings are leaves
            r"\s*Setting forward, backward hooks",  # DeepLIFT's are removed again
            "Model configuration for '.*' not found",  # value zeroing: the names are set by us
        ):
            warnings.filterwarnings("ignore", message, UserWarning)
        yield
