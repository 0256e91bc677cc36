"""What the limits of a search leave of its space: whether anything, which designs, and one near any other.

All of it is arithmetic on costs that add up over the parts of a design, so it is known before anything is trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

from nas.search.analytic import AnalyticScores
from nas.search.objectives import Goal
from search_spaces.architecture import Architecture
from search_spaces.enumeration import Sizes, WalkTooLong, Within
from search_spaces.errors import RequestError
from search_spaces.named_designs import SHRUNK, SMALLEST, is_plain, smallest_by_operator
from search_spaces.shrinking import shrink
from search_spaces.skeleton import Style
from search_spaces.space import Space
from search_spaces.walk import Part

_MOST_STEPS = 500_000  # blocks looked at in a walk under several limits at once, which may lead nowhere
_MOST_LISTED = 20_000  # designs that are listed at most
_MOST_DRAWN = 500  # designs among which one is looked for that keeps limits on scores of one's own
_OPTIONS = {"macs": "--max-macs", "params": "--max-params", "latency_ms": "--max-latency-ms"}


@dataclass
class Limits:
    """The designs of a space that keep the limits of a goal.

    Args:
        space: The space.
        goal: Objectives and limits.
        scores: What is known of a design, every limited score included.
    """

    space: Space
    goal: Goal
    scores: AnalyticScores

    def keeps(self, design: Architecture) -> bool:
        """Return whether a design keeps all limits."""
        return not self.goal.constraints or self.goal.format_violation(self.scores(design)) is None

    def require_possible(self) -> None:
        """Check that some design may keep all limits.

        Every single limit on a built-in score is decided exactly; several at once are where a walk within bounds comes
        to its end. Whether limits on other scores can be kept is found out by searching.

        Raises:
            RequestError: If none does; it names the smallest possible values.
        """
        for name, limit in self.goal.additive:
            design = self.smallest(name)
            least = self.scores(design)[name]
            if least > limit:
                raise RequestError(
                    f"{_OPTIONS[name]}: no design of {self.space.name}/{self.space.scale} keeps {_exact(name, limit)}; "
                    f"the smallest has {name} {_exact(name, least)} ({design.digest}: {design}): give at least that, "
                    "or search a smaller space"
                )
        try:
            found = self._search_one()
        except WalkTooLong:
            return
        if found is None:
            limits = " and ".join(
                f"{_OPTIONS[name]} {_exact(name, limit)}" for name, limit in self.goal.constraints
            )
            alone = ", ".join(
                f"{name} {_exact(name, self.scores(self.smallest(name))[name])}"
                for name, _ in self.goal.constraints
            )
            raise RequestError(
                f"no design of {self.space.name}/{self.space.scale} keeps {limits} together, though each alone can be "
                f"kept (the smallest values are {alone}): loosen one of them"
            )

    def smallest(self, name: str) -> Architecture:
        """Return the design with the least of a limited score."""
        return self.space.cheapest(lambda part, style: self.scores.of_part(name, part, style))

    @cached_property
    def nearest(self) -> Architecture | None:
        """A small design that keeps all limits; None where none was found."""
        try:
            return self._search_one()
        except WalkTooLong:
            return None

    def _search_one(self) -> Architecture | None:
        """Return a design that keeps all limits, or None if there is none.

        Raises:
            WalkTooLong: If that was not decided within the steps allowed.
        """

        def excess(part: Part, style: Style) -> float:
            return sum(
                size / limit for size, (_, limit) in zip(self._sizes(part, style), constraints, strict=True)
            )

        constraints = self.goal.additive
        if self.keeps(design := self.space.cheapest(excess)):
            return design
        if self._has_own:
            return self._draw_one()
        return next(filter(self.keeps, self.space.enumerate(self._within)), None)

    @property
    def _has_own(self) -> bool:
        """Whether a limit is on a score of which only whole designs are known."""
        return len(self.goal.additive) < len(self.goal.constraints)

    def _draw_one(self) -> Architecture:
        """Return a design that keeps all limits, limits on scores of one's own included.

        Raises:
            WalkTooLong: If none was among those that were drawn.
        """
        others = replace(self, goal=replace(self.goal, constraints=self.goal.additive))
        rng = Random(0)
        drawn = (self.space.sample(rng) for _ in range(_MOST_DRAWN))
        found = map(others.shrink, (self.space.smallest, self.space.largest, *drawn))
        design = next(filter(self.keeps, found), None)
        if design is None:
            raise WalkTooLong
        return design

    def _sizes(self, part: Part, style: Style) -> Sizes:
        return tuple(self.scores.of_part(name, part, style) for name, _ in self.goal.additive)

    @property
    def _within(self) -> Within:
        limits = tuple(limit for _, limit in self.goal.additive)
        return Within(self._sizes, limits, _MOST_STEPS if len(limits) > 1 else None)

    def list_designs(self, at_most: int) -> list[Architecture] | None:
        """Return all designs that keep the limits, or None where they are more than that or cannot be listed."""
        at_most = min(at_most, _MOST_LISTED)
        if not self.goal.constraints:
            return list(self.space.enumerate()) if self.space.size <= at_most else None
        listed: list[Architecture] = []
        try:
            for looked_at, design in enumerate(self.space.enumerate(self._within)):
                if self._has_own and looked_at == _MOST_LISTED:
                    return None
                if not self.keeps(design):
                    continue
                if len(listed) == at_most:
                    return None
                listed.append(design)
        except WalkTooLong:
            return None
        return listed

    @cached_property
    def all_designs(self) -> list[Architecture]:
        """All designs that keep the limits, in a fixed order; none where they are too many to be listed."""
        return self.list_designs(_MOST_LISTED) or []

    def initial_designs(self, named: Sequence[tuple[str, Architecture]]) -> list[tuple[str, Architecture]]:
        """Return designs to begin with: those given, shrunk until they keep the limits, and the smallest ones.

        One that has no more than one operator keeps it; where that cannot be, one of no paper is left out. The smallest
        are those of each limited score and of each operator.
        """
        if not self.goal.constraints:
            return list(named)
        found = [(name, design) for name, design in named if self.keeps(design)]
        for name, design in named:
            if not self.keeps(design):
                smaller = self._shrink_within_operator(design)
                if smaller is None and not is_plain(name) and self.nearest is not None:
                    smaller = self.shrink(design)
                found += [] if smaller is None else [(f"{name}{SHRUNK}", smaller)]
        small = [(SMALLEST, self.smallest(name)) for name, _ in self.goal.additive]
        small += smallest_by_operator(self.space)
        small += [] if self.nearest is None else [(SMALLEST, self.nearest)]
        return found + [(name, design) for name, design in small if self.keeps(design)]

    def _shrink_within_operator(self, design: Architecture) -> Architecture | None:
        """Return a design like one of a single operator, of that operator and within the limits.

        None where none is known, or the design has several.
        """
        operators = {block.operator for stage in design.stages for block in stage.blocks}
        for part in self.space.with_one_operator():
            if part.contains(design) and len(operators) == 1:
                inside = replace(self, space=part)
                targets = [inside.smallest(name) for name, _ in self.goal.additive]
                target = next(filter(self.keeps, targets), None)
                return None if target is None else shrink(part, design, target, self.keeps)
        return None

    def shrink(self, design: Architecture, rng: Random | None = None) -> Architecture:
        """Return a design that keeps the limits and is like ``design``; itself where none is known that does."""
        return design if self.nearest is None else shrink(self.space, design, self.nearest, self.keeps, rng)


def _exact(name: str, value: float) -> str:
    """Return a value such that, given as a limit, it is one that the value keeps."""
    return f"{math.ceil(value * 1e4) / 1e4:g}" if name == "latency_ms" else f"{math.ceil(value)}"
