"""Ray is started again where it has ended, unless nothing comes of that."""

from __future__ import annotations

from nas.cluster.lifeline import ClusterLost
from nas.cluster.ray_cluster import MAX_ATTEMPTS, restart, stop


class Recovery:
    """Starts Ray again until it has ended a few times in a row with nothing done in between."""

    def __init__(self) -> None:
        self._losses = 0

    def has_advanced(self) -> None:
        """Take note that work has gone on since Ray ended the last time."""
        self._losses = 0

    def restart(self, lost: ClusterLost) -> None:
        """Start Ray again; all workers and objects are gone.

        Raises:
            ClusterLost: If it is another's, or ends again and again.
            WorkError: If it does not start.
        """
        self._losses += 1
        if self._losses >= MAX_ATTEMPTS:
            stop()
            raise lost
        restart(lost)
