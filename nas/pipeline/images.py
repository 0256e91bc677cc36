"""The images of a study, and looking at a set of images by itself."""

from __future__ import annotations

from pathlib import Path

from nas.cluster.sending import require_sendable
from nas.data.broken_files import broken_files_error
from nas.data.dataset import ChooseSide, Data, load_data, survey_data
from nas.data.decoding import usual_side
from nas.data.images import InMemoryImages
from nas.data.reading import FIRST_READING, READING, Reading
from nas.data.sources.folder import ReadOptions
from nas.data.sources.source import Source
from nas.data.summary import DataSummary
from nas.runtime.console import progress_callback
from nas.study.folder import Study
from nas.study.settings import Settings
from search_spaces.declaration import Declaration
from search_spaces.errors import DataError


def load_study_data(
    settings: Settings,
    study: Study,
    source: Study | None = None,
    large_test_crop: float | None = None,
    choose_side: ChooseSide | None = None,
    images: Source | None = None,
) -> Data:
    """Load the images of a study by the rules it began with, with progress where files are read.

    Args:
        settings: The study's settings.
        study: Its folder, which need not exist.
        source: The study whose supernet it searches, if there is one.
        large_test_crop: The test crop of a recipe that was chosen, which is for large images.
        choose_side: What chooses another side than the usual where the settings have none.
        images: The images where they were given as such.

    Raises:
        DataError: If they cannot be loaded, or the study was made when some of them were misread.
    """
    reading = _find_reading(settings, study, source)
    with (
        progress_callback("looking at images") as on_inspect,
        progress_callback("decoding images") as on_progress,
    ):
        data = load_data(
            settings.data,
            data_dir=None if settings.data_dir is None else Path(settings.data_dir),
            image_size=settings.image_size,
            choose_side=choose_side,
            skip_broken=settings.skip_broken,
            reading=reading,
            test_crop=settings.test_crop,
            large_test_crop=large_test_crop,
            on_inspect=on_inspect,
            on_progress=on_progress,
            source=images,
        )
    if reading == FIRST_READING and data.summary.read_otherwise:
        raise DataError(
            f"{study.folder} goes on from a version that read {data.summary.read_otherwise} images without their "
            "EXIF orientation or transparency; choose another --study to begin anew"
        )
    if images is not None and not isinstance(data.train.images, InMemoryImages):
        require_sendable(f"the data set {images.name}, whose images do not fit into memory,", images.images)
    return data


def _find_reading(settings: Settings, study: Study, source: Study | None) -> Reading:
    """Return the rules by which the images were split for the weights that a study has or is given.

    By other rules, images that a supernet was trained on would be among those that it is validated on.
    """
    known = [study, *([] if source is None else [source])]
    if settings.supernet is not None:
        known.append(Study(Path(settings.supernet).parent.parent))
    return next((each.dataset().reading for each in known if each.dataset_file.exists()), READING)


def side_within_scales(declaration: Declaration) -> ChooseSide:
    """Return what keeps the usual side of images where a scale is meant for it, else takes the nearest to their own."""

    def choose(own: int | None, usual: int) -> int:
        fits = declaration.nearest_side(usual) == usual
        return usual if fits else declaration.nearest_side(usual if own is None else own)

    return choose


def describe_resizing(summary: DataSummary, space_name: str) -> str | None:
    """Return in words why images are brought to another side than their own though nobody asked, or None."""
    own, side = summary.own_side, summary.image_size
    if own == side:
        return None
    usual = usual_side(own)
    images = "images of several sizes" if own is None else f"images of {own}x{own} px"
    resized = f"{images} are resized to {side}x{side}"
    if side != usual:
        return f"{resized}: no scale of '{space_name}' is meant for {own or usual} px"
    return None if own is None else f"{resized}, as large ones are where no --image-size is given"


def survey_images(spec: str, data_dir: Path | None, image_size: int | None) -> DataSummary:
    """Return how a set of images is read without its broken files, all of which are found.

    Raises:
        DataError: If it cannot be read at all.
    """
    with progress_callback("decoding images") as on_inspect:
        options = ReadOptions(skip_broken=True, decode=True, on_inspect=on_inspect)
        return survey_data(spec, data_dir=data_dir, image_size=image_size, options=options).summary


def require_usable(summary: DataSummary) -> None:
    """Check that a search would take the images as they are.

    Raises:
        DataError: If files are broken.
    """
    if summary.broken:
        raise broken_files_error(summary.broken)


def side_to_keep(settings: Settings, data: Data) -> int | None:
    """Return the side for the study's settings: none that the images' usual one would give again."""
    is_usual = data.image_size == usual_side(data.summary.own_side)
    return settings.image_size if is_usual else data.image_size
