"""Pages in a real browser: what their letters cover, whether they scroll sideways, what they ask the network for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
#: Texts whose places are compared: ticks, titles and names of figures, and the words of drawings.
LABELS = (
    ".xtick text, .ytick text, .annotation-text, .g-xtitle text, .g-ytitle text, .legendtext, "
    ".drawing svg text, .drawings svg text"
)
_BOXES = """labels => [...document.querySelectorAll(labels)].map(each => {
  const box = each.getBoundingClientRect(), owner = each.closest(".figure") ?? each.closest("svg");
  return {text: each.textContent, figure: owner.id || owner.querySelector("title")?.textContent,
          left: box.left, right: box.right, top: box.top, bottom: box.bottom};
}).filter(box => box.text.trim() && box.right > box.left && box.bottom > box.top)"""
_SLACK = 2.0  # pixels by which boxes of letters may touch: letters do not fill them


@dataclass
class Visit:
    """A page that is open.

    Args:
        page: Playwright's page.
        complaints: What the page wrote to the console, or raised.
        requests: Addresses that it asked for, its own left out.
    """

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def overlapping(self, labels: str = LABELS) -> list[tuple[str, str, str]]:
        """Return the figure and the texts of labels of one figure that lie on one another."""
        by_figure: dict[str, list[dict[str, Any]]] = {}
        for box in self.page.evaluate(_BOXES, labels):
            by_figure.setdefault(box["figure"], []).append(box)
        assert by_figure, "no label was found"
        return [
            (name, one["text"], other["text"])
            for name, boxes in by_figure.items()
            for one, other in combinations(boxes, 2)
            if min(one["right"], other["right"]) - max(one["left"], other["left"]) > _SLACK
            and min(one["bottom"], other["bottom"]) - max(one["top"], other["top"]) > _SLACK
        ]

    def sideways(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@contextmanager
def visiting(address: str, width: int = 1280, scheme: str = "light") -> Iterator[Visit]:
    """Open a page in Chromium; skip the test where there is none.

    Args:
        address: URL.
        width: Of the window, in pixels.
        scheme: ``light`` or ``dark``.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH; install it or name one in CHROMIUM")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            visit = Visit(page)
            page.on("console", lambda message: visit.complaints.append(f"{message.type}: {message.text}"))
            page.on("pageerror", lambda error: visit.complaints.append(str(error)))
            page.on("request", lambda request: visit.requests.append(request.url))
            page.goto(address)
            visit.requests.remove(address)
            yield visit
        finally:
            browser.close()


def file_address(path: Path) -> str:
    """Return the URL of a file."""
    return path.resolve().as_uri()
