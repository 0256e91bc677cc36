"""A small export folder with random weights, and photograph-like images in files."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageFilter

from nas.export.writer import export_model
from search_spaces.architecture import Architecture, Block, Stage
from supernet.network import Network
from supernet.subnet import build_subnet
from tests.helpers.modules import randomised

CLASSES = ("ant", "bee", "fly")
MEAN, STD = (0.25, 0.5, 0.75), (0.5, 0.25, 0.125)
BLOCK = Block("lsa", (("window_size", 2),), "rpe")
PYRAMID = Architecture(
    (Stage(8, 2, (BLOCK,)), Stage(16, 2, (BLOCK,), "conv2x2"), Stage(24, 2, (BLOCK,), "merging")),
    image_size=(32, 32),
    num_classes=len(CLASSES),
    stem="patch4x4",
)


def write_export(
    folder: Path,
    design: Architecture = PYRAMID,
    test_crop: float = 1.0,
    class_names: tuple[str, ...] = CLASSES,
) -> Network:
    """Write an export folder of a network with random weights; return the network."""
    network = randomised(build_subnet(design)).eval()
    export_model(
        network,
        design,
        folder,
        name="small",
        mean=MEAN[: design.in_channels],
        std=STD[: design.in_channels],
        class_names=class_names,
        metrics={},
        provenance={"command": ["nas", "export", "my study"]},
        formats=(),
        test_crop=test_crop,
    )
    return network


def smooth_image(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return an image with edges and gradients of several sizes, as photographs have."""
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for side, radius in ((3, 0), (9, 0), (40, 1)):
        noise = torch.randint(0, 256, (side, side, 3), dtype=torch.uint8, generator=generator)
        layer = Image.fromarray(noise.numpy()).resize((width, height), Image.Resampling.BICUBIC)
        layers.append(layer.filter(ImageFilter.GaussianBlur(radius)))
    coarse = Image.blend(layers[0], layers[1], 0.4)
    return Image.blend(coarse, layers[2], 0.2)
