"""The style sheet that the HTML pages share: the report of one question, a run, a summary."""

import re
from pathlib import Path

_FILE = Path(__file__).with_name("report_page") / "theme.css"


def theme(*, scripted: bool = True) -> str:
    """Returns the style sheet, light and dark.

    Args:
        scripted: The page's script says which, in the `data-theme` of the root element; False: the reader's system
            does, and paper is light.
    """
    style = _FILE.read_text(encoding="utf-8")
    if scripted:
        return style
    block = re.compile(r':root\[data-theme="dark"\] (\{[^}]*\})')
    assert block.search(style)
    return block.sub(r"@media screen and (prefers-color-scheme: dark) { :root \1 }", style)
