"""Whether Ray itself still runs: the raylet of this machine, and the cluster's control service (GCS).

Ray ends a process, in the middle of it and with lines of its own, whose raylet or GCS is gone: at the next object
that is stored, or after a minute. It is therefore asked for before that: whoever waits for workers calls
`Lifeline.check` all the while.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Callable

from nas.cluster.address import is_listening
from nas.runtime.console import log
from search_spaces.errors import WorkError

_LOOK_SECONDS = 1.0  # between two looks at the GCS
OWN_SILENCE = 3.0  # seconds without a GCS of this process's own after which it is gone
OTHER_SILENCE = 45.0  # of another cluster's, which may come back; after 60 s Ray ends this process
_ANSWER_SECONDS = 3.0


class ClusterLost(WorkError):
    """Ray on this machine, or the cluster's control service, has ended; what was stored remains."""


class Lifeline:
    """Watches the parts of Ray without which this process cannot go on.

    Args:
        raylet_socket: Path of the socket of this machine's raylet.
        gcs_address: ``host:port`` of the control service.
        private: Whether both are this process's own.
        listening: Whether something listens at an address.
    """

    def __init__(
        self,
        raylet_socket: str,
        gcs_address: str,
        *,
        private: bool,
        listening: Callable[[str], bool] | None = None,
    ) -> None:
        self.gcs_address, self.private = gcs_address, private
        self._raylet, self._listens = _open_owner(raylet_socket), listening or is_listening
        self._looked, self._silent_since = time.monotonic(), 0.0

    def check(self) -> None:
        """Check that Ray runs; to be called again and again.

        Raises:
            ClusterLost: If it does not; the sentence says what has ended.
        """
        if self._raylet is not None and select.select([self._raylet], [], [], 0)[0]:
            raise ClusterLost(self._describe("this machine's part of Ray (its raylet) has ended"))
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        if self._listens(self.gcs_address):
            if self._silent_since and not self.private:
                log.say(f"the Ray cluster's control service at {self.gcs_address} answers again")
            self._silent_since = 0.0
            return
        if not self._silent_since:
            self._silent_since = now
            if not self.private:
                log.say(
                    f"the Ray cluster's control service at {self.gcs_address} does not answer; waiting up to "
                    f"{OTHER_SILENCE:.0f}s"
                )
        if now - self._silent_since >= (OWN_SILENCE if self.private else OTHER_SILENCE):
            raise ClusterLost(self._describe(f"Ray's control service (GCS) at {self.gcs_address} has ended"))

    def _describe(self, what: str) -> str:
        if self.private:
            return f"{what}; run the same command again, which goes on with what was stored"
        return (
            f"{what}; start the cluster's Ray again, or set RAY_ADDRESS=local to use this machine alone, and run the "
            "same command again, which goes on with what was stored"
        )

    def close(self) -> None:
        """Watch no more."""
        if self._raylet is not None:
            os.close(self._raylet)
            self._raylet = None


def _open_owner(path: str) -> int | None:
    """Return a handle of the process that listens at a Unix socket, or None where the kernel does not tell."""
    with contextlib.suppress(OSError, AttributeError), socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_ANSWER_SECONDS)
        probe.connect(path)
        pid, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if pid > 0:
            return os.pidfd_open(pid)
    return None
