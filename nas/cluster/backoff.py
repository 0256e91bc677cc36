"""Pauses between starts of what dies again and again: none at first, then twice as long each time, up to a limit."""

from __future__ import annotations

FIRST_PAUSE = 1.0  # seconds
LONGEST_PAUSE = 30.0


class Backoff:
    """Says how long to wait before the next start."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def pause(self) -> float:
        """Return the seconds to wait after one more death: 0, 1, 2, 4, ... and at most 30."""
        doublings = self._in_a_row - 1
        self._in_a_row += 1
        return 0.0 if doublings < 0 else min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(doublings, 10))

    def reset(self) -> None:
        """Begin anew, since work has gone on."""
        self._in_a_row = 0
