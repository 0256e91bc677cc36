"""What a program is told while a search or a retraining works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas.runtime.error_text import first_line
from search_spaces.errors import NasError, WorkError

if TYPE_CHECKING:
    from search_spaces.architecture import Architecture


class Callback:
    """Is told how work goes on; a subclass defines what it wants to know, the rest does nothing.

    All are called in the process that called `search` or `retrain`, one after another. An exception ends the run with
    a sentence; what was finished is stored, and the same call goes on with it.
    """

    def on_step(self, step: int, steps: int, loss: float) -> None:
        """Hear of the supernet's training: the step it has done, of how many, and its loss.

        It trains in other processes, which are asked about twice a second: faster steps are not all told.
        """

    def on_trial(self, architecture: Architecture, scores: Mapping[str, float], evaluated: int) -> None:
        """Hear of a design that was evaluated: its scores by name, and how many designs were so far."""

    def on_epoch(self, architecture: Architecture, mode: str, epoch: int, epochs: int, top1: float) -> None:
        """Hear of a design that trains alone: the epoch it has done, of how many, and its validation top-1 in percent.

        ``mode`` is ``scratch``, or ``inherit`` where it began with the supernet's weights. Of several workers that
        train one design together, epochs of less than half a second are not all told.
        """


@dataclass(frozen=True)
class Callbacks:
    """The callbacks of a run.

    Args:
        each: They are told in this order; any object with some of the methods of `Callback` will do.
    """

    each: tuple[Any, ...] = ()

    def on_step(self, step: int, steps: int, loss: float) -> None:
        """Tell all of a step of the supernet's training."""
        self._tell("on_step", step, steps, loss)

    def on_trial(self, architecture: Architecture, scores: Mapping[str, float], evaluated: int) -> None:
        """Tell all of an evaluated design."""
        self._tell("on_trial", architecture, dict(scores), evaluated)

    def on_epoch(self, architecture: Architecture, mode: str, epoch: int, epochs: int, top1: float) -> None:
        """Tell all of an epoch of a design that trains alone."""
        self._tell("on_epoch", architecture, mode, epoch, epochs, top1)

    def _tell(self, method: str, *values: object) -> None:
        for each in self.each:
            if (function := getattr(each, method, None)) is None:
                continue
            try:
                function(*values)
            except NasError:
                raise
            # A program's own function fails in its own way.
            except Exception as error:
                raise WorkError(
                    f"callback {type(each).__name__}.{method} failed ({type(error).__name__}: {first_line(error)}); "
                    "what was finished is stored, and the same call goes on with it"
                ) from error


NO_CALLBACKS = Callbacks()
