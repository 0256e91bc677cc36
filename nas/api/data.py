"""Images by the specs that the command line takes, or one's own data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.api.keywords import PathText
from nas.api.session import session
from nas.data import dataset
from nas.data.dataset import Data, DataOrigin
from nas.data.sources.own_dataset import PREFIX, Items, read_own_datasets
from nas.data.sources.source import SplitName
from nas.pipeline.request import require_data_dir_to_count, require_skip_broken_to_count
from nas.runtime.console import progress_callback
from search_spaces.errors import DataError, nearest

#: What `search` and `retrain` take as images: a spec, what `load_data` returned, a data set, or data sets by split.
Images = str | Data | Items | Mapping[str, Items]
_SPLITS: dict[str, SplitName] = {"train": "train", "validation": "val", "test": "test"}


def load_data(
    spec: str | None = None,
    *,
    train: Items | None = None,
    validation: Items | None = None,
    test: Items | None = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    data_dir: PathText | None = None,
    image_size: int | None = None,
    skip_broken: bool = False,
    test_crop: float = 1.0,
    quiet: bool = False,
) -> Data:
    """Find, split and, where they fit into memory, decode images.

    One's own are map-style data sets, such as ``torch.utils.data.Dataset``, of items ``(image, label)``: PIL images, or
    tensors and arrays of bytes or of floats in 0 to 1, and integers from 0. All items are read once and known by
    content: leave random transforms and normalisation out, training does both. What is streamed, since it does not fit
    into memory, is sent to the workers.

    Args:
        spec: ``mnist5k``, ``folder:PATH``, a URL, or a name that timm knows; left out where ``train`` is given.
        train: Images to train on, and to take from what is left out of the following two: a share of each class.
        validation: Images on which designs are compared.
        test: Images for the final report of finished networks.
        class_names: Names in the order of the labels; those of ``train.classes``, else numbers, where left out.
        name: What one's own images are called; the type of ``train`` where it is left out.
        data_dir: Where timm's data sets lie.
        image_size: Side in pixels; the images' own where they are small and alike, else 224.
        skip_broken: Go on without image files that cannot be read.
        test_crop: Share of the shorter side that is shown outside training; below 1 images are streamed from disk.
        quiet: Whether no progress is shown.

    Returns:
        The images: ``train`` and ``val`` in batches, the test images behind ``final_test()``. `search` and `retrain`
        take them as ``data``.

    Raises:
        DataError: If they cannot be found, read or split.

    Example:
        >>> from nas import load_data
        >>> data = load_data("mnist5k")  # doctest: +SKIP
        >>> images, labels = next(data.train.batches(64))  # doctest: +SKIP
    """
    with session(quiet=quiet):
        own = {"validation": validation, "test": test, "class_names": class_names, "name": name}
        if (spec is None) == (train is None):
            raise DataError("give the images either as a spec such as 'folder:PATH', or as train=")
        if train is None and (given := [key for key, value in own.items() if value is not None]):
            raise DataError(f"{given[0]} goes with train=, and {spec!r} says where its own images are")
        folder = None if data_dir is None else Path(data_dir)
        if spec is not None:
            require_data_dir_to_count(spec, folder)
            require_skip_broken_to_count(spec, skip_broken)
            return load_origin(DataOrigin(spec, folder, image_size, skip_broken, test_crop))
        given_parts = {"train": train, "validation": validation, "test": test}
        origin = _read_own(given_parts, name=name, class_names=class_names)
        require_data_dir_to_count(origin.spec, folder)
        require_skip_broken_to_count(origin.spec, skip_broken)
        return load_origin(replace(origin, image_size=image_size, test_crop=test_crop))


def load_origin(origin: DataOrigin) -> Data:
    """Return the images that an origin says, with progress.

    Raises:
        DataError: If they cannot be found, read or split.
    """
    with (
        progress_callback("looking at images") as on_inspect,
        progress_callback("decoding images") as on_progress,
    ):
        return dataset.load_data(
            origin.spec,
            data_dir=origin.data_dir,
            image_size=origin.image_size,
            skip_broken=origin.skip_broken,
            test_crop=origin.test_crop,
            on_inspect=on_inspect,
            on_progress=on_progress,
            source=origin.source,
        )


def find_origin(images: Images) -> DataOrigin:
    """Return where images are from, whatever they were given as.

    Raises:
        DataError: If they are none.
    """
    if isinstance(images, str):
        return DataOrigin(images)
    if isinstance(images, Data):
        if images.origin is None:
            raise DataError("data is a copy that was sent to another process; give what load_data returned")
        return images.origin
    if isinstance(images, Mapping):
        if unknown := [key for key in images if key not in _SPLITS]:
            raise DataError(f"data has an unknown part {unknown[0]!r} ({nearest(str(unknown[0]), _SPLITS)})")
        return _read_own(images)
    return _read_own({"train": images})


def to_keywords(origin: DataOrigin) -> dict[str, Any]:
    """Return an origin as the keywords of a search that say the same."""
    keywords = {
        "data": origin.spec,
        "data_dir": origin.data_dir,
        "image_size": origin.image_size,
        "skip_broken": origin.skip_broken or None,
        "test_crop": None if origin.test_crop == 1 else origin.test_crop,
    }
    return {name: value for name, value in keywords.items() if value is not None}


def _read_own(
    parts: Mapping[str, Items | None], *, name: str | None = None, class_names: Sequence[str] | None = None
) -> DataOrigin:
    given = {_SPLITS[key]: items for key, items in parts.items() if items is not None}
    if "train" not in given:
        raise DataError("data has no part 'train'; give the images to train on")
    with progress_callback("looking at images") as on_progress:
        source = read_own_datasets(given, name=name, class_names=class_names, on_progress=on_progress)
    return DataOrigin(PREFIX + source.name, source=source)
