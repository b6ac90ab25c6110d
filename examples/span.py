"""Three ways to say which part of the answer you mean, and what is a row of the result.
Shows: spans by text, by regex and by phrase; two words that back each other up."""

import re

import spanwise

lm = spanwise.load_model("tiny")
prompt = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"
target = " painting, traveling to different countries, and volunteering at community events."
how = {"method": "feature_ablation"}

by_text = spanwise.attribute(lm, prompt, target, span="traveling to different countries", **how)
by_regex = spanwise.attribute(lm, prompt, target, span=re.compile(r"travel\w+ .*?(?=,)"), **how)
phrases = spanwise.attribute(lm, prompt, target, target_features="phrase", **how)
print("text and regex agree:", bool((by_text.scores - by_regex.scores).nan_to_num().abs().max() == 0))
print("rows:", phrases.row_labels)

job = prompt.index("software"), prompt.index(" in Austin")
together = spanwise.attribute(lm, prompt, target, span="traveling to different countries", features=[job], **how)
alone = {token.text.strip(): score for token, score in by_text.top(18)}
print(f"'software' off: {alone['software']:.2f} nats; 'engineer' off: {alone['engineer']:.2f} nats")
print(f"both off: {together.scores[0].nansum():.2f} nats")
