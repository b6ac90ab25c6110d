"""Makes the pictures of the report in docs/images/: the bundled model's answers, in Debian's chromium.

    python docs/make_images.py             # all of them, about a minute on 2 cores
    python docs/make_images.py phone dark  # these only

Needs chromium and Playwright, as the tests of the report do.
"""

import dataclasses
import doctest
import random
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import spanwise
from spanwise.attribution import Attribution, Token
from spanwise.methods import METHODS
from spanwise.views.report import report

IMAGES = Path(__file__).parent / "images"
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "views"))

PROMPT = "Michael works as a software engineer in Austin, Texas. In his free time, he enjoys"
TARGET = " painting, traveling to different countries, and volunteering at community events."
SPAN = "traveling to different countries"
CHAT = [
    {"role": "system", "content": "簡潔に答えてください。絵文字 😀 も使えます。"},
    {"role": "user", "content": "ما هي عاصمة فرنسا؟ أجب بكلمة واحدة."},
    {"role": "assistant", "content": "باريس 🗼"},
    {"role": "user", "content": "भारत की राजधानी क्या है? नई दिल्ली या मुंबई?"},
]


def report_images(names: Sequence[str] = ()) -> None:
    """Writes docs/images/report-NAME.png for each name, or all of them."""
    from browser import Opened, started

    with started() as browser, tempfile.TemporaryDirectory() as folder:
        for name in names or PICTURES:
            results, size, act = PICTURES[name]
            path, scale = Path(folder) / f"{name}.html", 1 if name == "2000" else 1.5
            linear = {method: info.linear for method, info in METHODS.items()}
            report(results(), path, linear=linear)
            opened = Opened(
                browser, path, color_scheme="dark" if name == "dark" else "light", device_scale_factor=scale
            )
            opened.page.set_viewport_size({"width": size[0], "height": size[1]})
            act(opened)
            opened.page.wait_for_timeout(700)
            file = IMAGES / f"report-{name}.png"
            opened.page.screenshot(path=file)
            opened.context.close()
            smaller(file)
            print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB")


def smaller(file: Path) -> None:
    """Rewrites a picture with 256 colors, chosen so that rare ones, as in the color bar, count too."""
    picture = Image.open(file).convert("RGB")
    colors, counts = np.unique(np.asarray(picture).reshape(-1, 3), axis=0, return_counts=True)
    sample = np.repeat(colors, np.clip(np.sqrt(counts).astype(int), 1, 2000), axis=0)
    palette = Image.fromarray(sample[None].astype("uint8")).quantize(256, kmeans=1)
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(file, optimize=True)


def attributed(*methods: str, prompt: str = PROMPT, target: str = TARGET, **asked: Any) -> list[Attribution]:
    """Returns the bundled model's attributions by some methods, one row a target token."""
    lm = spanwise.load_model("tiny")
    return [spanwise.attribute(lm, prompt, target, method=method, rows="token", **asked) for method in methods]


def short() -> list[Attribution]:
    """Returns 10 source tokens."""
    return attributed(
        "feature_ablation", "saliency", prompt="Yesterday, the keys to the cabinet near the window", target=" are on"
    )


def middle() -> list[Attribution]:
    """Returns the example of `spanwise demo`."""
    return attributed("feature_ablation", "integrated_gradients", "saliency", span=SPAN)


def tour() -> list[Attribution]:
    """Returns what the blocks of tour.md hand to `report`, by running them."""
    text = (Path(__file__).parent / "tour.md").read_text(encoding="utf-8")
    session = "\n".join(re.findall(r"```python\n(.*?)```", text.split("report.html")[0] + '")```', flags=re.DOTALL))
    known: dict[str, Any] = {}
    for example in doctest.DocTestParser().get_examples(session):
        if not re.search(r"\.(plot|report)\(", example.source):
            exec(example.source, known)
    return [known["first"], *known["others"]]


def paragraphs(count: int) -> str:
    """Returns about `count` tokens that the bundled model knows."""
    examples = [example.prompt for example, _ in zip(spanwise.ground_truth(), range(400), strict=False)]
    random.Random(0).shuffle(examples)
    lm, text = spanwise.load_model("tiny"), PROMPT
    for number, example in enumerate(examples):
        longer = f"{example}.{chr(10) * 2 if number % 3 == 0 else ' '}{text}"
        if len(lm.tokenizer(longer).input_ids) > count:
            break
        text = longer
    return text


def long() -> list[Attribution]:
    """Returns about 400 source tokens."""
    return attributed("input_x_gradient", "saliency", prompt=paragraphs(400), span=SPAN)


def sixty() -> list[Attribution]:
    """Returns about 60 source tokens."""
    return attributed("feature_ablation", "input_x_gradient", prompt=paragraphs(62), span=SPAN)


def longest() -> list[Attribution]:
    """Returns 2,000 source and 200 target tokens with drawn scores: more than the bundled model's context holds."""
    result = long()[0]
    count, rows = 2000, 200
    source = _repeated(result.source[:400], count, "prompt")
    target = _repeated(result.target, rows, "target")
    generator = torch.Generator().manual_seed(0)
    scores = 0.02 * torch.randn(rows, count, generator=generator)
    for row in range(rows):  # a copied passage, and tokens that are named again
        scores[row, 300 + 7 * row : 304 + 7 * row] += 1.2
        scores[row, 60:72] += 0.5 * float(torch.rand(1, generator=generator))
    return [
        Attribution(
            scores=scores,
            span_scores=torch.zeros(0, count),
            target_scores=torch.zeros(rows),
            source=source,
            target=target,
            spans=(),
            rows="token",
            prompt="".join(token.text for token in source),
            target_text="".join(token.text for token in target),
            completeness_gap=None,
            provenance=dataclasses.replace(result.provenance, model="no model", method="drawn_at_random"),
        )
    ]


def _repeated(tokens: Sequence[Token], count: int, role: str) -> tuple[Token, ...]:
    found: list[Token] = []
    at = 0
    for i in range(count):
        text = tokens[i % len(tokens)].text
        found.append(Token(text, tokens[i % len(tokens)].id, at, at + len(text), role, positions=(i,)))
        at += len(text)
    return tuple(found)


def chat() -> list[Attribution]:
    """Returns a chat in Japanese, Arabic and Hindi, with emoji; the template's tokens have scores too."""
    lm = spanwise.load_model("tiny")
    target = "नई दिल्ली, インドの首都です 😀"
    return [spanwise.attribute(lm, messages=CHAT, target=target, method="input_x_gradient", frozen="none")]


def matrix(opened: Any) -> None:
    """Turns to the matrix."""
    opened.choose("view", "matrix")


def beside(opened: Any) -> None:
    """Puts the second method beside the first."""
    opened.page.select_option("#other", "1")


def phone(opened: Any) -> None:
    """Scrolls past the controls."""
    opened.page.evaluate("document.querySelector('.desk').scrollIntoView()")


def content(opened: Any) -> None:
    """Hides the template and takes words as units."""
    opened.page.uncheck("#template")
    opened.choose("level", "words")


def stay(opened: Any) -> None:
    """Leaves the page as it opens."""


PICTURES: dict[str, tuple[Callable[[], list[Attribution]], tuple[int, int], Callable[[Any], None]]] = {
    "10": (short, (1120, 620), matrix),
    "17": (middle, (1120, 720), stay),
    "tour": (tour, (1120, 720), stay),
    "60": (sixty, (1120, 760), beside),
    "400": (long, (1120, 860), stay),
    "2000": (longest, (1120, 860), matrix),
    "chat": (chat, (1120, 860), content),
    "phone": (middle, (390, 844), phone),
    "dark": (sixty, (1120, 720), stay),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    report_images(sys.argv[1:])
