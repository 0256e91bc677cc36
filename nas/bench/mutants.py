"""Generations to evaluate: mutants of a few parents, in the groups in which a worker is given them."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from nas.evaluation.prefix_cache import GROUP_SIZE, order_by_prefix
from nas.runtime import interrupt
from search_spaces.architecture import Architecture
from search_spaces.space import Space

_RATE = 0.1  # of mutation, the space's own


def generation(
    space: Space, rng: Random, parents: int, offspring: int
) -> tuple[list[Architecture], list[Architecture]]:
    """Return random parents and distinct mutants of them, each in the order of ``order_by_prefix``."""
    first = [space.sample(rng) for _ in range(parents)]
    return [first[place] for place in order_by_prefix(first)], mutants(space, rng, first, offspring)


def mutants(space: Space, rng: Random, parents: list[Architecture], offspring: int) -> list[Architecture]:
    """Return distinct mutants of ``parents``, in the order of ``order_by_prefix``."""
    made: dict[Architecture, None] = {}
    for number in range(100 * offspring):
        made[space.mutate(parents[number % len(parents)], rng, _RATE)] = None
        if len(made) == offspring:
            break
    designs = list(made)
    return [designs[place] for place in order_by_prefix(designs)]


def in_groups(designs: list[Architecture]) -> Iterator[list[Architecture]]:
    """Yield designs in groups.

    Raises:
        Interrupted: If the user asked to stop.
    """
    for start in range(0, len(designs), GROUP_SIZE):
        interrupt.check()
        yield designs[start : start + GROUP_SIZE]
