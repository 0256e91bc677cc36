"""How an image file becomes what an exported network takes, for ``config.json`` and for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nas.data.pixels import BACKGROUND
from search_spaces.architecture import Architecture


def describe_preprocessing(
    architecture: Architecture, mean: Sequence[float], std: Sequence[float], test_crop: float
) -> dict[str, Any]:
    """Return every step from an image file to the network, in their order, as `nas.data.decoding` takes them."""
    return {
        "orientation": "EXIF",
        "background": list(BACKGROUND),
        "mode": {1: "L", 3: "RGB"}.get(architecture.in_channels),
        "crop": "center",
        "crop_of_shorter_side": test_crop,
        "size": list(architecture.image_size),
        "interpolation": "bicubic",
        "antialias": True,
        "scale": "1/255",
        "mean": list(mean),
        "std": list(std),
    }


def preprocessing_text(config: Mapping[str, Any]) -> str:
    """Return the same in words, from the content of a ``config.json``."""
    channels, height, width = config["input_size"]
    mode = {1: "greyscale", 3: "RGB"}.get(channels, f"{channels} channels")
    part = "square" if height == width else "part of that shape"
    crop = config["test_crop"]
    shown = f"the largest central {part}" + (
        "" if crop == 1 else f" but for its border, {crop:.4g} of its side,"
    )
    return (
        f"upright by EXIF, on white where transparent, {mode}, 8 bits; {shown} resized to {height} x {width} "
        f"(bicubic, antialiased); divided by 255, minus mean {config['mean']}, divided by std {config['std']}"
    )
