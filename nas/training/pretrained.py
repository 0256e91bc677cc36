"""Published checkpoints: files of the papers' authors or of timm, as networks of ours.

``supernet/checkpoints.py`` knows the names; here is what files and folders need: reading without running
what a pickle may hide, the export folder of an imported network, and the start of a supernet from one.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.runtime.error_text import first_line
from nas.runtime.files import load_tensors
from search_spaces.architecture import Architecture
from search_spaces.errors import CheckpointError, SpaceError, WorkError
from search_spaces.published import published
from search_spaces.space import Space
from supernet.block import Network
from supernet.checkpoints import count_classes, load_network, translate_checkpoint
from supernet.supernet import Supernet

#: Where training codes keep the weights; averaged ones, which their authors evaluate, come first.
_NESTS = ("state_dict_ema", "model_ema", "state_dict", "model")
#: What wrappers put before every name: DistributedDataParallel, torch.compile and training modules.
_PREFIXES = ("module.", "_orig_mod.", "model.")
#: Largest difference of logits to a published network's, times the largest logit where that exceeds 1.
TOLERANCE = 1e-4


# -- reading -----------------------------------------------------------------------------------------


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the weights of a torch or safetensors file, or of an export folder.

    Torch files are read without running code of theirs (``weights_only``); weights nested under a known
    key are found, and prefixes that wrappers give to every name are taken away.

    Raises:
        CheckpointError: If the file is absent, damaged, asks for code to be run, or holds no weights.
    """
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}; check the path")
    if path.suffix == ".safetensors":
        return _unwrapped(path, load_tensors(path)[0])
    try:
        # Training codes store their arguments beside the weights; a namespace does nothing when made.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a torch file of plain weights ({_reason(error)}); convert it to safetensors where its "
            "own code is at hand"
        ) from None
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is truncated or not a torch file ({_reason(error)}); copy it again"
        ) from None
    return _unwrapped(path, content)


def _unwrapped(path: Path, content: object) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = [content[key] for key in _NESTS if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        content = inner[0]
    tensors: dict[str, Tensor] = {}
    if isinstance(content, Mapping):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no weights by name; give a file of a network's state_dict")
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _reason(error: Exception) -> str:
    # torch explains at length how to give the safety up; what it met comes after this word, if it says so.
    _, _, text = str(error).partition("WeightsUnpickler error:")
    first = first_line(pickle.UnpicklingError(text) if text else error)
    return first.split(". ")[0].split(" was not an allowed")[0].rstrip(".")


def read_network(path: Path, architecture: Architecture) -> tuple[Network, Architecture]:
    """Read a checkpoint into the network of ``architecture``, with as many classes as its head has.

    Returns:
        The network, and its design: ``architecture`` with the checkpoint's number of classes.

    Raises:
        CheckpointError: If the file cannot be read or does not match, counting and naming what is odd.
    """
    tensors = read_checkpoint(path)
    try:
        state = translate_checkpoint(tensors)
        design = replace(architecture, num_classes=count_classes(state))
        return load_network(design, state), design
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; is it a checkpoint of another network?") from None


# -- nas search --init-from --------------------------------------------------------------------------


@dataclass(frozen=True)
class PretrainedStart:
    """A network whose weights a supernet starts from.

    Args:
        name: How people call it.
        architecture: Its design, a point of the supernet's space.
        network: The network; its head is the supernet's own where the classes differ.
        with_head: Whether its head is inherited too.
    """

    name: str
    architecture: Architecture
    network: Network
    with_head: bool = True


def read_starts(texts: Sequence[str], space: Space) -> tuple[PretrainedStart, ...]:
    """Read what ``--init-from NAME=FILE`` asks for.

    Raises:
        ArchitectureError: If a name is not published.
        SpaceError: If a design is not a point of ``space``, naming the first thing that differs.
        CheckpointError: If a file cannot be read or is not of its network.
    """
    starts = []
    for text in texts:
        name, _, file = text.partition("=")
        starts.append(read_start(name, published(name), Path(file), space))
    return tuple(starts)


def read_start(name: str, architecture: Architecture, path: Path, space: Space) -> PretrainedStart:
    """Read one network for a supernet of ``space``; raises as `read_starts` does."""
    target = replace(architecture, num_classes=space.num_classes)
    if why := space.incompatibility(target):
        raise SpaceError(
            f"--init-from {name} is not a point of space '{space.name}' ({space.scale}): {why}; choose a space "
            "that contains it"
        )
    network, design = read_network(path, architecture)
    with_head = design.num_classes == space.num_classes
    if not with_head:
        network.head = nn.Linear(network.head.in_features, space.num_classes)
    return PretrainedStart(name, target, network, with_head)


def start_supernet(supernet: Supernet, starts: Sequence[PretrainedStart]) -> None:
    """Give a supernet the weights of published networks, every path that coincides with one of their parts.

    Operators that a design leaves out, wider MLPs and deeper stages keep their random weights. Paths share
    the last norm and the head, and blocks share norms and MLPs: of two designs given, the later one has
    its way wherever both want the same weights.

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
        _compare(supernet, starts[-1])


@torch.inference_mode()
def _compare(supernet: Supernet, start: PretrainedStart) -> None:
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
