"""What a worker holds: the supernet once, and the images that candidates are scored on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.budget import WorkerPlan
from nas.data import Data, Split
from nas.evaluate import Evaluator, evaluation_batch
from nas.workers import Pool
from search_spaces.architecture import Architecture
from supernet.calls import call
from supernet.subnet import template
from supernet.supernet import Supernet

CALIBRATION_IMAGES = 256


def payload(supernet: Supernet, data: Data, validation_images: int, seed: int) -> dict[str, Any]:
    """Return what workers need, as arrays that a node stores once for all of them.

    Args:
        supernet: Trained weights.
        data: The images; validation and, for BatchNorm statistics, some training images are taken.
        validation_images: Most validation images to score on.
        seed: Chooses them.
    """
    batch = evaluation_batch(supernet.space.image_size)
    validation = list(_take(data.val, validation_images, batch, seed))
    calibration = list(_take(data.train, CALIBRATION_IMAGES, batch, seed))
    return {
        "space": supernet.space,
        "sharing": supernet.sharing,
        "weights": {name: value.detach().cpu().numpy() for name, value in supernet.state_dict().items()},
        "validation": [(images.numpy(), labels.numpy()) for images, labels in validation],
        "calibration": [images.numpy() for images, _ in calibration],
    }


def _take(split: Split, count: int, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of ``count`` images in an order that the seed alone decides."""
    for images, labels in split.batches(batch, shuffle_seed=seed):
        yield images[:count], labels[:count]
        count -= len(images)
        if count <= 0:
            return


class Held:
    """A worker's object."""

    def __init__(self, content: dict[str, Any], device: str) -> None:
        supernet: Supernet = template(call(Supernet, content["space"], content["sharing"]))
        weights = {name: _tensor(value).to(device) for name, value in content["weights"].items()}
        supernet.load_state_dict(weights, assign=True)
        validation = [(_tensor(x).to(device), _tensor(y).to(device)) for x, y in content["validation"]]
        calibration = [_tensor(x).to(device) for x in content["calibration"]]
        self.evaluator = Evaluator(supernet.eval(), validation, calibration)

    def score(self, design: dict[str, object]) -> dict[str, float]:
        """Return the scores of the architecture with this JSON."""
        return self.evaluator.score(Architecture.from_json(design))


def hold(content: dict[str, Any], device: str) -> Held:
    """Make a worker's object."""
    return Held(content, device)


class Population:
    """Evaluates designs on a pool of workers."""

    def __init__(self, plan: WorkerPlan, content: dict[str, Any]) -> None:
        self.pool = Pool(plan, hold, content)

    def __call__(self, designs: list[Architecture]) -> Iterator[dict[int, dict[str, float]]]:
        """Yield ``{index: scores}`` of the designs as they are done."""
        for done in self.pool.map("score", [design.to_json() for design in designs]):
            yield {done.index: done.value}

    def close(self) -> None:
        """Let the workers go."""
        self.pool.close()


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    with warnings.catch_warnings():
        # Ray maps arrays read-only; nothing here writes to weights or images.
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
