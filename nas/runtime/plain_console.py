"""Takes the place of rich where that is not installed: a bare machine with a GPU often has torch and timm alone."""

from __future__ import annotations

import sys


class PlainConsole:
    """Lines on standard error; nothing is redrawn.

    Attributes:
        quiet: Whether nothing is printed.
    """

    def __init__(self) -> None:
        self.quiet = False

    def say(self, text: str) -> None:
        """Print a line as it is; once nobody reads it any more, print nothing."""
        if self.quiet:
            return
        try:
            print(text, file=sys.stderr, flush=True)
        except BrokenPipeError:
            self.quiet = True

    def draw(self, title: str, total: int, done: int) -> None:
        """Draw no progress bar."""
