"""Running benches by name and collecting what they measured."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.bench.measurement import Measurement
from nas.bench.setup import Setup
from nas.latency.runtime_names import Runtime, parse_runtime
from nas.runtime.device import compute_dtype, hardware_name
from search_spaces.errors import RequestError, nearest

BENCHES = (
    "operators",
    "networks",
    "supernet",
    "population",
    "search",
    "workers",
    "data",
    "latency",
    "compile",
)
_SPACE = ("space", "scale", "image_size")
#: Options that each bench heeds, besides those of the files it writes.
HEEDED: dict[str, tuple[str, ...]] = {
    "operators": ("device", "threads", "rounds", "image_size", "batch_size", "quick"),
    "networks": ("device", "threads", "rounds", "image_size", "batch_size", "quick"),
    "supernet": (*_SPACE, "device", "threads", "rounds", "batch_size", "quick"),
    "population": (*_SPACE, "device", "threads", "rounds", "batch_size", "quick"),
    "search": (*_SPACE, "trials", "quick"),
    "workers": (*_SPACE, "device", "rounds", "quick"),
    "data": (*_SPACE, "device", "threads", "rounds", "batch_size", "quick"),
    "latency": (*_SPACE, "device", "batch_size", "runtime", "quick"),
    "compile": (*_SPACE, "device", "threads", "rounds", "batch_size", "quick"),
}
#: What runs when none is named: data writes hundreds of files, latency measures a whole table first, compile waits for
#: a compiler for minutes.
USUAL = BENCHES[:-3]


@dataclass(frozen=True)
class Outcome:
    """What the benches measured.

    Args:
        measurements: Measurements by bench.
        table: The latency table, where it was measured.
        machine: Device, threads and clock.
    """

    measurements: dict[str, list[Measurement]]
    table: Any
    machine: dict[str, Any]

    def to_json(self, provenance: dict[str, Any]) -> dict[str, Any]:
        """Return a plain object."""
        benches = {name: [one.to_json() for one in found] for name, found in self.measurements.items()}
        return {"format": 1, "machine": self.machine, "benches": benches, "provenance": provenance}


def choose_benches(names: Sequence[str], out: Path | None) -> tuple[str, ...]:
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


def require_every_option_to_count(names: Sequence[str], given: Sequence[str]) -> None:
    """Refuse options that none of the benches heeds.

    Args:
        names: The benches.
        given: The options that were given, by the name of their parameter.

    Raises:
        RequestError: If there is one; the sentence names it and the benches that heed it.
    """
    for option in given:
        if not any(option in HEEDED[name] for name in names):
            able = ", ".join(name for name, heeded in HEEDED.items() if option in heeded)
            raise RequestError(
                f"--{option.replace('_', '-')} changes nothing in bench {', '.join(names)}; leave it out, or run one "
                f"of: {able}"
            )


def choose_runtime(name: str, device: torch.device) -> Runtime:
    """Return the runtime of that name.

    Raises:
        RequestError: If it is unknown, not installed, or does not compute on the device here.
    """
    runtime = parse_runtime(name)
    if runtime != "torch" and device.type != "cpu":
        raise RequestError(f"--runtime {runtime} is measured on a CPU; add --device cpu")
    return runtime


def run(names: Sequence[str], setup: Setup, on_result: Callable[[str, list[Measurement]], None]) -> Outcome:
    """Run benches one after the other.

    Args:
        names: Benches; each is imported when its turn comes, since they need different libraries.
        setup: Sizes and device.
        on_result: Called with ``(name, measurements)`` when a bench is done.

    Raises:
        Interrupted: If the user asked to stop.
        WorkError: If two sides do not do equal work.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(setup.threads)
    measurements: dict[str, list[Measurement]] = {}
    table = None
    try:
        for name in names:
            found = _load_bench(name)(setup)
            if name == "latency":
                table, found = found
            measurements[name] = found
            on_result(name, found)
    finally:
        torch.set_num_threads(threads)
    return Outcome(measurements, table, describe_machine(setup))


def _load_bench(name: str) -> Callable[[Setup], Any]:
    function: Callable[[Setup], Any] = importlib.import_module(f"nas.bench.{name}").bench
    return function


def describe_machine(setup: Setup) -> dict[str, Any]:
    """Return what was measured on, and how."""
    dtype = compute_dtype(setup.device)
    return {
        "device": hardware_name(setup.device),
        "threads": setup.threads,
        "clock": setup.clock,
        "dtype": f"{str(dtype).removeprefix('torch.')}{'' if dtype == torch.float32 else ' autocast'}",
        "quick": setup.quick,
    }
