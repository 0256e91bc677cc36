"""Whether images of ImageNet's size come as fast as a supernet trains on them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from nas.bench.measurement import Measurement, Target, compare_times
from nas.bench.setup import Setup
from nas.bench.spaces import load_space
from nas.data.augment import Augmentation, BatchRandomness
from nas.data.loader import TASK_IMAGES, DecodingTask
from nas.data.requests import BatchRequest
from nas.data.sources.folder import ImageFiles
from nas.data.sources.path_list import PathList
from nas.data.streaming import StreamDecoder, StreamedImages
from nas.runtime import interrupt
from nas.runtime.device import autocast
from supernet.supernet import Supernet

_SIZES = ((500, 400), (1600, 1200))  # about ImageNet's mean, and photographs as cameras make them
_PLAIN = Augmentation("large", crop_area=0.08)
_RECIPE = replace(_PLAIN, rand_augment="rand-m9-mstd0.5-inc1", random_erasing=0.25)


def bench(setup: Setup) -> list[Measurement]:
    """Return how fast training images are decoded, and the loader beside the training step.

    JPEG files of random pictures are written to a temporary folder. What a process decodes is measured without
    others, alternately in full and no finer than the crop needs; the loader with all its processes and the varied
    images of a recipe, then the step of random paths of the supernet.
    """
    space = load_space(setup)
    side, measurements = space.image_size[0], []
    with tempfile.TemporaryDirectory(prefix="nas-bench-") as folder:
        for width, height in _SIZES:
            count = 16 if setup.quick else 512 if width < 1000 else 64
            files = _write_pictures(Path(folder) / str(width), count, width, height)
            measurements.append(_measure_drafts(files, side, setup, f"{width}x{height} JPEG to {side} px"))
            if width < 1000:
                loader = StreamedImages(StreamDecoder(files, side, 3))
                rates = [_measure_loader(loader, count, setup) for _ in range(setup.pick_rounds(3))]
        supernet = Supernet(space).to(setup.device)
        steps = [_measure_step(supernet, setup, seed) for seed in range(setup.pick_rounds(3))]
    name = f"{space.name}/{space.scale}: loader beside the training step, {side} px, RandAugment"
    against = "forward and backward of a path"
    measurements.append(compare_times(name, rates, steps, 1, against=against, target=Target(1.0)))
    return measurements


def _write_pictures(folder: Path, count: int, width: int, height: int) -> ImageFiles:
    """Write random pictures with the frequencies of photographs: much in the large, some noise in the small."""
    folder.mkdir()
    rng, paths = np.random.default_rng(0), []
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (height // 50, width // 50, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
        noise = rng.integers(-12, 13, (height, width, 1), dtype=np.int16)
        paths.append(str(folder / f"{number}.jpg"))
        Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return ImageFiles(PathList.from_texts(paths))


def _measure_drafts(files: ImageFiles, side: int, setup: Setup, name: str) -> Measurement:
    """Compare decoding no finer than needed with decoding in full, in this process."""
    decoders = [StreamDecoder(files, side, 3, draft=draft) for draft in (True, False)]
    images = min(len(files.paths), TASK_IMAGES)
    times: list[list[float]] = [[], []]
    for number in range(setup.pick_rounds(7) + 1):
        interrupt.check()
        first = number * images % (len(files.paths) - images + 1)
        task = DecodingTask(np.arange(first, first + images), tuple(range(images)), _PLAIN)
        for decoder, seconds in zip(decoders, times, strict=True):
            began = time.process_time()
            decoder(task)
            seconds.append(time.process_time() - began)
    warm = [seconds[1:] for seconds in times]  # the first imports timm
    against = "decoding in full"
    return compare_times(f"{name}, a core", warm[0], warm[1], images, against=against)


def _measure_loader(loader: StreamedImages, count: int, setup: Setup) -> float:
    """Return the seconds that an image takes in the loader, all processes together, their start left out."""
    batch = setup.pick(setup.batch_size, 64, 256, 4)
    indices = torch.arange(count).split(batch)

    def requests() -> Iterator[BatchRequest]:
        for part in indices:
            seeds = tuple(int(index) for index in part)
            yield BatchRequest(part, BatchRandomness(seeds, torch.zeros(len(part), 5)))

    list(loader.read([next(requests())], _RECIPE, setup.device))
    interrupt.check()
    began = time.perf_counter()
    for images in loader.read(requests(), _RECIPE, setup.device):
        del images
    if setup.device.type == "cuda":
        torch.cuda.synchronize(setup.device)
    return (time.perf_counter() - began) / count


def _measure_step(supernet: Supernet, setup: Setup, seed: int) -> float:
    """Return the seconds that an image takes in forward and backward of a random path."""
    space = supernet.space
    batch, steps = setup.pick(setup.batch_size, 4, 128, 2), setup.pick(None, 2, 10, 1)
    architecture = space.sample(Random(seed))
    images = torch.randn(batch, space.in_channels, *space.image_size, device=setup.device)
    labels = torch.zeros(batch, dtype=torch.long, device=setup.device)
    began = 0.0
    for number in range(1 + steps):
        interrupt.check()
        if number == 1:  # the first warms up
            began = time.perf_counter()
        with autocast(setup.device):
            loss = F.cross_entropy(supernet(images, architecture).float(), labels)
        loss.backward()
        supernet.zero_grad(set_to_none=True)
        if setup.device.type == "cuda":
            torch.cuda.synchronize(setup.device)
    return (time.perf_counter() - began) / (batch * steps)
