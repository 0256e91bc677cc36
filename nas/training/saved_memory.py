"""What a forward pass keeps for its backward pass, counted part by part before anything is trained.

Autograd hands every tensor that it saves to ``torch.autograd.graph.saved_tensors_hooks``; each storage counts
once, and weights are counted apart. On a CPU the parts really run, on 2 and on 3 images. For a GPU they run once, on
fake tensors, which have a device, a type and a shape but no memory, under autocast with the GPU's rules, so that a
machine without a GPU counts for one.

A storage has the same bytes for every image, or it is that of weights in another type; so these counts give the
bytes of every batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from nas.training.fake_tensors import autocast_without_gpu, fake_tensors
from nas.training.part_counts import PartCounts
from search_spaces.architecture import Architecture
from search_spaces.skeleton import Style
from search_spaces.walk import BlockPart, DownsamplePart, HeadPart, Part, StemPart, walk
from supernet.blueprint import Call
from supernet.functional_module import FunctionalModule
from supernet.subnet import (
    block_blueprint,
    build_on_meta,
    downsample_blueprint,
    ends_blueprint,
    stem_blueprint,
)
from supernet.weight_slices import state

#: Images of the two counts on a CPU.
FEW, MORE = 2, 3
#: Images of the count on fake tensors: a prime that divides no layer's size, so that only what grows with the images
#: is a multiple of it.
MANY = 1009


@dataclass(frozen=True)
class SavedBytes:
    """Bytes saved for backward, as they grow with the images.

    Args:
        fixed: Bytes of any batch: weights in the type of products.
        per_image: Bytes of each image.
    """

    fixed: float = 0.0
    per_image: float = 0.0

    def of(self, images: int) -> int:
        """Return the bytes of a batch."""
        return round(self.fixed + self.per_image * images)

    def __add__(self, other: SavedBytes) -> SavedBytes:
        return SavedBytes(self.fixed + other.fixed, self.per_image + other.per_image)


@dataclass(frozen=True)
class Flow:
    """What one part of a network hands to the next, as far as memory depends on it.

    Args:
        dtype: Type of the map.
        is_saved: Whether the part that made it saved it.
        maps_dtype: Type of the attention maps that go with it, or None.
        maps_are_saved: Whether the part that made them saved them.
    """

    dtype: torch.dtype = torch.float32
    is_saved: bool = False
    maps_dtype: torch.dtype | None = None
    maps_are_saved: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "dtype": _dtype_name(self.dtype), "maps_dtype": _dtype_name(self.maps_dtype)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Flow:
        """Return what `to_json` wrote."""
        dtypes = {name: value[name] and getattr(torch, value[name]) for name in ("dtype", "maps_dtype")}
        return cls(**{**value, **dtypes})


class SavedMemory:
    """Counts what parts save on one kind of device; equal parts are counted once.

    Args:
        device: ``cpu`` or ``cuda``; a GPU need not be there.
        dtype: Type of products under autocast; float32 where there is none.
        counts: Where counts are kept beyond this process, or None.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, counts: PartCounts | None = None) -> None:
        self.device, self.dtype, self.counts = device, dtype, counts
        self._known: dict[tuple[Part, Style, Flow], tuple[SavedBytes, Flow]] = {}

    def of_part(self, part: Part, style: Style, flow: Flow) -> tuple[SavedBytes, Flow]:
        """Return what a part saves and what it hands on.

        Args:
            part: A part of an architecture; where it stands in its stage makes no difference.
            style: That of the architecture.
            flow: What it is given.
        """
        key = _without_position(part), style, flow
        if key not in self._known:
            self._known[key] = self._find(*key)
        return self._known[key]

    def of_network(self, architecture: Architecture) -> SavedBytes:
        """Return what one design's network saves, from its parts."""
        total, flow = SavedBytes(), Flow()
        for part in walk(architecture):
            saved, flow = self.of_part(part, architecture.style, flow)
            total += saved
        return total

    def _find(self, part: Part, style: Style, flow: Flow) -> tuple[SavedBytes, Flow]:
        """Return the count that is kept of a part; count it and keep that where there is none."""
        if self.counts is None:
            return self._count(part, style, flow)
        key = part, style, flow
        if (entry := self.counts.get(key)) is not None:
            return SavedBytes(*entry["saved"]), Flow.from_json(entry["after"])
        saved, after = self._count(*key)
        self.counts.add(key, {"saved": [saved.fixed, saved.per_image], "after": after.to_json()})
        return saved, after

    def _count(self, part: Part, style: Style, flow: Flow) -> tuple[SavedBytes, Flow]:
        if self.device.type == "cpu":
            (few, after), (more, _) = (self._run(part, style, flow, images) for images in (FEW, MORE))
            per_image = (sum(more) - sum(few)) / (MORE - FEW)
            return SavedBytes(sum(few) - FEW * per_image, per_image), after
        sizes, after = self._run(part, style, flow, MANY)
        fixed = sum(size for size in sizes if size % MANY)
        return SavedBytes(fixed, (sum(sizes) - fixed) / MANY), after

    def _run(self, part: Part, style: Style, flow: Flow, images: int) -> tuple[list[int], Flow]:
        """Run a part on so many images; return the bytes of what it saves, and what it hands on."""
        is_stem = isinstance(part, StemPart)
        with fake_tensors(self.device):
            module, weights = _build(_blueprint(part, style), self.device)
            shape = images, *_input_shape(part)
            x = torch.zeros(shape, dtype=flow.dtype, device=self.device, requires_grad=not is_stem)
            apart = [*weights, *([x] if flow.is_saved else [])]
            if isinstance(part, BlockPart) and part.shares_attention:
                maps = None
                if part.needs_attention:
                    shape = (
                        images,
                        part.feature_map.num_heads,
                        part.feature_map.tokens,
                        part.feature_map.tokens,
                    )
                    maps = torch.zeros(shape, dtype=flow.maps_dtype, device=self.device, requires_grad=True)
                    apart += [maps] if flow.maps_are_saved else []
                with recording_saved(apart) as saved, autocast_without_gpu(self.device, self.dtype):
                    x, maps = module(x, maps)
                if part.returns_attention:
                    return saved.sizes, Flow(x.dtype, saved.holds(x), maps.dtype, saved.holds(maps))
            else:
                with recording_saved(apart) as saved, autocast_without_gpu(self.device, self.dtype):
                    x = module(x)
            return saved.sizes, Flow(x.dtype, saved.holds(x))


class SavedStorages:
    """The storages of tensors that autograd saved, each once.

    Args:
        apart: Tensors whose storages do not count.
    """

    def __init__(self, apart: Sequence[Tensor]) -> None:
        # A storage that is kept here keeps its id from being given to another.
        self._apart = {id(storage): storage for storage in (tensor.untyped_storage() for tensor in apart)}
        self._saved: dict[int, torch.UntypedStorage] = {}

    def add(self, tensor: Tensor) -> Tensor:
        """Count the storage of a tensor that is saved, and return the tensor."""
        storage = tensor.untyped_storage()
        if id(storage) not in self._apart:
            self._saved[id(storage)] = storage
        return tensor

    def holds(self, tensor: Tensor) -> bool:
        """Return whether a tensor's storage was counted."""
        return id(tensor.untyped_storage()) in self._saved

    @property
    def sizes(self) -> list[int]:
        """Bytes of each of them."""
        return [storage.nbytes() for storage in self._saved.values()]


@contextlib.contextmanager
def recording_saved(apart: Sequence[Tensor]) -> Iterator[SavedStorages]:
    """Count what forward passes in this context save for backward.

    Args:
        apart: Tensors that do not count, such as weights.
    """
    saved = SavedStorages(apart)
    with saved_tensors_hooks(saved.add, lambda tensor: tensor):
        yield saved


def _build(blueprint: Call, device: torch.device) -> tuple[Callable[..., Any], list[Tensor]]:
    """Return a module in training mode, and its parameters and buffers, which are fake unless on a CPU."""
    if device.type == "cpu":
        module = blueprint.build().train()
        return module, list(state(module).values())
    bare = build_on_meta(blueprint)
    weights = {
        name: torch.empty_like(value, device=device).requires_grad_(value.requires_grad)
        for name, value in state(bare).items()
    }
    function = FunctionalModule(bare)
    return (lambda *inputs: function.run(weights, True, *inputs)), list(weights.values())


def _dtype_name(dtype: torch.dtype | None) -> str | None:
    return None if dtype is None else str(dtype).removeprefix("torch.")


def _without_position(part: Part) -> Part:
    match part:
        case BlockPart():
            return replace(part, stage=0, index=0)
        case DownsamplePart():
            return replace(part, stage=0)
        case _:
            return part


def _blueprint(part: Part, style: Style) -> Call:
    match part:
        case StemPart():
            return stem_blueprint(part.name, part.in_channels, part.feature_map, style)
        case DownsamplePart():
            return downsample_blueprint(part.name, part.before.dim, part.feature_map.dim)
        case BlockPart():
            return block_blueprint(part.block, part.feature_map, style, part.shares_attention)
        case HeadPart():
            return ends_blueprint(part.feature_map.dim, part.num_classes, style)


def _input_shape(part: Part) -> tuple[int, int, int]:
    """Return the shape of what a part is given of one image."""
    match part:
        case StemPart():
            return part.in_channels, *part.image_size
        case DownsamplePart():
            return part.before.height, part.before.width, part.before.dim
        case BlockPart() | HeadPart():
            place = part.feature_map
            if place.class_token:  # a sequence is a map of one row
                return 1, place.tokens, place.dim
            return place.height, place.width, place.dim
