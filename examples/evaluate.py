"""Is an attribution faithful to the model, and more so than chance?
Shows: `spanwise.evaluate` on prompts whose causes are known, for a method that finds them and one that does not."""

import spanwise

lm = spanwise.load_model("tiny")
prompts = [each for each in spanwise.ground_truth() if each.family == "facts"][:6]

for method in ("feature_ablation", "input_x_gradient"):
    results = [spanwise.attribute(lm, each.prompt, each.target, span=each.span, method=method) for each in prompts]
    line = spanwise.evaluate(lm, results, removed="mask", steps=4).line("naopc")
    right = 0
    for each, result in zip(prompts, results, strict=True):
        top, _ = result.top(1)[0]
        right += any(start < top.end and top.start < end for start, end in each.causes)
    print(f"{method}: beats random rankings: {line.beats_random}; top token is a cause: {right} of {len(prompts)}")
