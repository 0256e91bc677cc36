"""Calls that take far longer than others: they are made once more elsewhere, and the first answer counts."""

from __future__ import annotations

from collections import deque
from statistics import median

#: A call is late that has taken so many times the median of those before it.
LATE_FACTOR = 4.0
#: No call is late before so many seconds have passed, whatever the median.
LEAST_LATE = 5.0
#: Calls whose durations must be known before one is late.
_LEAST_KNOWN = 4
_KEPT = 200


class Durations:
    """The durations of the latest calls of a kind."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_KEPT)

    def add(self, seconds: float) -> None:
        """Add a call that was answered."""
        self._seconds.append(seconds)

    def late_after(self) -> float | None:
        """Return the seconds after which a call is late; None while too little is known."""
        if len(self._seconds) < _LEAST_KNOWN:
            return None
        return max(LEAST_LATE, LATE_FACTOR * median(self._seconds))
