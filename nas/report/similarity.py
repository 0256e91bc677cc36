"""Feature similarity across depth: how soon the blocks of a network say what its last block says.

Features that are like the last ones early on hardly evolve, which deep attention networks suffer from
(over-smoothing; the Refiner paper, arXiv 2106.03714, section 3.1). Depth is normalised to 0..1 so that
networks of different depths can be laid over one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from nas.data.dataset import Data, load_data
from nas.data.reading import READING
from nas.report.cka import LEAST_IMAGES, compute_similarities
from nas.report.similarity_page import to_page
from nas.report.trained_networks import (
    TrainedNetwork,
    enclosing_study,
    find_trained_networks,
    make_labels_distinct,
)
from nas.runtime.device import default_device
from nas.runtime.files import write_text
from nas.study.find import find_study
from nas.study.folder import Study
from search_spaces.errors import DataError, RequestError
from search_spaces.walk import walk_blocks

#: Images whose features are compared with one another at once.
BATCH = 64


def analyze(
    sources: Sequence[str],
    data: str | None,
    data_dir: Path | None,
    count: int,
    out: Path | None,
    *,
    skip_broken: bool = False,
) -> dict[str, Any]:
    """Measure networks side by side on validation images, and plot them.

    Args:
        sources: Studies, export folders and folders of retrained designs.
        data: What ``load_data`` understands; None takes the images of the first study among the sources or
            around them.
        data_dir: Where timm's data sets lie.
        count: Most images to look at.
        out: HTML file to write; None writes ``similarity.html`` into the study, if a source is one.
        skip_broken: Go on without image files that cannot be read; a study's own images are read as it says.

    Returns:
        ``data``, ``images``, ``out``, and ``designs``: of each the ``label``, ``digest``, ``mean`` similarity
        of all blocks but the last, and its ``blocks`` with ``place``, ``depth`` (0 to 1) and ``similarity``.

    Raises:
        RequestError: If a source means no network, or no images are known.
        DataError: If the images are not such as a network was made for, or too few.
    """
    networks = [network for source in sources for network in find_trained_networks(source)]
    study = _first_study(sources)
    own, test_crop = data is None, 1.0
    if data is None:
        if study is None:
            raise RequestError(
                "--data is needed: no source is a study or lies in one, so no images are known"
            )
        settings = study.settings()
        data, data_dir = settings.data, None if settings.data_dir is None else Path(settings.data_dir)
        skip_broken, test_crop = settings.skip_broken, settings.test_crop
    reading = READING if study is None else study.dataset().reading
    loaded: dict[int, Data] = {}
    designs, images = [], 0
    for network in make_labels_distinct(networks):
        side = network.architecture.image_size[0]
        if side not in loaded:
            loaded[side] = load_data(
                data,
                data_dir=data_dir,
                image_size=side,
                skip_broken=skip_broken,
                reading=reading,
                test_crop=test_crop,
            )
            if own and study is not None:
                study.require_images(loaded[side])
        batches = _read_batches(network, loaded[side], count)
        images = sum(len(batch) for batch in batches)
        designs.append(_describe(network, compute_similarities(network.network, batches)))
    if (
        out is None
        and study is not None
        and study.folder in [find_study(source).folder for source in sources]
    ):
        out = study.folder / "similarity.html"
    result = {"data": data, "images": images, "out": None if out is None else str(out), "designs": designs}
    if out is not None:
        write_text(out, to_page(result))
    return result


def _first_study(sources: Sequence[str]) -> Study | None:
    """Return the first study among the sources or around them, or None."""
    studies = (enclosing_study(find_study(source).folder) for source in sources)
    return next((study for study in studies if study is not None), None)


def _read_batches(network: TrainedNetwork, data: Data, count: int) -> list[Tensor]:
    """Return batches of equal size on the device, to which the network is moved too."""
    if data.in_channels != network.architecture.in_channels:
        raise DataError(
            f"{network.label} takes images of {network.architecture.in_channels} channels but {data.name} has "
            f"{data.in_channels}; give images such as it was trained on"
        )
    size = min(BATCH, count, len(data.val))
    if size < LEAST_IMAGES:
        raise DataError(
            f"{size} validation images are too few to compare features; give at least {LEAST_IMAGES}"
        )
    device = default_device()
    network.network.to(device)
    # A fixed order that mixes the classes, which stored ones may follow one another by.
    split = replace(data.val, mean=network.mean, std=network.std)
    batches = split.batches(size, device=device, shuffle_seed=0, least=size)
    return [images for (images, _), _ in zip(batches, range(max(1, count // size)), strict=False)]


def _describe(network: TrainedNetwork, similarities: Sequence[float | None]) -> dict[str, Any]:
    parts = walk_blocks(network.architecture)
    known = [value for value in similarities[:-1] if value is not None]
    return {
        "label": network.label,
        "digest": network.architecture.digest,
        "mean": sum(known) / len(known) if known else None,
        "blocks": [
            {
                "place": part.name,
                "block": str(part.block),
                "depth": number / len(parts),
                "similarity": value,
            }
            for number, (part, value) in enumerate(zip(parts, similarities, strict=True), start=1)
        ],
    }
