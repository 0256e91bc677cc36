"""Spaces by name or file."""

from __future__ import annotations

import os

from search_spaces.declaration import load_declaration
from search_spaces.space import Space


def load_space(
    space: str | os.PathLike[str],
    *,
    scale: str | None = None,
    image_size: int | None = None,
    in_channels: int = 3,
    num_classes: int = 1000,
) -> Space:
    """Return a space for images of one kind: what `search` searches, to sample, count and price designs by hand.

    Args:
        space: Name of a space that `nas spaces` lists, or a YAML file.
        scale: Scale of its skeleton; the one meant for images of that size where it is left out.
        image_size: Side of the images in pixels; the smallest of the scale where it is left out.
        in_channels: Channels of the images.
        num_classes: Classes to tell apart.

    Raises:
        SpaceError: If there is no such space or scale, or it cannot take such images.

    Example:
        >>> from nas import load_space
        >>> space = load_space("twins_cswin", image_size=28, in_channels=1, num_classes=10)
        >>> space.smallest.num_classes
        10
    """
    return load_declaration(os.fspath(space)).space(scale, image_size, in_channels, num_classes)
