"""Images by the specs that the command line takes."""

from __future__ import annotations

from pathlib import Path

from nas.api.keywords import PathText
from nas.api.session import session
from nas.data import dataset
from nas.data.dataset import Data
from nas.pipeline.request import require_data_dir_to_count, require_skip_broken_to_count
from nas.runtime.console import progress_callback


def load_data(
    spec: str,
    *,
    data_dir: PathText | None = None,
    image_size: int | None = None,
    skip_broken: bool = False,
    test_crop: float = 1.0,
    quiet: bool = False,
) -> Data:
    """Find, split and, where they fit into memory, decode images.

    Args:
        spec: ``mnist5k``, ``folder:PATH``, or a name that timm knows.
        data_dir: Where timm's data sets lie.
        image_size: Side in pixels; the images' own where they are small and alike, else 224.
        skip_broken: Go on without image files that cannot be read.
        test_crop: Share of the shorter side that is shown outside training; below 1 images are streamed from disk.
        quiet: Whether no progress is shown.

    Returns:
        The images: ``train`` and ``val`` in batches, the test images behind ``final_test()``.

    Raises:
        DataError: If they cannot be found, read or split.

    Example:
        >>> from nas import load_data
        >>> data = load_data("mnist5k")  # doctest: +SKIP
        >>> images, labels = next(data.train.batches(64))  # doctest: +SKIP
    """
    with session(quiet=quiet):
        require_data_dir_to_count(spec, data_dir)
        require_skip_broken_to_count(spec, skip_broken)
        with (
            progress_callback("looking at images") as on_inspect,
            progress_callback("decoding images") as on_progress,
        ):
            return dataset.load_data(
                spec,
                data_dir=None if data_dir is None else Path(data_dir),
                image_size=image_size,
                skip_broken=skip_broken,
                test_crop=test_crop,
                on_inspect=on_inspect,
                on_progress=on_progress,
            )
