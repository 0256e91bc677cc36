"""What a search may use: ``8gpu``, ``2cpu`` or ``auto``, optionally with a time and a number of trials.

    budget = [machines] { "," limit }        machines = N "gpu" | N "cpu" | "auto"
    limit  = time | N "trials"               time     = [N "d"] [N "h"] [N "m"] [N "s"]

Left out, the machines are ``auto``: ``1h30m`` and ``,90s`` are budgets too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from nas.runtime.device import DeviceType
from search_spaces.errors import BudgetError

_WORKERS_PATTERN = re.compile(r"([0-9]{1,6})(gpu|cpu)s?")
_TRIALS_PATTERN = re.compile(r"([0-9]{1,9})trials?")
_TIME_PATTERN = re.compile(r"(?=.)(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9})s)?")
_UNIT_SECONDS = (86_400, 3_600, 60, 1)
_GRAMMAR = (
    "allowed are auto, Ngpu or Ncpu, then optionally a time such as 12h or 1h30m and a number of trials "
    "such as 500trials, separated by commas, for example --budget 4gpu,12h"
)


@dataclass(frozen=True, slots=True)
class Budget:
    """Machines, time and trials; ``str(budget)`` parses back to an equal budget.

    Attributes:
        kind: What the workers run on; ``auto`` takes all GPUs where there are any, else all cores.
        count: Number of GPUs or cores; None for ``auto``.
        seconds: Wall-clock limit of the search; None for no limit.
        trials: Limit on finished trials; None for the command's default.
    """

    kind: Literal["gpu", "cpu", "auto"] = "auto"
    count: int | None = None
    seconds: float | None = None
    trials: int | None = None

    def __str__(self) -> str:
        parts = ["auto" if self.kind == "auto" else f"{self.count}{self.kind}"]
        if self.seconds is not None:
            days, rest = divmod(int(self.seconds), 86_400)
            hours, rest = divmod(rest, 3_600)
            amounts = (days, hours, *divmod(rest, 60))
            parts.append("".join(f"{n}{unit}" for n, unit in zip(amounts, "dhms", strict=True) if n))
        if self.trials is not None:
            parts.append(f"{self.trials}trials")
        return ",".join(parts)


@dataclass(frozen=True, slots=True)
class WorkerAllocation:
    """How a budget is cut into workers; what it says of device and threads holds wherever work runs under it.

    Attributes:
        workers: Number of worker processes, at least 1.
        cpus_per_worker: Cores that each reserves; whole, or below 1 where GPUs outnumber cores.
        gpus_per_worker: GPUs that each reserves, 1 or 0.
        device: Where each keeps its tensors; the type it computes in follows (``nas.runtime.device``).
    """

    workers: int
    cpus_per_worker: float
    gpus_per_worker: float
    device: DeviceType

    @property
    def threads(self) -> int:
        """Threads that each worker computes with on the CPU."""
        return max(1, int(self.cpus_per_worker))


def parse_budget(text: str) -> Budget:
    """Read a budget such as ``auto``, ``8gpu``, ``4gpu,12h`` or ``auto,30m,500trials``.

    Raises:
        BudgetError: A part is not understood, is zero, or is given twice.
    """
    machines, *limits = (part.strip().lower() for part in text.split(","))
    budget = Budget()
    if match := _WORKERS_PATTERN.fullmatch(machines):
        if not int(match[1]):
            raise _unreadable(text, f"'{machines}' asks for nothing")
        budget = Budget("gpu" if match[2] == "gpu" else "cpu", int(match[1]))
    elif machines not in ("auto", ""):
        limits.insert(0, machines)
    elif not machines and not limits:
        raise _unreadable(text, "it is empty")
    for part in limits:
        if match := _TRIALS_PATTERN.fullmatch(part):
            repeated, limited = budget.trials is not None, replace(budget, trials=int(match[1]))
        elif match := _TIME_PATTERN.fullmatch(part):
            amounts = zip(match.groups(), _UNIT_SECONDS, strict=True)
            seconds = float(sum(int(n or 0) * unit for n, unit in amounts))
            repeated, limited = budget.seconds is not None, replace(budget, seconds=seconds)
        else:
            raise _unreadable(text, f"'{part}' is not understood")
        if 0 in (limited.seconds, limited.trials):
            raise _unreadable(text, f"'{part}' allows nothing")
        if repeated:
            raise _unreadable(text, f"'{part}' sets a limit that was set before")
        budget = limited
    return budget


def allocate_workers(
    budget: Budget, cpus: float, gpus: float, *, where: str = "this machine"
) -> WorkerAllocation:
    """Cut a budget into workers: one per GPU, sharing the cores among them, or one per core.

    Args:
        budget: What may be used.
        cpus: Cores available.
        gpus: GPUs available.
        where: How the error names what has them, e.g. "this machine".

    Raises:
        BudgetError: The budget asks for more than is available; the message says what to type instead.
    """
    cores, cards = int(cpus), int(gpus)
    kind = budget.kind if budget.kind != "auto" else ("gpu" if cards else "cpu")
    available = cards if kind == "gpu" else cores
    wanted = budget.count if budget.count is not None else available
    if not wanted:
        raise BudgetError(
            f"--budget {budget} finds no CPU core and no GPU free on {where}; "
            "wait until some are free or start the command elsewhere, for example on a Ray cluster with 1 GPU"
        )
    if wanted > available:
        instead = []
        if kind == "gpu" and cards:
            instead.append(replace(budget, kind="gpu", count=cards))
        elif cores:
            instead.append(replace(budget, kind="cpu", count=cores))
        if cores or cards:
            instead.append(replace(budget, kind="auto", count=None))
        advice = f"type {' or '.join(f'--budget {one}' for one in instead)}, or " if instead else ""
        raise BudgetError(
            f"--budget {budget} asks for {_format_count(wanted, kind)} but {where} has "
            f"{_format_count(cards, 'gpu')} and {_format_count(cores, 'cpu')}; {advice}start the command on a "
            f"Ray cluster with {_format_count(wanted, kind)}"
        )
    if kind == "cpu":
        return WorkerAllocation(wanted, 1.0, 0.0, "cpu")
    # Ray takes whole cores, or a fraction of one: never 2.5.
    share = cpus / wanted
    return WorkerAllocation(
        wanted, float(int(share)) if share >= 1 else int(share * 1000) / 1000, 1.0, "cuda"
    )


def _format_count(number: int, kind: str) -> str:
    noun = "GPU" if kind == "gpu" else "CPU core"
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _unreadable(text: str, reason: str) -> BudgetError:
    return BudgetError(f"--budget {text!r} cannot be read: {reason}; {_GRAMMAR}")
