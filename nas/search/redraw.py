"""Proposals that are no use are drawn again: repeats, and under limits what exceeds them where most do.

A sampler proposes a design again once it has converged, and near the edge of a limit nearly all that it proposes
lies beyond. Both are known before any forward pass. A batch is revised by its own random numbers and by the batches
before it, so it is the same in a search that was killed in between.

A repeat becomes a mutant of itself, which keeps what the sampler liked of it. Where nearly all of a small space is
known, mutants are known too, and it becomes any design that is left: no proposal is spent on what is known.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random

from optuna.trial import FrozenTrial

from nas.search.limits import Limits
from search_spaces.architecture import Architecture

_ATTEMPTS = 32  # mutants looked at for one proposal
_SHARE_WITHIN = 0.5  # of a batch that keeps the limits where the sampler leaves fewer


@dataclass(frozen=True)
class Redrawer:
    """Revises batches of proposals.

    Args:
        limits: The limits of the search, and its space.
    """

    limits: Limits

    def revise(self, trials: Sequence[FrozenTrial], known: Collection[str], rng: Random) -> None:
        """Change the parameters of running trials where their design is of no use.

        A design that is among the ``known`` digests or earlier in the batch becomes one that is not, where one is
        found. Where fewer than half of the designs keep the limits, those nearest to them are shrunk until
        half do.

        Args:
            trials: A batch; each trial has all its parameters.
            known: Digests of earlier batches.
            rng: Draws.
        """
        space = self.limits.space
        taken, designs = set(known), [space.assemble(trial.params) for trial in trials]

        def replace(index: int, design: Architecture) -> None:
            designs[index] = design
            trials[index].params = space.values(design, rng)
            taken.add(design.digest)

        for index, design in enumerate(designs):
            if design.digest in taken and (new := self._find_new(design, taken, rng)) is not None:
                replace(index, new)
            taken.add(design.digest)
        for index in self._to_shrink(designs):
            design = self.limits.shrink(designs[index], rng)
            new = self._find_new(design, taken, rng) if design.digest in taken else design
            if new is not None:
                replace(index, new)

    def _to_shrink(self, designs: Sequence[Architecture]) -> list[int]:
        """Return the indices of the designs to shrink, the least violating first."""
        goal = self.limits.goal
        if not goal.constraints or self.limits.nearest is None:
            return []
        excesses = [goal.total_violation(self.limits.scores(design)) for design in designs]
        over = sorted(range(len(designs)), key=lambda index: excesses[index])
        over = [index for index in over if excesses[index] > 0]
        within = len(designs) - len(over)
        return over[: max(0, math.ceil(_SHARE_WITHIN * len(designs)) - within)]

    def _find_new(self, design: Architecture, taken: Collection[str], rng: Random) -> Architecture | None:
        """Return a design that is not ``taken``, if there is one: a mutant of ``design``, which keeps the limits.

        Mutants are ever further away; where 32 of them are taken, any design that is left does, if all can be listed.
        """
        space = self.limits.space
        if space.size == 1:
            return None
        for attempt in range(1, _ATTEMPTS + 1):
            mutant = space.mutate(design, rng, min(1.0, attempt / len(space.choices)))
            mutant = mutant if self.limits.keeps(mutant) else self.limits.shrink(mutant, rng)
            if mutant.digest not in taken:
                return mutant
        left = [one for one in self.limits.all_designs if one.digest not in taken]
        return rng.choice(left) if left else None
