"""Which of a space's fixed list of choices a design makes, and which have no effect on it."""

from __future__ import annotations

from search_spaces.architecture import Architecture
from search_spaces.choices import Value
from search_spaces.space import Space


def active_values(space: Space, architecture: Architecture) -> dict[str, Value]:
    """Return the choices that make a design by name, without those of blocks and operators that it does not have.

    Args:
        space: The space.
        architecture: A point of it.

    Raises:
        SpaceError: If the architecture is not in this space.
    """
    active = {"stem", "image_size"}
    for number, (choices, stage) in enumerate(zip(space.stages, architecture.stages, strict=False), start=1):
        active |= {name for name, _ in choices.values(f"stage{number}", stage)}
    return {name: value for name, value in space.values(architecture).items() if name in active}
