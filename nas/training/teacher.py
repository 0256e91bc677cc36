"""A trained network whose answers others learn from, beside the labels.

Unless its recipe says otherwise (`nas.training.stored_answers`), it is asked in every step, about the very images that
its student is given, varied and mixed as they are: consistent teaching trains better students than answers about
unvaried images (Beyer et al., arXiv 2106.05237, section 3). Every worker has the teacher on its own device and asks
it about its shards, so that one worker and many agree.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.runtime.device import autocast
from nas.runtime.uncertainty import Accuracy
from nas.training.weight_digest import digest_weights
from search_spaces.errors import RequestError

#: ``(images) -> logits`` of a teacher, for images as its student is given them.
AskTeacher = Callable[[Tensor], Tensor]


class NormalizedImages(Protocol):
    """What is known of the images of a training."""

    @property
    def in_channels(self) -> int:
        """1 or 3."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels."""
        ...

    @property
    def mean(self) -> tuple[float, ...]:
        """What their channels were normalised with."""
        ...

    @property
    def std(self) -> tuple[float, ...]:
        """Likewise."""
        ...


@dataclass(frozen=True)
class Teacher:
    """A network that teaches.

    Args:
        name: What it was asked for by, for people.
        network: Maps images ``(B, C, H, W)`` to logits ``(B, classes)``; it never learns.
        digest: SHA-256 of what decides its answers, see `make_teacher`.
        input_size: Channels, height and width of its images.
        mean: Mean of each channel that they are normalised with, in 0..1.
        std: Standard deviation likewise.
        num_classes: Classes that it tells apart.
        class_names: Their names; empty where they are not known.
        params: Its parameters.
        macs: Multiply-adds of one image.
        accuracy: On the validation images, once it has been measured.
    """

    name: str
    network: nn.Module
    digest: str
    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int
    class_names: tuple[str, ...]
    params: int
    macs: int
    accuracy: Accuracy | None = None

    def require_same_classes(self, images: NormalizedImages) -> None:
        """Check that it can teach images: it answers with their classes in their order, and takes their channels.

        Raises:
            RequestError: If it cannot.
        """
        wanted = images.class_names
        if self.num_classes != len(wanted):
            raise RequestError(
                f"--teacher {self.name} tells {self.num_classes} classes apart but the images have {len(wanted)}; give "
                "a teacher that was trained on their classes"
            )
        if self.class_names and self.class_names != wanted:
            index = next(i for i in range(len(wanted)) if self.class_names[i] != wanted[i])
            raise RequestError(
                f"class {index} of --teacher {self.name} is '{self.class_names[index]}' but that of the images is "
                f"'{wanted[index]}'; give a teacher of the same classes in the same order"
            )
        if self.input_size[0] != images.in_channels and images.in_channels != 1:
            raise RequestError(
                f"--teacher {self.name} takes images of {self.input_size[0]} channel(s) but these have "
                f"{images.in_channels}; give a teacher for such images"
            )

    def on(self, device: torch.device, images: NormalizedImages) -> AskTeacher:
        """Return what asks it on a device about images as a training has them.

        They are normalised anew, brought to the teacher's size (bicubic, antialiased), and grey ones repeated for a
        teacher of colours. It runs in evaluation mode, in mixed precision as its students do, and without gradients.

        Args:
            device: Where the images are.
            images: By what they were normalised.
        """
        network = copy.deepcopy(self.network).to(device).eval().requires_grad_(False)
        channels, *size = self.input_size
        mean, std, own_mean, own_std = (
            torch.tensor(values, device=device).view(-1, 1, 1)
            for values in (images.mean, images.std, self.mean, self.std)
        )
        is_normalized = images.mean == self.mean and images.std == self.std

        @torch.no_grad()
        def ask(batch: Tensor) -> Tensor:
            if not is_normalized:
                batch = (batch * std + (mean - own_mean)) / own_std
            if batch.shape[1] != channels:
                batch = batch.expand(-1, channels, -1, -1)
            if list(batch.shape[2:]) != size:
                batch = F.interpolate(batch, size, mode="bicubic", antialias=True)
            with autocast(device):
                logits: Tensor = network(batch)
            return logits.float()

        return ask


def make_teacher(
    name: str,
    network: nn.Module,
    design: str,
    input_size: tuple[int, int, int],
    mean: Sequence[float],
    std: Sequence[float],
    num_classes: int,
    class_names: Sequence[str],
    macs: int,
) -> Teacher:
    """Return a network as a teacher; its identity is that of design, weights, images' size and normalisation.

    Args:
        name: What it was asked for by, for people.
        network: The trained network.
        design: What tells it from networks with the same weights.
        input_size: As of `Teacher`, like the others.
        mean: Mean of each channel.
        std: Standard deviation of each channel.
        num_classes: Classes.
        class_names: Their names; empty where they are not known.
        macs: Multiply-adds of one image.
    """
    weights = digest_weights(network.state_dict())
    known = [design, weights, list(input_size), list(mean), list(std)]
    digest = hashlib.sha256(json.dumps(known).encode()).hexdigest()
    params = sum(parameter.numel() for parameter in network.parameters())
    frozen = network.eval().requires_grad_(False)
    return Teacher(
        name,
        frozen,
        digest,
        input_size,
        tuple(mean),
        tuple(std),
        num_classes,
        tuple(class_names),
        params,
        macs,
    )
