"""Inseq's methods over the scorer's input; how a step is run and steps become rows is in `inseq_steps`.

A span's row is what the method gives for the sum of its target tokens; for methods that give shares whatever the
objective (attention, value zeroing, ReAGent) it is the mean over them.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from inseq.attr.feat.ops import reagent as reagent_parts
from jaxtyping import Float, Int
from torch import Tensor

from spanwise.engines.inseq_model import block_tuples
from spanwise.engines.inseq_steps import Reduce, count, last_step, rows, running, step
from spanwise.engines.protocol import Runner
from spanwise.errors import MethodError, OptionError
from spanwise.model.attentions import eager_attention
from spanwise.model.forward import forward
from spanwise.scoring.scorer import Scorer

Options = Mapping[str, Any]
PLAUSIBLE = 50
"""ReAGent replaces a token by one of the model's own 50 likeliest at its place."""


def saliency(scorer: Scorer, options: Options) -> Float[Tensor, "row feature"]:
    """Length (or signed sum) of the gradient at each embedding; Inseq's own default is the length of |gradient|."""
    return _hidden(scorer, "saliency", {"abs": False}, options["reduction"])


def input_x_gradient(scorer: Scorer, options: Options) -> Float[Tensor, "row feature"]:
    """Gradient times embedding."""
    return _hidden(scorer, "input_x_gradient", {}, options["reduction"])


def integrated_gradients(scorer: Scorer, options: Options) -> Float[Tensor, "row feature"]:
    """Integrated gradients along the straight path between embeddings."""
    return _hidden(scorer, "integrated_gradients", _on_a_path(scorer, options))


def sequential_integrated_gradients(scorer: Scorer, options: Options) -> Float[Tensor, "row feature"]:
    """Integrated gradients of each position alone, all others left as they are."""
    return _hidden(scorer, "sequential_integrated_gradients", _on_a_path(scorer, options))


def discretized_integrated_gradients(scorer: Scorer, options: Options) -> Float[Tensor, "row feature"]:
    """Gradients along a path through the embeddings of neighboring tokens, from the baseline's token."""
    arguments = {"n_steps": options["n_steps"], "method": options["strategy"]}
    with (
        TemporaryDirectory() as folder,  # Inseq's own cache is a pickle under the model's name alone
        running(scorer, "discretized_integrated_gradients", cache_dir=Path(folder)) as method,
    ):
        ids = _baseline_ids(scorer, method.attribution_model.vocabulary_embeddings)
        builder = method.method.path_builder
        builder.find_path = cache(builder.find_path)  # the same paths at every step
        return rows(scorer, lambda target: step(scorer, method, target, arguments, baseline_ids=ids), _reduce("sum"))


def gradient_shap(scorer: Scorer, options: Options) -> Float[Tensor, "row feature"]:
    """Gradient SHAP; each target token has random points of its own."""
    arguments = {"n_samples": options["n_samples"], "stdevs": float(options["stdevs"])}
    return _hidden(scorer, "gradient_shap", arguments)


def deeplift(scorer: Scorer, options: Options) -> Float[Tensor, "row feature"]:
    """DeepLIFT's rescale rule on the activation modules that Captum knows; gradient x difference elsewhere."""
    return _hidden(scorer, "deeplift", {})


def feature_ablation(scorer: Scorer, options: Options) -> Float[Tensor, "row feature"]:
    """Absolute drop of each target token when one position is off: Inseq's "occlusion" keeps no sign.

    Raises:
        MethodError: A row of several target tokens, or a feature of several positions: absolute drops do not add up.
    """
    of_feature = scorer.features[scorer.features >= 0]
    if int(scorer.rows.sum(1).max()) > 1 or len(of_feature.unique()) < len(of_feature):
        raise MethodError(
            "feature_ablation on the engine 'inseq' gives absolute drops of one target token by one source token, and "
            "those do not add up to a span's or a longer feature's: ask for rows='token', or for engine='captum'."
        )
    with running(scorer, "occlusion") as method:
        return rows(scorer, lambda target: step(scorer, method, target), _as_it_is)


def attention(scorer: Scorer, options: Options) -> Float[Tensor, "row feature"]:
    """Attention weights at the position that predicts the target token; the objective plays no part."""
    with running(scorer, "attention") as method, eager_attention(scorer.lm.model):
        heads = _one_of("head", options["head"])
        layers = _one_of("layer", options["layer"])
        weights = last_step(scorer, method)  # of a target token: [source, layer, head]
        return rows(scorer, lambda target: layers(heads(weights(target))), _as_it_is, mean=True)


def value_zeroing(scorer: Scorer, options: Options) -> Float[Tensor, "row feature"]:
    """How much a block's output at the predicting position turns when one position's values are zeroed, as a share."""
    with running(scorer, "value_zeroing") as method, block_tuples(method.attribution_model):
        layers = _one_of("layer", options["layer"])
        shares = last_step(scorer, method)  # of a target token: [source, layer]
        return rows(scorer, lambda target: layers(shares(target)), _as_it_is, mean=True)


def reagent(scorer: Scorer, options: Options) -> Float[Tensor, "row feature"]:
    """ReAGent: shares of importance, learned from random replacements, of the target token's probability.

    Inseq samples replacements by part of speech, for which it downloads a tagger; here the model's own likeliest tokens
    at a place are sampled, as the paper samples from a language model.

    Raises:
        MethodError: No probe came to an end: the target token is not among the model's likeliest.
    """
    names = ("keep_top_n", "replacing_ratio", "stopping_condition_top_k", "max_probe_steps", "num_probes")
    arguments = {name: options[name] for name in names}
    with (
        patch.object(reagent_parts, "POSTagTokenSampler", lambda **_: plausible_tokens(scorer)),
        running(scorer, "reagent", **arguments) as method,
    ):
        hook = scorer.lm.model.register_forward_hook(lambda module, args, output: count(scorer, len(output.logits)))
        try:
            scores = rows(scorer, lambda target: step(scorer, method, target), lambda copies: copies[:, 0], mean=True)
        finally:
            hook.remove()
    if scores.isnan().any():
        raise MethodError(
            f"reagent looks for the {options['keep_top_n']} tokens that keep a target token among the model's "
            f"{options['stopping_condition_top_k']} likeliest; for some target token no probe found them within "
            f"{options['max_probe_steps']} steps. Raise stopping_condition_top_k or max_probe_steps, or attribute a "
            "target that the model generated."
        )
    return scores


RUNNERS: dict[str, Runner] = {
    "saliency": saliency,
    "input_x_gradient": input_x_gradient,
    "integrated_gradients": integrated_gradients,
    "gradient_shap": gradient_shap,
    "deeplift": deeplift,
    "discretized_integrated_gradients": discretized_integrated_gradients,
    "sequential_integrated_gradients": sequential_integrated_gradients,
    "feature_ablation": feature_ablation,
    "reagent": reagent,
    "value_zeroing": value_zeroing,
    "attention": attention,
}


def _hidden(scorer: Scorer, name: str, arguments: Options, reduction: str = "sum") -> Float[Tensor, "row feature"]:
    """Runs a method that scores hidden units."""
    with running(scorer, name) as method:
        return rows(scorer, lambda target: step(scorer, method, target, arguments), _reduce(reduction))


def _reduce(reduction: str) -> Reduce:
    def reduce(values: Float[Tensor, "source hidden"]) -> Float[Tensor, " source"]:
        return values.norm(dim=-1) if reduction == "l2_norm" else values.sum(-1)

    return reduce


def _on_a_path(scorer: Scorer, options: Options) -> dict[str, Any]:
    if options["n_steps"] == "auto":
        raise OptionError(
            "n_steps='auto' was asked on the engine 'inseq', which goes from target token to target token and does not "
            "measure the completeness gap: give a number, or ask for engine='captum'."
        )
    at_once = options["internal_batch_size"] or scorer.batch_size  # Inseq's default is all steps in one forward
    return {"n_steps": options["n_steps"], "method": options["method"], "internal_batch_size": at_once}


def _as_it_is(values: Float[Tensor, " source"]) -> Float[Tensor, " source"]:
    return values


def _one_of(name: str, asked: str | int) -> Reduce:
    """Returns what reduces the last axis: "mean", "max", "last", or one of it by its number.

    Raises:
        OptionError: When called, if there is none of that number.
    """

    def reduce(values: Tensor) -> Tensor:
        count = values.shape[-1]
        if asked == "mean":
            return values.mean(-1)
        if asked == "max":
            return values.amax(-1)
        index = count - 1 if asked == "last" else int(asked)
        if not 0 <= index < count:
            raise OptionError(f"the option {name} is {asked}; the model has {count}, numbered 0 to {count - 1}.")
        return values[..., index]

    return reduce


def _baseline_ids(scorer: Scorer, vocabulary: Float[Tensor, "vocab hidden"]) -> Int[Tensor, " source"]:
    """Returns the token whose embedding is the baseline of each position; a frozen position's is itself.

    Raises:
        MethodError: The baseline is no token's embedding.
    """
    device = scorer.lm.device
    ids = torch.tensor([*scorer.prompt_ids, *scorer.target_ids][: scorer.length], device=device)
    free = (scorer.features[: scorer.length] >= 0).to(device)
    for start in scorer.baseline_embeddings[free].unique(dim=0):
        same = (vocabulary == start).all(-1).nonzero().flatten()
        if not len(same):
            raise MethodError(
                "discretized_integrated_gradients walks from token to token, so its baseline must be a token's: "
                "baseline='pad' or 'token:TEXT'."
            )
        ids[free & (scorer.baseline_embeddings == start).all(-1)] = same[0]
    return ids


def plausible_tokens(scorer: Scorer) -> Any:
    """Returns what replaces each position that is not frozen by one of the model's likeliest tokens there."""
    lm = scorer.lm
    ids = torch.tensor([[*scorer.prompt_ids, *scorer.target_ids][: scorer.length]], device=lm.device)
    with torch.no_grad():
        outputs, _ = forward(lm, ids, scorer.length)
    count(scorer, 1)
    logits = outputs.logits[0].float().roll(1, 0)  # what position i - 1 expects at i; of the first nothing is known
    logits[0] = 0.0
    logits.scatter_(1, ids.T, -torch.inf)
    logits[:, [id_ for id_ in lm.tokenizer.all_special_ids if id_ < logits.shape[1]]] = -torch.inf
    top = logits.topk(min(PLAUSIBLE, logits.shape[1]))
    chances = top.values.softmax(-1)
    free = (scorer.features[: scorer.length] >= 0).to(lm.device)

    def sample(batch: Int[Tensor, "probe source"]) -> Int[Tensor, "probe source"]:
        drawn = torch.multinomial(chances[: batch.shape[1]], len(batch), replacement=True)  # [source, probe]
        found = top.indices[: batch.shape[1]].gather(1, drawn).T
        return torch.where(free[: batch.shape[1]], found, batch)

    return sample
