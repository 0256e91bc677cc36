"""RandAugment (Cubuk et al., arXiv 1909.13719) for batches of float images in [0, 1].

timm decides what happens to an image, by its seed, exactly as for one that is streamed from disk: its operations are
called with functions that note their arguments instead of computing. The images on which the same operation falls are
then computed together, on their device.
"""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from nas.data.image_operations import OPERATIONS, MoveOptions
from search_spaces.errors import RequestError

# timm passes over what it does not know, so that a slip of the pen would go unnoticed.
_SECTION = re.compile(r"(m|n|p|mstd|mmax|inc)\d+(\.\d+)?|t\w+")
_SATURATION = ("Color", "ColorIncreasing", "Desaturate")


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python's and numpy's global generators, which timm's transforms use, and leave them as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def create_rand_augment(text: str, fill: tuple[float, ...], bicubic: bool) -> Any:
    """Return timm's RandAugment, which takes Pillow's images.

    Args:
        text: As timm writes it, e.g. ``rand-m9-mstd0.5-inc1``.
        fill: What shows where an image is moved away, per channel in [0, 1]; of one channel, images are grey and
            operations on their saturation are left out.
        bicubic: Whether images are moved with bicubic interpolation; else bilinear.

    Raises:
        RequestError: The text means nothing to timm, or operations that are not available here.
    """
    from timm.data.auto_augment import rand_augment_transform  # timm takes seconds to import

    if not all(_SECTION.fullmatch(section) for section in text.split("-")[1:]):
        raise _not_understood(text)
    colour = tuple(min(255, round(255 * value)) for value in fill)
    resampling = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    options = {"img_mean": colour if len(colour) > 1 else colour[0], "interpolation": resampling}
    try:
        transform = rand_augment_transform(text, options)
    # timm checks by assertions, and what it does not check fails where it is used.
    except (AssertionError, ValueError, TypeError):
        raise _not_understood(text) from None
    names = [operation.name for operation in transform.ops]
    for operation in transform.ops:
        if operation.name.startswith("Posterize"):
            operation.aug_fn = _posterize
    if unknown := sorted(set(names) - set(OPERATIONS)):
        raise RequestError(
            f"rand_augment: '{text}' means {', '.join(unknown)}, which is not available; leave its t option out"
        )
    if len(fill) == 1:
        kept = [index for index, name in enumerate(names) if name not in _SATURATION]
        transform.ops = [transform.ops[index] for index in kept]
        if transform.choice_weights is not None:
            weights = np.asarray(transform.choice_weights)[kept]
            transform.choice_weights = weights / weights.sum()
    return transform


def _not_understood(text: str) -> RequestError:
    return RequestError(
        f"rand_augment: '{text}' is not understood; write it as timm does, for example rand-m9-mstd0.5-inc1"
    )


def _posterize(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    """Keep so many leading bits; timm asks for none of them at its strongest, which Pillow refuses."""
    if bits == 0:
        return Image.new(image.mode, image.size)
    return image if bits >= 8 else ImageOps.posterize(image, bits)


@dataclass(frozen=True, slots=True)
class _Step:
    """An operation that timm chose for an image, with the number that decides its strength."""

    name: str
    argument: float


@lru_cache(maxsize=8)
def _create_recorder(text: str, fill: tuple[float, ...], bicubic: bool) -> Any:
    """Return timm's RandAugment, called with a list of steps: it returns that with its own appended."""
    transform = create_rand_augment(text, fill, bicubic)
    for operation in transform.ops:
        operation.aug_fn = _note(operation.name)
    return transform


def _note(name: str) -> Callable[..., list[_Step]]:
    def note(steps: list[_Step], *arguments: float, **_: Any) -> list[_Step]:
        return [*steps, _Step(name, float(arguments[0]) if arguments else 0.0)]

    return note


def choose_steps(
    seeds: Sequence[int], text: str, fill: tuple[float, ...], bicubic: bool
) -> list[list[_Step]]:
    """Return what RandAugment does to each image, by its seed."""
    recorder, chosen = _create_recorder(text, fill, bicubic), []
    for seed in seeds:
        with seeded(seed):
            chosen.append(recorder([]))
    return chosen


def apply_rand_augment(
    images: Tensor, seeds: Sequence[int], text: str, fill: tuple[float, ...], *, bicubic: bool
) -> Tensor:
    """Return images ``(B, C, H, H)`` in [0, 1] with the operations that timm chooses for their seeds.

    Args:
        images: Greyscale where ``fill`` has one number.
        seeds: A seed for each image.
        text: As timm writes it, e.g. ``rand-m9-mstd0.5-inc1``.
        fill: What shows where an image is moved away, per channel.
        bicubic: Whether images are moved with bicubic interpolation; else bilinear.

    Raises:
        RequestError: See `create_rand_augment`.
    """
    options = MoveOptions(torch.tensor(fill, device=images.device, dtype=images.dtype), bicubic)
    steps = choose_steps(seeds, text, fill, bicubic)
    for layer in range(max(map(len, steps), default=0)):
        groups: dict[str, list[int]] = {}
        for index, chosen in enumerate(steps):
            if layer < len(chosen):
                groups.setdefault(chosen[layer].name, []).append(index)
        # One copy to the device for all groups.
        indices = [index for members in groups.values() for index in members]
        order = torch.tensor(indices, device=images.device)
        arguments = torch.tensor(
            [steps[index][layer].argument for index in indices], device=images.device, dtype=images.dtype
        )
        images, first = images.clone(), 0
        for name, members in groups.items():
            which = order[first : first + len(members)]
            images[which] = OPERATIONS[name](images[which], arguments[first : first + len(members)], options)
            first += len(members)
    return images
