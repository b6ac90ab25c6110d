"""For the API page: reads our docstrings as they are meant. Named in mkdocs.yml as an extension of Griffe.

"Example:" is the section that Griffe's Google parser calls "Examples:", and a doctest outside a section is code.
"""

import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Rewrites docstrings before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrites the docstring of one module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = readable(obj.docstring.value)


def readable(text: str) -> str:
    r"""Returns the docstring with its examples as Griffe and Markdown know them.

    >>> readable("A sum.\n\n>>> 1 + 1\n2\n")
    'A sum.\n\n```pycon\n>>> 1 + 1\n2\n```\n'
    """
    text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
    text = re.sub(r"(?<![`\[/\w])arXiv:(\d{4}\.\d{4,5})\b", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)
    return re.sub(r"(?:^>>> (?:.+\n?)+)", lambda found: f"```pycon\n{found.group().rstrip()}\n```\n", text, flags=re.M)
