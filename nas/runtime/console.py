"""Output for people while work goes on: lines on stderr, a log file, progress with rate and time left.

Standard output is left to results, so that ``--json`` can be piped.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from nas.runtime.plain_console import PlainConsole
from nas.runtime.secrets import redact

if TYPE_CHECKING:
    from nas.runtime.rich_console import RichConsole


def _open_console() -> RichConsole | PlainConsole:
    """Return rich's console, or where rich is not installed one that draws nothing."""
    if find_spec("rich") is None:
        return PlainConsole()
    from nas.runtime.rich_console import RichConsole

    return RichConsole()


console = _open_console()

_PRINT_SECONDS = 15.0  # how often progress is printed where there is no terminal to redraw
_SHORTEST_PRINTED = 1.0  # seconds; shorter phases are not worth a line there


class Log:
    """Lines for the terminal and for ``log.txt``, without secrets."""

    def __init__(self) -> None:
        self.path: Path | None = None

    def to(self, path: Path) -> None:
        """Write every further line to ``path`` as well."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path.absolute()

    def say(self, text: str) -> None:
        """Print a line and log it with the time."""
        text = redact(text)
        console.say(text)
        self.note(text)

    def note(self, text: str) -> None:
        """Log a line without printing it."""
        if self.path is not None:
            # A folder that was moved meanwhile is found out where something is written that counts.
            with (
                contextlib.suppress(OSError),
                open(self.path, "a", encoding="utf-8", errors="backslashreplace") as file,
            ):
                file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {redact(text)}\n")


log = Log()


class ProgressBar:
    """Progress of one phase: redrawn in a terminal, a line now and then elsewhere.

    Args:
        title: Name of the phase.
        total: Units of work in all.
        done: Units already done, when resumed.
    """

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        self.title, self.total, self.done, self.done_before = title, total, done, done
        self.started = self.printed = time.monotonic()
        self.info = ""
        self._last_printed: int | None = None
        self._drawn = console.draw(title, total, done)

    def update(self, done: int, info: str = "") -> None:
        """Show that ``done`` units are done, and ``info`` beside them."""
        self.done, self.info = done, info
        if self._drawn is not None:
            self._drawn.update(done, info)
        elif time.monotonic() - self.printed > _PRINT_SECONDS:
            self.printed, self._last_printed = time.monotonic(), done
            console.say(self._format())

    def _format(self) -> str:
        spent = max(time.monotonic() - self.started, 1e-9)
        rate = (self.done - self.done_before) / spent
        left = (
            f", {duration((self.total - self.done) / rate)} left"
            if rate > 0 and self.done < self.total
            else ""
        )
        info = f", {self.info}" if self.info else ""
        return f"{self.title}: {self.done}/{self.total} ({rate:.1f}/s{left}){info}"

    def _is_long(self) -> bool:
        return time.monotonic() - self.started > _SHORTEST_PRINTED

    def close(self, *, failed: bool = False) -> None:
        """Stop drawing and log the final state; a failure is left to the error's own line."""
        if self._drawn is not None:
            self._drawn.stop()
        elif not failed and self.done != self._last_printed and self._is_long():
            console.say(self._format())
        log.note(self._format())


@contextlib.contextmanager
def bar(title: str, total: int, done: int = 0) -> Iterator[ProgressBar]:
    """Draw a progress bar while the block runs."""
    progress = ProgressBar(title, total, done)
    try:
        yield progress
    finally:
        progress.close()


@contextlib.contextmanager
def progress_callback(title: str) -> Iterator[Callable[[int, int], None]]:
    """Yield an ``on_progress(done, total)`` that draws a progress bar from its first call on."""
    with contextlib.ExitStack() as stack:
        bars: list[ProgressBar] = []

        def on_progress(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(bar(title, total)))
            bars[0].update(done)

        yield on_progress


def duration(seconds: float) -> str:
    """Return a duration as text: ``8s``, ``3m 05s``, ``2h 10m``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def quantity(value: float, unit: str = "") -> str:
    """Return a count with a metric prefix and its unit: ``4.3G``, ``128k``."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # Three digits of 999.5k and more are already 1.00M.
        if abs(value) >= 0.9995 * factor:
            return f"{value / factor:.3g}{prefix}{unit}"
    return f"{value:.3g}{unit}"
