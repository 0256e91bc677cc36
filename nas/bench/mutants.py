"""Generations to evaluate: mutants of a few parents, in the groups in which a worker is given them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import Random

from nas.evaluation.prefix_cache import GROUP_SIZE, order_by_prefix
from nas.runtime import interrupt
from search_spaces.architecture import Architecture
from search_spaces.cost import costs, part_cost
from search_spaces.space import Space
from search_spaces.walk import Part, walk

_RATE = 0.1  # of mutation, the space's own


def sample_generation(
    space: Space, rng: Random, parents: int, offspring: int
) -> tuple[list[Architecture], list[Architecture]]:
    """Return random parents and distinct mutants of them, each in the order of ``order_by_prefix``."""
    sampled = sample_designs(space, rng, parents)
    return sort_designs(sampled), mutate(space, rng, sampled, offspring)


def sample_designs(space: Space, rng: Random, count: int) -> list[Architecture]:
    """Return random designs in the order in which they are sampled."""
    return [space.sample(rng) for _ in range(count)]


def mutate(space: Space, rng: Random, parents: list[Architecture], offspring: int) -> list[Architecture]:
    """Return distinct mutants of ``parents``, in the order of ``order_by_prefix``."""
    distinct: dict[Architecture, None] = {}
    for number in range(100 * offspring):
        distinct[space.mutate(parents[number % len(parents)], rng, _RATE)] = None
        if len(distinct) == offspring:
            break
    return sort_designs(list(distinct))


def sort_designs(designs: list[Architecture]) -> list[Architecture]:
    """Return designs in the order of ``order_by_prefix``, in which neighbours share the most."""
    return [designs[index] for index in order_by_prefix(designs)]


def count_shared(known: Iterable[Architecture], designs: Sequence[Architecture]) -> float:
    """Return how many times the MACs of distinct beginnings all MACs of ``designs`` are, whole blocks being shared.

    No evaluation that computes common beginnings once can be faster by more than that, but for halves of blocks.

    Args:
        known: Designs whose beginnings are computed already.
        designs: Designs to compute.
    """
    seen: set[tuple[Part, ...]] = set()

    def count_new(design: Architecture) -> int:
        beginning, new = tuple[Part, ...](), 0
        for part in walk(design):
            beginning += (part,)
            if beginning not in seen:
                seen.add(beginning)
                new += part_cost(part, design.style).macs
        return new

    for design in known:
        count_new(design)
    return sum(costs(design).macs for design in designs) / max(1, sum(map(count_new, designs)))


def split_into_groups(designs: list[Architecture]) -> Iterator[list[Architecture]]:
    """Yield designs in groups.

    Raises:
        Interrupted: If the user asked to stop.
    """
    for start in range(0, len(designs), GROUP_SIZE):
        interrupt.check()
        yield designs[start : start + GROUP_SIZE]
