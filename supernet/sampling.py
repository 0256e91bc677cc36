"""Which paths of the supernet a training step runs.

Every policy is a pure function of the seed and the step, so training can be resumed at any step without a
history.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from search_spaces.architecture import Architecture
from search_spaces.errors import SpaceError, nearest
from search_spaces.space import Space


@dataclass(frozen=True)
class SampledPath:
    """One path of a step.

    Args:
        architecture: What to run.
        learns_from: ``labels``, or ``teacher`` for in-place distillation from the step's first path.
    """

    architecture: Architecture
    learns_from: str = "labels"


#: ``(space, seed, step) -> paths`` of that step.
Policy = Callable[[Space, int, int], list[SampledPath]]


def uniform(space: Space, seed: int, step: int) -> list[SampledPath]:
    """Sample one path, every choice uniformly (single path one-shot, arXiv 1904.00420, section 3.2)."""
    return [SampledPath(space.sample(Random(f"uniform-{seed}-{step}")))]


def fair(space: Space, seed: int, step: int) -> list[SampledPath]:
    """Sample one path a step so that rounds of steps are strictly fair (FairNAS, arXiv 1907.01845, section 3.2).

    A round has fixed depths and a shuffled order of operators for every block: within a round each operator
    of a block is trained equally often. A round has as many steps as the least common multiple of the blocks'
    numbers of operators. Other knobs are sampled uniformly. Unlike FairNAS a round's paths update the weights
    one by one, as the gradients of a full round would multiply the cost of a step.
    """
    counts = [len(stage.operators) for stage in space.stages]
    length = math.lcm(*counts)
    round_number, position = divmod(step, length)
    round_rng = Random(f"fair-{seed}-{round_number}")
    rng = Random(f"fair-{seed}-{round_number}-{position}")
    values = {choice.name: rng.choice(choice.options) for choice in space.choices}
    for index, stage in enumerate(space.stages, start=1):
        depth = round_rng.choice(stage.depths)
        names = [operator.name for operator in stage.operators]
        if len(stage.depths) > 1:
            values[f"stage{index}.depth"] = depth
        for block in range(1, max(stage.depths) + 1):
            repeats = range(length // len(names))
            order = [name for _ in repeats for name in round_rng.sample(names, len(names))]
            if len(names) > 1:
                values[f"stage{index}.block{block}.operator"] = order[position]
    return [SampledPath(space.assemble(values))]


def sandwich(space: Space, seed: int, step: int) -> list[SampledPath]:
    """Return the largest, the smallest and two random paths; the others learn from the largest (arXiv 1903.05134)."""
    rng = Random(f"sandwich-{seed}-{step}")
    students = [space.smallest, space.sample(rng), space.sample(rng)]
    return [
        SampledPath(space.largest),
        *(SampledPath(student, learns_from="teacher") for student in students),
    ]


POLICIES: dict[str, Policy] = {"uniform": uniform, "fair": fair, "sandwich": sandwich}


def policy(name: str) -> Policy:
    """Return the policy called ``name``.

    Raises:
        SpaceError: If there is none.
    """
    if name not in POLICIES:
        raise SpaceError(f"unknown sampling policy '{name}' ({nearest(name, POLICIES)})")
    return POLICIES[name]
