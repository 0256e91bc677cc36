"""The terminal by rich: lines on standard error, and a progress bar that is redrawn below them."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class RichConsole(Console):
    """Standard error; work goes on where nobody reads it any more, and the log keeps what was said."""

    def __init__(self) -> None:
        super().__init__(stderr=True, highlight=False)

    def on_broken_pipe(self) -> None:
        """Say nothing from now on."""
        self.quiet = True

    def say(self, text: str) -> None:
        """Print a line as it is, however long."""
        self.print(escape(text), soft_wrap=True)

    def draw(self, title: str, total: int, done: int) -> DrawnProgress | None:
        """Begin to draw a progress bar; return None where there is no terminal to draw on.

        Args:
            title: Name of the phase.
            total: Units of work in all.
            done: Units already done.
        """
        return DrawnProgress(self, title, total, done) if self.is_terminal else None


class _RateColumn(ProgressColumn):
    """Shows units per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s" if speed < 100 else f"{speed:.0f}/s")


class DrawnProgress:
    """A progress bar that is redrawn until it is stopped.

    Args:
        console: Where it is drawn.
        title: Name of the phase.
        total: Units of work in all.
        done: Units already done.
    """

    def __init__(self, console: Console, title: str, total: int, done: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            _RateColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[info]}"),
            console=console,
        )
        self._task = self._progress.add_task(title, total=total, completed=done, info="")
        self._progress.start()

    def update(self, done: int, info: str) -> None:
        """Show that ``done`` units are done, and ``info`` beside them."""
        self._progress.update(self._task, completed=done, info=info)

    def stop(self) -> None:
        """Leave it as it is."""
        self._progress.stop()
