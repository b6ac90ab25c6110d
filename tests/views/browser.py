"""A real browser for the tests of the report: Debian's chromium, driven by Playwright."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def missing() -> str:
    """Why no browser can be driven here, or ""."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "Playwright is not installed: pip install playwright"
    return "" if CHROMIUM.is_file() else f"there is no {CHROMIUM}: apt-get install chromium"


@contextmanager
def started() -> Iterator[Any]:
    """The browser; the test is skipped with the reason where there is none."""
    if reason := missing():
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Opened:
    """A page of the report, and what went wrong or left it while it was open."""

    def __init__(self, browser: Any, path: Path, **context: Any) -> None:
        self.context = browser.new_context(permissions=["clipboard-read", "clipboard-write"], **context)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.address = path.resolve().as_uri()
        self.page.goto(self.address)

    def tokens(self, panel: str = "source") -> list[str]:
        """The texts of a panel's tokens."""
        return self.page.locator(f"#{panel} .token").all_text_contents()

    def table(self) -> list[list[str]]:
        """The cells of the table of the strongest."""
        return self.page.evaluate(
            "[...document.querySelectorAll('#top tbody tr')].map(r => [...r.cells].map(c => c.innerText))"
        )

    def until(self, condition: str) -> None:
        """Waits for a condition; Playwright's own way of waiting needs `eval`, which the page's policy refuses."""
        for _ in range(200):
            if self.page.evaluate(f"() => Boolean({condition})"):
                return
            self.page.wait_for_timeout(50)
        raise TimeoutError(condition)

    def choose(self, group: str, value: str) -> None:
        """Presses the radio button of a group that has this text."""
        self.page.locator(f"#{group} label", has_text=value).click()

    def csv(self) -> list[list[str]]:
        """What the CSV button copies."""
        import csv
        import io

        self.page.click("#csv")
        self.page.get_by_text("CSV copied.").wait_for()
        return list(csv.reader(io.StringIO(self.page.evaluate("navigator.clipboard.readText()"))))

    def scores(self, column: int = -1) -> list[float]:
        """The copied scores, NaN where there is none."""
        return [float(line[column] or "nan") for line in self.csv()[1:]]


def axe(folder: Path) -> str:
    """The script of axe-core, from npm; the test is skipped with the reason where it is not to be had."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: it brings axe-core")
    done = subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), "axe-core@4"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if done.returncode or not script.is_file():
        pytest.skip(f"npm could not install axe-core: {done.stderr[-200:]}")
    return script.read_text(encoding="utf-8")
