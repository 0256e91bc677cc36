"""What a search asks of whoever evaluates its designs, and what it does where a design cannot be evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from search_spaces.architecture import Architecture
from search_spaces.errors import WorkError

#: Designs in a row that may fail, without one between them that does not, before a search gives up.
MOST_FAILURES_IN_A_ROW = 10


@dataclass(frozen=True)
class Failure:
    """Stands in the place of scores where a design could not be evaluated.

    Args:
        reason: Why, in one line.
    """

    reason: str


#: Returns further designs to evaluate, and the ``top1`` that racing requires of each; none where there are none yet.
MoreDesigns = Callable[[], tuple[list[Architecture], list[float]]]


class Evaluations(Protocol):
    """Evaluates designs somewhere and yields ``{index: scores}`` of those that are done together."""

    def __call__(
        self, designs: list[Architecture], required_top1: list[float], more: MoreDesigns | None = None
    ) -> Iterator[Mapping[int, Mapping[str, float] | Failure]]:
        """Evaluate ``designs``, each of which may be stopped once its ``top1`` is surely below what is required.

        Scores of a stopped one are of the images it saw; their score ``stopped_after`` is how many these were.
        ``more`` may be asked for further designs, with what is required of them, where there are any by now: they are
        evaluated with these, by indices that go on from theirs.
        Where scores hold ``images`` and ``correct``, these are how many they are of and the bits of the right ones.
        """


def evaluate_nothing(
    designs: list[Architecture], required_top1: list[float], more: MoreDesigns | None = None
) -> Iterator[Mapping[int, Mapping[str, float]]]:
    """Evaluate designs of a search whose objectives are analytic: all is known of them already."""
    yield {index: {} for index in range(len(designs))}


class FailureCount:
    """Counts designs that fail in a row, and ends a search in which all seem to."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def add(self, failure: Failure | None) -> None:
        """Count a design; ``failure`` is None where it was evaluated.

        Raises:
            WorkError: If too many failed since one was evaluated.
        """
        self._in_a_row = 0 if failure is None else self._in_a_row + 1
        if failure is not None and self._in_a_row >= MOST_FAILURES_IN_A_ROW:
            raise WorkError(
                f"{self._in_a_row} designs in a row could not be evaluated, the last because {failure.reason}; they "
                "are kept as failed trials, and the study's log has more: mend the cause and run the search again"
            )
