"""What a study remembers of its images."""

from __future__ import annotations

from dataclasses import dataclass

from nas.data.dataset import Data


@dataclass(frozen=True)
class DatasetInfo:
    """What a study remembers of its images, so that it need not read them again.

    Args:
        data: What ``load_data`` was given.
        digest: Digest of images and splits.
        image_size: Side in pixels.
        in_channels: Channels.
        class_names: Names of the classes.
        mean: Mean of each channel, images in 0..1.
        std: Standard deviation of each channel.
    """

    data: str
    digest: str
    image_size: int
    in_channels: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def from_data(cls, data: Data, spec: str) -> DatasetInfo:
        """Return the description of images that were loaded as ``spec``."""
        return cls(
            spec, data.digest, data.image_size, data.in_channels, data.class_names, data.mean, data.std
        )
