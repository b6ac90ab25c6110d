"""Code written for Inseq, with one import line changed.
Shows: the same calls and Inseq's own result, from a loaded model."""

import spanwise
import spanwise.compat.inseq as inseq

lm = spanwise.load_model("tiny")
model = inseq.load_model(lm.model, "input_x_gradient", tokenizer=lm.tokenizer)

prompt = "The capital of France is called"
out = model.attribute(prompt, prompt + " Paris.", step_scores=["probability"], show_progress=False)[0]

scores = out.aggregate().target_attributions[:, 0]  # of the first token that is written; the hidden axis as its length
probability, written = out.step_scores["probability"][0], out.target[out.attr_pos_start].token.lstrip("Ġ")
print(f"Inseq's own {type(out).__name__}; {written!r}, probability {probability:.3f}, shares of the prompt:")
for token, score in zip(out.source, scores, strict=False):
    print(f"{token.token.lstrip('Ġ'):10}{score:8.3f}")
