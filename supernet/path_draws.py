"""How a random path of a training step is drawn: evenly over choices, over architectures, or over cost."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from search_spaces.architecture import Architecture
from search_spaces.space import Space

#: ``(space, rng) -> path``.
Draw = Callable[[Space, Random], Architecture]


def by_choice(space: Space, rng: Random) -> Architecture:
    """Draw every choice evenly (single path one-shot, arXiv 1904.00420, section 3.2)."""
    return space.sample(rng)


def by_architecture(space: Space, rng: Random) -> Architecture:
    """Draw every distinct architecture with the same probability, so that deep stages prevail."""
    return space.sample(rng, "architectures")


def by_cost(space: Space, rng: Random) -> Architecture:
    """Draw MACs evenly between those of the smallest and the largest architecture, and a path that has about them.

    AttentiveNAS (arXiv 2011.09011, section 3.2) draws the cost of a path first for the same reason: independent
    choices hardly ever make a small or a large one.
    """
    return space.cost_tilting.sample(rng)


DRAWS: dict[str, Draw] = {"by-choice": by_choice, "by-architecture": by_architecture, "by-cost": by_cost}
