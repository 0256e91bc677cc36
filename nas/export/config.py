"""What ``config.json`` of an export folder says of the model and its images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from nas.data.reading import FIRST_READING, Reading
from nas.runtime.documents import read_document
from search_spaces.errors import CheckpointError, RequestError, StudyError

_Side = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class ExportConfig:
    """What readers of an export rely on; the file holds more.

    Args:
        name: The model's name, for people.
        input_size: Channels, height and width of its images.
        mean: Mean of each channel that they are normalised with, in 0..1.
        std: Standard deviation likewise.
        num_classes: Classes that it tells apart.
        class_names: Their names; empty where they are not known.
        reading: By which rules its images were read and split (`nas.data.reading`).
        test_crop: Share of an image's shorter side that it is shown outside training.
    """

    name: str
    input_size: tuple[_Side, _Side, _Side]
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    num_classes: _Side
    class_names: tuple[str, ...]
    reading: Reading = FIRST_READING
    test_crop: Annotated[float, Field(ge=0.5, le=1)] = 1.0

    def __post_init__(self) -> None:
        channels = self.input_size[0]
        if len(self.mean) != channels or len(self.std) != channels:
            raise CheckpointError(f"'mean' and 'std' must have a number for each of {channels} channels")
        if self.class_names and len(self.class_names) != self.num_classes:
            raise CheckpointError(
                f"'class_names' are {len(self.class_names)}, but 'num_classes' is {self.num_classes}"
            )


def read_export_config(folder: Path) -> ExportConfig:
    """Read the ``config.json`` of an export folder.

    Raises:
        StudyError: If it is absent or damaged.
    """
    try:
        config: ExportConfig = read_document(folder / "config.json", ExportConfig)
    except StudyError as error:
        raise StudyError(f"{folder} is no export that can be used: {error}") from None
    return config


def require_square(folder: Path, config: ExportConfig) -> None:
    """Raise a RequestError unless the model takes square images, as this project reads them."""
    _, height, width = config.input_size
    if height != width:
        raise RequestError(
            f"{folder} takes images of {height}x{width} px; only square ones can be read for it"
        )
