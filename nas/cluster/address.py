"""Which Ray cluster is meant: by ``--ray-address``, by ``RAY_ADDRESS``, or one that ``ray start`` made on this machine.

The words are Ray's own: ``HOST:PORT`` of the cluster's head, ``auto``, ``local``.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from search_spaces.errors import BudgetError

_ANSWER_SECONDS = 3.0
#: Why an address with a scheme is none that can be used, by its scheme.
_SCHEMES = {
    "ray": "is one for Ray's client, which brings no files back",
    "http": "is that of Ray's dashboard",
    "https": "is that of Ray's dashboard",
}


def cluster_address(named: str | None = None) -> str | None:
    """Return the address of the cluster to use, or None for this machine alone.

    Ray's own ``auto`` would also find the private cluster of another search on this machine, and end with it.

    Args:
        named: What ``--ray-address`` says; None leaves it to ``RAY_ADDRESS``, and that to a running ``ray start``.

    Raises:
        BudgetError: If it is no address of a cluster, or nothing runs that could be found.
    """
    text = named or os.environ.get("RAY_ADDRESS")
    if not text:
        return find_started()
    if text == "local":
        return None
    if text == "auto":
        if (started := find_started()) is None:
            asked = "--ray-address auto" if named else "RAY_ADDRESS=auto"
            raise BudgetError(
                f"{asked} finds no cluster that ray start has made on this machine; start one, give its HOST:PORT, or "
                "leave it out to use this machine alone"
            )
        return started
    scheme, has_scheme, _ = text.partition("://")
    if has_scheme:
        why = _SCHEMES.get(scheme, "is none that is known")
        raise BudgetError(
            f"the address {text} of a Ray cluster {why}; give HOST:6379 of its head from a machine of the cluster, or "
            "send the command there with ray job submit"
        )
    return text


def find_started() -> str | None:
    """Return the address of the cluster that ``ray start`` has made or joined on this machine, or None."""
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    try:
        started = Path(folder, "ray", "ray_current_cluster").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return started if is_listening(started) else None  # a file outlives its cluster


def is_listening(address: str) -> bool:
    """Return whether something listens at ``host:port``; Ray takes minutes to find that nothing does."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), _ANSWER_SECONDS):
            return True
    except (OSError, ValueError, OverflowError):
        return False


def is_loopback(host: str) -> bool:
    """Return whether an address is of this machine to itself."""
    return host in ("localhost", "::1", "[::1]") or host.startswith("127.")


def is_this_machine(host: str) -> bool:
    """Return whether ``host`` is an address of this machine: only such can be bound."""
    try:
        with socket.create_server((host, 0)):
            return True
    except OSError:
        return False
