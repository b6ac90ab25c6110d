"""What the user wrote, and not the chat template, as the source.
Shows: `messages=`, `source=spanwise.role("user")`, and who holds the scores when nothing is frozen."""

import spanwise

lm = spanwise.load_model("tiny")
messages = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "The capital of France is called"},
]
mine = spanwise.attribute(
    lm,
    messages=messages,
    target=" Paris",
    span="Paris",
    source=spanwise.role("user"),
    features="word",
    method="feature_ablation",
)
mine.show()

whole = spanwise.attribute(lm, messages=messages, target=" Paris", rows="span", frozen="none", method="attention")
for part in whole.mass():
    if not part.frozen:
        print(f"{part.group}: {part.share:.0%} of the attention")
