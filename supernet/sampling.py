"""Which paths of the supernet a training step runs.

Every policy is a pure function of the seed and the step, so training can be resumed at any step without a
history. All paths of a step have images of one size, which is drawn evenly from those of the space.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from search_spaces.architecture import Architecture
from search_spaces.errors import SpaceError, nearest
from search_spaces.space import Space
from supernet.path_draws import DRAWS, Draw, by_choice


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


def uniform(space: Space, seed: int, step: int, draw: Draw = by_choice) -> list[SampledPath]:
    """Sample one path (single path one-shot, arXiv 1904.00420, section 3.2)."""
    return [SampledPath(draw(space, Random(f"uniform-{seed}-{step}")))]


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


def sandwich(space: Space, seed: int, step: int, draw: Draw = by_choice) -> list[SampledPath]:
    """Return the largest, the smallest and two random paths; the others learn from the largest (arXiv 1903.05134)."""
    rng = Random(f"sandwich-{seed}-{step}")
    students = [space.smallest, draw(space, rng), draw(space, rng)]
    return [
        SampledPath(space.largest),
        *(SampledPath(student, learns_from="teacher") for student in students),
    ]


POLICIES = ("uniform", "fair", "sandwich")


def policy(name: str, paths: str = "by-choice") -> Policy:
    """Return the policy called ``name``.

    Args:
        name: One of ``POLICIES``.
        paths: How it draws its random paths, one of ``DRAWS``.

    Raises:
        SpaceError: If there is no such policy or way to draw, or they do not go together.
    """
    for word, what, known in ((name, "sampling policy", POLICIES), (paths, "way to draw paths", DRAWS)):
        if word not in known:
            raise SpaceError(f"unknown {what} '{word}' ({nearest(word, known)})")
    if name == "fair":
        if paths != "by-choice":
            raise SpaceError(
                f"the policy 'fair' gives operators their turns and cannot draw paths {paths}; use uniform"
            )
        sample: Policy = fair
    else:
        sample = partial(uniform if name == "uniform" else sandwich, draw=DRAWS[paths])

    def at_one_size(space: Space, seed: int, step: int) -> list[SampledPath]:
        if len(space.image_sizes) > 1:
            space = space.at_image_size(Random(f"size-{seed}-{step}").choice(space.image_sizes))
        return sample(space, seed, step)

    return at_one_size
