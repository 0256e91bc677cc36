"""All that needs a GPU, in one run of at most 25 minutes: ``make gpu``, or ``python -m nas.bench.gpu``.

Tests marked ``gpu``, the benches beside timm, and where the libraries of a search are installed a small search. Each
step is a process of its own with a time limit, and a step that fails ends no other. The results are written after each
step, so that a machine that is taken away loses one step at most: ``results.json`` with provenance, ``results.md`` for
people, and ``log.txt`` with all that the steps printed.

torch and timm, with what they bring, are enough; pytest and einops are needed for the tests alone.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from nas.runtime.device import default_device
from nas.runtime.documents import read_json
from nas.runtime.files import require_writable, write_json, write_text
from nas.runtime.provenance import provenance
from search_spaces.errors import NasError, StudyError

MINUTES = 25.0  # of all steps together
CPU_FACTOR = 12  # more time for each where a CPU, busy as it may be, shows that all of it runs
_SEARCH_NEEDS = ("ray", "optuna", "sqlalchemy", "plotly", "pydantic", "mlxtend")
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class GpuStep:
    """One process.

    Args:
        name: For people.
        command: Its arguments after the interpreter.
        minutes: After which it is stopped.
        needs: Modules without which it is left out.
        result: File with JSON that it writes, which becomes part of the results.
        environment: Variables that it gets besides this process's own.
    """

    name: str
    command: tuple[str, ...]
    minutes: float
    needs: tuple[str, ...] = ()
    result: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StepOutcome:
    """What became of a step.

    Args:
        name: The step's.
        state: ``passed``, ``failed``, ``stopped`` at its time limit, or ``left out``.
        seconds: How long it took.
        reason: Why it did not pass; the last line that it printed.
        result: The JSON that it wrote, or None.
    """

    name: str
    state: str
    seconds: float = 0.0
    reason: str = ""
    result: Any = None


def plan_steps(device: str, scratch: Path, quick: bool) -> list[GpuStep]:
    """Return the steps, most telling first.

    Args:
        device: ``cuda``, or ``cpu`` to see that all of it runs.
        scratch: Folder for what the steps write.
        quick: Smallest sizes.
    """

    def bench(name: str, minutes: float, *options: str, needs: tuple[str, ...] = ()) -> GpuStep:
        out = scratch / f"{name}.json"
        command = ["-m", "nas.bench", name, "--out", str(out), *options, *(["--quick"] if quick else [])]
        return GpuStep(f"bench {name}", tuple(command), minutes, needs, out)

    where = ("--device", device)
    study = scratch / "study"
    effort = ("--epochs", "1", "--trials", "8") if quick else ("--epochs", "6", "--trials", "200")
    budget = "1gpu" if device == "cuda" else "1cpu"
    search = ("-m", "nas", "search", "--data", "mnist5k", "--budget", budget, "--study", str(study), *effort)
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", "tests/gpu")
    steps = [
        GpuStep("tests", tests, 5, ("pytest",), environment={"NAS_TEST_DEVICE": device}),
        bench("operators", 5, *where),
        bench("networks", 5, *where, needs=("timm",)),
        bench("supernet", 3, *where),
        bench("latency", 4, *where),
        bench("data", 3, *where),
        bench("population", 3, *where, needs=("ray", "optuna", "pydantic")),
        GpuStep("search", search, 4, _SEARCH_NEEDS, study / "front.json"),
    ]
    longer = usual_minutes(device) / MINUTES
    return [replace(step, minutes=step.minutes * longer) for step in steps]


def usual_minutes(device: str) -> float:
    """Return the minutes of all steps together on ``cuda`` or ``cpu``."""
    return MINUTES * (1 if device == "cuda" else CPU_FACTOR)


def run_steps(
    steps: Sequence[GpuStep], log: Path, minutes: float, on_outcome: Callable[[StepOutcome], None]
) -> list[StepOutcome]:
    """Run steps one after the other, whatever becomes of them.

    Args:
        steps: What to run.
        log: File that gets all that they print.
        minutes: Of all of them; a step that would begin later is left out.
        on_outcome: Called after each.
    """
    end, outcomes = time.monotonic() + 60 * minutes, list[StepOutcome]()
    for step in steps:
        outcomes.append(_run_step(step, log, end - time.monotonic()))
        on_outcome(outcomes[-1])
    return outcomes


def _run_step(step: GpuStep, log: Path, seconds_left: float) -> StepOutcome:
    if missing := [name for name in step.needs if find_spec(name) is None]:
        return StepOutcome(step.name, "left out", reason=f"not installed: {', '.join(missing)}")
    limit = min(60 * step.minutes, seconds_left)
    if limit <= 0:
        return StepOutcome(step.name, "left out", reason="no time was left")
    began = time.monotonic()
    with log.open("ab") as output:
        output.write(f"\n$ python {' '.join(step.command)}\n".encode())
        output.flush()
        start = output.tell()
        process = subprocess.Popen(
            [sys.executable, *step.command],
            cwd=_ROOT,
            env={**os.environ, **step.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its own processes end with it
        )
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    seconds = time.monotonic() - began
    if code is None:
        return StepOutcome(step.name, "stopped", seconds, f"its limit is {limit / 60:.1f} minutes")
    if code != 0:
        return StepOutcome(step.name, "failed", seconds, _last_line(log, start))
    try:
        result = None if step.result is None else read_json(step.result)
    except StudyError as error:
        return StepOutcome(step.name, "failed", seconds, str(error))
    return StepOutcome(step.name, "passed", seconds, _last_line(log, start) if result is None else "", result)


def _last_line(log: Path, start: int) -> str:
    """Return the last line of what was printed since ``start``."""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def to_markdown(outcomes: Sequence[StepOutcome], run: Mapping[str, Any]) -> str:
    """Return the results as tables for people.

    Args:
        outcomes: Of the steps.
        run: The run's provenance.
    """
    devices = ", ".join(run["devices"]) or "no GPU"
    commit = f"{run['commit'] or 'unknown'}{' with changes' if run['dirty'] else ''}"
    lines = [
        "# Results on a GPU",
        "",
        f"{devices}; torch {torch.__version__}; commit {commit}; {run['time']}",
        "",
    ]
    lines += ["| step | state | seconds | |", "|---|---|---|---|"]
    lines += [f"| {one.name} | {one.state} | {one.seconds:.0f} | {_cell(one.reason)} |" for one in outcomes]
    for one in outcomes:
        benches = one.result.get("benches") if isinstance(one.result, dict) else None
        for name, measurements in (benches or {}).items():
            lines += [
                "",
                f"## {name}",
                "",
                "| what | against | ours | theirs | ratio | target |",
                "|---|---|---|---|---|---|",
            ]
            lines += [_to_row(each) for each in measurements]
    return "\n".join(lines) + "\n"


def _to_row(one: Mapping[str, Any]) -> str:
    ours, theirs, ratio = (
        "" if one[key] is None else f"{one[key]:.4g}{unit}"
        for key, unit in (("ours", f" {one['unit']}"), ("theirs", ""), ("ratio", ""))
    )
    target = "" if one["target"] is None else f"{one['target']}: {'met' if one['met'] else 'missed'}"
    return f"| {_cell(one['name'])} | {_cell(one['against'])} | {ours} | {theirs} | {ratio} | {target} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all steps; return 0 if none failed, 1 if one did, 2 if the request was wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m nas.bench.gpu", description="All that needs a GPU, in one run."
    )
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder for the results")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--minutes", type=float, help=f"of all steps together; {MINUTES:g} on a GPU")
    options = parser.parse_args(arguments)
    device = os.environ.get("NAS_TEST_DEVICE", "cuda")
    if device not in ("cuda", "cpu"):
        return _refuse(f"NAS_TEST_DEVICE is '{device}'; set it to cuda, or to cpu to see that all of it runs")
    if device == "cuda" and default_device().type != "cuda":
        return _refuse("torch finds no CUDA device here; NAS_TEST_DEVICE=cpu shows that all of it runs")
    try:
        require_writable(options.out)
        options.out.mkdir(parents=True, exist_ok=True)
    except NasError as error:
        return _refuse(str(error))
    run = provenance(
        0, ["python", "-m", "nas.bench.gpu", *(sys.argv[1:] if arguments is None else arguments)]
    )
    outcomes: list[StepOutcome] = []

    def on_outcome(outcome: StepOutcome) -> None:
        outcomes.append(outcome)
        print(f"{outcome.name}: {outcome.state} after {outcome.seconds:.0f} s. {outcome.reason}", flush=True)
        steps = [asdict(one) for one in outcomes]
        write_json(
            options.out / "results.json", {"format": 1, "device": device, "steps": steps, "provenance": run}
        )
        write_text(options.out / "results.md", to_markdown(outcomes, run))

    log = options.out.absolute() / "log.txt"
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        steps = plan_steps(device, Path(scratch), options.quick)
        run_steps(steps, log, options.minutes or usual_minutes(device), on_outcome)
    failed = [one.name for one in outcomes if one.state in ("failed", "stopped")]
    print(
        f"{len(failed)} of {len(outcomes)} steps failed{': ' if failed else ''}{', '.join(failed)}; {options.out}"
    )
    return 1 if failed else 0


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
