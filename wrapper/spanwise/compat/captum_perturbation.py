"""Captum's `LLMAttribution`: perturbation methods, each perturbation scored for all target tokens in one forward."""

import copy
from collections.abc import Callable
from typing import Any

import captum.attr
import torch
from captum.attr import InterpretableInput, TextTemplateInput, TextTokenInput
from jaxtyping import Float
from torch import Tensor

from spanwise.compat.captum_arguments import (
    FED_TWICE,
    CaptumInputError,
    check_method,
    held,
    is_fed_twice,
    language_model,
    target_tokens,
    tell_once,
)
from spanwise.compat.captum_result import LLMAttributionResult, token_labels
from spanwise.compat.captum_scores import token_log_probs
from spanwise.errors import at_least
from spanwise.model.language_model import LanguageModel
from spanwise.scoring.batching import choose_batches

Inspect = Callable[[str, str, list[float]], Any]
Forward = Callable[[Tensor], Tensor]


class LLMAttribution(captum.attr.LLMAttribution):
    """Perturbation methods for language models, as Captum's class of this name.

    A model of transformers is scored by one forward a perturbation, in batches. Any other callable goes Captum's own
    way.

    Args:
        attr_method: `FeatureAblation`, `ShapleyValueSampling`, `ShapleyValues`, `Lime` or `KernelShap` of the model.
        tokenizer: The model's.
        attr_target: "log_prob" (nats) or "prob".

    Raises:
        CaptumInputError: Another method, or another `attr_target`.

    Example:
        >>> import spanwise
        >>> from spanwise.compat.captum import FeatureAblation, LLMAttribution, TextTokenInput
        >>> lm = spanwise.load_model("tiny")
        >>> inp = TextTokenInput("Mary lives in Paris.", lm.tokenizer)
        >>> attribution = LLMAttribution(FeatureAblation(lm.model), lm.tokenizer)
        >>> result = attribution.attribute(inp, " She", forward_in_tokens=False)
        >>> result.token_attr.shape == (len(result.output_tokens), len(result.input_tokens))
        True
    """

    def __init__(self, attr_method: Any, tokenizer: Any, attr_target: str = "log_prob") -> None:
        check_method(type(self).__name__, attr_method, self.SUPPORTED_METHODS)
        if attr_target not in ("log_prob", "prob"):
            raise CaptumInputError(f"attr_target should be either 'log_prob' or 'prob', not {attr_target!r}.")
        super().__init__(attr_method, tokenizer, attr_target)
        self._lm = language_model(self.model, tokenizer)
        if self._lm is not None:
            self.device = self._lm.device  # the embedding's, where the model is spread

    def attribute(
        self,
        inp: InterpretableInput,
        target: str | Tensor | None = None,
        num_trials: int = 1,
        gen_args: dict[str, Any] | None = None,
        use_cached_outputs: bool = True,
        _inspect_forward: Inspect | None = None,
        forward_in_tokens: bool = True,
        *,
        skip_tokens: list[int] | list[str] | None = None,
        **kwargs: Any,
    ) -> LLMAttributionResult:
        """Returns the scores of each feature of the input.

        Args:
            inp: `TextTokenInput`, `TextTemplateInput`, or any other that Captum has.
            target: A text, token ids, or None to generate it.
            num_trials: Runs whose mean is returned.
            gen_args: For the model's `generate`; default: greedy, 25 tokens.
            use_cached_outputs: For a model that is no transformers model; for those one forward does all.
            _inspect_forward: Called with prompt, response and probabilities at each evaluation.
            forward_in_tokens: As `use_cached_outputs`.
            skip_tokens: Tokens (ids or texts) taken out of the target, as in older versions of Captum.
            **kwargs: For the method's `attribute`. Without `perturbations_per_eval`, as many as are of use go together.

        Raises:
            CaptumInputError: What Captum refuses with an AssertionError.
            CaptumTypeError: The target is neither text nor ids.
        """
        at_least("num_trials", num_trials, 1)
        lm = self._lm
        with held(lm):
            ids = target_tokens(self, inp, target, gen_args, skip_tokens)
            if lm is not None and use_cached_outputs and forward_in_tokens and len(ids) > 1 and is_fed_twice():
                tell_once(FED_TWICE)
                use_cached_outputs, forward_in_tokens = False, _inspect_forward is not None
            method = copy.copy(self.attr_method)
            if lm is not None and isinstance(inp, TextTokenInput | TextTemplateInput):
                method.forward_func, size = self._in_one_pass(lm, inp, ids, _inspect_forward)
                kwargs.setdefault("perturbations_per_eval", size)
            else:
                way = (use_cached_outputs, _inspect_forward, forward_in_tokens)
                method.forward_func = self._captums_own(inp, ids, *way)
            rows = 1 + len(ids) if self.include_per_token_attr else 1
            found = torch.zeros(rows, inp.n_itp_features, device=self.device)
            for _ in range(num_trials):
                found += method.attribute(inp.to_tensor().to(self.device), **kwargs).reshape(found.shape)
        found = inp.format_attr(found / num_trials)
        return LLMAttributionResult(
            seq_attr=found[0],
            token_attr=found[1:] if self.include_per_token_attr else None,
            input_tokens=inp.values,
            output_tokens=token_labels(ids, self.tokenizer),
            inp=inp,
        )

    def _in_one_pass(self, lm: LanguageModel, inp: Any, target: Tensor, inspect: Inspect | None) -> tuple[Forward, int]:
        """Returns the scores as a function of switches, [batch, feature], and how many of them are best given at once.

        Where an input comes to the same text each time, its scores are remembered.
        """
        known: dict[bytes, Tensor] = {}
        lasting = type(inp) in (TextTokenInput, TextTemplateInput) and not callable(inp.baselines)
        length = len(self._prompt(inp, None)) + len(target) - 1  # None draws no baselines
        batches = choose_batches(lm, "auto", length, len(target), gradients=False, rows=1, per_position=False)

        def forward(switches: Tensor) -> Tensor:
            keys = [row.tobytes() if lasting else str(i).encode() for i, row in enumerate(switches.cpu().numpy())]
            if not lasting:
                known.clear()
            new = {key: i for i, key in enumerate(keys) if key not in known}
            prompts = {key: self._prompt(inp, switches[i : i + 1]) for key, i in new.items()}
            if new:
                known.update(zip(new, token_log_probs(lm, list(prompts.values()), target, batches), strict=True))
            found = self._with_total(torch.stack([known[key] for key in keys]))
            if inspect is not None:
                response = self.tokenizer.decode(target)
                for i, row in enumerate(found):
                    prompt = prompts[keys[i]] if keys[i] in prompts else self._prompt(inp, switches[i : i + 1])
                    inspect(self.tokenizer.decode(prompt), response, row.exp().tolist())
            found = found if self.attr_target == "log_prob" else found.exp()
            return found if self.include_per_token_attr else found[:, 0]

        return forward, batches.size

    def _prompt(self, inp: Any, switches: Tensor | None) -> Tensor:
        """Returns the ids of the prompt with these features on, tokenized as Captum does."""
        return self._format_model_input(inp.to_model_input(switches))["input_ids"][0]

    def _with_total(self, values: Float[Tensor, "batch target"]) -> Tensor:
        """Returns the log-probability of the whole target, then those of its tokens where the method has them."""
        total = values.sum(1, keepdim=True)
        return torch.cat([total, values], dim=1) if self.include_per_token_attr else total

    def _captums_own(
        self, inp: Any, target: Tensor, use_cached_outputs: bool, inspect: Inspect | None, forward_in_tokens: bool
    ) -> Forward:
        """Returns Captum's forward function, which knows one perturbation, for several."""

        def forward(switches: Tensor) -> Tensor:
            way = (use_cached_outputs, inspect, forward_in_tokens)
            rows = [self._forward_func(row[None], inp, target, *way).reshape(-1) for row in switches]
            return torch.stack(rows) if self.include_per_token_attr else torch.cat(rows)

        return forward
