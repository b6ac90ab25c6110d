"""Do methods agree on one question? They do not have to, and the answer says where they part.
Shows: `spanwise.compare`, its sentences, and a report with all methods side by side."""

import spanwise

lm = spanwise.load_model("tiny")
together = spanwise.compare(
    lm,
    "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys",
    " painting, traveling to different countries, and volunteering at community events.",
    span="traveling to different countries",
    methods=["integrated_gradients", "saliency", "shapley_value_sampling", "input_x_gradient"],
)
for sentence in together.sentences:
    print(sentence)
print()
for pair in together.to_dataframe().itertuples():
    print(f"{pair.one:25}{pair.other:25}{pair.spearman:6.2f}")
together.results["saliency"].report("report.html", others=together.results["integrated_gradients"])
