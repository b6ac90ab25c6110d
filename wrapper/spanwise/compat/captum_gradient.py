"""Captum's `LLMGradientAttribution`: gradient methods, all target tokens from one shared forward."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import captum.attr
import torch
from captum.attr import (
    IntegratedGradients,
    LayerGradientShap,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    TextTokenInput,
)
from captum.attr import (
    InterpretableInput as Input,
)
from torch import Tensor

from spanwise.compat.captum_arguments import (
    TARGET_REPEATED,
    check_keywords,
    check_method,
    held,
    language_model,
    target_tokens,
    tell_once,
)
from spanwise.compat.captum_points import TokenPoints, make_scorer
from spanwise.compat.captum_result import LLMAttributionResult, token_labels
from spanwise.errors import InputError, MethodError
from spanwise.model.language_model import LanguageModel

Found = tuple[Tensor, Tensor | None]
_ON_THE_LAYERS_OUTPUT: Mapping[str, object] = {"attribute_to_layer_input": False, "grad_kwargs": None, "target": None}


class LLMGradientAttribution(captum.attr.LLMGradientAttribution):
    """Gradient methods for language models, as Captum's class of this name.

    On the embedding layer of a transformers model, all target tokens share a forward. On any other layer, or model,
    Captum's own way is gone: the method once for each target token.

    Args:
        attr_method: `LayerIntegratedGradients`, `LayerGradientShap` or `LayerGradientXActivation` of the model.
        tokenizer: The model's.

    Raises:
        CaptumInputError: Another method.

    Example:
        >>> import spanwise
        >>> from spanwise.compat.captum import LayerIntegratedGradients, LLMGradientAttribution, TextTokenInput
        >>> lm = spanwise.load_model("tiny")
        >>> method = LayerIntegratedGradients(lm.model, lm.model.get_input_embeddings())
        >>> attribution = LLMGradientAttribution(method, lm.tokenizer)
        >>> result = attribution.attribute(TextTokenInput("Mary lives in Paris.", lm.tokenizer), " She", n_steps=8)
        >>> result.token_attr.shape == (len(result.output_tokens), len(result.input_tokens))
        True
    """

    def __init__(self, attr_method: Any, tokenizer: Any) -> None:
        check_method(type(self).__name__, attr_method, self.SUPPORTED_METHODS)
        super().__init__(attr_method, tokenizer)
        self._lm = language_model(self.model, tokenizer)
        if self._lm is not None:
            self.device = self._lm.device  # the embedding's, where the model is spread

    def attribute(
        self,
        inp: Input,
        target: str | Tensor | None = None,
        gen_args: dict[str, Any] | None = None,
        *,
        skip_tokens: list[int] | list[str] | None = None,
        **kwargs: Any,
    ) -> LLMAttributionResult | tuple[LLMAttributionResult, Tensor]:
        """Returns the scores of each token of the input; with `return_convergence_delta=True` a delta beside them.

        The delta is, for each target token, the sum of its scores less the change of its log-probability from the
        baseline to the input: [target], or [target, samples] for `LayerGradientShap`.

        Args:
            inp: A `TextTokenInput`.
            target: A text, token ids, or None to generate it.
            gen_args: For the model's `generate`; default: greedy, 25 tokens.
            skip_tokens: Tokens (ids or texts) taken out of the target, as in older versions of Captum.
            **kwargs: For the method's `attribute`: `n_steps`, `internal_batch_size`, `baselines`, ...

        Raises:
            CaptumInputError: What Captum refuses with an AssertionError.
            CaptumTypeError: The target is neither text nor ids, or a keyword that the method does not take.
            MethodError: The model's quantized layers have no backward.
        """
        check_keywords(self.attr_method, list(kwargs))
        if self._lm is not None and self._lm.no_backward is not None:
            raise MethodError(
                f"{type(self.attr_method).__name__} needs gradients, and the model gives none: "
                f"{self._lm.no_backward}. Use a perturbation method with LLMAttribution."
            )
        with held(self._lm):
            ids = target_tokens(self, inp, target, gen_args, skip_tokens)
            if not inp.n_itp_features:
                raise InputError("skip_tokens leaves no token of the prompt to attribute to.")
            if isinstance(self.attr_method, LayerGradientShap) and len(ids) > 1 and kwargs.get("n_samples", 5) > 1:
                tell_once(TARGET_REPEATED)
            scores, delta = self._way(kwargs)(inp, ids, kwargs)
        result = LLMAttributionResult(
            seq_attr=scores.sum(0),
            token_attr=scores,
            input_tokens=inp.values,
            output_tokens=token_labels(ids, self.tokenizer),
            inp=inp,
        )
        return result if delta is None else (result, delta)

    def _way(self, kwargs: Mapping[str, Any]) -> Callable[[Any, Tensor, dict[str, Any]], Found]:
        method = self.attr_method
        plain = all(kwargs.get(name, value) is value for name, value in _ON_THE_LAYERS_OUTPUT.items())
        if self._lm is None or method.layer is not self._lm.embedding or method.device_ids is not None or not plain:
            return self._for_each_target
        if type(method) is LayerIntegratedGradients and method.multiplies_by_inputs:
            return self._on_the_path
        return (
            self._at_tokens if type(method) in (LayerGradientShap, LayerGradientXActivation) else self._for_each_target
        )

    def _on_the_path(self, inp: TextTokenInput, target: Tensor, kwargs: dict[str, Any]) -> Found:
        """Integrated gradients in the scorer's gates, one a token, with the user's own settings."""
        given = kwargs.get("baselines")
        switches = inp.to_tensor()
        start = given if isinstance(given, Tensor) else torch.full_like(switches, 0 if given is None else given)
        baseline = inp.to_model_input(start.to(switches.device).reshape(switches.shape))
        scorer = make_scorer(self._language_model, inp, target, baseline, per_position=False)
        method = IntegratedGradients(_unused)

        def gradients(inputs: tuple[Tensor], **others: object) -> tuple[Tensor]:  # Captum names its arguments
            return (scorer.gate_gradients(inputs[0].detach()),)

        method.gradient_func = gradients
        on = torch.ones(1, scorer.feature_count)
        options = {name: kwargs[name] for name in ("n_steps", "method", "internal_batch_size") if name in kwargs}
        scores = method.attribute(on, baselines=torch.zeros_like(on), **options)[0].detach().to(self.device)
        if not kwargs.get("return_convergence_delta"):
            return scores, None
        end, begin = scorer.scores(torch.cat([on, torch.zeros_like(on)]))
        return scores, scores.sum(1) - (end - begin).to(scores)

    def _at_tokens(self, inp: TextTokenInput, target: Tensor, kwargs: dict[str, Any]) -> Found:
        """The user's own method once for each target token, over gradients that are taken once for all of them."""
        method = copy.copy(self.attr_method)
        points = TokenPoints(self._language_model, inp, target, bool(kwargs.get("return_convergence_delta")))
        found = []
        for index in range(len(target)):
            method.forward_func = points.linear(index)
            found.append(method.attribute(inp.to_tensor().to(self.device), **kwargs))
        return _collected(inp, found)

    def _for_each_target(self, inp: TextTokenInput, target: Tensor, kwargs: dict[str, Any]) -> Found:
        """Captum's own way: the method once for each target token, on a sequence that grows."""
        method = copy.copy(self.attr_method)
        captums = self.attr_method.forward_func
        found = []
        for index in range(len(target)):
            # Not in `additional_forward_args`, whose tensors Captum repeats as if they were inputs.
            method.forward_func = lambda switches, index=index: captums(switches, inp, target, index)
            one = method.attribute(inp.to_tensor().to(self.device), **kwargs)
            scores, delta = one if isinstance(one, tuple) else (one, None)
            scores = scores[:, : scores.shape[1] - index]
            found.append(scores if delta is None else (scores, delta))
        return _collected(inp, found)

    @property
    def _language_model(self) -> LanguageModel:
        assert self._lm is not None, "only called where there is one"
        return self._lm


def _collected(inp: TextTokenInput, found: list[Any]) -> Found:
    """Returns the sums over the hidden axis at the tokens that are not skipped, [target, feature], and the deltas."""
    with_delta = isinstance(found[0], tuple)
    scores = torch.cat([(each[0] if with_delta else each).detach().float().sum(-1) for each in found])
    if inp.itp_mask is not None:
        scores = scores[:, inp.itp_mask[0].to(scores.device)]
    if not with_delta:
        return scores, None
    deltas = torch.stack([each[1].detach().float() for each in found])
    return scores, deltas[:, 0] if deltas.shape[1] == 1 else deltas


def _unused(*args: Any) -> Tensor:
    raise AssertionError("Captum called the forward function, but the gradient function does the work")
