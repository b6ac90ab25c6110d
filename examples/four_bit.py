"""Does a 4-bit model write the same word for the same reason?
Shows: `quantization="nf4"`, and one question put to two precisions."""

import torch

import spanwise

prompt, target = "The capital of France is called", " Paris."
scores = {}
for name, quantization in {"float32": None, "nf4": "nf4"}.items():
    lm = spanwise.load_model("tiny", quantization=quantization)
    result = spanwise.attribute(lm, prompt, target, span="Paris", method="saliency")
    scores[name] = result.scores[0]
    print(f"{name:8}", *(f"{token.text.strip()} {score:.3f}" for token, score in result.top(5)))

both = torch.stack(list(scores.values()))
correlation = torch.corrcoef(both[:, ~both.isnan().any(0)])[0, 1]
print(f"correlation of the scores: {correlation:.3f}")
