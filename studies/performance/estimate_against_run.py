"""What ``nas search --dry-run`` estimates beside what the same search then takes, one after the other, a few times.

Both are in seconds of a core, which other programs disturb little: of a rank of the supernet's team from the end of its
first epoch to the end of its last, of a worker from its first design on, read from ``/proc``; and in bytes, the peak of
a rank's memory against the most that the plan allows. Linux only. On 2 cores a round takes a minute or two::

    python studies/performance/estimate_against_run.py --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from nas.pipeline.time_estimate import START_SECONDS
from nas.runtime.files import write_json
from nas.runtime.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "estimates.json"
MARK = "NAS_MEASURED_RUN"  # in the environment of every process of a search
SECOND = os.sysconf("SC_CLK_TCK")


@dataclass
class Process:
    """What a process was seen to take.

    Attributes:
        title: As Ray calls it at the moment, ``ray::_Rank`` or ``ray::_Actor.call``.
        seconds: Of a core, since it began.
        idle_seconds: Of these, those before its first call.
        peak_bytes: Most of its memory.
        epochs: Seconds at the end of each epoch.
    """

    title: str = ""
    seconds: float = 0.0
    idle_seconds: float | None = None
    peak_bytes: int = 0
    epochs: dict[int, float] = field(default_factory=dict)


def look(processes: dict[int, Process], mark: str, epochs: int) -> None:
    """Note what the processes of a search have taken by now."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() not in (folder / "environ").read_bytes():
                continue
            title = (folder / "cmdline").read_bytes().partition(b"\0")[0].decode()
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            status = (folder / "status").read_text()
        except (OSError, ProcessLookupError):
            continue  # it ended meanwhile
        if not title.startswith("ray::_"):
            continue
        process = processes.setdefault(int(folder.name), Process())
        process.title = title
        process.seconds = (int(fields[11]) + int(fields[12])) / SECOND
        if process.idle_seconds is None and title.endswith(".call"):
            process.idle_seconds = process.seconds
        process.epochs.setdefault(epochs, process.seconds)
        peak = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")), "0")
        process.peak_bytes = max(process.peak_bytes, 1024 * int(peak))


def run(command: Sequence[str], study: Path) -> dict[int, Process]:
    """Search, and return what its processes took."""
    mark, processes = f"{MARK}={study}", dict[int, Process]()
    environment = {**os.environ, MARK: str(study), "RAY_ADDRESS": "local"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as search:
        while search.poll() is None:
            history = study / "supernet" / "history.csv"
            look(processes, mark, len(history.read_text().splitlines()) - 1 if history.exists() else 0)
            time.sleep(0.1)
    if search.returncode:
        sys.exit(f"the search failed with {search.returncode}")
    return processes


def compare(plan: dict[str, Any], processes: Sequence[Process]) -> dict[str, Any]:
    """Return what was estimated and seen of a step's time, a design's and the memory.

    Args:
        plan: Of ``nas search --dry-run --json``.
        processes: Of the run.
    """
    ranks = [each for each in processes if each.title.startswith("ray::_Rank")]
    workers = [each for each in processes if each.title.startswith("ray::_Actor")]
    epochs = plan["settings"]["recipe"]["epochs"]
    estimated = {name: span["seconds"] - START_SECONDS for name, span in plan["time"]["phases"].items()}
    trained = median(each.epochs.get(epochs, each.seconds) - each.epochs[1] for each in ranks)
    scored = median(each.seconds - (each.idle_seconds or 0.0) for each in workers)
    return {
        "supernet_estimated": estimated["supernet"],
        "supernet_seen": trained * epochs / (epochs - 1),
        "search_estimated": estimated["search"],
        "search_seen": scored,
        "memory_estimated": plan["memory"]["supernet"]["bytes"],
        "memory_seen": max(each.peak_bytes for each in ranks),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Estimate and run in turns, print the ratios and write them with their provenance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3, help="of the supernet, two at least")
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--data", default="mnist5k")
    parser.add_argument("--space", default="twins_cswin")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    rounds = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            study = Path(folder, "study")
            command = [
                *(sys.executable, "-m", "nas", "search", "--space", options.space, "--data", options.data),
                *("--budget", f"1cpu,{options.trials}trials", "--epochs", str(options.epochs)),
                *("--seed", str(number), "--study", str(study)),
            ]
            dry = subprocess.run([*command, "--dry-run", "--json"], capture_output=True, check=True)
            plan = json.loads(dry.stdout)
            if not plan["time"]["measured"]:
                sys.exit(f"nothing was estimated: {plan['time']['reason']}")
            rounds.append(compare(plan, list(run(command, study).values())))
        print(json.dumps(rounds[-1]), flush=True)
    names = ("supernet", "search", "memory")
    ratios = {
        name: [each[f"{name}_seen"] / each[f"{name}_estimated"] for each in rounds] for name in names
    }
    for name, values in ratios.items():
        print(f"{name}: seen / estimated {median(values):.2f} ({min(values):.2f}-{max(values):.2f})")
    asked = ["python", "studies/performance/estimate_against_run.py", *(arguments or sys.argv[1:])]
    write_json(options.out, {"rounds": rounds, "ratios": ratios, "provenance": provenance(0, asked)})


if __name__ == "__main__":
    main()
