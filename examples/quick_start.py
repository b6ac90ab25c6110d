"""Which words of the prompt made the model write "Paris"?
Shows: load a model, attribute a span of the target, print the scores and write a figure."""

import spanwise

lm = spanwise.load_model("tiny")  # or a folder, or a name on the hub
result = spanwise.attribute(lm, "The capital of France is called", " Paris.", span="Paris", method="feature_ablation")

result.show()
result.plot("paris.png", kind="bars")

token, score = result.top(1)[0]
print(f"Without {token.text!r} the log-probability of {result.spans[0].text!r} falls by {score:.1f} nats.")
