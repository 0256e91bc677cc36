"""Starting a supernet from published networks (``--init-from``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from nas.training.weight_files import read_network
from search_spaces.architecture import Architecture
from search_spaces.errors import CheckpointError, SpaceError, WorkError
from search_spaces.published import published
from search_spaces.space import Space
from supernet.network import Network
from supernet.supernet import Supernet

#: Largest difference of logits to a published network's, times the largest logit where that exceeds 1.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class PretrainedStart:
    """A network whose weights a supernet starts from.

    Args:
        name: Its name, for people.
        architecture: Its design, a point of the supernet's space.
        network: The network; its head is the supernet's own where the classes differ.
        with_head: Whether its head is inherited too.
    """

    name: str
    architecture: Architecture
    network: Network
    with_head: bool = True


def read_pretrained_starts(texts: Sequence[str], space: Space) -> tuple[PretrainedStart, ...]:
    """Read what ``--init-from NAME=FILE`` asks for.

    Raises:
        ArchitectureError: If a name is not published.
        SpaceError: If a design is not a point of ``space``, naming the first thing that differs.
        CheckpointError: If a file cannot be read or is not of its network.
    """
    starts = []
    for text in texts:
        name, _, file = text.partition("=")
        starts.append(read_pretrained_start(name, published(name), Path(file), space))
    return tuple(starts)


def read_pretrained_start(name: str, architecture: Architecture, path: Path, space: Space) -> PretrainedStart:
    """Read one network for a supernet of ``space``; raises as `read_pretrained_starts` does."""
    target = replace(architecture, in_channels=space.in_channels, num_classes=space.num_classes)
    if why := space.incompatibility(target):
        raise SpaceError(
            f"--init-from {name} is not a point of space '{space.name}' ({space.scale}): {why}; choose a space "
            "that contains it"
        )
    network, design = read_network(path, architecture)
    if design.in_channels != space.in_channels:
        raise CheckpointError(
            f"--init-from {name}: {path} is for images of {design.in_channels} channels but the study's have "
            f"{space.in_channels}; give a checkpoint for such images"
        )
    with_head = design.num_classes == space.num_classes
    if not with_head:
        network.reset_classifier(space.num_classes)
    return PretrainedStart(name, target, network, with_head)


def initialize_supernet(supernet: Supernet, starts: Sequence[PretrainedStart]) -> None:
    """Copy the weights of published networks into a supernet, wherever its paths share a part with them.

    Operators that a design leaves out, wider MLPs and deeper stages keep their random weights. Paths share
    the last norm and the head, and blocks share norms and MLPs: where two designs set the same weights, the
    later one wins.

    Args:
        supernet: The supernet, not trained yet.
        starts: What it starts from.

    Raises:
        WorkError: If the last path does not give its network's logits afterwards.
    """
    for start in starts:
        if not start.with_head:
            ends = supernet.ends.state_dict()
            heads = {name: value for name, value in ends.items() if name.startswith(("head.", "aux_head."))}
            start.network.load_state_dict(heads, strict=False)
        supernet.inherit(start.network, start.architecture)
    if starts:
        _verify_logits(supernet, starts[-1])


@torch.inference_mode()
def _verify_logits(supernet: Supernet, start: PretrainedStart) -> None:
    """Raise unless the path of a design gives its network's logits."""
    design, training = start.architecture, supernet.training
    shape = (1, design.in_channels, *design.image_size)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = start.network.eval()(images)
    difference = float((supernet.eval()(images, design) - expected).abs().max())
    supernet.train(training)
    allowed = TOLERANCE * max(1.0, float(expected.abs().max()))
    if not difference <= allowed:
        raise WorkError(
            f"the supernet's path of {start.name} differs from its checkpoint by {difference:.2g} (allowed "
            f"{allowed:.2g}); nothing was trained"
        )
