"""Code written for Inseq, with one import line changed.
Shows: the same calls and Inseq's own result, from a loaded model."""

import spanwise
import spanwise.compat.inseq as inseq

lm = spanwise.load_model("tiny")
model = inseq.load_model(lm.model, "input_x_gradient", tokenizer=lm.tokenizer)

prompt = "The capital of France is called"
out = model.attribute(prompt, prompt + " Paris.", step_scores=["probability"], show_progress=False)[0]

print("Inseq's own result:", type(out).__name__)
for token, probability in zip(out.target[out.attr_pos_start :], out.step_scores["probability"], strict=True):
    print(f"{token.token.lstrip('Ġ'):10}{probability:8.3f}")
