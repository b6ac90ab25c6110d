"""The report's file and the notebook's view, as text: complete, without loss, one question, nothing that can run."""

import base64
import dataclasses
import hashlib
import html
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROMPT, TARGET
from random_result import random_result

import spanwise
from spanwise.attribution import Attribution
from spanwise.cli.view import view
from spanwise.errors import FileError, InputError
from spanwise.views import notebook
from spanwise.views.report import as_json, page, report
from spanwise.views.report_data import labels, page_data, plain

EVIL = "<script>alert(1)</script></style>\"'><img src=x onerror=alert(2)>\u202e{{script}}&lt;\u2028<!--\ud800"


class Reader(HTMLParser):
    """The elements of a page with their attributes, and the text inside each kind."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.now = ""
        self.inside: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.now = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        self.now = ""

    def handle_data(self, data: str) -> None:
        self.inside[self.now] = self.inside.get(self.now, "") + data


def renamed(result: Attribution, method: str, **facts: object) -> Attribution:
    return dataclasses.replace(result, provenance=dataclasses.replace(result.provenance, method=method, **facts))


def data_of(text: str) -> dict:
    return json.loads(Reader(text).inside["data"])


def test_scores_are_packed_without_loss() -> None:
    result = random_result(40, 9, spans=2, prefix=True)
    found = data_of(page([result]))["methods"][0]
    packed = np.frombuffer(base64.b64decode(found["scores"]), dtype="<f4").reshape(result.scores.shape)
    np.testing.assert_array_equal(packed, result.scores.numpy())
    assert found["provenance"]["model"] == "a/model" and found["gap"] == 0.0034


def test_pieces_add_up_to_the_texts(lm: spanwise.LanguageModel) -> None:
    """Bytes of one character stand once; a token without text stands as its id; gaps belong to no token."""
    prompt, target = "naïve 日本語 👩‍👩‍👧 café\n\n" + PROMPT, " 日本 😀 " + TARGET
    for result in (
        spanwise.attribute(lm, prompt, target, method="saliency", prefix="attributed"),
        spanwise.attribute(lm, prompt, target, method="saliency", features="word"),
        spanwise.attribute(lm, prompt, target, method="saliency", span=["日本", TARGET]),
    ):
        found = data_of(page([result]))
        for name, whole in (("prompt", prompt), ("target", target)):
            assert "".join(text for text, _ in found[name]) == whole
        columns = {i for name in ("prompt", "prefix") for _, inside in found[name] for i in inside}
        assert columns == set(range(len(found["columns"]["text"])))
    assert {row for _, rows in found["target"] for row in rows} == {0, 1}


def test_tokens_without_text_and_frozen_ones() -> None:
    result = random_result()
    bare = tuple(dataclasses.replace(t, text="", end=t.start) if t.special else t for t in result.source)
    pieces = data_of(page([dataclasses.replace(result, source=bare)]))["prompt"]
    assert ["[5]", [5]] in pieces and ["<s>", []] in pieces


def test_levels_are_those_of_by(lm: spanwise.LanguageModel) -> None:
    result = spanwise.attribute(lm, "The keys. " + PROMPT, TARGET, method="feature_ablation", span="different")
    found = {level["name"]: level for level in data_of(page([result]))["levels"]}
    for name in ("word", "sentence"):
        joined = result.by(name)
        assert found[name]["text"] == joined.source_tokens[: len(found[name]["text"])]
        group = torch.tensor(found[name]["group"])
        sums = torch.zeros(int(group.max()) + 1).index_add_(0, group, result.scores[0, : len(group)].nan_to_num())
        torch.testing.assert_close(sums, joined.scores[0, : len(sums)].nan_to_num())
        assert found[name]["notes"] == [joined.provenance.notes[-1]]


def test_file_is_whole_and_allows_only_its_own_script(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report([random_result()], path)
    text = path.read_text(encoding="utf-8")
    read = Reader(text)
    policy = next(a["content"] for _, a in read.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    for tag, closing in (("style", "</style>"), ('script type="module"', "</script>")):
        inner = text.split(f"<{tag}>")[1].split(closing)[0]
        assert f"'sha256-{base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()}'" in policy
    assert not any(name in ("style", "src") or name.startswith("on") for _, a in read.elements for name in a)
    links = [value for _, a in read.elements for name, value in a.items() if name in ("href", "action", "srcset")]
    assert links == ["data:,"] and "http" not in re.sub(r'xmlns="[^"]+"|http-equiv', "", text)
    assert list(tmp_path.iterdir()) == [path]


def test_no_text_becomes_markup() -> None:
    """Not in the data, not in the title, not in the checks; and the data comes back as it was."""
    result = dataclasses.replace(random_result(), prompt=EVIL + random_result().prompt)
    text = page([result], title=EVIL, checks={EVIL: [{EVIL: EVIL}]})
    names = [tag for tag, _ in Reader(text).elements]
    assert names.count("script") == 2 and names.count("style") == 1 and "img" not in names
    assert data_of(text)["checks"] == {EVIL: [{EVIL: EVIL}]} and data_of(text)["title"] == EVIL
    assert text.encode("utf-8") and "\u202e" not in Reader(text).inside["title"]
    assert not set("<>&\u2028\u2029") & set(as_json(EVIL))
    shown = notebook.html(dataclasses.replace(result, provenance=dataclasses.replace(result.provenance, model=EVIL)))
    assert {tag for tag, _ in Reader(shown).elements} <= {"div", "span", "b", "bdi", "table", "tr", "td"}


def test_results_of_two_questions_are_refused() -> None:
    one = random_result()
    for other, what in (
        (dataclasses.replace(one, prompt="another"), "prompt"),
        (random_result(12), "prompt"),
        (random_result(spans=1), "spans"),
        (random_result(prefix=True, target=8), "target"),
    ):
        with pytest.raises(InputError, match=f"result 1 .integrated_gradients. and result 2 .* differ in {what}"):
            page([one, other])
    with pytest.raises(InputError, match="at least one result"):
        page([])
    with pytest.raises(InputError, match="differ in rows"):
        page([random_result(spans=9, rows="span"), random_result(spans=9)])


def test_paths(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"an '\.html' file, not 'report\.pdf'"):
        report([random_result()], tmp_path / "report.pdf")
    with pytest.raises(FileError, match="there is no folder"):
        report([random_result()], tmp_path / "nowhere" / "report.html")


def test_names_tell_results_apart() -> None:
    one = random_result()
    other = renamed(one, "saliency")
    assert labels([one, other]) == ["integrated_gradients", "saliency"]
    twins = [one, renamed(one, "integrated_gradients", quantization="nf4"), one]
    assert labels(twins) == [
        "integrated_gradients, float32",
        "integrated_gradients, nf4",
        "integrated_gradients, float32 (2)",
    ]


def test_whether_rows_add_up_is_said() -> None:
    """Only where the method is linear, keeps the sign and adds: a norm of rows is not the norm of the sum."""

    def linear(result: Attribution, known: dict[str, bool]) -> object:
        return page_data([result], known, {}, "")["methods"][0]["linear"]

    result = random_result()
    assert linear(result, {}) is None
    assert linear(result, {"integrated_gradients": True}) is True
    assert linear(result, {"integrated_gradients": False}) is False
    assert linear(renamed(result, "integrated_gradients", reduction="l2_norm"), {"integrated_gradients": True}) is False
    assert linear(random_result(signed=False), {"integrated_gradients": True}) is False


def test_checks_are_made_plain() -> None:
    class Found:
        def as_dict(self) -> dict[str, object]:
            return {"gap": math.nan, 1: (torch.tensor([1.0, math.inf]), Path("a"))}

    whole = {"format": "spanwise.attribution", "scores": [[1.0]]}
    assert plain({"results": {"saliency": whole}, "refused": {}, "calls": 3}) == {"refused": {}, "calls": 3}
    assert plain({"evaluation": Found()}) == {"evaluation": {"gap": None, "1": [[1.0, None], "a"]}}


def test_notebook_view_is_one_static_card(lm: spanwise.LanguageModel) -> None:
    """No script and no outside style; frozen tokens hatched; the strongest tokens and the unit."""
    result = spanwise.attribute(lm, PROMPT, TARGET, method="feature_ablation", span=["painting", "different"])
    shown = notebook.html(result)
    names = [tag for tag, _ in Reader(shown).elements]
    assert not {"script", "style", "link", "img"} & set(names) and names.count("table") == 2
    assert "log_prob, nats" in shown and "feature_ablation (captum) of qwen2 (float32)" in shown
    token, score = result.top(1)[0]
    assert f"{score:+.4g}" in shown and html.escape(token.text.strip()) in shown
    assert "repeating-linear-gradient" in notebook.html(random_result())
    both = notebook.html(
        [result, spanwise.attribute(lm, PROMPT, TARGET, method="saliency", span=["painting", "different"])]
    )
    assert "saliency (captum)" in both and "sum of" not in both


def test_notebook_view_of_long_and_many_results_is_cut_and_says_so() -> None:
    shown = notebook.html(random_result(2000, 60, spans=9))
    assert len(shown) < 400_000 and "source tokens" in shown and "left out" in shown and "spans [" in shown
    many = [renamed(random_result(), f"method_{i}") for i in range(10)]
    assert "2 more results not shown" in notebook.html(many)


def test_notebook_text_reads_on_its_color() -> None:
    """At least 4.5 to 1, for black on white down to white on the full color."""

    def luminance(color: tuple[int, int, int]) -> float:
        parts = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for score in torch.linspace(-1, 1, 101).tolist():
        for signed in (True, False):
            color = notebook._color(score, 1.0, signed)
            low, high = sorted((luminance(color), luminance(notebook._ink(color))))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (score, color)


def test_command_writes_a_page_of_saved_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webbrowser.open", lambda address: pytest.fail(f"opened {address}"))
    one, other, check = tmp_path / "run.safetensors", tmp_path / "other.safetensors", tmp_path / "evaluation.json"
    random_result().save(one)
    renamed(random_result(), "saliency").save(other)
    check.write_text('{"calls": 12}')
    view([one, other], check=[check])
    assert capsys.readouterr().out == f"wrote {tmp_path / 'run.html'}\n"
    found = data_of((tmp_path / "run.html").read_text(encoding="utf-8"))
    assert [method["name"] for method in found["methods"]] == ["integrated_gradients", "saliency"]
    assert found["checks"] == {"evaluation": {"calls": 12}} and found["methods"][0]["linear"] is True
    check.write_text("{")
    with pytest.raises(FileError, match="cannot read the checks from"):
        view([one], check=[check])
    with pytest.raises(FileError, match=r"there is no file .*missing"):
        view([tmp_path / "missing.safetensors"])
