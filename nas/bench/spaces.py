"""The space that a bench works on, for the kind of images that its scale is meant for."""

from __future__ import annotations

from nas.bench.setup import Setup
from search_spaces.declaration import load_declaration
from search_spaces.space import Space

_EMBEDDED = 28  # side of the embedded images, which are grey and of ten classes
_LARGE = 128  # from here on, images are as those of ImageNet


def load_space(setup: Setup) -> Space:
    """Return the space: for images as the embedded ones unless scale or size say otherwise.

    Images below 128 px have one channel and 10 classes, others 3 and 1,000.

    Raises:
        SpaceError: If there is no such space or scale, or it is not meant for images of this size.
    """
    declaration = load_declaration(setup.space)
    side = setup.image_size
    if side is None and setup.scale is None:
        fits = any(low <= _EMBEDDED <= high for low, high in declaration.scales.values())
        side = _EMBEDDED if fits else None
    elif side is None and setup.scale in declaration.scales:
        low, high = declaration.scales[setup.scale]
        side = _EMBEDDED if low <= _EMBEDDED <= high else low
    plain = declaration.space(setup.scale, side)
    kind = (1, 10) if plain.image_size[0] < _LARGE else (3, 1000)
    return declaration.space(setup.scale, side, *kind)
