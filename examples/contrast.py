"""Why "her" and not "his"? What speaks for any pronoun cancels out, and what decides between the two stays.
Shows: `objective=spanwise.contrast(foil)` beside the plain log-probability, by integrated gradients."""

import spanwise

lm = spanwise.load_model("tiny")
prompt, target = "Susan told Helen about", " her"  # in the bundled model's world, a pronoun means the first name

plain = spanwise.attribute(lm, prompt, target, span="her")
against = spanwise.attribute(lm, prompt, target, span="her", objective=spanwise.contrast("his"))

print(f"{'':10}{'her':>8}{'her, not his':>15}   (nats)")
for token, one, two in zip(plain.source, plain.scores[0], against.scores[0], strict=True):
    if not token.frozen:
        print(f"{token.text.strip():10}{one:8.2f}{two:15.2f}")
for name, result in {"her": plain, "her, not his": against}.items():
    print(f"strongest for {name!r}: {result.top(1)[0][0].text.strip()}")
