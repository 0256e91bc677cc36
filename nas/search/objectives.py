"""What a search optimises, and the constraints that no candidate may violate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nas.runtime.console import quantity
from search_spaces.errors import RequestError, nearest

Direction = Literal["minimize", "maximize"]

#: Score names that may be objectives, with Optuna's direction and the unit people read.
OBJECTIVES: dict[str, tuple[Direction, str]] = {
    "top1": ("maximize", "%"),
    "loss": ("minimize", "nats"),
    "macs": ("minimize", "MACs"),
    "params": ("minimize", "parameters"),
    "latency_ms": ("minimize", "ms"),
}

#: Of these the ones that take a trained network and validation images.
QUALITIES = ("top1", "loss")

_FACTORS = {"k": 1e3, "m": 1e6, "g": 1e9}


def parse_objectives(text: str) -> tuple[str, ...]:
    """Read ``top1,macs``.

    Raises:
        RequestError: If a name is unknown or given twice.
    """
    names = tuple(part.strip() for part in text.split(","))
    for position, name in enumerate(names):
        if name not in OBJECTIVES:
            raise RequestError(f"--objective: unknown objective '{name}' ({nearest(name, OBJECTIVES)})")
        if name in names[:position]:
            raise RequestError(f"--objective: '{name}' is given twice; name each objective once")
    return names


def parse_quantity(option: str, text: str) -> float:
    """Read a positive number with an optional metric suffix: ``600M``, ``4.3G``, ``250k``, ``1e6``.

    Raises:
        RequestError: If it is no such number.
    """
    cleaned = text.strip().lower()
    factor = _FACTORS.get(cleaned[-1:], 1.0)
    try:
        value = float(cleaned[:-1] if factor != 1.0 else cleaned) * factor
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise RequestError(f"{option} must be a positive number such as 600M, 4.3G or 250k, not '{text}'")
    return value


@dataclass(frozen=True)
class Goal:
    """Objectives and constraints of a search.

    Args:
        objectives: Score names, first the most important.
        constraints: Largest value allowed of a score, by name.
    """

    objectives: tuple[str, ...] = ("top1", "macs")
    constraints: tuple[tuple[str, float], ...] = ()

    @property
    def directions(self) -> list[Direction]:
        """Optuna's direction of every objective."""
        return [OBJECTIVES[name][0] for name in self.objectives]

    @property
    def quality(self) -> str:
        """What trained designs are compared by: the first objective that says how good one is, else ``top1``."""
        return next((name for name in self.objectives if name in QUALITIES), "top1")

    def merit(self, scores: Mapping[str, float]) -> float:
        """Return the quality in ``scores``, its sign turned where less is better."""
        name = self.quality
        return float(scores[name] if OBJECTIVES[name][0] == "maximize" else -scores[name])

    @property
    def needs_latency(self) -> bool:
        """Whether latencies have to be known."""
        return "latency_ms" in (*self.objectives, *dict(self.constraints))

    def violations(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Return the share by which analytic ``scores`` exceed each limit; 0 or less where they keep it."""
        return {name: (scores[name] - limit) / (limit or 1.0) for name, limit in self.constraints}

    def total_violation(self, scores: Mapping[str, float]) -> float:
        """Return the sum of the shares by which analytic ``scores`` exceed limits; 0 where all are kept."""
        return sum(share for share in self.violations(scores).values() if share > 0)

    def format_violation(self, scores: Mapping[str, float]) -> str | None:
        """Return the first constraint that analytic ``scores`` violate, in words, or None."""
        for name, limit in self.constraints:
            if scores[name] > limit:
                return f"{name} {quantity(scores[name])} > {quantity(limit)}"
        return None

    def values(self, scores: Mapping[str, float]) -> list[float]:
        """Return the objectives' values, in order."""
        return [float(scores[name]) for name in self.objectives]
