"""What a search optimises, and the constraints that no candidate may violate.

Some scores are built in; a Python program may declare its own (`nas.search.own_objectives`). What is declared is a
value: it is kept in a study's settings and travels in the `Goal` of its search, so that a study can be read where the
functions that compute its scores are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from nas.runtime.console import quantity
from search_spaces.errors import RequestError, nearest

Direction = Literal["minimize", "maximize"]
#: What a score is computed of: the design alone, or its trained network and validation images.
ScoredBy = Literal["architecture", "network"]


@dataclass(frozen=True)
class ObjectiveDeclaration:
    """A score that a search may optimise.

    Args:
        name: Its name, by which trials keep it.
        direction: Optuna's direction.
        unit: What people read behind its values.
        of: What it is computed of.
        limit: Largest value that is allowed, or the smallest of a score of which more is better; None for no limit.
    """

    name: str
    direction: Direction
    unit: str = ""
    of: ScoredBy = "architecture"
    limit: float | None = None

    @property
    def title(self) -> str:
        """Its name with the unit, for axes of figures."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


#: Scores that every search knows, by name; latencies where they are measured.
OBJECTIVES = {
    each.name: each
    for each in (
        ObjectiveDeclaration("top1", "maximize", "%", "network"),
        ObjectiveDeclaration("loss", "minimize", "nats", "network"),
        ObjectiveDeclaration("macs", "minimize", "MACs"),
        ObjectiveDeclaration("params", "minimize", "parameters"),
        ObjectiveDeclaration("latency_ms", "minimize", "ms"),
    )
}

#: Of these the ones that take a trained network and validation images.
QUALITIES = ("top1", "loss")

_FACTORS = {"k": 1e3, "m": 1e6, "g": 1e9}


def parse_objectives(text: str, own: Sequence[ObjectiveDeclaration] = ()) -> tuple[str, ...]:
    """Read ``top1,macs``.

    Args:
        text: Names, comma separated.
        own: Objectives that are known beside the built-in ones.

    Raises:
        RequestError: If a name is unknown or given twice.
    """
    known = {**OBJECTIVES, **{each.name: each for each in own}}
    names = tuple(part.strip() for part in text.split(","))
    for position, name in enumerate(names):
        if name not in known:
            raise RequestError(f"--objective: unknown objective '{name}' ({nearest(name, known)})")
        if name in names[:position]:
            raise RequestError(f"--objective: '{name}' is given twice; name each objective once")
    return names


def directions_of(objectives: Sequence[str], own: Sequence[ObjectiveDeclaration] = ()) -> list[Direction]:
    """Return Optuna's directions of objectives, in order."""
    known = {**OBJECTIVES, **{each.name: each for each in own}}
    return [known[name].direction for name in objectives]


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
        constraints: Largest value allowed of a score, or the smallest where more of it is better, by name.
        own: Declarations of scores that are not built in.
    """

    objectives: tuple[str, ...] = ("top1", "macs")
    constraints: tuple[tuple[str, float], ...] = ()
    own: tuple[ObjectiveDeclaration, ...] = ()

    def declaration(self, name: str) -> ObjectiveDeclaration:
        """Return what is declared of a score."""
        return next((each for each in self.own if each.name == name), None) or OBJECTIVES[name]

    @property
    def directions(self) -> list[Direction]:
        """Optuna's direction of every objective."""
        return directions_of(self.objectives, self.own)

    @property
    def costs(self) -> tuple[str, ...]:
        """The objectives of which less is better and which are known of a design alone."""
        declared = map(self.declaration, self.objectives)
        return tuple(
            each.name for each in declared if (each.direction, each.of) == ("minimize", "architecture")
        )

    @property
    def additive(self) -> tuple[tuple[str, float], ...]:
        """The constraints on built-in scores, which add up over the parts of a design."""
        return tuple(one for one in self.constraints if one[0] in OBJECTIVES)

    @property
    def quality(self) -> str:
        """What trained designs are compared by: the first objective that says how good one is, else ``top1``."""
        return next((name for name in self.objectives if name in QUALITIES), "top1")

    def merit(self, scores: Mapping[str, float]) -> float:
        """Return the quality in ``scores``, its sign turned where less is better."""
        name = self.quality
        return float(scores[name] if OBJECTIVES[name].direction == "maximize" else -scores[name])

    @property
    def needs_latency(self) -> bool:
        """Whether latencies have to be known."""
        return "latency_ms" in (*self.objectives, *dict(self.constraints))

    @property
    def beforehand(self) -> Goal:
        """The goal with the limits alone that are known of a design before it is evaluated."""
        known = (one for one in self.constraints if self.declaration(one[0]).of == "architecture")
        return replace(self, constraints=tuple(known))

    @property
    def measured(self) -> tuple[str, ...]:
        """The scores of trained networks that are optimised or limited."""
        names = dict.fromkeys((*self.objectives, *dict(self.constraints)))
        return tuple(name for name in names if self.declaration(name).of == "network")

    def violations(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Return the share by which ``scores`` are beyond each limit; 0 or less where they keep it.

        Limits on scores that are not among them, since the design is not evaluated yet, are left out.
        """
        return {
            name: (limit - scores[name] if self.is_least(name) else scores[name] - limit)
            / (abs(limit) or 1.0)
            for name, limit in self.constraints
            if name in scores
        }

    def total_violation(self, scores: Mapping[str, float]) -> float:
        """Return the sum of the shares by which ``scores`` are beyond limits; 0 where all are kept."""
        return sum(share for share in self.violations(scores).values() if share > 0)

    def format_violation(self, scores: Mapping[str, float]) -> str | None:
        """Return the first constraint that ``scores`` violate, in words, or None."""
        limits = dict(self.constraints)
        for name, share in self.violations(scores).items():
            if share > 0:
                sign = "<" if self.is_least(name) else ">"
                return f"{name} {quantity(scores[name])} {sign} {quantity(limits[name])}"
        return None

    def is_least(self, name: str) -> bool:
        """Return whether a limit on a score is the least that is allowed, since more of it is better."""
        return self.declaration(name).direction == "maximize"

    def relation(self, name: str) -> str:
        """Return in words what a limit on a score is: ``at most``, or ``at least`` where more of it is better."""
        return "at least" if self.is_least(name) else "at most"

    def values(self, scores: Mapping[str, float]) -> list[float]:
        """Return the objectives' values, in order."""
        return [float(scores[name]) for name in self.objectives]
