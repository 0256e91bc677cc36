"""What a study remembers of its images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from nas.data.dataset import Data
from nas.data.reading import FIRST_READING, Reading
from search_spaces.errors import StudyError

_Positive = Annotated[int, Field(ge=1)]


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
        reading: By which rules they are read and split (`nas.data.reading`).
        test_crop: Share of the shorter side that is shown outside training.
    """

    data: str
    digest: str
    image_size: _Positive
    in_channels: _Positive
    class_names: Annotated[tuple[str, ...], Field(min_length=1)]
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    reading: Reading = FIRST_READING
    test_crop: Annotated[float, Field(ge=0.5, le=1)] = 1.0

    def __post_init__(self) -> None:
        if not len(self.mean) == len(self.std) == self.in_channels:
            raise StudyError(f"'mean' and 'std' must have a number for each of {self.in_channels} channels")

    @classmethod
    def from_data(cls, data: Data, spec: str) -> DatasetInfo:
        """Return the description of images that were loaded as ``spec``."""
        return cls(
            spec,
            data.digest,
            data.image_size,
            data.in_channels,
            data.class_names,
            data.mean,
            data.std,
            data.reading,
            data.test_crop,
        )


def is_of(info: DatasetInfo, data: Data) -> bool:
    """Return whether a description is of these images; earlier versions digested them in another way."""
    return info.digest in (data.digest, data.first_digest(info.data))
