"""Objectives that a Python program brings: a function of a design, or of its trained network and validation images."""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas.runtime.error_text import first_line
from nas.search.objectives import OBJECTIVES, Direction, ObjectiveDeclaration, ScoredBy
from search_spaces.architecture import Architecture
from search_spaces.errors import RequestError, StudyError, WorkError

if TYPE_CHECKING:
    from torch import Tensor, nn

#: What trials keep under these names already.
_TAKEN = (
    *("top5", "seconds", "activation_bytes", "images", "correct"),
    *("digest", "design", "origin", "rejected", "failed", "stopped_after"),
)

#: A number of a design alone.
Cost = Callable[[Architecture], float]
#: A number of a design's network, in evaluation mode and on its device, and batches of normalised validation images
#: ``(B, C, H, W)`` with their classes ``(B,)`` there.
Measure = Callable[["nn.Module", "Sequence[tuple[Tensor, Tensor]]"], float]


@dataclass(frozen=True)
class Objective:
    """A score of one's own that a search optimises or limits.

    Give either ``cost``, which is known before anything is evaluated, or ``measure``, which every worker computes of
    the designs that it evaluates. The function is sent to workers and called again when a search goes on, so it must
    give the same number for the same design; one that does not is another objective and needs another name.

    Args:
        name: Its name in tables, trials and files.
        cost: Returns a number of a design alone.
        measure: Returns a number of a network and batches of validation images with their labels.
        direction: Whether less is better, or more.
        unit: What people read behind its values.
        limit: Largest value allowed, or the smallest where more is better; None for no limit. One on a cost rejects
            designs before they are evaluated; one on a measure keeps them off the front once they are.

    Raises:
        RequestError: If the declaration contradicts itself.

    Example:
        >>> from nas import Objective
        >>> depth = Objective("depth", cost=lambda design: sum(len(stage.blocks) for stage in design.stages))
    """

    name: str
    cost: Cost | None = None
    measure: Measure | None = None
    direction: Direction = "minimize"
    unit: str = ""
    limit: float | None = None

    def __post_init__(self) -> None:
        name = self.name
        if not name.isidentifier() or keyword.iskeyword(name) or name in OBJECTIVES or name in _TAKEN:
            raise RequestError(
                f"an objective cannot be called '{name}'; give a name of letters, digits and _ that no score has, "
                f"unlike {', '.join((*OBJECTIVES, *_TAKEN))}"
            )
        if (self.cost is None) == (self.measure is None) or not callable(self.cost or self.measure):
            raise RequestError(
                f"objective '{name}' needs either cost= or measure=, a function that returns a number"
            )
        if self.direction not in ("minimize", "maximize"):
            raise RequestError(
                f"objective '{name}': direction must be minimize or maximize, not {self.direction!r}"
            )
        if self.limit is not None and not math.isfinite(self.limit):
            raise RequestError(f"objective '{name}': limit must be a number, not {self.limit}")

    @property
    def declaration(self) -> ObjectiveDeclaration:
        """What a study keeps of it."""
        of: ScoredBy = "architecture" if self.measure is None else "network"
        limit = None if self.limit is None else float(self.limit)
        return ObjectiveDeclaration(self.name, self.direction, self.unit, of, limit)


def compute(name: str, function: Callable[..., Any], design: Architecture, *arguments: Any) -> float:
    """Return what an objective's function gives for a design.

    Args:
        name: The objective.
        function: Its function.
        design: The design.
        *arguments: What the function takes.

    Raises:
        WorkError: If it raises, or gives no finite number.
    """
    try:
        value = float(function(*arguments))
    # A function of somebody's fails in its own way.
    except Exception as error:
        raise WorkError(
            f"objective '{name}' cannot be computed of design {design.digest} ({type(error).__name__}: "
            f"{first_line(error)})"
        ) from error
    if not math.isfinite(value):
        raise WorkError(
            f"objective '{name}' is {value} for design {design.digest}; it must be a finite number"
        )
    return value


def require_functions(declared: Sequence[ObjectiveDeclaration], given: Sequence[Objective]) -> None:
    """Check that every objective that a study declares comes with its function.

    Raises:
        RequestError: If one does not.
    """
    known = {each.name for each in given}
    if missing := [each.name for each in declared if each.name not in known]:
        raise RequestError(
            f"objective '{missing[0]}' is a function of a Python program; search there, with nas.search(objective=...)"
        )


def require_same_numbers(
    objectives: Sequence[Objective], design: Architecture, known: Mapping[str, float]
) -> None:
    """Check that functions of designs give what they gave when a study began.

    Args:
        objectives: The objectives.
        design: A design of the study.
        known: Its scores there.

    Raises:
        StudyError: If one gives another number now.
    """
    for name, function in costs_of(objectives).items():
        value = compute(name, function, design, design)
        if name in known and not math.isclose(value, known[name], rel_tol=1e-6):
            raise StudyError(
                f"objective '{name}' of design {design.digest} was {known[name]:g} when the study began and is "
                f"{value:g} now; give another function another name and another study"
            )


def costs_of(objectives: Sequence[Objective]) -> Mapping[str, Cost]:
    """Return the functions of designs alone, by name."""
    return {each.name: each.cost for each in objectives if each.cost is not None}


def measures_of(objectives: Sequence[Objective]) -> Mapping[str, Measure]:
    """Return the functions of networks and images, by name."""
    return {each.name: each.measure for each in objectives if each.measure is not None}
