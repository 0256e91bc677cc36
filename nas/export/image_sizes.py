"""Which heights and widths the files of an export take.

A network of ours maps images of any size, padding maps that its windows do not fill. A file records one course of
this computation: what is padded, and by how much, would be a branch on the image's size. So a file for several sizes
is one for the sizes at which windows, stripes and patches fill every map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from nas.latency.onnx_writer import any_batch_size
from search_spaces.architecture import Architecture
from search_spaces.geometry import downsample_geometry, stem_geometry
from search_spaces.walk import BlockPart, walk

#: Knobs by which a block divides the sides of its map.
_DIVIDING_KNOBS = ("window_size", "stripe_width", "sr_ratio", "stride")
_LARGEST = 4096


@dataclass(frozen=True)
class ImageSizes:
    """The sizes of images that files are written for.

    Args:
        own: Height and width that the design is for.
        step: What height and width are multiples of where they may vary; None where they are fixed.
        why_fixed: Why they are fixed although others were asked for; empty where they were not.
    """

    own: tuple[int, int]
    step: int | None = None
    why_fixed: str = ""

    def fixed(self, why: str) -> ImageSizes:
        """Return the design's own size alone, and why."""
        return ImageSizes(self.own, None, why)

    @property
    def example(self) -> tuple[int, int]:
        """The size that a file is recorded at.

        Another than the design's, at which learned positions are not interpolated: the record has to say how.
        """
        if self.step is None:
            return self.own
        step, (height, width) = self.step, self.own
        first = next(count for count in (2, 3) if count * step != height)
        second = next(count for count in (3, 4, 5) if count * step not in (width, first * step))
        return first * step, second * step

    @property
    def least(self) -> int:
        """How many steps a side has at least.

        Two where the design's own sides have as many: what is recorded at several positions is not promised for one.
        """
        return 1 if self.step is None or min(self.own) < 2 * self.step else 2

    @property
    def other(self) -> tuple[int, int]:
        """A size, not square, at which files for several sizes are compared with the network."""
        height, width = self.own
        return height + (self.step or 0), width + 2 * (self.step or 0)

    @property
    def dimensions(self) -> dict[int, object]:
        """The dynamic dimensions of images ``(B, C, H, W)``, as ``torch.export`` takes them."""
        dimensions = any_batch_size()
        if self.step is not None:
            for axis, name in ((2, "height"), (3, "width")):
                dimensions[axis] = self.step * torch.export.Dim(
                    name, min=self.least, max=_LARGEST // self.step
                )
        return dimensions

    def to_json(self) -> dict[str, Any]:
        """Return what ``verification.json`` says of them."""
        known: dict[str, Any] = {"own": list(self.own), "multiples_of": self.step}
        if self.step is not None:
            known["smallest"] = self.least * self.step
        return known | ({"why_fixed": self.why_fixed} if self.why_fixed else {})


def image_sizes(architecture: Architecture, dynamic: bool) -> ImageSizes:
    """Return the sizes that files of a design are written for.

    Args:
        architecture: The design.
        dynamic: Whether others than its own are asked for.
    """
    sizes = ImageSizes(architecture.image_size)
    if not dynamic:
        return sizes
    names = [architecture.stem, *(stage.downsample for stage in architecture.stages[1:])]
    geometries = [stem_geometry(names[0]), *map(downsample_geometry, names[1:])]
    for name, geometry in zip(names, geometries, strict=True):
        if not geometry.keeps_ratio:
            return sizes.fixed(f"the padding of '{name}' leaves maps that are no fixed part of its input")
    step = size_step(architecture)
    if 2 * step > _LARGEST or any(side % step for side in architecture.image_size):
        return sizes.fixed(
            f"its windows, stripes and patches fill maps at multiples of {step} pixels, of which its own size is none"
        )
    return ImageSizes(architecture.image_size, step)


def size_step(architecture: Architecture) -> int:
    """Return the pixels of which a side is a multiple where every block of the design divides its map evenly."""
    strides, step = architecture.strides(), 1
    for part in walk(architecture):
        if isinstance(part, BlockPart):
            settings = part.block.settings
            knobs = [int(settings[name]) for name in _DIVIDING_KNOBS if name in settings]
            sides = (stride * knob for stride in strides[part.stage] for knob in (1, *knobs))
            step = math.lcm(step, *sides)
    return step
