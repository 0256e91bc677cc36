"""One design to be trained by itself: what decides its result, and whether that is there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from nas.study.designs import Design
from nas.study.folder import Study
from nas.study.recipe import Recipe
from search_spaces.architecture import Architecture


@dataclass(frozen=True)
class RetrainingJob:
    """One design to train.

    Args:
        design: The design, and where it is from.
        mode: ``scratch``, or ``inherit`` to start from the supernet's weights.
        folder: Where its checkpoint and its result go.
        recipe: How to train it.
        images: Digest of the images.
        weights: Digest of the weights that it starts from, where it inherits some.
        compile: Whether its blocks are compiled.
    """

    design: Design
    mode: str
    folder: Path
    recipe: Recipe
    images: str
    weights: str | None = None
    compile: bool = False

    @property
    def architecture(self) -> Architecture:
        """The design itself."""
        return self.design.architecture

    @property
    def name(self) -> str:
        """How it is called in logs."""
        return f"{self.architecture.digest}/{self.mode}"

    @property
    def identity(self) -> str:
        """What its checkpoint belongs to."""
        return f"{self.name}/{self.images}/{self.weights}"

    @property
    def made_from(self) -> dict[str, str | None]:
        """What its result depends on beside design, mode and recipe."""
        return {"images": self.images, "weights": self.weights}

    @property
    def result_file(self) -> Path:
        """The file whose presence says that the job is finished."""
        return self.folder / "result.json"

    @property
    def is_finished(self) -> bool:
        """Whether its result is there, of the same recipe, images and inherited weights."""
        if not self.result_file.exists():
            return False
        result = Study.read_result(self.result_file)
        # Results of earlier versions do not say more; a study has one set of images and one supernet.
        made_from = result.get("made_from", self.made_from)
        return bool(result["recipe"] == asdict(self.recipe) and made_from == self.made_from)


def digest_weights(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a network's weights by name and content."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
