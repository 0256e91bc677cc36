"""What an opened image becomes before it is cut to size: upright, opaque, and grey or RGB."""

from __future__ import annotations

from PIL import Image, ImageOps

from search_spaces.limits import IMAGE_PIXELS

#: Modes of Pillow that are shades of grey.
GREY_MODES = ("1", "L", "LA", "La")
#: What shows through where an image is transparent.
BACKGROUND = (255, 255, 255)
_ORIENTATION_TAG = 0x0112
_ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
# Formats whose header holds the orientation; asking others for it would decode them whole.
_ORIENTED_FORMATS = ("JPEG", "MPO", "TIFF", "WEBP")


def find_refusal(image: Image.Image) -> str | None:
    """Return why an image cannot be used, or None."""
    if image.mode.startswith(("I", "F")):
        return f"it has more than 8 bits per channel (mode {image.mode}); convert it to 8 bits"
    return IMAGE_PIXELS.refusal(image.width * image.height)


def is_turned(image: Image.Image) -> bool:
    """Return whether an image's header says that its pixels are stored turned or mirrored."""
    if image.format not in _ORIENTED_FORMATS and "exif" not in image.info:
        return False
    return _orientation(image) in range(2, 9)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an opened image as it is meant to be seen."""
    width, height = image.size
    sideways = is_turned(image) and _orientation(image) in range(5, 9)
    return (height, width) if sideways else (width, height)


def is_transparent(image: Image.Image) -> bool:
    """Return whether an image can be transparent somewhere."""
    return image.mode in _ALPHA_MODES or "transparency" in image.info


def to_upright_opaque(image: Image.Image, channels: int) -> Image.Image:
    """Return a decoded image as it is meant to be seen, greyscale (1 channel) or RGB (3).

    The orientation of its EXIF data is applied, and it is laid on white where it is transparent.
    """
    if _orientation(image) in range(2, 9):
        image = ImageOps.exif_transpose(image)
    if is_transparent(image):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*BACKGROUND, 255)), image)
    return image.convert("L" if channels == 1 else "RGB")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where the image has none that can be read."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    # EXIF data is damaged in as many ways as images are, and says nothing then.
    except Exception:
        return 1
    return value if isinstance(value, int) else 1
