"""The design of a space whose MACs are nearest to a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import TYPE_CHECKING

from search_spaces.analogues import DesignPattern, analogue
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.errors import ArchitectureError, SpaceError
from search_spaces.refit import refit
from search_spaces.scaling import scale_to_macs

if TYPE_CHECKING:
    from search_spaces.space import Space

_DRAWS = 64
#: Budgets, as shares of the one that is asked for, for which a family is scaled before it is brought into a space.
_SHARES = tuple(2 ** (step / 2) for step in range(-2, 3))


def find_closest(space: Space, macs: float, like: Architecture | None = None) -> Architecture:
    """Return a design of ``space`` that no single choice brings nearer to ``macs``.

    Args:
        space: The space.
        macs: Multiply-accumulates for one image.
        like: A design whose operators and proportions it follows; its own family need not be of the space. Where it is
            left out designs are drawn over the whole range of costs, always the same.

    Raises:
        SpaceError: If the space has no design like that.
    """
    starts = _drawn(space) if like is None else list(_like(space, like, macs))
    if not starts:
        raise SpaceError(
            f"space '{space.name}' ({space.scale}) has no design like the one to follow; leave it out"
        )

    def miss(design: Architecture) -> float:
        return abs(costs(design).macs - macs)

    may_change: Callable[[str], bool] = (lambda name: True) if like is None else _keeps_family
    return _descend(space, min(starts, key=miss), miss, may_change)


def _drawn(space: Space) -> list[Architecture]:
    rng = Random(0)
    tilting = space.cost_tilting
    drawn = (tilting.sample_near(rng, rng.uniform(tilting.least, tilting.most)) for _ in range(_DRAWS))
    return [space.smallest, space.largest, *drawn]


def _like(space: Space, like: Architecture, macs: float) -> Iterator[Architecture]:
    """Yield designs of the space that follow ``like`` scaled to budgets around the one that is asked for."""
    for share in _SHARES:
        try:
            fitting = refit(like, space.image_size, space.in_channels, space.num_classes)
            scaled = scale_to_macs(fitting, share * macs)
        except ArchitectureError:
            continue
        found = analogue(DesignPattern.of_architecture(scaled), space)
        if found is not None:
            yield found


def _keeps_family(choice: str) -> bool:
    """Return whether a choice may be changed without making a design another one."""
    return choice.endswith((".dim", ".width", ".mlp_ratio"))


def _descend(
    space: Space,
    design: Architecture,
    miss: Callable[[Architecture], float],
    may_change: Callable[[str], bool],
) -> Architecture:
    """Return the design at which changing one choice at a time, each time for the best, comes to an end."""
    while True:
        values = space.values(design)
        neighbours: Iterable[Architecture] = (
            space.assemble({**values, choice.name: option})
            for choice in space.choices
            if may_change(choice.name)
            for option in choice.options
        )
        best = min(neighbours, key=miss, default=design)
        if miss(best) >= miss(design):
            return design
        design = best
