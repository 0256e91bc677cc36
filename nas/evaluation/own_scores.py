"""What objectives of a program say of networks that were trained alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from nas.data.dataset import Data
from nas.evaluation.accuracy import evaluation_batch_size
from nas.evaluation.population import first_images
from nas.search.own_objectives import Measure, compute
from search_spaces.architecture import Architecture
from supernet.resizing import AtImageSize


@dataclass(frozen=True)
class OwnScoring:
    """How networks are scored: on the validation images that a search compares designs on.

    Args:
        costs: Scores of designs alone, by digest and name.
        measures: Functions of a network and images, by name.
        validation_images: Most validation images.
        seed: Chooses them.
    """

    costs: Mapping[str, Mapping[str, float]]
    measures: Mapping[str, Measure]
    validation_images: int
    seed: int

    def score(
        self, design: Architecture, network: nn.Module, data: Data, device: torch.device
    ) -> dict[str, float]:
        """Return the scores of a trained network of a design.

        Raises:
            WorkError: If a function fails, or gives no finite number.
        """
        known = dict(self.costs.get(design.digest, {}))
        if not self.measures:
            return known
        count, size = min(self.validation_images, len(data.val)), evaluation_batch_size(design.image_size)
        batches = [
            (images.to(device), labels.to(device))
            for images, labels in first_images(data.val, count, size, self.seed)
        ]
        shown = AtImageSize(network, design.image_size).eval()
        with torch.inference_mode():
            return known | {
                name: compute(name, function, design, shown, batches)
                for name, function in self.measures.items()
            }
