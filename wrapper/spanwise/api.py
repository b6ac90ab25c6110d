"""`attribute()`: check, ask, tell."""

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from spanwise.asking import check
from spanwise.attribution import Attribution
from spanwise.errors import AttributionWarning
from spanwise.model.language_model import LanguageModel
from spanwise.model.memory import peak_memory_gib
from spanwise.scoring.baselines import BaselineLike
from spanwise.scoring.contrast import Contrast
from spanwise.scoring.objectives import Objective, Value
from spanwise.text.chat import Message
from spanwise.text.composing import FeaturesLike
from spanwise.text.spans import SpanLike
from spanwise.text.target_parts import TargetFeatures


def attribute(
    lm: LanguageModel,
    prompt: str | None = None,
    target: str | Sequence[int] | Tensor | None = None,
    *,
    messages: Sequence[Message] | None = None,
    tools: Sequence[Any] | None = None,
    template_options: Mapping[str, Any] | None = None,
    span: SpanLike | Sequence[SpanLike] | None = None,
    occurrence: int | Literal["all"] | None = None,
    method: str = "integrated_gradients",
    engine: str = "auto",
    objective: str | Objective | Contrast | Value = "log_prob",
    features: FeaturesLike = "token",
    target_features: TargetFeatures | None = None,
    source: SpanLike | Sequence[SpanLike] | None = None,
    frozen: Literal["special", "none"] = "special",
    prefix: Literal["fixed", "attributed"] = "fixed",
    baseline: BaselineLike | None = None,
    rows: Literal["auto", "token", "span"] = "auto",
    strict_boundary: bool = False,
    method_options: Mapping[str, Any] | None = None,
    generation_options: Mapping[str, Any] | None = None,
    batch_size: int | Literal["auto"] = "auto",
    checkpointing: bool = False,
    seed: int = 0,
    progress: bool | None = None,
) -> Attribution:
    """Returns how much each part of the input had to do with the target, or with spans of it.

    Args:
        lm: The model, from `load_model` or `LanguageModel(model, tokenizer)`.
        prompt: What the model was given, as a text.
        target: What it wrote: a text, token ids, or None to have the model generate it.
        messages: What it was given, as messages with "role" and "content", rendered by the model's chat template.
        tools: With messages: what the model may call, as its template takes it.
        template_options: With messages: variables of the template, "add_generation_prompt" (True) and
            "continue_final_message" (False) among them.
        span: The part of the target to explain, or several: literal text, a compiled regex, (start, end) characters
            of the target, `spanwise.tokens(a, b)`, or `spanwise.role("reasoning")` or "answer". None: every target
            token for itself.
        occurrence: For a span found several times: which one, counted from 0, or "all".
        method: See `spanwise.list_methods()`.
        engine: "auto", or the engine to insist on.
        objective: "log_prob" (nats), "prob", "logit" or "entropy" of each target token, `spanwise.contrast(foil)`,
            `spanwise.kl()`, `spanwise.probe(layer, weights)`, or a function (outputs, context) -> [batch, target]; over
            a span they are added.
        features: What is switched on and off, and scored, as one: "token", "word", "sentence", "paragraph", "message";
            a list of (start, end) characters of the prompt; `spanwise.documents([...])`, which also puts the documents
            before the prompt; `spanwise.template(...)`, which is the prompt.
        target_features: One row for each "word", "phrase" or "sentence" of the target (or of the spans), or for each of
            these spans.
        source: The part of the prompt to attribute to: a text or regex (every place), (start, end) characters,
            `spanwise.tokens(a, b)`, `spanwise.role("user")`, or several. The rest is kept as it is.
        frozen: "special": special tokens, and what a chat template wrote, are kept as they are and get no score;
            "none": they do.
        prefix: "fixed": target tokens already written are kept as they are and get no score; "attributed": they do.
        baseline: What a feature becomes when it is off: "unk", "pad" or "token:TEXT" (tokens), "zero" or "mean"
            (embeddings), a tensor of embeddings, [hidden] or [source, hidden]; for perturbation methods also "mask"
            (hidden from attention), "delete" (left out, positions close up), "text:TEXT" or a function from a feature's
            text to another (the prompt is written and tokenized anew). Default: the first of `MethodInfo.baselines`
            there is; for a template its own.
        rows: "token": one row a target token; "span": one row a span; "auto": "span" where a span was asked for or
            the method knows nothing else.
        strict_boundary: Refuse a token that would straddle prompt and target.
        method_options: The method's own, such as {"n_steps": 100}; see `MethodInfo.options`.
        generation_options: For a target that is generated, as the model's `generate` takes them.
        batch_size: Sequences a forward; "auto" is halved where memory runs out, a number is kept.
        checkpointing: Compute activations again in the backward instead of keeping them: about a third more time for
            gradient methods, and memory for one block instead of all.
        seed: For methods and generation that sample.
        progress: None: a bar on a terminal after two seconds; True: always; False: never.

    Raises:
        AttributionError: What was asked cannot be done; `spanwise.errors` lists the kinds.

    Example:
        >>> import spanwise
        >>> lm = spanwise.load_model("tiny")
        >>> prompt = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"
        >>> target = " painting, traveling to different countries, and volunteering at community events."
        >>> result = spanwise.attribute(lm, prompt, target, span="different countries", method="feature_ablation")
        >>> result.scores.shape == (1, len(result.source))
        True
    """
    started = time.perf_counter()
    asked = check(
        lm,
        method=method,
        engine=engine,
        objective=objective,
        method_options=method_options,
        generation_options=generation_options,
        baseline=baseline,
        batch_size=batch_size,
        checkpointing=checkpointing,
        seed=seed,
        strict_boundary=strict_boundary,
        composing={"tools": tools, "template_options": template_options, "features": features},
        axes={
            "occurrence": occurrence,
            "target_features": target_features,
            "source": source,
            "rows": rows,
            "frozen": frozen,
            "prefix": prefix,
        },
        target=target,
        progress=progress,
    )
    composed = asked.composed(prompt, messages)
    with lm.session() as warning:
        if warning:
            warnings.warn(warning, AttributionWarning, stacklevel=2)
        question = asked.question(composed, target, span)
        found = question.answer()
    for note in asked.warnings(found):
        warnings.warn(note, AttributionWarning, stacklevel=2)
    return asked.result(
        question,
        found,
        generated=target is None,
        seconds=time.perf_counter() - started,
        peak_memory_gib=peak_memory_gib(lm.device),
    )
