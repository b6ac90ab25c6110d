"""Code written for Captum, with one import line changed.
Shows: the same classes and results; a 4-bit model works, and the scores are right for longer targets too."""

import captum.attr

import spanwise
from spanwise.compat.captum import FeatureAblation, LLMAttribution, TextTokenInput

lm = spanwise.load_model("tiny", quantization="nf4")
model, tokenizer = lm.model, lm.tokenizer

ablation = LLMAttribution(FeatureAblation(model), tokenizer)
result = ablation.attribute(
    TextTokenInput("The capital of France is called", tokenizer), target=" Paris.", forward_in_tokens=False
)

assert isinstance(result, captum.attr.LLMAttributionResult)
rows, columns = result.token_attr.shape
print(f"Captum's own LLMAttributionResult, {rows} target tokens by {columns} source tokens; nats of the whole target:")
for token, score in zip(result.input_tokens, result.seq_attr, strict=True):
    print(f"{token.lstrip('Ġ'):10}{score:8.2f}")
