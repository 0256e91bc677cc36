"""How much memory of each device a training takes at most, known before it starts.

A step holds most at the end of its last forward pass: what the worst path saved, beside weights, gradients, their
sums over shards, the optimizer's moments and the average of the weights. Measured on a CPU in float32, the peak of a
step of ``twins_cswin`` nano is 1.01 to 1.06 times what was counted as saved (tests/nas/training/test_footprint.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import TypeVar

import torch

from nas.runtime.device import DeviceType, compute_dtype, hardware_name, planned_device
from nas.runtime.own_process import call_in_own_process
from nas.runtime.resources import GIB
from nas.training.part_counts import PartCounts
from nas.training.saved_memory import SavedBytes, SavedMemory
from nas.training.worst_path import find_worst_path
from search_spaces.architecture import Architecture
from search_spaces.errors import WorkError
from search_spaces.space import Space
from supernet.supernet import SHARINGS, Supernet

Found = TypeVar("Found")

FLOAT_BYTES = 4
#: Share of what is saved that is allowed for gradients of activations, losses and images, and for scratch space.
WORKSPACE = 0.1
#: Of a process by itself. On a CPU that is what it has imported (torch, Ray and timm: 0.8 GiB before the first step),
#: the kernels that oneDNN makes for the shapes it meets, and what the allocator keeps; on a GPU its context, cuBLAS's
#: and cuDNN's scratch space, and what the allocator cannot use because of its position.
PROCESS_BYTES: dict[DeviceType, int] = {"cpu": GIB, "cuda": GIB}


@dataclass(frozen=True)
class PathMemory:
    """The path that saves most for backward, and the device that it was counted for.

    Args:
        design: The path.
        saved: What it saves.
        device: Kind of device.
        dtype: Type of products, such as ``bfloat16``.
        device_name: The device here, or None where none of this kind is here.
        device_bytes: Its memory, or None.
    """

    design: Architecture
    saved: SavedBytes
    device: DeviceType
    dtype: str
    device_name: str | None = None
    device_bytes: int | None = None


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of one device in training.

    Args:
        weights: The network.
        gradients: Its gradients, and their sums where several shards are computed in turn.
        optimizer: AdamW's two moments.
        average: The moving average of the weights.
        saved: Saved for backward by the worst path, of one shard.
        other: Allowed for everything else, the process included.
        teacher: Weights of a teacher that is asked in every step, or its stored answers. What its forward pass holds
            is gone before its student's begins.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    saved: int
    other: int
    teacher: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(asdict(self).values())


def training_memory(
    parameters: int, saved: SavedBytes, images: int, device: DeviceType, *, in_turn: bool, teacher: int = 0
) -> TrainingMemory:
    """Return the memory that a training takes on one device.

    Args:
        parameters: Values of the network.
        saved: What it saves for backward.
        images: Images of a shard.
        device: Where.
        in_turn: Whether a device computes several shards one after another.
        teacher: Bytes of a teacher, or of its answers.
    """
    network, activations = parameters * FLOAT_BYTES, saved.of(images)
    # On a CPU a checkpoint is copied in the same memory before it is written: weights, average and moments.
    checkpoint = 4 * network if device == "cpu" else 0
    other = PROCESS_BYTES[device] + round(WORKSPACE * activations) + checkpoint
    gradients = network * (2 if in_turn else 1)
    return TrainingMemory(network, gradients, 2 * network, network, activations, other, teacher)


@lru_cache(maxsize=16)
def count_supernet_parameters(space: Space, sharing: str = SHARINGS[0]) -> int:
    """Return the parameters of a space's supernet, of which no memory is taken."""
    with torch.device("meta"):
        supernet = Supernet(space, sharing)
    return sum(parameter.numel() for parameter in supernet.parameters())


@lru_cache(maxsize=16)
def measure_worst_path(space: Space, images: int, device: DeviceType) -> PathMemory:
    """Return the path of a space that saves most in training, on a device that need not be here.

    For a GPU it is counted in a process of its own: it asks the GPU, if there is one, for its memory, and neither
    that nor a fake tensor that some module remembers stays behind.

    Args:
        space: The space.
        images: Images of a shard.
        device: Kind of device.

    Raises:
        WorkError: If that process fails.
    """
    if device == "cpu":
        return count_worst_path(space, images, device)
    return _ask_own_process(partial(count_worst_path, space, images, device))


def measure_designs(designs: Sequence[Architecture], device: DeviceType) -> list[PathMemory]:
    """Return what each design saves in training; where and how as `measure_worst_path`, which raises the same."""
    if device == "cpu":
        return count_designs(designs, device)
    return _ask_own_process(partial(count_designs, designs, device))


def count_worst_path(space: Space, images: int, device: DeviceType) -> PathMemory:
    """Do what `measure_worst_path` does in this process."""
    with _counting(device) as memory:
        return _describe(*find_worst_path(space, memory, images), memory)


def count_designs(designs: Sequence[Architecture], device: DeviceType) -> list[PathMemory]:
    """Do what `measure_designs` does in this process."""
    with _counting(device) as memory:
        return [_describe(design, memory.of_network(design), memory) for design in designs]


def _ask_own_process(count: Callable[[], Found]) -> Found:
    try:
        return call_in_own_process(count)
    except WorkError as error:
        raise WorkError(f"the memory of a training on a GPU could not be counted: {error}") from error


@contextlib.contextmanager
def _counting(device: DeviceType) -> Iterator[SavedMemory]:
    """Count in this process, and keep what was counted."""
    there = torch.device(device)
    dtype = compute_dtype(there)
    counts = PartCounts(there, dtype)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # parts of two images are too small for several
    try:
        yield SavedMemory(there, dtype, counts)
    finally:
        torch.set_num_threads(threads)
        counts.save()


def _describe(design: Architecture, saved: SavedBytes, memory: SavedMemory) -> PathMemory:
    device: DeviceType = "cuda" if memory.device.type == "cuda" else "cpu"
    here = device == "cuda" and planned_device(device).type == "cuda"
    return PathMemory(
        design,
        saved,
        device,
        str(memory.dtype).removeprefix("torch."),
        hardware_name(memory.device) if here else None,
        torch.cuda.mem_get_info(memory.device)[1] if here else None,
    )
