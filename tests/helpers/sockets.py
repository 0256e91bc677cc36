"""Who listens where, from the kernel's own tables."""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path

_LISTENING = "0A"


def descendants(pid: int) -> set[int]:
    """Return the processes started by ``pid``, directly or not."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, border = set(), {pid}
    while border:
        border = {child for child, parent in parents.items() if parent in border} - found
        found |= border
    return found


def listening(pids: set[int]) -> dict[str, set[int]]:
    """Return the addresses on which processes listen for TCP."""
    sockets: dict[str, int] = {}
    for pid in pids:
        try:
            for handle in Path(f"/proc/{pid}/fd").iterdir():
                target = os.readlink(handle)
                if target.startswith("socket:["):
                    sockets[target[8:-1]] = pid
        except OSError:
            continue
    found: dict[str, set[int]] = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and fields[9] in sockets:
                raw = bytes.fromhex(fields[1].split(":")[0])
                # The kernel prints words of four bytes in its own order.
                words = [
                    raw[i : i + 4][:: -1 if sys.byteorder == "little" else 1] for i in range(0, len(raw), 4)
                ]
                address = ipaddress.ip_address(b"".join(words))
                mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1
                found.setdefault(str(mapped or address), set()).add(sockets[fields[9]])
    return found


def is_loopback(address: str) -> bool:
    """Return whether nobody outside this machine can reach an address."""
    return ipaddress.ip_address(address).is_loopback
