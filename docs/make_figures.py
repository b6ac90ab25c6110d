"""Writes the pictures of docs/figures.md: every kind of figure, from 10 to 2,000 source tokens, and a chat in scripts.

    python docs/make_figures.py                 # into docs/images, a minute on 2 cores
    python docs/make_figures.py --out FOLDER    # elsewhere

The fonts Noto Sans and Noto Sans CJK are needed (Debian: fonts-noto-core, fonts-noto-cjk). Up to 400 tokens the scores
are the bundled model's. It reads no more than 512, and no other script: the scores of the longest text and of the chat
are made up.
"""

import argparse
import math
import re
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image

import spanwise
from spanwise.attribution import Attribution, Provenance, Span, Token

HERE = Path(__file__).parent
WIDTH = "page"
CHAT = (
    ("system", "短く、正確に答えてください。"),
    ("user", "東京から京都まで、新幹線で何時間かかりますか？ 🚄"),
    ("assistant", "のぞみで約2時間15分です。"),
    ("user", "شكرًا! وكم يكلّف القطار من القاهرة إلى الإسكندرية؟ 🎉"),
    ("assistant", "حوالي 100 جنيه مصري في الدرجة الثانية."),
    ("user", "धन्यवाद! दिल्ली से आगरा की दूरी कितनी है? 🙏🏽👩‍👩‍👧"),
)
ANSWER = "लगभग 230 किलोमीटर, यानी ट्रेन से दो घंटे।"


def examples(count: int, words: int) -> tuple[str, str, str]:
    """Returns a prompt of at least `words` words out of `count` planted prompts, the question last, its answer."""
    found = spanwise.ground_truth()[:count]
    *before, last = found
    told = [f"{example.prompt}{example.target}" for example in before]
    while sum(len(text.split()) for text in told) > words:
        told.pop()
    return "\n".join([*told, last.prompt]), last.target, last.span


def attribution(lm: spanwise.LanguageModel, words: int, **asked: object) -> Attribution:
    """Returns a real result for a prompt of about that many words."""
    prompt, target, span = examples(200, words)
    return spanwise.attribute(lm, prompt, target, method="input_x_gradient", **({"span": span} | asked))


def made_up(messages: tuple[tuple[str, str], ...], answer: str, asked: str) -> Attribution:
    """Returns a result with invented scores: some strong tokens, the others near zero."""
    pieces: list[tuple[str, str, int | None, bool]] = []
    for number, (role, text) in enumerate(messages):
        pieces.append((f"<|{role}|>", role, number, True))
        pieces += [(word, role, number, False) for word in _tokens(text)]
        pieces.append(("\n", role, number, True))
    source, at = [], 0
    for i, (text, role, number, template) in enumerate(pieces):
        source.append(Token(text, i, at, at + len(text), role, frozen=template, template=template, message=number))
        at += len(text)
    target, at = [], 0
    for i, text in enumerate(_tokens(answer)):
        target.append(Token(text, i, at, at + len(text), "target"))
        at += len(text)
    start = answer.index(asked)
    inside = [i for i, token in enumerate(target) if token.end > start and token.start < start + len(asked)]
    span = Span(asked, start, start + len(asked), inside[0], inside[-1] + 1)
    random = torch.Generator().manual_seed(7)
    scores = torch.randn(1, len(source), generator=random) * 0.08
    strong = torch.rand(1, len(source), generator=random) < 0.12
    scores = scores + strong * torch.randn(1, len(source), generator=random)
    scores[:, [i for i, token in enumerate(source) if token.frozen]] = math.nan
    return Attribution(
        scores=scores,
        span_scores=scores.clone(),
        target_scores=torch.zeros(len(target)),
        source=tuple(source),
        target=tuple(target),
        spans=(span,),
        rows="span",
        prompt="".join(token.text for token in source),
        target_text=answer,
        completeness_gap=None,
        provenance=Provenance("none", "", "none", "none", "log_prob", None, {}, 0),
    )


def _tokens(text: str) -> list[str]:
    """Returns words, two characters at a time where a script has no spaces, as vocabularies have them."""
    found = []
    for word in re.findall(r"\s*[^\s]+|\s+", text):
        size = 2 if re.search("[\u3000-\u9fff]", word) else 5
        found += [word[i : i + size] for i in range(0, len(word), size)]
    return found


def long_text(words: int) -> tuple[tuple[str, str], ...]:
    """Returns a chat of one message with about that many words of the planted prompts."""
    told: list[str] = []
    for example in spanwise.ground_truth():
        told.append(f"{example.prompt}{example.target}")
        if sum(len(text.split()) for text in told) >= words:
            break
    return (("user", " ".join(told)),)


def in_axes(lm: spanwise.LanguageModel, path: Path) -> None:
    """Writes a figure of a user's with three results in it."""
    figure = Figure((7.2, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    result = attribution(lm, 20)
    result.plot(ax=left, kind="bars", title="bars")
    attribution(lm, 20, span=None).plot(ax=right, kind="heatmap", title="heatmap", colorbar=True)
    figure.savefig(path, dpi=110)


def main(out: Path) -> None:
    """Writes everything into the folder `out`."""
    lm = spanwise.load_model("tiny")
    counts = {"10": 4, "60": 45, "400": 300}
    for name, words in counts.items():
        spans, rows = attribution(lm, words), attribution(lm, words, span=None)
        rows.plot(out / f"heatmap-{name}.png", width=WIDTH)
        spans.plot(out / f"bars-{name}.png", kind="bars", width=WIDTH)
        spans.plot(out / f"strip-{name}.png", kind="strip", width=WIDTH)
        print(name, len(spans.source))
    longest = made_up(long_text(1200), " That is what they said.", "they said")
    chat = made_up(CHAT, ANSWER, "230 किलोमीटर")
    print(len(longest.source), len(chat.source))
    for kind in ("heatmap", "bars", "strip"):
        longest.plot(out / f"{kind}-2000.png", kind=kind, width=WIDTH, title="A long text with made-up scores")
        chat.plot(out / f"{kind}-chat.png", kind=kind, width=WIDTH, title="A chat with made-up scores")
    attribution(lm, 45).plot(out / "strip-column.png", kind="strip", width="column")
    in_axes(lm, out / "axes.png")
    for path in (
        out / "axes.png",
        *(path for kind in ("heatmap", "bars", "strip") for path in out.glob(f"{kind}-*.png")),
    ):
        shrink(path)


def shrink(path: Path) -> None:
    """Makes a picture small enough for a repository, at most 150 kB."""
    with Image.open(path) as image:
        whole = image.convert("RGB")
    scale = 0.85
    while True:
        size = (round(whole.width * scale), round(whole.height * scale))
        whole.resize(size, Image.Resampling.LANCZOS).save(path, optimize=True)
        if path.stat().st_size < 150_000:
            return
        scale *= 0.9


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "images", help="The folder; default: docs/images.")
    main(parser.parse_args().out)
