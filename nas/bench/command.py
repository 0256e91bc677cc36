"""Running benches by name and keeping what they found."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.bench.core import Measurement, Setup
from nas.runtime.device import default_device
from search_spaces.errors import RequestError, nearest

BENCHES = ("operators", "networks", "supernet", "population", "search", "workers", "latency", "compile")
#: What runs when none is named: latency measures a whole table first, compile waits for a compiler for minutes.
USUAL = BENCHES[:-2]


@dataclass(frozen=True)
class Outcome:
    """What the benches found.

    Args:
        rows: Rows by bench.
        table: The latency table, where it was measured.
        machine: Device, threads and clock.
    """

    rows: dict[str, list[Measurement]]
    table: Any
    machine: dict[str, Any]

    def to_json(self, provenance: dict[str, Any]) -> dict[str, Any]:
        """Return a plain object."""
        return {
            "format": 1,
            "machine": self.machine,
            "benches": {name: [row.to_json() for row in rows] for name, rows in self.rows.items()},
            "provenance": provenance,
        }


def check(names: Sequence[str], out: Path | None) -> tuple[str, ...]:
    """Return the benches to run.

    Raises:
        RequestError: If there is no such bench, or one file is asked to hold a table and results.
    """
    for name in names:
        if name not in BENCHES:
            raise RequestError(f"unknown bench '{name}' ({nearest(name, BENCHES)})")
    chosen = tuple(dict.fromkeys(names)) or USUAL
    if out is not None and "latency" in chosen and len(chosen) > 1:
        raise RequestError(
            "--out keeps the table of latency but the results of other benches; run latency alone"
        )
    return chosen


def device_of(name: str) -> torch.device:
    """Return the device called ``auto``, ``cpu`` or ``cuda``.

    Raises:
        RequestError: If it is unknown or not there.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise RequestError(f"--device: unknown device '{name}' ({nearest(name, ('auto', 'cpu', 'cuda'))})")
    device = torch.device("cpu") if name == "cpu" else default_device()
    if name == "cuda" and device.type != "cuda":
        raise RequestError("--device cuda: torch finds no CUDA device here; use --device cpu")
    return device


def run(names: Sequence[str], setup: Setup, hear: Callable[[str, list[Measurement]], None]) -> Outcome:
    """Run benches one after the other.

    Args:
        names: Benches; each is imported when its turn comes, since they need different libraries.
        setup: Sizes and device.
        hear: Told ``(name, rows)`` when a bench is done.

    Raises:
        Interrupted: If the user asked to stop.
        WorkError: If two sides do not do equal work.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(setup.threads)
    rows: dict[str, list[Measurement]] = {}
    table = None
    try:
        for name in names:
            found = _bench(name)(setup)
            if name == "latency":
                table, found = found
            rows[name] = found
            hear(name, found)
    finally:
        torch.set_num_threads(threads)
    return Outcome(rows, table, machine(setup))


def _bench(name: str) -> Callable[[Setup], Any]:
    function: Callable[[Setup], Any] = importlib.import_module(f"nas.bench.{name}").bench
    return function


def machine(setup: Setup) -> dict[str, Any]:
    """Return what was measured on, and how."""
    if setup.device.type == "cuda":
        device = torch.cuda.get_device_name(setup.device)
    else:
        from nas.latency.table import device_name

        device = device_name(setup.device).removesuffix(", 1 thread")
    return {
        "device": device,
        "threads": setup.threads,
        "clock": setup.clock,
        "dtype": "bfloat16 autocast" if setup.device.type == "cuda" else "float32",
        "quick": setup.quick,
    }
