"""What a search may use: ``8gpu``, ``2cpu`` or ``auto``, optionally with a time and a number of trials.

    budget = [machines] { "," limit }        machines = N "gpu" | N "cpu" | "auto"
    limit  = time | N "trials"               time     = [N "d"] [N "h"] [N "m"] [N "s"]

Left out, the machines are ``auto``: ``1h30m`` and ``,90s`` are budgets too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from search_spaces.errors import BudgetError

_MACHINES = re.compile(r"([0-9]{1,6})(gpu|cpu)s?")
_TRIALS = re.compile(r"([0-9]{1,9})trials?")
_TIME = re.compile(r"(?=.)(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9})s)?")
_SECONDS = (86_400, 3_600, 60, 1)
_GRAMMAR = (
    "allowed are auto, Ngpu or Ncpu, then optionally a time such as 12h or 1h30m and a number of trials "
    "such as 500trials, separated by commas, for example --budget 4gpu,12h"
)


@dataclass(frozen=True, slots=True)
class Budget:
    """Machines, time and trials; ``str(budget)`` parses back to an equal budget.

    Attributes:
        kind: What the workers run on; ``auto`` takes all GPUs where there are any, else all cores.
        count: How many of them; None for ``auto``.
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
    """How a budget is cut into workers.

    Attributes:
        workers: Number of worker processes, at least 1.
        cpus_per_worker: Cores that each reserves; whole, or below 1 where GPUs outnumber cores.
        gpus_per_worker: GPUs that each reserves, 1 or 0.
        device: Where the tensors live.
    """

    workers: int
    cpus_per_worker: float
    gpus_per_worker: float
    device: Literal["cuda", "cpu"]


def parse_budget(text: str) -> Budget:
    """Read a budget such as ``auto``, ``8gpu``, ``4gpu,12h`` or ``auto,30m,500trials``.

    Raises:
        BudgetError: A part is not understood, is zero, or is given twice.
    """
    machines, *limits = (part.strip().lower() for part in text.split(","))
    budget = Budget()
    if match := _MACHINES.fullmatch(machines):
        if not int(match[1]):
            raise _wrong(text, f"'{machines}' asks for nothing")
        budget = Budget("gpu" if match[2] == "gpu" else "cpu", int(match[1]))
    elif machines not in ("auto", ""):
        limits.insert(0, machines)
    elif not machines and not limits:
        raise _wrong(text, "it is empty")
    for part in limits:
        if match := _TRIALS.fullmatch(part):
            repeated, limited = budget.trials is not None, replace(budget, trials=int(match[1]))
        elif match := _TIME.fullmatch(part):
            amounts = zip(match.groups(), _SECONDS, strict=True)
            seconds = float(sum(int(n or 0) * unit for n, unit in amounts))
            repeated, limited = budget.seconds is not None, replace(budget, seconds=seconds)
        else:
            raise _wrong(text, f"'{part}' is not understood")
        if 0 in (limited.seconds, limited.trials):
            raise _wrong(text, f"'{part}' allows nothing")
        if repeated:
            raise _wrong(text, f"'{part}' sets a limit that was set before")
        budget = limited
    return budget


def allocate_workers(
    budget: Budget, cpus: float, gpus: float, *, where: str = "this machine"
) -> WorkerAllocation:
    """Cut a budget into workers: one per GPU, sharing the cores among them, or one per core.

    Args:
        budget: What may be used.
        cpus: Cores there are.
        gpus: GPUs there are.
        where: How the error names the place they are in, e.g. "this cluster".

    Raises:
        BudgetError: The budget asks for more than there is; the sentence says what to type instead.
    """
    cores, cards = int(cpus), int(gpus)
    kind = budget.kind if budget.kind != "auto" else ("gpu" if cards else "cpu")
    there = cards if kind == "gpu" else cores
    asked = budget.count if budget.count is not None else there
    if not asked:
        raise BudgetError(
            f"--budget {budget} finds no CPU core and no GPU free on {where}; "
            "wait until some are free or start the command elsewhere, for example on a Ray cluster with 1 GPU"
        )
    if asked > there:
        instead = []
        if kind == "gpu" and cards:
            instead.append(replace(budget, kind="gpu", count=cards))
        elif cores:
            instead.append(replace(budget, kind="cpu", count=cores))
        if cores or cards:
            instead.append(replace(budget, kind="auto", count=None))
        advice = f"type {' or '.join(f'--budget {one}' for one in instead)}, or " if instead else ""
        raise BudgetError(
            f"--budget {budget} asks for {_count(asked, kind)} but {where} has {_count(cards, 'gpu')} and "
            f"{_count(cores, 'cpu')}; {advice}start the command on a Ray cluster with {_count(asked, kind)}"
        )
    if kind == "cpu":
        return WorkerAllocation(asked, 1.0, 0.0, "cpu")
    # Ray takes whole cores, or a fraction of one: never 2.5.
    share = cpus / asked
    return WorkerAllocation(asked, float(int(share)) if share >= 1 else int(share * 1000) / 1000, 1.0, "cuda")


def _count(number: int, kind: str) -> str:
    noun = "GPU" if kind == "gpu" else "CPU core"
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _wrong(text: str, reason: str) -> BudgetError:
    return BudgetError(f"--budget {text!r} cannot be read: {reason}; {_GRAMMAR}")
