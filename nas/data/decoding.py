"""From files to bytes: reading an image, bringing it to size and colours, decoding a whole set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nas.data.broken_files import broken_files_error
from nas.data.pixels import GREY_MODES, find_refusal, to_upright_opaque, upright_size
from nas.data.sources.source import Source, UndecodedImages
from nas.data.threads import OnProgress, map_indices
from nas.runtime.error_text import first_line
from search_spaces.errors import DataError

#: Sides from which on images count as large: their size is not taken from the files, and they are augmented
#: and normalised as photographs are.
LARGE_SIDE = 96
_DEFAULT_SIDE = 224
_INSPECTED_IMAGES = 64
_DRAFT_SCALES = (8, 4, 2)  # of JPEG decoders

#: ``(left, top, right, bottom)`` in pixels.
Box = tuple[float, float, float, float]


class UnreadableImageError(Exception):
    """An image that cannot be read; its text is the reason."""


def find_side_and_channels(source: Source) -> tuple[int | None, int]:
    """Find the side and the channels of the images.

    All are looked at, unless a sample shows already that they are in colour and not of one small size, or that
    they are parts of one array.

    Returns:
        The side in pixels that all of those looked at share, or None, and the channels: 1 where all images are
        greyscale, else 3.

    Raises:
        DataError: An image cannot be opened.
    """
    return _look_at_images(source) if source.size_and_channels is None else source.size_and_channels


def usual_side(own_side: int | None) -> int:
    """Return the side in pixels that images are brought to: that which small ones share, and 224 otherwise."""
    return _DEFAULT_SIDE if own_side is None or own_side > LARGE_SIDE else own_side


def _look_at_images(source: Source) -> tuple[int | None, int]:
    """Return the side that all images share, or None, and the channels."""
    count = len(source.labels)
    sample = sorted({i * (count - 1) // (_INSPECTED_IMAGES - 1) for i in range(_INSPECTED_IMAGES)})
    sides: set[int] = set()
    modes: set[str] = set()

    def look_at(indices: list[int] | range) -> None:
        for index in indices:
            try:
                with source.images.open(index) as image:
                    if refusal := find_refusal(image):
                        raise UnreadableImageError(refusal)
                    sides.update(image.size)
                    modes.add(image.mode)
            # Libraries report damage in many ways.
            except Exception as error:
                reason = first_line(error).rstrip(".")
                raise broken_files_error([(source.images.describe(index), reason)]) from error

    def is_undecided() -> bool:
        return modes <= set(GREY_MODES) or (len(sides) == 1 and min(sides) <= LARGE_SIDE)

    look_at(sample)
    if source.fingerprint is None and is_undecided():
        look_at(range(count))
    return (sides.pop() if len(sides) == 1 else None), (1 if modes <= set(GREY_MODES) else 3)


def read_image(images: UndecodedImages, index: int, channels: int) -> Image.Image:
    """Read an image whole: upright, opaque, greyscale (1 channel) or RGB (3).

    Raises:
        UnreadableImageError: It is absent, damaged, or has more than 8 bits per channel.
    """
    return read_part(images, index, channels, lambda width, height: (0, 0, width, height))


def read_part(
    images: UndecodedImages,
    index: int,
    channels: int,
    choose_box: Callable[[int, int], Box],
    least_side: int | None = None,
) -> Image.Image:
    """Read a part of an image: upright, opaque, greyscale (1 channel) or RGB (3).

    Args:
        images: Of a set.
        index: Which of them.
        channels: 1 or 3.
        choose_box: Returns the part of an image of ``(width, height)``, upright.
        least_side: Pixels that suffice for each side of the part. JPEG files hold frequencies, so that they can be
            decoded at 1/2, 1/4 or 1/8 of their size in less time; the smallest at which the part is as large is
            taken. None decodes at full size.

    Raises:
        UnreadableImageError: It is absent, damaged, or has more than 8 bits per channel.
    """
    try:
        with images.open(index) as image:
            if refusal := find_refusal(image):
                raise UnreadableImageError(refusal)
            width, height = upright_size(image)
            left, top, right, bottom = choose_box(width, height)
            if least_side is not None:
                spare = min(right - left, bottom - top) / least_side
                scale = next((each for each in _DRAFT_SCALES if each <= spare), 1)
                image.draft(None, (image.width // scale, image.height // scale))
            image.load()
            upright = to_upright_opaque(image, channels)
    except UnreadableImageError:
        raise
    except OSError as error:
        raise UnreadableImageError((error.strerror or first_line(error)).rstrip(".")) from error
    # Pillow reports damage in many ways, a SyntaxError and a struct.error among them.
    except Exception as error:
        raise UnreadableImageError(first_line(error).rstrip(".")) from error
    if (right - left, bottom - top) == (width, height):
        return upright
    across, down = upright.width / width, upright.height / height
    return upright.crop(
        (round(left * across), round(top * down), round(right * across), round(bottom * down))
    )


def resize_and_crop(image: Image.Image, image_size: int, test_crop: float = 1.0) -> Image.Image:
    """Resize the shorter side to ``image_size / test_crop`` (bicubic) and crop the centre square.

    This is what every image goes through outside training; an exported model documents the same steps.
    """
    width, height = image.size
    if (width, height) != (image_size, image_size) or test_crop != 1:
        # Cropping first gives the same square and resizes fewer pixels.
        side = min(width, height) * test_crop
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        image = image.resize((image_size, image_size), Image.Resampling.BICUBIC, box=box)
    return image


def to_tensor(image: Image.Image) -> Tensor:
    """Return the bytes of an image, ``(C, H, W)``."""
    array = np.array(image)
    return torch.from_numpy(array if array.ndim == 3 else array[..., None]).permute(2, 0, 1)


def decode_all(source: Source, image_size: int, channels: int, on_progress: OnProgress | None) -> Tensor:
    """Decode all images of a set into bytes ``(N, C, H, H)``.

    Raises:
        DataError: Images cannot be decoded; all of them are counted.
    """
    count = len(source.labels)
    pixels = torch.empty(count, channels, image_size, image_size, dtype=torch.uint8)

    def decode(index: int) -> str | None:
        try:
            image = read_image(source.images, index, channels)
        except UnreadableImageError as error:
            return str(error)
        pixels[index] = to_tensor(resize_and_crop(image, image_size))
        return None

    reasons = map_indices(decode, count, on_progress)
    broken = [(source.images.describe(i), reason) for i, reason in enumerate(reasons) if reason is not None]
    if broken:
        raise broken_files_error(broken)
    return pixels


def unreadable(images: UndecodedImages, index: int, error: UnreadableImageError) -> DataError:
    """Return the error that says which image cannot be read."""
    return broken_files_error([(images.describe(index), str(error))])
