"""From files to bytes: opening an image, bringing it to size and colours, decoding a whole set."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nas.data.sources.source import Source
from nas.runtime.error_text import first_line
from search_spaces.errors import DataError

#: Sides from which on images count as large: their size is not taken from the files, and they are augmented
#: and normalised as photographs are.
LARGE_SIDE = 96
_DEFAULT_SIDE = 224
_INSPECTED_IMAGES = 64

#: Called with ``(done, total)`` images.
OnProgress = Callable[[int, int], None]


def find_size_and_channels(source: Source) -> tuple[int, int]:
    """Choose side and channels by inspecting a sample of the images.

    Returns:
        The side in pixels, which is the common one of small images and 224 otherwise, and the channels:
        1 where all sampled images are greyscale, else 3.

    Raises:
        DataError: A sampled image cannot be opened.
    """
    count = len(source.labels)
    sample = sorted({i * (count - 1) // (_INSPECTED_IMAGES - 1) for i in range(_INSPECTED_IMAGES)})
    sides, modes = set(), set()
    for index in sample:
        with open_image(source, index, decode=False) as image:
            sides |= set(image.size)
            modes.add(image.mode)
    side = sides.pop()
    return (_DEFAULT_SIDE if sides or side > LARGE_SIDE else side), (1 if modes == {"L"} else 3)


def open_image(source: Source, index: int, *, decode: bool = True) -> Image.Image:
    """Open an image; only its header is read unless ``decode``.

    Raises:
        DataError: It is damaged or has more than 8 bits per channel.
    """
    image = None
    try:
        image = source.images.open(index)
        if decode:
            image.load()
    # PIL reports damage in many ways, a SyntaxError and a struct.error among them.
    except Exception as error:
        if image is not None:
            image.close()
        reason = first_line(error).rstrip(".")
        raise DataError(
            f"{source.images.describe(index)} cannot be decoded ({reason}); remove or replace it"
        ) from error
    if image.mode.startswith(("I", "F")):
        image.close()
        raise DataError(
            f"{source.images.describe(index)} has more than 8 bits per channel (mode {image.mode}); "
            "convert it to 8 bits"
        )
    return image


def resize_and_crop(image: Image.Image, image_size: int, channels: int) -> Image.Image:
    """Resize the shorter side to ``image_size`` (bicubic), crop the centre square, convert to grey or RGB.

    This is what every image goes through outside training; an exported model documents the same steps.
    """
    image = convert_mode(image, channels)
    width, height = image.size
    if (width, height) != (image_size, image_size):
        # Cropping first gives the same square and resizes fewer pixels.
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        image = image.resize((image_size, image_size), Image.Resampling.BICUBIC, box=box)
    return image


def convert_mode(image: Image.Image, channels: int) -> Image.Image:
    """Convert an image to greyscale (1 channel) or RGB (3)."""
    if image.mode == "P":
        image = image.convert("RGBA")  # keeps a palette's transparency from being misread
    return image.convert("L" if channels == 1 else "RGB")


def to_tensor(image: Image.Image) -> Tensor:
    """Return the bytes of an image, ``(C, H, W)``."""
    array = np.array(image)
    return torch.from_numpy(array if array.ndim == 3 else array[..., None]).permute(2, 0, 1)


def decode_all(source: Source, image_size: int, channels: int, on_progress: OnProgress | None) -> Tensor:
    """Decode all images of a set into bytes ``(N, C, H, H)``.

    Raises:
        DataError: An image cannot be decoded.
    """
    count = len(source.labels)
    pixels = torch.empty(count, channels, image_size, image_size, dtype=torch.uint8)

    def decode(index: int) -> None:
        pixels[index] = to_tensor(resize_and_crop(open_image(source, index), image_size, channels))

    # PIL decodes outside the interpreter's lock.
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        try:
            for done, _ in enumerate(pool.map(decode, range(count)), start=1):
                if on_progress is not None:
                    on_progress(done, count)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return pixels
