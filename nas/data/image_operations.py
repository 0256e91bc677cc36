"""RandAugment's operations on batches of float images in [0, 1], each as Pillow does it to one image of bytes.

Every operation takes images ``(B, C, H, W)``, an argument for each ``(B,)`` in the units of timm's functions, and
`MoveOptions`. Where Pillow rounds each step to bytes, floats are kept: results differ by a few bytes of 255.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.data.color import blend, to_grey

_HALF = 128  # the byte below which `add` makes brighter


@dataclass(frozen=True)
class MoveOptions:
    """How images are moved.

    Attributes:
        fill: What shows where an image is moved away, ``(C,)``.
        bicubic: Whether pixels are interpolated so; else bilinearly.
    """

    fill: Tensor
    bicubic: bool


Operation = Callable[[Tensor, Tensor, MoveOptions], Tensor]


def _to_bytes(images: Tensor) -> Tensor:
    return (images * 255).round().long()


def _to_images(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype) / 255


def _per_image(arguments: Tensor) -> Tensor:
    return arguments.view(-1, 1, 1, 1)


def auto_contrast(images: Tensor, arguments: Tensor, options: MoveOptions) -> Tensor:
    """Stretch each channel to [0, 1]; one without contrast stays as it is."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = high <= low
    return torch.where(flat, images, (images - low) / torch.where(flat, 1.0, high - low))


def equalize(images: Tensor, arguments: Tensor, options: MoveOptions) -> Tensor:
    """Spread each channel's values so that all are about equally frequent."""
    values = _to_bytes(images).flatten(2)
    counts = torch.zeros(*values.shape[:2], 256, dtype=torch.long, device=images.device)
    counts.scatter_add_(2, values, torch.ones_like(values))
    # Pixels of the highest value do not count, so that 255 is reached.
    last = counts.gather(2, values.amax(2, keepdim=True))
    step = (values.shape[2] - last) // 255
    before = counts.cumsum(2) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    equalized = table.gather(2, values).view_as(images)
    return torch.where((step == 0).unsqueeze(3), images, _to_images(equalized, images))


def invert(images: Tensor, arguments: Tensor, options: MoveOptions) -> Tensor:
    """Make light what is dark."""
    return 1 - images


def posterize(images: Tensor, arguments: Tensor, options: MoveOptions) -> Tensor:
    """Keep so many leading bits of each byte."""
    dropped = (8 - _per_image(arguments).long()).clamp(0, 8)
    return _to_images((_to_bytes(images) >> dropped) << dropped, images)


def solarize(images: Tensor, arguments: Tensor, options: MoveOptions) -> Tensor:
    """Invert the values from a byte on."""
    return torch.where(_to_bytes(images) < _per_image(arguments), images, 1 - images)


def solarize_add(images: Tensor, arguments: Tensor, options: MoveOptions) -> Tensor:
    """Add so many bytes to the darker half of the values."""
    brighter = (images + _per_image(arguments) / 255).clamp(max=1)
    return torch.where(_to_bytes(images) < _HALF, brighter, images)


def color(images: Tensor, arguments: Tensor, options: MoveOptions) -> Tensor:
    """Multiply the saturation."""
    return blend(images, to_grey(images), arguments)


def desaturate(images: Tensor, arguments: Tensor, options: MoveOptions) -> Tensor:
    """Take away a share of the saturation."""
    return color(images, (1 - arguments).clamp(0, 1), options)


def contrast(images: Tensor, arguments: Tensor, options: MoveOptions) -> Tensor:
    """Multiply the distance from the mean grey value."""
    return blend(images, to_grey(images).mean((2, 3), keepdim=True), arguments)


def brightness(images: Tensor, arguments: Tensor, options: MoveOptions) -> Tensor:
    """Multiply the values."""
    return blend(images, torch.zeros_like(images), arguments)


def sharpness(images: Tensor, arguments: Tensor, options: MoveOptions) -> Tensor:
    """Multiply the distance from a smoothed image, whose outermost pixels are the image's own."""
    channels = images.shape[1]
    kernel = torch.ones(3, 3, dtype=images.dtype, device=images.device)
    kernel[1, 1] = 5
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(
        images, (kernel / kernel.sum()).expand(channels, 1, 3, 3), groups=channels
    )
    return blend(images, smooth, arguments)


def rotate(images: Tensor, arguments: Tensor, options: MoveOptions) -> Tensor:
    """Turn by degrees, counter-clockwise, around the centre."""
    angle = torch.deg2rad(arguments)
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    return _move(images, (cos, -sin, zero, sin, cos, zero), options)


def shear_x(images: Tensor, arguments: Tensor, options: MoveOptions) -> Tensor:
    """Shift each row by its distance from the top, times a factor."""
    one, zero = torch.ones_like(arguments), torch.zeros_like(arguments)
    # In coordinates from the centre, the first row is half a side above it.
    return _move(images, (one, arguments, arguments, zero, one, zero), options)


def shear_y(images: Tensor, arguments: Tensor, options: MoveOptions) -> Tensor:
    """Shift each column by its distance from the left, times a factor."""
    one, zero = torch.ones_like(arguments), torch.zeros_like(arguments)
    return _move(images, (one, zero, zero, arguments, one, arguments), options)


def translate_x(images: Tensor, arguments: Tensor, options: MoveOptions) -> Tensor:
    """Shift by a share of the width."""
    one, zero = torch.ones_like(arguments), torch.zeros_like(arguments)
    return _move(images, (one, zero, 2 * arguments, zero, one, zero), options)


def translate_y(images: Tensor, arguments: Tensor, options: MoveOptions) -> Tensor:
    """Shift by a share of the height."""
    one, zero = torch.ones_like(arguments), torch.zeros_like(arguments)
    return _move(images, (one, zero, zero, zero, one, 2 * arguments), options)


def _move(images: Tensor, rows: tuple[Tensor, ...], options: MoveOptions) -> Tensor:
    """Read square images at an affine map of the output's coordinates, which span [-1, 1]; fill what is outside."""
    theta = torch.stack(rows, 1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    mode = "bicubic" if options.bicubic else "bilinear"
    moved = F.grid_sample(images, grid, mode=mode, padding_mode="border", align_corners=False).clamp_(0, 1)
    inside = (grid.abs() < 1).all(3).unsqueeze(1)
    return torch.where(inside, moved, options.fill.view(1, -1, 1, 1))


#: By the names that timm gives them.
OPERATIONS: dict[str, Operation] = {
    "AutoContrast": auto_contrast,
    "Equalize": equalize,
    "Invert": invert,
    "Rotate": rotate,
    "Posterize": posterize,
    "PosterizeIncreasing": posterize,
    "Solarize": solarize,
    "SolarizeIncreasing": solarize,
    "SolarizeAdd": solarize_add,
    "Color": color,
    "ColorIncreasing": color,
    "Contrast": contrast,
    "ContrastIncreasing": contrast,
    "Brightness": brightness,
    "BrightnessIncreasing": brightness,
    "Sharpness": sharpness,
    "SharpnessIncreasing": sharpness,
    "ShearX": shear_x,
    "ShearY": shear_y,
    "TranslateXRel": translate_x,
    "TranslateYRel": translate_y,
    "Desaturate": desaturate,
}
