"""A transformers pipeline whose outputs say what made them.
Shows: `spanwise.explain(pipe)` is called like the pipeline and gives what it gives, and an attribution."""

import transformers

import spanwise

lm = spanwise.load_model("tiny")
pipe = transformers.pipeline("text-generation", model=lm.model, tokenizer=lm.tokenizer)
explained = spanwise.explain(pipe, method="feature_ablation", rows="span")

for output in explained("The capital of France is called", max_new_tokens=4, do_sample=False):
    found = output["attribution"]
    token, score = found.top(1)[0]
    print(f"generated: {output['generated_text']!r}")
    print(f"strongest for {found.target_text!r}: {token.text!r} ({score:.1f} nats)")
