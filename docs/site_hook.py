"""For the site: what its pages have beyond the Markdown that stands in docs/. Named in mkdocs.yml as a hook."""

import re
from typing import Any

PAPER = re.compile(r"(?<![\[/\w])arXiv:(\d{4}\.\d{4,5})\b")


def on_page_markdown(markdown: str, **known: Any) -> str:
    r"""Returns a page with consoles told from code, and papers linked outside of code.

    The copy button leaves prompts and output of a console out: site.css hides them while it reads the block.

    >>> on_page_markdown("```python\n>>> 1 + 1\n2\n```\nafter arXiv:1703.01365, eq. 1\n")
    '```pycon\n>>> 1 + 1\n2\n```\nafter [arXiv:1703.01365](https://arxiv.org/abs/1703.01365), eq. 1\n'
    >>> on_page_markdown("```python\nabout = 'arXiv:1703.01365'\n```\n`arXiv:1703.01365`\n")
    "```python\nabout = 'arXiv:1703.01365'\n```\n`arXiv:1703.01365`\n"
    """
    markdown = re.sub(r"^```python\n(?=>>> )", "```pycon\n", markdown, flags=re.MULTILINE)
    parts = re.split(r"(^```.*?^```$|`[^`\n]+`)", markdown, flags=re.MULTILINE | re.DOTALL)  # code at odd places
    parts[::2] = [PAPER.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", part) for part in parts[::2]]
    return "".join(parts)
